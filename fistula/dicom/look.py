"""Look at one file's header: records of its frames, or why it gives none."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fistula.dicom.container import Part, open_part, parts_of
from fistula.dicom.foreign import NO_DICOM
from fistula.dicom.header.facts import frame_facts
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.kinds import DICOMDIR, require_image
from fistula.dicom.outcome import NotTaken, Refused, Skipped, damage_refused
from fistula.dicom.parse import Header, read_dataset, read_header, sequence, text
from fistula.dicom.pixels.decode import decode
from fistula.dicom.pixels.syntax import require_decoder
from fistula.dicom.timing import TimeLimit
from fistula.errors import refuse_outside

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True)
class Look:
    """How to look at a file."""

    pseudonyms: Pseudonyms  # names what may not leave
    description: str = ""  # regular expression for the keep rule on the series' description
    max_object_mb: int = 2048  # what one object may unpack to, in MiB
    seconds: float = 60.0  # time for one file
    described: tuple[str, ...] = ()  # the same for each of several sequences

    def __post_init__(self) -> None:
        refuse_outside("max_object_mb", self.max_object_mb, 1, 1 << 20)
        refuse_outside("seconds_per_file", self.seconds, 0.1, 86400)

    @property
    def limit(self) -> int:
        """Bytes that one object may unpack to."""
        return self.max_object_mb << 20


def look_at(path: Path, look: Look) -> list[dict[str, Any]]:
    """Records of one file: one a frame of an image, one a member that gives none, one if the file gives none.

    Each has `member`, `outcome` (`image`, `skipped` or `refused`), `reason` and `remedy`; those of an image have what
    `frame_facts` gives too. A refused image whose header could be read has its facts as well, so that keep rules can
    tell whether it would have mattered.
    """
    try:
        with TimeLimit(look.seconds):
            parts = list(parts_of(path))
    except NotTaken as outcome:
        return [_not_taken(outcome, Part(path))]
    records = []
    for part in parts:
        records += _survey_part(part, look)
    return records or [_not_taken(Skipped("an empty archive"), Part(path))]


def source_hash(part: Part, look: Look) -> str:
    """Keyed pseudonym of the object's bytes, unpacked."""
    return look.pseudonyms("source", bytes_hash(part, look))


def bytes_hash(part: Part, look: Look) -> str:
    """SHA-256 of the object's bytes, unpacked; never to be stored, for whoever has the file finds it by this."""
    with open_part(part, limit=look.limit) as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def pixels_hash(part: Part, frame: int, look: Look) -> tuple[str, str]:
    """SHA-256 of a frame's values and of what they mean beside, and of its window.

    Where they cannot be read, of the object's bytes.
    """
    try:
        with TimeLimit(look.seconds), open_part(part, limit=look.limit) as file:
            picture = next(decode(read_dataset(file, limit=look.limit), [frame]))
    except (NotTaken, StopIteration):
        return (content := source_hash(part, look)), content
    inside = b"" if picture.inside is None else picture.inside.tobytes()
    stated = repr((picture.values.shape, picture.signal_scale, picture.is_inverted, picture.aspect)).encode()
    table = b"" if picture.window is None or picture.window.table is None else picture.window.table.tobytes()
    pixels, shown = stated + picture.values.tobytes() + inside, repr(picture.window).encode() + table
    return hashlib.sha256(pixels).hexdigest(), hashlib.sha256(shown).hexdigest()


def _survey_part(part: Part, look: Look) -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = []
    try:
        with TimeLimit(look.seconds), damage_refused(), open_part(part, limit=look.limit) as file:
            header = read_header(file, limit=look.limit)
            try:
                mended = require_image(header)
            except Skipped as outcome:
                raise _incomplete(outcome, header, part) from outcome
            facts = frame_facts(
                header,
                pseudonyms=look.pseudonyms,
                description=look.description,
                described=look.described,
                mended=mended,
            )
            mended.require()
            require_decoder(header)
    except NotTaken as outcome:
        return [_not_taken(_stricter(outcome, part), part) | record for record in facts or [{}]]
    return [{"member": part.member, "outcome": "image", "reason": "", "remedy": ""} | record for record in facts]


def _stricter(outcome: NotTaken, part: Part) -> NotTaken:
    """A file that calls itself DICOM and is not was damaged, not put there by chance."""
    name = (part.member or part.path.name).lower()
    if isinstance(outcome, Skipped) and outcome.reason in NO_DICOM and name.endswith(DICOM_SUFFIXES):
        return Refused("named as DICOM, but its content is not", "Export it again")
    if isinstance(outcome, Skipped) and outcome.reason in NO_DICOM and name.endswith(".zip"):
        return Refused("named as a zip archive, but its content is not", "Pack it again")
    return outcome


def _incomplete(outcome: Skipped, header: Header, part: Part) -> Skipped:
    """A DICOMDIR that lists files which are not there, of which nobody would hear otherwise; anything else as it is."""
    if outcome.reason != DICOMDIR:
        return outcome
    records = sequence(header.dataset, "DirectoryRecordSequence")
    names = [text(record, "ReferencedFileID").replace("\\", "/") for record in records]
    try:
        held = {one.member for one in parts_of(part.path)} if part.member else None
        is_whole = all(_stands_beside(part, name, held) for name in names if name)
    except (OSError, ValueError):  # a name that no disk can hold
        is_whole = False
    return outcome if is_whole else Skipped(f"{DICOMDIR} that lists files which are not there")


def _stands_beside(part: Part, name: str, held: set[str] | None) -> bool:
    """Whether there is a file of this name; media are often copied in lower case. Those of an archive are `held`."""
    if held is None:
        return any((part.path.parent / spelt).exists() for spelt in (name, name.lower()))
    folder = part.member.rpartition("/")[0]
    return any(f"{folder}/{spelt}".lstrip("/") in held for spelt in (name, name.lower()))


def _not_taken(outcome: NotTaken, part: Part) -> dict[str, Any]:
    kind = "skipped" if isinstance(outcome, Skipped) else "refused"
    return {"member": part.member, "outcome": kind, "reason": outcome.reason, "remedy": outcome.remedy}
