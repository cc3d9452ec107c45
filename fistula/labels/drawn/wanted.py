"""Which of the segments and points that are drawn on images are wanted, and as what."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fistula.errors import ConfigError, refuse_outside
from fistula.labels.tables.classes import as_names
from fistula.source.files.formats import plain

WORDS = ("masks", "points")
CLASSES = ("negative", "positive")


@dataclass(frozen=True)
class Wanted:
    """What of the drawings is wanted."""

    # `masks`: a slice is positive where a segment has a pixel, and the other slices of the same series are negative;
    # `points`: the slice that is nearest to a marked point is positive, and nothing is said of others.
    word: str
    # Label, number or code of the segment, or a pattern such as `lesion*`; several for as many classes, of which a
    # slice has the last that is in it; None if there is one alone.
    segment: str | Sequence[str] | None = None
    within_mm: float = 5.0  # distance of a point from its slice beyond which it is refused

    def __post_init__(self) -> None:
        refuse_outside("labels.within_mm", self.within_mm, 0, 1000)

    @property
    def patterns(self) -> list[str]:
        return [str(self.segment or "*")] if not isinstance(self.segment, list) else [str(one) for one in self.segment]

    def class_of(self, label: str, names: Sequence[str]) -> int:
        """The class, from 1, of a segment of this label and these further names; 0 if it is not wanted."""
        found = [
            number
            for number, pattern in enumerate(map(plain, self.patterns), 1)
            if any(fnmatchcase(plain(name), pattern) for name in (label, *names))
        ]
        return max(found, default=0)

    def names(self, classes: Sequence[str] | None) -> list[str]:
        """Names of the classes, the first of what is not marked.

        Raises:
            ConfigError: If `classes` are not one more than the segments.
        """
        marked = self.patterns if len(self.patterns) > 1 else [CLASSES[1]]
        names = as_names((CLASSES[0], *marked) if classes is None else classes)
        if len(names) != 1 + len(marked):
            rule = f"must be {1 + len(marked)} names for labels={self.word}: of what is not marked, and of each segment"
            remedy = "labels.segment=[FIRST,SECOND] takes several"
            raise ConfigError("classes", rule, found=", ".join(names), remedy=remedy)
        return names
