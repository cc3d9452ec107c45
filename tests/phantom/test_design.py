from dataclasses import replace

import pytest

from fistula.errors import ConfigError
from fistula.phantom.design import FINDINGS


@pytest.mark.parametrize("name", ["perianal", "trivial", "random", "two_sequences"])
def test_every_design_has_the_same_sites(make_design, name):
    design = make_design(name)
    assert [site.name for site in design.sites] == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "right"}, r"phantom\.labels: must be breach or random, found right"),
        ({"sites": []}, r"phantom\.sites: must name at least one site"),
        ({"opening_width": [3, 2]}, r"phantom\.opening_width: must be two positive numbers in order, found \[3, 2\]"),
        ({"tract_signal": [0, 1]}, r"phantom\.tract_signal: must be two positive numbers"),
        ({"t2": "yes"}, r"phantom\.t2: must be true or false, found yes"),
        ({"ghost": 1.5}, r"phantom\.ghost: must be at least 0 and at most 1, found 1\.5"),
        ({"findings": {"wart": 1.0}}, r"phantom\.findings: must be plexus, .*, sinus, found wart"),
        ({"findings": dict.fromkeys(FINDINGS, -0.1)}, r"phantom\.findings\.plexus: must be at least 0 .*, found -0\.1"),
    ],
)
def test_a_design_that_cannot_be_is_refused(make_design, changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(make_design(), **changes)


def test_a_site_without_pixels_is_refused(make_design):
    design = make_design()
    with pytest.raises(ConfigError, match=r"phantom\.sites, A, matrix: must be at least 16 and .*, found 0"):
        replace(design, sites=[replace(design.sites[0], matrix=0)])
