"""Makers' own elements: they count under their creator only, in whichever block of the group it has reserved."""

from functools import cached_property
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from fistula.dicom.header.spelling import REMEDY, UNNAMED, decimal, element_at, values_in
from fistula.dicom.outcome import Refused


class UnreadableError(Refused):
    """A maker's own element that is there and cannot be read: where it stands, and whose it is."""

    def __init__(self, dataset: Dataset, tag: BaseTag, name: str) -> None:
        super().__init__(f"{name} that cannot be read", REMEDY)
        self.dataset, self.tag, self.name = dataset, tag, name

    def __reduce__(self) -> tuple:
        return Refused, (self.reason, self.remedy)


class Private:
    """A view of the private elements of a data set; creators are compared without case, and blanks at their ends."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @cached_property
    def blocks(self) -> dict[tuple[int, str], list[int]]:
        """Where each creator has its blocks in each group (PS3.5 7.8.1)."""
        found: dict[tuple[int, str], list[int]] = {}
        for tag in self.dataset.keys():  # noqa: SIM118 - a data set iterates over its elements
            if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
                name = _text(element_at(self.dataset, tag), "LO").upper()
                found.setdefault((tag >> 16, name), []).append(tag & 0xFF)
        return found

    def element(self, group: int, creator: str, offset: int) -> Any:
        """Number `offset` of a block that `creator` has reserved in `group`, raw or converted; None if absent."""
        for block in self.blocks.get((group, creator.upper()), []):
            if (element := element_at(self.dataset, group << 16 | block << 8 | offset)) is not None:
                return element
        return None

    def numbers(self, group: int, creator: str, offset: int, vr: str) -> list[float]:
        """An element's numbers; none if it is absent or empty.

        Args:
            group: Odd.
            creator: Whose.
            offset: Its number in the block.
            vr: What its maker gives it, for where the file does not say.

        Raises:
            UnreadableError: If it is there and cannot be read.
        """
        element = self.element(group, creator, offset)
        try:
            return [decimal(value) for value in values_in(element, vr)] if element is not None else []
        except (ValueError, OverflowError) as error:
            raise UnreadableError(self.dataset, element.tag, f"({group:04x},xx{offset:02x}) of {creator}") from error

    def is_as_written(self, group: int, creator: str, offset: int, vr: str) -> bool:
        """Whether an element has the value representation that its maker gives it, or states none."""
        element = self.element(group, creator, offset)
        return element is None or element.VR in (vr, None, *UNNAMED)

    def word(self, group: int, creator: str, offset: int) -> str:
        """An element's text in upper case; empty if it is absent or no text."""
        element = self.element(group, creator, offset)
        return "" if element is None else _text(element, "CS").upper()

    def items(self, group: int, creator: str, offset: int) -> list[Dataset]:
        """The items of a sequence; none if it is absent or damaged."""
        element = self.element(group, creator, offset)
        try:
            value = self.dataset[element.tag].value if isinstance(element, RawDataElement) else element.value
        except Exception:  # absent, or damaged in any of pydicom's ways
            return []
        return list(value) if isinstance(value, Sequence) else []


def _text(element: Any, vr: str) -> str:
    try:
        return "\\".join(str(word) for word in values_in(element, vr))
    except ValueError:
        return ""
