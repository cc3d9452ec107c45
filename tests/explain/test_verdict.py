import json

import pytest

from fistula.errors import DataError
from fistula.explain.verdict import KEPT, say_verdict


def keep(folder, *, hits, low, learned=True, method="grad_cam"):
    maps = {"slices": 182, "hits": hits, "hits_low": low}
    found = {"maps": maps, "mean_opening": {"hits": 0.16}, "random_point": {"hits": 0.04}}
    (folder / KEPT).write_text(json.dumps({method: found | {"tolerance_mm": 5.0, "learned": learned}}))


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / KEPT).write_text("{half")
    with pytest.raises(DataError, match=r"explain.json: cannot be read .* Remove it"):
        say_verdict(tmp_path, method="grad_cam")


@pytest.mark.parametrize(
    ("hits", "low", "end"),
    [
        (0.0, None, "4%. Do not use them to locate the finding."),
        (0.3, 0.1, "4%. Do not use them to locate the finding."),
        (0.97, 0.9, "4%. They point at the finding."),
    ],
    ids=["never", "no better than one place", "better"],
)
def test_maps_point_at_the_finding_where_they_do_better_than_one_place(tmp_path, hits, low, end):
    keep(tmp_path, hits=hits, low=low)
    said = say_verdict(tmp_path, method="grad_cam")
    assert said.startswith(
        f"The peaks of these maps were within 5 mm of the reference location in {hits:.0%} of 182 test slices;"
    )
    assert said.endswith(end)


def test_maps_that_random_weights_draw_as_well_are_told(tmp_path):
    keep(tmp_path, hits=0.97, low=0.9, learned=False)
    assert say_verdict(tmp_path, method="grad_cam").endswith("They hardly depend on what the network learned.")


def test_what_was_not_measured_says_so(tmp_path):
    assert "was not tested" in say_verdict(tmp_path, method="map")
    keep(tmp_path, hits=1.0, low=1.0)
    assert "was not tested" in say_verdict(tmp_path, method="map")
