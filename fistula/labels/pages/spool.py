"""Patients of label pages, read once and kept on disk until every page that shows them is written."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fistula.errors import DataError
from fistula.viewer.page import as_json

FRAME = 1e5  # bytes of a page without patients
Read = tuple[dict[str, Any], Counter[str]]
"""A patient as the viewer takes it, and why slices of it could not be read."""


@dataclass(frozen=True)
class Spool:
    """What was read."""

    folder: Path  # with a file a patient
    sizes: dict[str, int]  # bytes of each patient's JSON
    summaries: dict[str, dict[str, Any]]  # what a page has to know of each patient before the patient is shown
    reasons: Counter[str]  # why slices could not be read
    qualities: dict[str, int]  # of each patient's JPEGs

    def texts(self, keys: Iterable[str]) -> list[str]:
        """Each patient's JSON."""
        return [(self.folder / key).read_text(encoding="utf-8") for key in keys]

    def batches(self, keys: Sequence[str], page_mb: float) -> list[list[str]]:
        """The patients of each page in turn; a patient who has more than `page_mb` MB gets a page alone."""
        found: list[list[str]] = []
        room = 0.0
        for key in keys:
            if self.sizes[key] > room or not found:
                found.append([])
                room = page_mb * 1e6 - FRAME
            found[-1].append(key)
            room -= self.sizes[key]
        return found


@contextmanager
def spooled(folder: Path, patients: Iterable[Read], asked: set[str] | None) -> Iterator[Spool]:
    """Keep patients below `folder` until the block ends.

    `patients` are as `write.read_all` gives them, and `asked` as `mark_asked` takes it.

    Raises:
        DataError: If no patient has a slice that can be read.
    """
    spool = Spool(folder / "patients", {}, {}, Counter[str](), {})
    spool.folder.mkdir()
    for patient, missing in patients:
        spool.reasons.update(missing)
        if patient["series"]:
            mark_asked(patient, asked)
            text = as_json(patient)
            (spool.folder / patient["key"]).write_text(text, encoding="utf-8")
            spool.sizes[patient["key"]] = len(text.encode())
            spool.qualities[patient["key"]] = patient["quality"]
            spool.summaries[patient["key"]] = summary(patient)
    if not spool.sizes:
        raise DataError("source", "no slice could be read", found=", ".join(spool.reasons) or "none")
    yield spool
    for key in spool.sizes:
        (spool.folder / key).unlink()
    spool.folder.rmdir()


def mark_asked(patient: dict[str, Any], asked: set[str] | None) -> None:
    """Say of each slice of the first pane whether it is asked about; other panes are for comparison."""
    for series in patient["series"]:
        for slice_ in series["slices"]:
            slice_["asked"] = series["pane"] == 0 and (asked is None or slice_["key"] in asked)


def summary(patient: dict[str, Any]) -> dict[str, Any]:
    """What a page has to know of a patient before it is shown."""
    asked = sum(slice_["asked"] for series in patient["series"] for slice_ in series["slices"])
    return {"key": patient["key"], "asked": asked}
