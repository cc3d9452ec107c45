"""What users read is held to the preferred terms of docs/style.md, as far as a test can."""

import re
from pathlib import Path

import pytest

import fistula
from fistula.cli import config_folder

ROOT = Path(__file__).parents[2]
PACKAGE = Path(fistula.__file__).parent
READ = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "style.md"),
    *sorted(page for room in ("report", "predict", "serve", "labels") for page in (PACKAGE / room).rglob("*.html")),
    *sorted((PACKAGE / "report").rglob("*.csv")),
    *sorted((PACKAGE / "commands").glob("*.py")),
    *sorted(config_folder().rglob("*.yaml")),
]
AVOIDED = re.compile(
    r"AUROC by (patient|slice)|\d %(?!\})|cannot be told from|indistinguishable|the (less|more) the better"
    r"|too good|flatters|ground truth|gold standard|(training|validation|test) part\b"
    r"|left out in turn|not learn from the patient|\bgo(es)? on (where|with|from)\b|\banew\b"
    r"|\ba (row|line|file|folder|page|table|score) a (row|line|file|folder|page|table|slice|patient|class|run|group)\b"
    r"|(recogn|general|standard|normal|optim|initial|synchron|summar)is(e|ed|es|ing|ation)\b"
    r"|\bcolour|(?<![\x22])\bcentre|\bgrey\b|millimetre|behaviour|(?<![\x22])labelled (slice|patient|cohort|image)"
    r"|neighbour|licence|\bper cent\b|graphics card|\bgoes with\b|\ball the same\b|\bby lot\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", READ, ids=lambda path: path.name)
def test_what_users_read_keeps_to_the_preferred_terms(path):
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    found = [f"line {number}: {line.strip()}" for number, line in lines if AVOIDED.search(line)]
    assert found == []
