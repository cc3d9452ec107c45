"""The rows of `benchmarks/recipes.py` are settings that there are."""

import runpy
from itertools import combinations
from math import nan
from pathlib import Path

import polars as pl
import pytest
from omegaconf import OmegaConf

from fistula.evidence.design.compare import Comparison
from fistula.evidence.estimate import Estimate

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


def test_the_page_has_commands_that_the_script_takes(recipes):
    """And no row that it does not know: as an override it would be refused only after an ingest."""
    page = recipes["PAGE"].read_text(encoding="utf-8")
    commands = [
        line.partition("#")[0].split()[2:] for line in page.splitlines() if line.startswith("python benchmarks/")
    ]
    assert len(commands) > 20
    for words in commands:
        options = recipes["asked"](words)
        assert [name for row in options.rows for name in row.split("+") if name not in recipes["ROWS"]] == [], words


def test_sets_are_weighed_by_the_inverse_of_their_variance(recipes):
    def of(value, error):
        return Comparison(Estimate(value, -1.0, 1.0, "by hand"), nan, nan, error)

    # Weights 100 and 400: mean (0.1 * 100 + 0 * 400) / 500, error 1 / sqrt(500), Q = 100 * 0.08^2 + 400 * 0.02^2 = 0.8.
    line = recipes["pooled"]([of(0.1, 0.1), of(0.0, 0.05)])
    assert line == "+0.020 (\N{MINUS SIGN}0.068 to +0.108), P for heterogeneity 0.37"
    # A set where both rank alike has no error, and would outweigh all others.
    assert recipes["pooled"]([of(0.1, 0.1), of(0.0, 0.05), of(0.0, nan), of(0.0, 0.0)]) == line


def test_the_mean_of_runs_is_set_against_each_of_them(recipes):
    one = pl.DataFrame(
        {
            "run": ["0-0"] * 4 + ["0-1"] * 4, "slice_key": list("abcd") * 2, "patient_key": list("abcd") * 2,
            "label": [0, 0, 1, 1] * 2, "score": [0.1, 0.6, 0.5, 0.9, 0.5, 0.2, 0.4, 0.8], "seconds": [1.0, 2.0] * 4,
            "fold": [0] * 8,
        }
    )  # fmt: skip
    together = recipes["ensemble"](one)
    assert together["score"].to_list() == pytest.approx([0.3, 0.4, 0.45, 0.85] * 2)
    # Each run has one of the four pairs in the wrong order, their mean none: 1 minus (0.75 + 0.75) / 2.
    (by_slice, difference, *_), _ = recipes["judge"](together, one)
    assert by_slice.startswith("1.000")
    assert difference.startswith("+0.250")
    # Of another fold's networks, a slice has a mean of its own.
    apart = one.with_columns(fold=pl.Series([0] * 4 + [1] * 4))
    assert recipes["ensemble"](apart).equals(apart)


def test_a_line_that_says_the_same_keeps_its_commit_and_another_takes_its_place(recipes, tmp_path):
    page = recipes["put"].__globals__["PAGE"] = tmp_path / "recipe.md"
    page.write_text(f"before\n{recipes['BEGIN']}\n{recipes['END']}\nafter\n")
    of = ["busi", "val"]
    recipes["put"]([["2026 1", "2a", *of, "one", "0.8"], ["2026 1", "2a", *of, "other", "0.7"]])
    recipes["put"]([["2026 2", "2b", *of, "one", "0.8"], ["2026 2", "2b", *of, "other", "0.6"]])
    lines = [line for line in page.read_text().splitlines() if line.startswith("| 2026")]
    assert lines == ["| 2026 1 | 2a | busi | val | one | 0.8 |", "| 2026 2 | 2b | busi | val | other | 0.6 |"]
    assert page.read_text().endswith("after\n")


def test_the_mean_is_of_the_rows_that_are_named_and_needs_no_default(recipes, monkeypatch, capsys):
    """One network has the order right, one not, and their mean has."""
    right = {"default": [0.1, 0.9, 0.8], "224": [0.1, 0.2, 0.3], "lite1": [0.35, 0.3, 0.9]}

    def scores_of(name, row, options, *, mirror):
        keys = list("abc")
        return pl.DataFrame(
            {"run": "0-0", "slice_key": keys, "patient_key": keys, "label": [0, 1, 1], "score": right[row], "fold": 0}
        ).with_columns(seconds=pl.lit(1.0))

    monkeypatch.setitem(recipes["main"].__globals__, "train", lambda name, row, options: row)
    monkeypatch.setitem(recipes["main"].__globals__, "scores_of", scores_of)

    def said(*words):
        monkeypatch.setattr("sys.argv", ["recipes.py", *words])
        recipes["main"]()
        return [line.split(" | ")[4:7] for line in capsys.readouterr().out.splitlines()]

    both = ["mean of 224 and lite1, minus each (2)", "mean of 224 and lite1 (1)"]
    assert [row for row, *_ in said("covid-ct", "224", "lite1", "--mean")] == [
        "default (1)",
        "224 (1)",
        "lite1 (1)",
        *both,
    ]
    lines = said("covid-ct", "224", "lite1", "--mean", "--alone")
    assert [row for row, *_ in lines] == ["224 (1)", "lite1 (1)", *both]
    assert [value[:5] for _, value, _ in lines] == ["1.000", "0.500", "1.000", "1.000"]
    assert [bool(difference) for *_, difference in lines] == [False, False, True, False]
    with pytest.raises(SystemExit):
        said("covid-ct", "224", "--mean")
