import numpy as np
import pytest
from scipy.stats import norm

from fistula.evidence.ranking.area import delong
from fistula.evidence.ranking.placements import place


def test_the_stored_reference_values_are_still_those_of_r(ask_r, reference):
    _, fresh = ask_r("reference")
    assert fresh == pytest.approx(reference[1], rel=1e-10)


def test_delong_on_procs_own_data_gives_the_published_values(ask_r):
    rows, values = ask_r("aSAH")
    placements = place(rows.labels, np.stack([rows.first, rows.second], axis=1))
    less = np.array([1.0, -1.0])
    difference, error = less @ placements.aurocs, np.sqrt(less @ placements.obuchowski() @ less)
    assert delong(rows.labels, rows.first).value == pytest.approx(0.8236789, abs=5e-8)
    assert delong(rows.labels, rows.second).value == pytest.approx(0.7313686, abs=5e-8)
    assert difference / error == pytest.approx(2.209, abs=5e-4)
    assert 2 * norm.sf(difference / error) == pytest.approx(0.02718, abs=5e-6)
    assert (difference - norm.ppf(0.975) * error, difference + norm.ppf(0.975) * error) == pytest.approx(
        (values["low_difference"], values["high_difference"]), abs=1e-10
    )
