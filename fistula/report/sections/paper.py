"""The paper's Table 2 beside a study's own numbers, with what the paper's numbers imply."""

import csv
from dataclasses import dataclass
from pathlib import Path

from fistula.evidence.estimate import Estimate
from fistula.evidence.rates.counts import wilson
from fistula.report.study import Configuration, Study

TABLE = Path(__file__).parent / "paper_table2.csv"
PER_CLASS = 99  # images of each class in the paper's test set: all sixteen rates are k / 99


@dataclass(frozen=True)
class PaperRow:
    """One row of the paper's Table 2."""

    row: int
    factors: dict[str, str]  # model, learning, epochs, augmentation, as text
    # Recomputed from its count of 99 images, with the interval that the paper leaves out. It takes images as
    # independent, which flatters: they are not.
    sensitivity: Estimate
    specificity: Estimate  # likewise
    auc: float  # what the paper calls AUC
    balanced_accuracy: float  # (sensitivity + specificity) / 2 of the printed rates


def paper_rows() -> list[PaperRow]:
    """Read the table that ships with the package."""
    rows = []
    with TABLE.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            percent = {rate: float(line[rate]) for rate in ("sensitivity", "specificity")}
            estimates = {rate: wilson(round(value * PER_CLASS / 100), PER_CLASS) for rate, value in percent.items()}
            rows.append(
                PaperRow(
                    row=int(line["row"]),
                    factors={key: line[key] for key in ("model", "learning", "epochs", "augmentation")},
                    sensitivity=estimates["sensitivity"],
                    specificity=estimates["specificity"],
                    auc=float(line["auc"]),
                    balanced_accuracy=sum(percent.values()) / 200,
                )
            )
    return rows


def beside_the_paper(study: Study) -> list[tuple[PaperRow, Configuration]]:
    """Pair each row of the paper with the study's configuration of the same factors; empty unless it has all eight."""
    pairs = []
    rows = paper_rows()
    for row in rows:
        for configuration in study.configurations:
            # A timm name may carry the tag of its weights: resnet18.a1_in1k is still the paper's network.
            ours = {key: str(configuration.factors[key]).partition(".")[0] for key in row.factors}
            if ours == row.factors and "slice" in configuration.levels:
                pairs.append((row, configuration))
    return pairs if len(pairs) == len(study.configurations) == len(rows) else []
