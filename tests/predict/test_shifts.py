import json
import shutil

import numpy as np
import polars as pl
import pytest

from fistula.evidence.ranking.area import clustered_auroc
from fistula.predict.shifts import SHIFTS, STRENGTHS, Shifted


@pytest.fixture
def pixels():
    random = np.random.default_rng(0)
    smooth = np.add.outer(np.linspace(40, 180, 64), np.linspace(0, 40, 64))
    return (smooth + random.integers(0, 20, (3, 64, 64))).astype(np.uint8)


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_stronger_shift_changes_a_slice_more_and_always_in_the_same_way(pixels, shift):
    rows = np.array([2, 0])
    apart = []
    for strength in STRENGTHS:
        changed = Shifted(pixels, shift, strength)[rows]
        assert changed.shape == (2, 64, 64)
        assert changed.dtype == np.uint8
        np.testing.assert_array_equal(changed[0], Shifted(pixels, shift, strength)[np.array([2])][0])
        apart.append(np.abs(changed.astype(float) - pixels[rows]).mean())
    assert 0 < apart[0] < apart[1] < apart[2]


def test_no_shift_leaves_slices_as_they_are(pixels):
    np.testing.assert_array_equal(Shifted(pixels, "", 0)[np.array([1])], pixels[[1]])


def test_blur_and_resolution_keep_the_mean_and_contrast_keeps_black_and_white(pixels):
    for shift in ("blur", "resolution"):
        assert Shifted(pixels, shift, 2)[np.array([0])].mean() == pytest.approx(pixels[0].mean(), abs=0.5)
    ends = np.array([[[0, 255], [255, 0]]], np.uint8)
    np.testing.assert_array_equal(Shifted(ends, "contrast", 3)[np.array([0])], ends)


@pytest.mark.slow
def test_the_studys_test_patients_are_scored_under_every_shift_and_stand_in_the_report(fistula_here, study, tmp_path):
    own = tmp_path / "study"
    shutil.copytree(study, own)
    code, shown, error = fistula_here("evaluate", f"run={own}", "shifts=true")
    assert code == 0, error
    assert "6 shifts at 3 strengths, 2 runs" in shown
    table = pl.read_parquet(own / "shifts" / "predictions.parquet")
    assert table.select("shift", "strength").n_unique() == 1 + 6 * 3
    # Without a shift the scores are those that the runs stored.
    stored = pl.concat(
        [
            pl.read_parquet(path).with_columns(run=pl.lit(path.parent.name))
            for path in own.glob("*fold*/predictions.parquet")
        ]
    ).filter(pl.col("part") == "test")
    both = table.filter(pl.col("strength") == 0).join(stored, on=["slice_key", "run"], suffix="_stored")
    assert len(both) == len(stored)
    np.testing.assert_allclose(both["score"], both["score_stored"], atol=1e-5)
    code, _, error = fistula_here("report", f"study={own}", "resamples=20", "maps=none", "primary=slice")
    assert code == 0, error
    numbers = json.loads((own / "report" / "report.json").read_text())["numbers"]
    noisy = table.filter((pl.col("shift") == "noise") & (pl.col("strength") == 3))
    expected = clustered_auroc(*(noisy[name].to_numpy() for name in ("label", "score", "patient_key", "run")))
    assert numbers["shift / noise / 3 / auroc"]["value"] == pytest.approx(expected.value, rel=1e-12)
    assert 'id="robustness"' in (own / "report" / "index.html").read_text()
    assert fistula_here("report", f"study={own}", "verify=true")[0] == 0
    code, _, error = fistula_here("evaluate", f"run={own}")
    assert code == 2
    assert "must be given, or shifts=true in its place" in error
    code, _, error = fistula_here("evaluate", f"run={own}", "shifts=true", "out=copy")
    assert code == 2
    assert "out: is for an external cohort, not for shifts=true, found copy. Omit it" in error
