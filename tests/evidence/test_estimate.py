from math import nan

import pytest

from fistula.evidence.estimate import Estimate, name_method, undefined, without_interval


@pytest.mark.parametrize(
    ("estimate", "specification", "expected"),
    [
        pytest.param(Estimate(0.5, 0.25, 0.75, "m"), "", "0.500 (0.250 to 0.750)", id="three digits by default"),
        pytest.param(Estimate(0.5, 0.25, 0.75, "m"), ".0%", "50% (25% to 75%)", id="the numbers' own specification"),
        pytest.param(undefined("m", "no positives"), "", "n/a: no positives", id="no value"),
        pytest.param(without_interval(1, "m", "one patient"), ".2f", "1.00 (n/a: one patient)", id="no interval"),
    ],
)
def test_an_estimate_is_shown_with_its_interval_or_the_reason(estimate, specification, expected):
    assert format(estimate, specification) == expected


def test_a_gap_without_a_reason_is_refused():
    with pytest.raises(ValueError, match="an estimate with NaN needs a reason"):
        Estimate(0.5, nan, 0.7, "Wilson, 95%")


def test_an_estimate_knows_what_it_lacks():
    assert Estimate(0.5, 0.2, 0.7, "m").has_interval
    assert not without_interval(0.5, "m", "why").has_interval
    assert without_interval(0.5, "m", "why").is_defined
    assert not undefined("m", "why").is_defined


def test_the_level_is_part_of_the_method():
    assert name_method("Wilson", 0.975) == "Wilson, 97.5%"
    with pytest.raises(ValueError, match=r"level must be inside \(0, 1\), got 95"):
        name_method("Wilson", 95)
