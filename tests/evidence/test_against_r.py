import pytest

from fistula.evidence.design.compare import delong_test
from fistula.evidence.ranking.area import delong


def test_the_stored_reference_values_are_still_those_of_r(ask_r, reference):
    _, fresh = ask_r("reference")
    assert fresh == pytest.approx(reference[1], rel=1e-10)


def test_delong_on_procs_own_data_gives_the_published_values(ask_r):
    rows, values = ask_r("aSAH")
    found = delong_test(rows.labels, rows.first, rows.second)
    assert delong(rows.labels, rows.first).value == pytest.approx(0.8236789, abs=5e-8)
    assert delong(rows.labels, rows.second).value == pytest.approx(0.7313686, abs=5e-8)
    assert found.statistic == pytest.approx(2.209, abs=5e-4)
    assert found.p_value == pytest.approx(0.02718, abs=5e-6)
    assert (found.difference.low, found.difference.high) == pytest.approx(
        (values["low_difference"], values["high_difference"]), abs=1e-10
    )
