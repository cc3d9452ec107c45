"""Fetch from and store to an archive that speaks DICOM's own protocol: C-FIND, C-GET, C-STORE."""

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fistula.archive.address import Address, Manners, require_few, require_own, unconnected
from fistula.dicom.out.network import (
    IMAGE_CLASSES,
    further_offers,
    identifier,
    offers,
    read_object,
    save_content,
    single_offers,
    whose_object,
)
from fistula.dicom.parse import whole
from fistula.errors import ArchiveError, DataError

OWN_TITLE = "FISTULA"
# Study Root Query/Retrieve Information Model, DICOM PS3.4 C.6.2.
FIND, GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
OTHERWISE = "Use its DICOMweb address, dicomweb://, or export the study to a folder"
PARTS = 4  # of an answer, an instance: its own, and some that say how far the archive is
SUCCESS, PENDING, OUT_OF_RESOURCES, REFUSED = 0x0000, (0xFF00, 0xFF01), 0xA700, 0x0124
UNSENT = 0xA702, 0xB000  # PS3.4 C.4.3.1.4: all or some could not be sent, perhaps for want of an offer that fits
# Segmentations and structure sets, DICOM PS3.4 B.5: without one, what it draws on would pass for negative.
DRAWN = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.481.3"
STORED = SUCCESS, 0xB000, 0xB006, 0xB007  # PS3.4 B.2.3: the others after the archive changed or left out elements


