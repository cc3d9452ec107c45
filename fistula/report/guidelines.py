"""Reporting guidelines: which of their items this report answers, and where."""

import csv
from dataclasses import dataclass
from pathlib import Path

FILES = {
    "CLAIM 2024": ("claim_2024.csv", "Tejani et al. 2024, Radiology: Artificial Intelligence 6(4):e240300"),
    "TRIPOD+AI": ("tripod_ai.csv", "Collins et al. 2024, BMJ 385:e078378"),
}


@dataclass(frozen=True)
class Item:
    """One item of a guideline, its topic in our words.

    Attributes:
        number: As in the guideline.
        topic: What is to be reported.
        section: Identifier of the section of the page that answers it; empty where none does.
        note: What the section holds of it, or who has to answer it.
    """

    number: str
    topic: str
    section: str
    note: str


@dataclass(frozen=True)
class Guideline:
    """A reporting guideline with its source and items."""

    name: str
    source: str
    items: list[Item]


def read_guidelines() -> list[Guideline]:
    """Read the lists that ship with the package."""
    guidelines = []
    for name, (file, source) in FILES.items():
        with (Path(__file__).parent / file).open(newline="", encoding="utf-8") as lines:
            guidelines.append(Guideline(name, source, [Item(**line) for line in csv.DictReader(lines)]))
    return guidelines
