"""Fetch from and store to an archive that speaks DICOM's own protocol: C-FIND, C-GET, C-STORE."""

import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fistula.archive.address import Address, Manners
from fistula.dicom.network import IMAGE_CLASSES, identifier, read_object, save_object
from fistula.errors import ArchiveError

OWN_TITLE = "FISTULA"
# Study Root Query/Retrieve Information Model, DICOM PS3.4 C.6.2.
FIND, GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
SUCCESS, PENDING = 0x0000, (0xFF00, 0xFF01)


def fetch(address: Address, folder: Path, manners: Manners) -> int:
    """Write every instance of a study or series into `folder`; how many there were.

    Raises:
        ArchiveError: If the archive does not answer, refuses, has no such study, or too many instances.
    """
    import pynetdicom as network

    uids = {"StudyInstanceUID": address.study} | ({"SeriesInstanceUID": address.series} if address.series else {})
    fetched = 0

    def take(event: Any) -> int:
        nonlocal fetched
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        save_object(dataset, folder / f"{fetched:06d}.dcm")
        fetched += 1
        return SUCCESS

    entity = network.AE(ae_title=OWN_TITLE)
    entity.add_requested_context(FIND)
    entity.add_requested_context(GET)
    for sop_class in IMAGE_CLASSES:
        entity.add_requested_context(sop_class)
    roles = [network.build_role(sop_class, scp_role=True) for sop_class in IMAGE_CLASSES]
    with _associated(entity, address, manners, ext_neg=roles, evt_handlers=[(network.evt.EVT_C_STORE, take)]) as link:
        level = "SERIES" if address.series else "STUDY"
        asked = identifier("IMAGE", SOPInstanceUID="", **({"SeriesInstanceUID": ""} | uids))
        found = sum(
            1 for status, match in link.send_c_find(asked, FIND) if status and status.Status in PENDING and match
        )
        if not found:
            raise ArchiveError(_name(address), "has no such study or series")
        if found > manners.max_instances:
            remedy = "Name one series, or raise archive.max_instances"
            raise ArchiveError(_name(address), f"must have at most {manners.max_instances} instances", remedy=remedy)
        last = None
        for status, _ in link.send_c_get(identifier(level, **uids), GET):
            last = status
    if last is None or "Status" not in last or last.Status not in (SUCCESS, 0xB000) or not fetched:
        state = f"status {last.Status:#06x}" if last is not None and "Status" in last else "no answer"
        raise ArchiveError(_name(address), f"must give all {found} instances", found=f"{fetched}, {state}")
    return fetched


def store(address: Address, files: Sequence[Path], manners: Manners) -> None:
    """Store objects.

    Raises:
        ArchiveError: If the archive does not answer or does not take them all.
    """
    import pynetdicom as network

    datasets = [read_object(path) for path in files]
    entity = network.AE(ae_title=OWN_TITLE)
    for kind in {(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID) for dataset in datasets}:
        entity.add_requested_context(*kind)
    with _associated(entity, address, manners) as link:
        for dataset in datasets:
            status = link.send_c_store(dataset)
            if "Status" not in status or status.Status != SUCCESS:
                state = f"status {status.Status:#06x}" if "Status" in status else "no answer"
                raise ArchiveError(_name(address), "must take every object", found=state)


@contextmanager
def _associated(entity: Any, address: Address, manners: Manners, **options: Any) -> Iterator[Any]:
    """An open association; released, or aborted where the block fails."""
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = manners.timeout_s
    entity.connection_timeout = manners.timeout_s
    if manners.encrypts(address):
        options["tls_args"] = (ssl.create_default_context(cafile=manners.ca_file), address.host)
    for attempt in range(manners.retries + 1):
        link = entity.associate(address.host, address.port, ae_title=address.title, **options)
        if link.is_established:
            break
        time.sleep(0.2 * 2**attempt)
    if not link.is_established:
        state = "it rejects the association" if link.is_rejected else "no association"
        raise ArchiveError(_name(address), f"does not answer ({state})")
    try:
        yield link
    except BaseException:
        link.abort()
        raise
    link.release()


def _name(address: Address) -> str:
    return f"dimse://{address.title}@{address.host}:{address.port}"