def fetch(address: Address, folder: Path, manners: Manners) -> int:
    """Write every image of a study or series, and what comes beside, into `folder`; how many objects there were.

    What the archive lists is compared with what it sends: half a study is no study.

    Raises:
        ArchiveError: If the archive does not answer, refuses, has no such study, too many instances, or sends less
            than it lists.
    """
    import pynetdicom as network

    uids = {"StudyInstanceUID": address.study} | ({"SeriesInstanceUID": address.series} if address.series else {})
    listed, series_of, number = _listed(address, uids, manners)
    if not listed:
        raise ArchiveError(address.name, "has no such study or series")
    require_few(address.name, max(len(listed), number), manners)
    wanted = {uid for uid, sop_class in listed.items() if not sop_class or sop_class in IMAGE_CLASSES}
    if not wanted:
        raise ArchiveError(address.name, "has no images there", found=f"{len(listed)} other objects")
    drawn = {uid for uid, sop_class in listed.items() if sop_class in DRAWN}
    beside = listed.keys() - wanted  # reports and the like are taken where they come, and not missed
    came: set[str] = set()
    strange: set[str] = set()
    unkept: list[DataError] = []

    def take(event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid in came:
            return SUCCESS
        content = event.encoded_dataset()
        whose = whose_object(content)
        if whose is not None and not address.holds(whose):
            strange.add(uid)
            return REFUSED
        if len(came) >= manners.max_instances:
            return OUT_OF_RESOURCES
        try:
            save_content(content, folder / f"{len(came):06d}.dcm")
        except DataError as error:  # the library, which called this, would swallow it
            unkept.append(error)
            return OUT_OF_RESOURCES
        came.add(uid)
        return SUCCESS

    classes = sorted({listed[uid] for uid in wanted | drawn} - {""}, key=[*IMAGE_CLASSES, *DRAWN].index)
    is_told = all(listed[uid] for uid in wanted)  # else some of them may be reports and the like
    classes = classes if is_told else [*IMAGE_CLASSES, *DRAWN]
    others = sorted(set(listed.values()) - {"", *IMAGE_CLASSES, *DRAWN})
    level, last = "SERIES" if address.series else "STUDY", None
    usual = [*offers(classes, others), *([] if is_told else further_offers())]

    def is_over() -> bool:
        is_gone = last is not None and "Status" not in last
        return wanted | drawn <= came or bool(strange) or bool(unkept) or is_gone

    def ask(offered: Sequence[tuple[str, list[str]]], *, first: str = "") -> None:
        """Ask for everything by one association's offers, or before that for one image, and no more unless it comes."""
        nonlocal last
        entity = network.AE(ae_title=OWN_TITLE)
        contexts = [network.build_context(GET)] + [network.build_context(*offer) for offer in offered]
        roles = [network.build_role(sop_class, scp_role=True) for sop_class in dict.fromkeys(one for one, _ in offered)]
        options = {"contexts": contexts, "ext_neg": roles, "evt_handlers": [(network.evt.EVT_C_STORE, take)]}
        with _associated(entity, address, manners, **options) as link:
            if all(context.abstract_syntax != GET for context in link.accepted_contexts):
                raise ArchiveError(address.name, "does not offer C-GET", remedy=OTHERWISE)
            if len(link.accepted_contexts) == 1:  # and nothing to send by
                return
            if series := series_of.get(first):
                question = identifier("IMAGE", **uids | {"SeriesInstanceUID": series}, SOPInstanceUID=first)
                for status, _ in _asked(address, manners, lambda: link.send_c_get(question, GET)):
                    last = status
                if first not in came and (is_over() or last is None or last.Status in (SUCCESS, *UNSENT)):
                    return
            for status, _ in _asked(address, manners, lambda: link.send_c_get(identifier(level, **uids), GET)):
                last = status

    for offered in usual:
        ask(offered)
        if is_over():
            break
    may_fit = last is None or ("Status" in last and last.Status in UNSENT)
    singles = single_offers(classes, others) if may_fit else []
    while singles and not is_over():  # asked again, an archive that fails otherwise says the same
        lost = min((wanted | drawn) - came)
        for offered in singles:
            ask(offered, first=lost)
            if lost in came or is_over():
                break
        else:  # no form brings this one, and without it the study is none
            break
        singles.remove(offered)
    if unkept:
        raise unkept[0]
    require_own(address.name, len(strange))
    missing, images, state = wanted - came, came - beside, "no answer"
    if last is not None and "Status" in last:
        state = f"status {last.Status:#06x}"
    if drawn - came and not missing:
        found = f"{len(drawn & came)} of {len(drawn)} segmentations and structure sets, {state}"
        raise ArchiveError(address.name, "must send all that it lists", found=found, remedy="Try again")
    # What is listed without its class may be no image, which nobody asked for; the number says it of a capped list.
    if missing or (number > len(listed) and len(images) < number - len(listed) + len(wanted)):
        found = f"{len(images)} of {max(len(wanted), number - len(listed) + len(wanted))} images, {state}"
        remedy = "Try again; an archive may hold back images in forms that cannot be read here"
        raise ArchiveError(address.name, "must send all that it lists", found=found, remedy=remedy)
    return len(came)


def _listed(address: Address, uids: dict[str, str], manners: Manners) -> tuple[dict[str, str], dict[str, str], int]:
    """Instances that an archive lists, each with its class or "", or its series; and the number that it says, or 0."""
    import pynetdicom as network

    entity = network.AE(ae_title=OWN_TITLE)
    entity.add_requested_context(FIND)
    level = "SERIES" if address.series else "STUDY"
    number = f"NumberOf{level.title()}RelatedInstances"
    listed, series_of, said = {}, {}, 0
    with _associated(entity, address, manners) as link:
        # The series of a study are listed one by one: the standard asks for the keys of every level above.
        asked = identifier("IMAGE", SOPInstanceUID="", SOPClassUID="", **({"SeriesInstanceUID": ""} | uids))
        for status, match in _asked(address, manners, lambda: link.send_c_find(asked, FIND)):
            if status and status.Status in PENDING and match and match.get("SOPInstanceUID"):
                uid = str(match.SOPInstanceUID)
                listed[uid] = str(match.get("SOPClassUID") or "")
                series_of[uid] = str(match.get("SeriesInstanceUID") or uids.get("SeriesInstanceUID") or "")
                require_few(address.name, len(listed), manners)
            elif not status or status.Status not in (SUCCESS, *PENDING):
                state = f"status {status.Status:#06x}" if status else "no answer"
                raise ArchiveError(address.name, "must list what it has", found=state)
        counted = identifier(level, **uids, **{number: ""})
        for status, match in _asked(address, manners, lambda: link.send_c_find(counted, FIND)):
            if status and status.Status in PENDING and match and match.get("StudyInstanceUID") == address.study:
                said = max(said, whole(match, number) or 0)
    return listed, series_of, said


def _asked(address: Address, manners: Manners, question: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """An answer's parts, of which there must be an end; what the library makes of a broken connection is one error."""
    try:
        for number, part in enumerate(question()):
            if number > PARTS * manners.max_instances:
                rule = f"must end its answer within {PARTS} parts for each of archive.max_instances"
                raise ArchiveError(address.name, rule, found=f"{number} parts", remedy=OTHERWISE)
            yield part
    except (RuntimeError, ValueError, AttributeError) as error:
        raise ArchiveError(address.name, f"broke off ({type(error).__name__})", remedy="Try again") from error


def store(address: Address, files: Sequence[Path], manners: Manners) -> None:
    """Store objects. Raises ArchiveError if the archive does not answer or does not take them all."""
    import pynetdicom as network

    datasets = [read_object(path) for path in files]
    entity = network.AE(ae_title=OWN_TITLE)
    for kind in {(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID) for dataset in datasets}:
        entity.add_requested_context(*kind)
    with _associated(entity, address, manners) as link:
        for dataset in datasets:
            try:
                status = link.send_c_store(dataset)
            except ValueError as error:  # of a class that it does not take
                found = f"a {dataset.SOPClassUID.name.removesuffix(' Storage')} that it does not"
                raise ArchiveError(address.name, "must take every object", found=found) from error
            if "Status" not in status or status.Status not in STORED:
                state = f"status {status.Status:#06x}" if "Status" in status else "no answer"
                raise ArchiveError(address.name, "must take every object", found=state)


@contextmanager
def _associated(entity: Any, address: Address, manners: Manners, **options: Any) -> Iterator[Any]:
    """An open association; released, or aborted where the block fails."""
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = manners.timeout_s
    entity.connection_timeout = manners.timeout_s
    if manners.encrypts(address):
        options["tls_args"] = (ssl.create_default_context(cafile=manners.ca_file), address.host)
    for attempt in range(manners.retries + 1):
        try:
            link = entity.associate(address.host, address.port, ae_title=address.title, **options)
        except OSError as error:  # a name that no server knows
            raise ArchiveError(address.name, f"does not respond ({error.strerror})") from error
        if link.is_established:
            break
        time.sleep(0.2 * 2**attempt)
    if not link.is_established:
        if link.is_rejected or link.rejected_contexts:
            state = "rejects the association" if link.is_rejected else "accepts none of the offered classes"
            raise ArchiveError(address.name, f"does not respond (it {state})")
        state, remedy = unconnected(address, manners)
        raise ArchiveError(address.name, f"does not respond ({state})", remedy=remedy)
    try:
        yield link
    except BaseException:
        link.abort()
        raise
    link.release()
