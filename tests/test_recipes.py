"""The rows of `benchmarks/recipes.py` are settings that there are."""

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def recipes(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return runpy.run_path(str(BENCHMARKS / "recipes.py"), run_name="imported")


@pytest.mark.slow
def test_every_row_composes(recipes, compose_train):
    for row in recipes["ROWS"]:
        compose_train(*recipes["DEFAULT"], *recipes["overrides_of"](row))


def test_rows_are_joined_and_escaped_commas_stay(recipes):
    assert recipes["overrides_of"]("probe+224") == [
        "learning=linear_probe", "optimizer.lr=0.01", "epochs=50", "image_size=224",
    ]  # fmt: skip
    assert recipes["overrides_of"]("drop") == ["model.options={drop_rate:0.3,drop_path_rate:0.2}"]
