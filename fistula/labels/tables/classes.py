"""The classes of a table's labels: their names, their order, and which of them a cell means."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from fistula.errors import ConfigError, DataError, classes_as_typed, first_of
from fistula.labels.tables.covariates import UNKNOWN
from fistula.labels.tables.spreadsheet import unpointed

# Words that say that there is nothing, also as German, French, Spanish, Chinese, Japanese and Korean reports have them;
# the only other one is then the positive class.
ABSENT = (
    "absent", "control", "false", "healthy", "negative", "no", "none", "normal",
    "kein", "nein", "negativ", "unauffällig", "non", "négatif", "negativo",
    *["正常", "阴性", "陰性", "无", "無", "なし", "異常なし", "정상", "음성"],
)  # fmt: skip
MOST_CLASSES = 10_000  # that numbers may name: larger ones are years, identifiers, or measurements


def class_names(path: Path, body: list[tuple[int, dict[str, str]]], classes: Sequence[str] | None) -> list[str]:
    """The names of the classes of a table's labels, as they are given or else found; numbers are their own.

    Raises:
        ConfigError: If they are words whose order nobody can know, or given as no list of different names.
        DataError: If one says that a label is not known: such a cell has to be empty.
    """
    if classes is not None:
        return as_names(classes)
    if "label" not in body[0][1]:
        return ["negative", "positive"]
    spelt = Counter(plainly(unpointed(cells["label"])) for _, cells in body)
    usual = sorted(spelt, key=lambda word: (spelt[word], word))
    one_case = {word.casefold(): word for word in usual}  # Normal and normal are one, as it is spelt most often
    words = set(one_case.values()) - {""}
    unsaid = {word for word in words if word.lower() in UNKNOWN and word.lower() not in ABSENT}
    if unsaid and len(words) > 2:
        line, found = next((line, cells["label"]) for line, cells in body if cells["label"] in unsaid)
        remedy = "Empty the cells of images without a label, or name all classes: classes=[...]"
        raise DataError(f"{path}, line {line}", "label must be a class, or empty", found=found, remedy=remedy)
    return in_order(path, words)


def as_names(classes: object) -> list[str]:
    """What `classes=` gives, as names; ConfigError unless it is a list of two or more that differ in more than case."""
    given = classes if isinstance(classes, Sequence) and not isinstance(classes, str) else []
    names = [plainly(str(name)) for name in given]
    if len(names) < 2 or len({name.casefold() for name in names}) != len(names):
        remedy = 'Write them in brackets, with plain commas: "classes=[normal,fistula]"'
        raise ConfigError("classes", "must be a list of two or more different names", found=classes, remedy=remedy)
    return names


def in_order(where: object, words: set[str]) -> list[str]:
    """Class names in the order of their labels, as `known_order` has it.

    Raises:
        ConfigError: If nobody can know it. No order is proposed: one copied unread would turn the study around.
    """
    if (known := known_order(words)) is not None:
        return known
    rule = f"must be given, because the labels of {where} are words"
    found = sorted(words, key=lambda word: (word.lower() not in ABSENT, word))
    are_names = 2 <= len(words) <= 12 and all(word[0].isalpha() for word in words)
    names = found if are_names else ["normal", "fistula"]
    orders = [names, names[::-1]] if len(names) == 2 and are_names else [names]
    shown = " or ".join(classes_as_typed(order) for order in orders)
    remedy = f"State their order, the positive class last: {shown}{', or another order' if len(names) > 2 else ''}"
    raise ConfigError("classes", rule, found=first_of(found, 5), remedy=remedy)


def known_order(words: set[str]) -> list[str] | None:
    """The order of two words if one says that there is nothing (it is first), and of numbers; otherwise None."""
    ordered = sorted(words, key=lambda word: word.lower() not in ABSENT)
    if [word.lower() in ABSENT for word in ordered] == [True, False]:
        return ordered  # ingest prints which is the positive one
    if all(word.isascii() and word.isdigit() and int(word) < MOST_CLASSES for word in words):
        return [str(index) for index in range(max(2, max(map(int, words), default=0) + 1))]
    return None


def label_of(where: str, word: str | None, classes: list[str]) -> int | None:
    """The index of a cell's class, None where it is empty; without a column (`word` is None) that of the last class.

    Raises:
        DataError: If it is none of them.
    """
    if word is None:  # a table of positive images needs no column
        return len(classes) - 1
    if not word:
        return None
    word = plainly(word)
    plain = [name.casefold() for name in classes]  # all different: True is TRUE, and Normal is normal
    for spelt in (word.casefold(), unpointed(word)):
        if spelt in plain:
            return plain.index(spelt)
    word = unpointed(word)
    if word.isascii() and word.isdigit() and int(word) < len(classes):
        return int(word)
    indices = f"0 to {len(classes) - 1}"
    remedy = "Correct it, or empty the cell if the answer is unknown"
    raise DataError(where, f"label must be one of {', '.join(classes)} (or {indices})", found=repr(word), remedy=remedy)


@lru_cache(maxsize=1024)  # labels are few
def plainly(word: str) -> str:
    """A word with its letters composed and plain spaces, whatever a word processor made of them."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", word))
