import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from fistula.evidence.design.verdict import holm, holm_levels, judge_equivalence
from fistula.evidence.estimate import Estimate, without_interval


@pytest.mark.parametrize("seed", range(3))
def test_holm_matches_statsmodels(seed):
    p_values = np.random.default_rng(seed).random(12) ** 3
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], atol=1e-15)


def test_holm_matches_stored_values_of_r(reference):
    expected = [reference[1][f"holm_{index}"] for index in range(1, 6)]
    assert holm([0.01, 0.04, 0.03, 0.5, 0.01]).tolist() == pytest.approx(expected)


def test_a_comparison_without_a_test_does_not_count_in_the_family():
    assert holm([0.01, np.nan, 0.04]).tolist() == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert np.isnan(holm([np.nan])).all()
    assert holm([]).shape == (0,)


def test_an_impossible_p_value_is_refused():
    with pytest.raises(ValueError, match=r"p-values must be in \[0, 1\], got 0.5 to 1.5"):
        holm([0.5, 1.5])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        pytest.param(-0.01, 0.04, "equivalent", id="inside the margin, whatever it says of 0"),
        pytest.param(0.01, 0.04, "equivalent", id="not 0, but too small to matter"),
        pytest.param(-0.02, 0.08, "inconclusive", id="crosses one margin"),
        pytest.param(-0.05, 0.02, "inconclusive", id="touches the margin"),
        pytest.param(0.06, 0.2, "different", id="beyond the margin"),
        pytest.param(-0.2, -0.05, "different", id="beyond the margin on the other side"),
    ],
)
def test_an_interval_is_judged_by_the_margin(low, high, expected):
    assert judge_equivalence(Estimate((low + high) / 2, low, high, "m"), margin=0.05) == expected


def test_no_interval_is_no_equivalence():
    assert judge_equivalence(without_interval(0.0, "m", "one patient"), margin=0.05) == "untested"
    with pytest.raises(ValueError, match="margin must be positive, got 0"):
        judge_equivalence(Estimate(0, -1, 1, "m"), margin=0)


@pytest.mark.parametrize(
    "p_values",
    [[0.01, 0.04, 0.03], [0.001, 0.012, 0.02, 0.8], [0.2, 0.04, 0.5], [0.01, np.nan, 0.02], [0.04], [np.nan]],
)
def test_holms_level_of_a_comparison_rejects_exactly_what_its_corrected_p_value_does(p_values):
    values, levels, corrected = np.array(p_values), holm_levels(p_values), holm(p_values)
    tested = ~np.isnan(values)
    assert ((values <= levels) == (corrected <= 0.05))[tested].all()
    assert np.isnan(levels[~tested]).all()
    if tested.any():
        assert np.nanmin(levels) == pytest.approx(0.05 / tested.sum())


def test_a_family_of_one_is_tested_at_the_whole_level():
    assert holm_levels([0.3]).tolist() == [0.05]
    assert holm_levels([0.01, 0.02], alpha=0.1).tolist() == [0.05, 0.1]
