"""A tiny study whose every number is pinned: `golden.json` changes only with a reason in CHANGELOG.md.

`PYTHONPATH=tests python -m tests.report.test_golden` writes it anew.
"""

import json
import tempfile
from pathlib import Path

import pytest

from fistula.report.contents import Settings, compute
from fistula.report.numbers import numbers_of
from fistula.report.study import read_study

from .conftest import write_study

GOLDEN = Path(__file__).with_name("golden.json")


def numbers(folder):
    """Value and ends of every number of the report, by name."""
    study = read_study(write_study(folder / "study", patients=24, folds=2, seeds=(0, 1)))
    found = numbers_of(compute(study, Settings(resamples=200, prevalence=0.2)))
    return {name: [number.get(key) for key in ("value", "low", "high")] for name, number in found.items()}


def test_every_number_of_the_golden_study_is_as_it_was(tmp_path):
    found, golden = numbers(tmp_path), json.loads(GOLDEN.read_text())
    assert found.keys() == golden.keys()
    for name, values in golden.items():
        expected = [pytest.approx(value, rel=1e-7, abs=1e-9) if isinstance(value, float) else value for value in values]
        assert found[name] == expected, name


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in numbers(Path(folder)).items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
