"""What can become of a file that is not taken as an image."""

from collections.abc import Iterator
from contextlib import contextmanager


class NotTaken(Exception):  # noqa: N818 - an outcome of one file, not an error of the program
    """A file gives no image; says why in words that quote nothing from the file.

    Args:
        reason: Why, from a fixed vocabulary: it is counted, stored and printed.
        remedy: What would mend it; empty where nothing would.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy

    def __reduce__(self) -> tuple:
        return type(self), (self.reason, self.remedy)


class Skipped(NotTaken):
    """No image was to be expected here: not DICOM, a directory file, a report, a plan."""


class Refused(NotTaken):
    """An image, or what should be one, that cannot be used as it is."""


@contextmanager
def damage_refused() -> Iterator[None]:
    """Turn whatever a damaged object breaks in the block into a refusal of that object."""
    try:
        yield
    except NotTaken:
        raise
    except MemoryError as error:
        raise Refused("needs more memory than there is") from error
    except Exception as error:
        raise Refused("a damaged DICOM file", "Export it again") from error
