"""A report's tables as CSV and LaTeX."""

import csv
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from fistula.evidence.estimate import Estimate
from fistula.evidence.standard import METRICS
from fistula.report.contents import Contents
from fistula.report.readers.program import Program
from fistula.report.results import CALIBRATION, Row
from fistula.report.sections.comparisons import Pair
from fistula.report.study import Configuration
from fistula.report.wording import MINUS, say_p

_LATEX = str.maketrans(
    {mark: rf"\{mark}" for mark in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"·": r"$\cdot$", "±": r"$\pm$", "<": r"\textless{}", ">": r"\textgreater{}", MINUS: "$-$"}
)
TITLES = {
    "auroc": "AUROC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
    "average_precision": "average precision (PR-AUC)",
    "partial_auroc": "partial AUROC, specificity 0.8 and above",
    "f1": "F1",
    "matthews": "MCC",
    "likelihood_ratio_positive": "LR+",
    "likelihood_ratio_negative": "LR\N{MINUS SIGN}",
    "positive_predictive_value": "PPV",
    "negative_predictive_value": "NPV",
}


def write_tables(folder: Path, contents: Contents) -> None:
    """Write results, comparisons and Table 1, each as `.csv` and `.tex`; another program stands last in the first."""
    rows, program = contents.rows, contents.beside
    results = [_result(row) for row in rows] + ([_other(program)] if program else [])
    for one in contents.all_classes:
        results.append(
            _of(one.configuration, "all classes", contents.primary) | {"count": one.count} | _parts(one.estimates)
        )
    write_csv(folder / "results.csv", results)
    heads = ["configuration", "class", "level", "n", "positive", *(TITLES[name] for name in METRICS)]
    body = [
        [row.configuration.name, row.positive, row.level, *map(str, row.num), *(f"{row.estimates[m]}" for m in METRICS)]
        for row in rows
    ]
    if program:
        numbers = [*map(str, program.patients), *(f"{program.estimates[m]}" for m in METRICS)]
        body.append([program.title, program.class_name, "patient", *numbers])
    (folder / "results.tex").write_text(latex_table(heads, body), encoding="utf-8")
    pairs = [pair for found in contents.comparisons for pair in found.pairs]
    if pairs:
        write_csv(folder / "comparisons.csv", [_pair(pair) for pair in pairs])
        heads = ["configuration", "minus", "class", "difference in AUROC (CI at Holm's level)", "P", "Holm-adjusted P"]
        body = [[pair.first, pair.second, pair.positive, *_say(pair)] for pair in pairs]
        (folder / "comparisons.tex").write_text(latex_table(heads, body), encoding="utf-8")
    heads, body = ["", *contents.participants.columns], [[name, *told] for name, told in contents.participants.rows]
    write_csv(folder / "table1.csv", [dict(zip(heads, line, strict=True)) for line in body])
    (folder / "table1.tex").write_text(latex_table(heads, body), encoding="utf-8")


def latex_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Write a LaTeX tabular with the rules of `booktabs`; text is escaped.

    Example:
        >>> print(latex_table(["a_b"], [["100 %"]]))
        \begin{tabular}{l}
        \toprule
        a\_b \\
        \midrule
        100 \% \\
        \bottomrule
        \end{tabular}
        <BLANKLINE>
    """
    head, *lines = [" & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in [heads, *rows]]
    begin = rf"\begin{{tabular}}{{{'l' * len(heads)}}}"
    return "\n".join([begin, r"\toprule", head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", ""])


def _of(configuration: Configuration, positive: str, level: str) -> dict[str, object]:
    return {
        "configuration": configuration.name,
        **configuration.factors,
        "mark": configuration.mark,
        "warnings": "; ".join(configuration.warnings),
        "class": positive,
        "level": level,
    }


def _result(row: Row) -> dict[str, object]:
    flat = _of(row.configuration, row.positive, row.level) | {"aggregation": row.aggregation}
    flat |= dict(zip(("count", "positives"), row.num, strict=True)) | _parts(row.estimates | row.more | row.checks)
    for kind in ("raw", "calibrated"):
        flat |= {f"{name}_{kind}": row.calibration.get(kind, {}).get(name) for name in CALIBRATION}
    return flat


def _other(program: Program) -> dict[str, object]:
    flat: dict[str, object] = {"configuration": program.title, "class": program.class_name, "level": "patient"}
    return flat | dict(zip(("count", "positives"), program.patients, strict=True)) | _parts(program.estimates)


def _pair(pair: Pair) -> dict[str, object]:
    flat: dict[str, object] = {"first": pair.first, "second": pair.second, "class": pair.positive}
    for name, test in pair.tests.items():
        flat |= _parts({name: test.difference})
        flat |= {f"{name}_p": _known(test.p_value), f"{name}_p_holm": _known(pair.holm[name])}
    for name, check in pair.checks.items():
        flat |= _parts({name: check.difference}) | {f"{name}_p": _known(check.p_value)}
    return flat | {"equivalence": pair.equivalence}


def _parts(estimates: dict[str, Estimate]) -> dict[str, object]:
    """Value, ends and reason of each; an undefined number is an empty cell beside its reason."""
    flat: dict[str, object] = {}
    for name, one in estimates.items():
        flat |= {name: _known(one.value), f"{name}_low": _known(one.low), f"{name}_high": _known(one.high)}
        flat[f"{name}_reason"] = one.reason
    return flat


def _known(value: float) -> float | None:
    return value if isfinite(value) else None


def _say(pair: Pair) -> tuple[str, str, str]:
    test = pair.tests["auroc"]
    return f"{test.difference:+.3f}".replace("-", MINUS), say_p(test.p_value), say_p(pair.holm["auroc"])


def write_csv(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write lines, each by column, with every column that one of them has."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for line in lines for key in line)))
        writer.writeheader()
        writer.writerows(lines)
