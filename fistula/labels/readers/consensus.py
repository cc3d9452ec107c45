"""Where readers disagree, and one table of all their answers with the rule that made each."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from fistula.labels.readers.agreement import Readers, opening_gap
from fistula.labels.tables.lines import POINTS
from fistula.labels.tables.page_table import Answer, Reading

COLUMNS = (
    "slice_key", "patient_key", "label", "opening_row", "opening_col", "canal_row", "canal_col", "unsure", "reader",
    "repeat", "rule",
)  # fmt: skip
OF_PATIENTS = ("patient_key", "label", "unsure", "reader", "repeat", "rule")


def disagreements(readers: Readers, *, points_mm: float) -> dict[str, str]:
    """What slices (or patients) readers answered differently, or placed openings in over `points_mm` apart; and why."""
    found = {}
    for key in readers.keys:
        answers = _answers(readers, key)
        labels = {answer.label for answer in answers if answer.label}
        gaps = [opening_gap(one, other) for number, one in enumerate(answers) for other in answers[number + 1 :]]
        gap = max((gap for gap in gaps if gap is not None), default=0.0)
        if len(labels) > 1:
            found[key] = "different answers"
        elif any(answer.is_unsure for answer in answers):
            found[key] = "a reader was unsure"
        elif len(answers) < len(readers.readings):
            found[key] = "not answered by every reader"
        elif gap > points_mm:
            found[key] = f"openings {gap:.1f} mm apart"
    return found


def consensus(
    readers: Readers, disputed: dict[str, str], *, adjudicated: Reading | None, majority: bool
) -> tuple[list[dict[str, object]], Counter[str]]:
    """One answer for each slice (or patient), and how many each rule made.

    An adjudicated answer to a disagreement goes before a majority, which is more than half of all readers. What no rule
    decides has no label and is marked unsure. Points are the adjudicator's, or the mean of those that readers with this
    label placed; where these lie too far apart and nobody decided, there is none.
    """
    rows, rules = [], Counter[str]()
    for key, patient in zip(readers.keys, readers.patients, strict=True):
        answers, decided = _answers(readers, key), adjudicated.first.get(key) if adjudicated else None
        label, rule, points = "", "undecided", dict[str, tuple[float, float]]()
        votes = Counter(answer.label for answer in answers if answer.label).most_common(1)
        if key in disputed and decided is not None and decided.label and adjudicated is not None:
            label, rule = decided.label, f"adjudicated by {adjudicated.reader}"
            points = {name: point for name in POINTS if (point := getattr(decided, name)) is not None}
        elif key not in disputed or disputed[key].startswith("openings"):
            label, rule = answers[0].label, f"unanimous, {len(answers)} readers"
            points = _means(answers, [name for name in POINTS if key not in disputed or name != "opening"])
        elif majority and votes and 2 * votes[0][1] > len(readers.readings):
            label, rule = votes[0][0], f"majority, {votes[0][1]} of {len(readers.readings)} readers"
            points = _means([answer for answer in answers if answer.label == label], POINTS)
        rules[rule] += 1
        row: dict[str, object] = {"slice_key": key, "patient_key": patient} if readers.level == "slice" else {}
        row |= {"patient_key": patient, "label": label, "unsure": int(not label), "reader": "consensus", "repeat": 0}
        for name, (down, right) in points.items():
            row |= {f"{name}_row": round(down, 2), f"{name}_col": round(right, 2)}
        rows.append(row | {"rule": rule})
    return rows, rules


def as_csv(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Rows as CSV; what a row lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _answers(readers: Readers, key: str) -> list[Answer]:
    found = [reading.first.get(key) for reading in readers.readings]
    return [answer for answer in found if answer is not None and (answer.label or answer.is_unsure)]


def _means(answers: Sequence[Answer], names: Sequence[str]) -> dict[str, tuple[float, float]]:
    means = {}
    for name in names:
        points = [point for answer in answers if (point := getattr(answer, name)) is not None]
        if points:
            down, right = np.mean(points, axis=0)
            means[name] = float(down), float(right)
    return means
