"""The rows of `benchmarks/recipes.py` are settings that there are."""

import runpy
from itertools import combinations
from pathlib import Path

import pytest
from omegaconf import OmegaConf

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def recipes(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return runpy.run_path(str(BENCHMARKS / "recipes.py"), run_name="imported")


@pytest.mark.slow
def test_every_row_composes_to_settings_of_its_own(recipes, compose_train):
    found = {
        row: OmegaConf.to_yaml(compose_train(*recipes["DEFAULT"], *recipes["overrides_of"](row)))
        for row in recipes["ROWS"]
    }
    alike = [pair for pair in combinations(found, 2) if found[pair[0]] == found[pair[1]]]
    assert alike == []


def test_rows_are_joined_and_escaped_commas_stay(recipes):
    assert recipes["overrides_of"]("probe+224") == [
        "learning=linear_probe", "optimizer.lr=0.01", "epochs=50", "image_size=224",
    ]  # fmt: skip
    assert recipes["overrides_of"]("drop") == ["model.options={drop_rate:0.3,drop_path_rate:0.2}"]
