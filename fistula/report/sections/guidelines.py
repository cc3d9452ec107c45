"""Reporting guidelines: which of their items this report answers, and where; the METRICS score as far as it goes."""

import csv
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fistula.report.study import Study

SOMETIMES = ("outside", "robustness", "readers", "comparisons")  # sections that not every page has

FILES = {
    "STARD-AI 2025": ("stard_ai.csv", "Sounderajah et al. 2025, Nature Medicine 31:3283"),
    "CLAIM 2024": ("claim_2024.csv", "Tejani et al. 2024, Radiology: Artificial Intelligence 6(4):e240300"),
    "TRIPOD+AI": ("tripod_ai.csv", "Collins et al. 2024, BMJ 385:e078378"),
}


@dataclass(frozen=True)
class Item:
    """One item of a guideline, its topic in our words."""

    number: str
    topic: str
    section: str  # identifier of the section of the page that answers it; empty where none does
    note: str  # what the section holds of it


@dataclass(frozen=True)
class Guideline:
    """A reporting guideline with its source and items."""

    name: str
    source: str
    items: list[Item]


@dataclass(frozen=True)
class ScoreItem:
    """One item of METRICS: ``answer`` is ``yes``, ``no``, ``not applicable``, or ``authors``, who have to answer it."""

    number: str
    topic: str
    weight: float
    answer: str
    note: str


@dataclass(frozen=True)
class Score:
    """The METRICS score of a study (Kocak et al. 2024), as far as its record answers the items."""

    items: list[ScoreItem]
    source: str = "Kocak et al. 2024, Insights into Imaging 15:8, with the weights published there"

    @property
    def open(self) -> int:
        """Items that only the authors can answer."""
        return sum(item.answer == "authors" for item in self.items)

    @property
    def least(self) -> float:
        """In percent, were all open items answered with no."""
        return self._share("yes")

    @property
    def most(self) -> float:
        """In percent, were all open items answered with yes."""
        return self._share("yes", "authors")

    def _share(self, *answers: str) -> float:
        applies = [item for item in self.items if item.answer != "not applicable"]
        return 100 * sum(i.weight for i in applies if i.answer in answers) / sum(i.weight for i in applies)


def read_guidelines(present: AbstractSet[str]) -> list[Guideline]:
    """Read the lists that ship with the package.

    `present` are those of `SOMETIMES` that the page has. Of the sections of an item, separated by a slash, the first
    that is there answers it.
    """

    def item(line: dict[str, str]) -> Item:
        sections = [name for name in line["section"].split("/") if name in present or name not in SOMETIMES]
        return Item(**line | {"section": next(iter(sections), "")})

    return [Guideline(name, source, [item(line) for line in _read(file)]) for name, (file, source) in FILES.items()]


def metrics_score(study: Study, present: AbstractSet[str], *, sites: AbstractSet[str]) -> Score:
    """Answer the items of METRICS that a study's record answers.

    `present` is as `read_guidelines` takes it, and `sites` are those of external cohorts.
    """
    manifest, certificates = study.cohort.manifest, study.certificates
    apart = bool(certificates) and not any(certificate.get("is_marked") for certificate in certificates)
    warned = any(pair.get("is_warning") for one in certificates for pair in one.get("confounding") or [])
    split_by_site = any(c.factors.get("split") == "site_holdout" for c in study.configurations)
    is_clinical = {c.factors.get("model") == "clinical" for c in study.configurations}
    found = {
        "several_sites": len(sites | set(manifest["site"].drop_nulls())) > 1,
        "patients_apart": apart,
        "unconfounded": bool(certificates) and not warned,
        "one_sequence": manifest["sequence"].n_unique() == 1,
        "other_site": split_by_site or "outside" in present,
        "shifts": "robustness" in present,
        "readers": "readers" in present or len(is_clinical) > 1,
        "clinical": len(is_clinical) > 1,
    }
    told = {name: "yes" if is_so else "no" for name, is_so in found.items()}
    for name in ("shifts", "readers", "clinical"):  # the authors may have shown it otherwise
        told[name] = told[name].replace("no", "authors")
    items = []
    for line in _read("metrics_2024.csv"):
        answer = told.get(line["answer"], line["answer"])
        items.append(ScoreItem(**line | {"weight": float(line["weight"]), "answer": answer}))
    return Score(items)


def _read(file: str) -> list[dict[str, Any]]:
    with (Path(__file__).parent / file).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
