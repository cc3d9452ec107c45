"""What configurations and the levels of their factors are called on the page."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fistula.cohort.manifest import LACKS
from fistula.sweep.folder.run import WITHIN

NAMES = {
    "none": "no augmentation",
    "end_to_end": "end-to-end",
    "image_holdout": "split by image",
    "patient_kfold": "split by patient",
    "permuted_by_patient": "labels permuted by patient",
    "given": "labels as given",
    "slice": "slice by slice",
}

CHANNELS = {
    "sum": "single slices",
    "replicate": "single slices, replicated",
    "adjacent": "adjacent slices",
    "sequences": "sequences as channels",
    "late": "sequences separately",
}

GIVEN = ("labelling", "given")
MADE = "._target_"  # of the key that says what a group of settings makes
TRAINED = "of the training patients"
WHOLE = "patient, "  # before the pooling, in the levels of the factor `unit`

# What of a patient is known without an image, by the names of the audit's certificate.
FACTS = {
    "slices": "number of slices",
    "labelled slices": "number of labeled slices",
    "height": "height of the stack",
    "age": "age",
    "sex": "sex",
    "site": "site",
    "turned": "orientation as found",
    "pixel spacing": "pixel spacing",
    "field of view": "field of view",
}


def say_fact(fact: str) -> str:
    """A fact in a sentence.

    Example:
        >>> say_fact("slices"), say_fact("age"), say_fact("crp missing"), say_fact("lacks t2")
        ('the number of slices', 'age', 'whether crp is missing', 'whether t2 is missing')
    """
    if fact.startswith(LACKS):
        fact = f"{fact.removeprefix(LACKS)} missing"
    if fact not in FACTS:
        return f"whether {fact.removesuffix(' missing')} is missing" if fact.endswith(" missing") else fact
    return f"the {FACTS[fact]}" if " of " in FACTS[fact] else FACTS[fact]


def declared(factors: Iterable[Mapping[str, Any]]) -> set[str]:
    """Covariates that every configuration is given, of which each has these factors."""
    return set.intersection(*(set(str(one.get("covariates", "")).split(", ")) for one in factors)) - {"", "images"}


IN_PARENTHESES = re.compile(r"\([^()]*\)")


def listed(words: list[str]) -> str:
    """Words as a sentence lists them.

    Example:
        >>> listed(["one"]), listed(["one", "two", "three"])
        ('one', 'one, two and three')
        >>> listed(["fistula, low", "fistula, high", "sinus (any, all)"])
        'fistula, low; fistula, high; and sinus (any, all)'
    """
    if len(words) > 1 and any("," in IN_PARENTHESES.sub("", word) for word in words):
        return f"{'; '.join(words[:-1])}; and {words[-1]}"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def distinct_names(records: Sequence[dict[str, Any]]) -> list[str]:
    """Name configurations by the factors in which they differ, and by other settings where those are alike.

    `records` has the `run.json` of one run of each configuration.
    """
    factors = [dict(record["factors"]) for record in records]
    varying = varying_keys(factors)
    if say_factor("unit", factors) != "unit":  # what all have in common is not said of each
        factors = [row | {"unit": str(row["unit"]).removeprefix(WHOLE)} for row in factors]
    names = []
    for row in factors:
        levels = [(key, row.get(key)) for key in varying if not _is_idle(key, row)]
        # Labels as they are go without saying beside those that were permuted.
        names.append(" · ".join(say_level(*level) for level in [one for one in levels if one != GIVEN] or levels))
    told = []
    for record, name in zip(records, names, strict=True):
        alike = [_joined(other["identity"]) for other, same in zip(records, names, strict=True) if same == name]
        keys = [key for key in varying_keys(alike) if key not in WITHIN]
        # What is made of a group tells its other keys, unless two that make the same differ in these.
        made = {key.removesuffix(MADE) for key in keys if key.endswith(MADE)}
        few = [key for key in keys if key.endswith(MADE) or not any(key.startswith(f"{group}.") for group in made)]
        few = few if _count(alike, few) == _count(alike, keys) else keys
        said = filter(None, [name, *(say_setting(key, _joined(record["identity"]).get(key)) for key in few)])
        told.append(" · ".join(said) or say_level(*next(iter(record["factors"].items()))))
    return told


def say_setting(key: str, value: object) -> str:
    """A setting that tells configurations apart.

    Example:
        >>> say_setting("loss._target_", "fistula.learning.losses.CrossEntropy"), say_setting("optimizer.lr", 0.1)
        ('loss cross entropy', 'optimizer.lr 0.1')
        >>> say_setting("split.train_fraction", 0.25)
        '25% of the training patients'
        >>> say_setting("model.sequences", "t1c"), say_setting("model.sequences", None)
        ('t1c alone', 'all sequences')
        >>> say_setting("model.channels", "late")
        'sequences separately'
    """
    if key.endswith(MADE):
        name = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", str(value).rpartition(".")[2])
        return f"{key.removesuffix(MADE)} {name.lower()}"
    if key == "split.train_fraction" and isinstance(value, int | float):
        return f"{value:.0%} {TRAINED}"
    if key == "model.sequences":
        return "all sequences" if value is None else str(value) if ", " in str(value) else f"{value} alone"
    if key == "model.channels":
        return CHANNELS.get(str(value), str(value))
    return f"{key} {value}"


def say_level(factor: str, level: object) -> str:
    """A level of a factor as it is read: ``50 epochs``, ``no augmentation``."""
    if factor == "epochs":
        return f"{level} epoch" if level in (1, "1") else f"{level} epochs"
    return NAMES.get(str(level), str(level).replace("_", " "))


def say_factor(factor: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A factor as sentences call it, by the levels that configurations have.

    Example:
        >>> say_factor("unit", [{"unit": "patient, mean pooling"}, {"unit": "patient, attention pooling"}])
        'pooling'
        >>> say_factor("unit", [{"unit": "patient, mean pooling"}, {"unit": "slice"}])
        'unit'
    """
    if factor == "unit" and all(str(row.get("unit", "")).startswith(WHOLE) for row in rows):
        return "pooling"
    return factor.replace("_", " ")


def _is_idle(factor: str, row: Mapping[str, Any]) -> bool:
    """Whether a factor has no effect: a model of covariates alone is fitted at once, to no image."""
    return row.get("model") == "clinical" and factor in ("epochs", "augmentation")


def _joined(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with each list as one word: a run's identity has a key for each of its places."""
    found: dict[str, Any] = {}
    for key, value in identity.items():
        whole, _, place = key.rpartition(".")
        if place.isdigit():
            found[whole] = f"{found[whole]}, {value}" if whole in found else str(value)
        else:
            found[key] = value
    return found


def _count(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> int:
    """How many rows differ in these keys."""
    return len({str([row.get(key) for key in keys]) for row in rows})


def varying_keys(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Those of which the rows have several values."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return [key for key in keys if len({str(row.get(key)) for row in rows}) > 1]
