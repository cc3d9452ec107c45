"""What may be said of one configuration against another over three classes or more: paired tests of macro AUROCs."""

from math import nan

import numpy as np

from fistula.evidence.design.compare import Comparison, auroc_test, clustered_mcnemar
from fistula.evidence.ranking.macro import place_classes
from fistula.report.effects import effects
from fistula.report.results import Row
from fistula.report.sections.all_classes import AllClasses
from fistula.report.sections.comparisons import UNSHARED, Comparisons, correct, family_level, paired, shared_rows

ALL = "all classes"
MEASURES = ("auroc", "accuracy")


def compare_every_class(found: list[AllClasses], rows: list[Row], *, primary: str, margin: float) -> list[Comparisons]:
    """Compare all configurations in pairs by their macro AUROC and their accuracy; nothing of two classes.

    `found` has the highest macro AUROC first; negative controls are passed over.
    """
    honest = [one.configuration for one in found if not one.configuration.is_canary]
    if not honest:
        return []
    of_level = [row for row in rows if row.level == primary]
    tables = [[row for row in of_level if row.configuration is one] for one in honest]
    tested, uncompared = paired(tables, lambda one, two: (_test(one, two), {}))
    pairs = correct(tested, ALL, margin=margin)
    alpha = family_level([pair.holm["auroc"] for pair in pairs])
    by_class = [list(of_class) for of_class in zip(*tables, strict=True)]
    return [Comparisons(ALL, pairs, uncompared, nan, nan, True, alpha, effects(by_class), {})]


def _test(one: list[Row], two: list[Row]) -> dict[str, Comparison]:
    """Paired tests of two configurations, of each of which there is a row a class."""
    shared = [shared_rows(first, second) for first, second in zip(one, two, strict=True)]
    if not len(shared[0]):
        return dict.fromkeys(MEASURES, UNSHARED)
    assert all(table["unit"].equals(shared[0]["unit"]) for table in shared)  # of the same predictions, in their order
    labels = np.stack([table["label"].to_numpy() for table in shared], axis=1)
    scores = np.stack([table.select("score", "score_second").to_numpy() for table in shared], axis=1)
    keys, runs = (shared[0][name].to_numpy() for name in ("patient_key", "run"))
    right = (scores.argmax(axis=1) == labels.argmax(axis=1)[:, None]).astype(int)
    return {
        "auroc": auroc_test(place_classes(labels, scores, keys, runs)),
        "accuracy": clustered_mcnemar(right[:, 0], right[:, 1], keys),
    }
