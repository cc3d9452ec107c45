import json

import polars as pl
from spots import write_places

from fistula.cohort.manifest import manifest_fingerprint

from ..conftest import TINY_RUN


def test_a_run_is_judged_on_its_test_slices_and_keeps_the_result(copied_run, fistula_here):
    code, shown, error = fistula_here("explain", f"run={copied_run}", "tolerance_mm=8")
    assert code == 0, error
    assert "pointing at the mean opening" in shown
    assert fistula_here("explain", f"run={copied_run}", "method=grad_cam_plus_plus")[0] == 0
    kept = json.loads((copied_run / "explain.json").read_text())
    assert set(kept) == {"grad_cam", "grad_cam_plus_plus"}
    result = kept["grad_cam"]
    assert result["tolerance_mm"] == 8
    assert 0 < result["maps"]["slices"] == result["mean_opening"]["slices"]
    assert 0 <= result["maps"]["hits"] <= 1
    assert result["mean_opening"]["distance_mm"] < 40


def test_what_cannot_be_is_refused(copied_run, fistula_here):
    code, _, error = fistula_here("explain", f"run={copied_run}", "method=lime")
    assert (code, "method: must be one of map, grad_cam" in error) == (2, True)
    code, _, error = fistula_here("explain", f"run={copied_run}", "tolerance_mm=0")
    assert (code, "tolerance_mm: must be at least 0.1 and at most 1000" in error) == (2, True)


def test_images_that_state_no_distance_are_not_judged_in_mm(fistula_here, tmp_path):
    folder = write_places(tmp_path / "cohort", canal=False)
    manifest = pl.read_parquet(folder / "manifest.parquet").with_columns(pixel_spacing_mm=pl.lit(None, pl.Float64))
    manifest.write_parquet(folder / "manifest.parquet")
    record = json.loads((folder / "ingest.json").read_text()) | {
        "spacing_mm": 1.0
    }  # the grid's, that nothing was put on
    (folder / "ingest.json").write_text(json.dumps(record | {"fingerprint": manifest_fingerprint(manifest)}))
    code, _, error = fistula_here("train", f"cohort={folder}", *TINY_RUN, "head=locate", "hydra.run.dir=study/run")
    assert code == 0, error
    code, shown, error = fistula_here("explain", "run=study/run", "tolerance_mm=10")
    assert code == 0, error
    assert "peak within 10% of the side:" in shown
    assert "were within 10% of the side of the reference" in shown
    assert "mm" not in shown.replace("tolerance_mm", "")
    result = json.loads((tmp_path / "study" / "run" / "explain.json").read_text())["map"]
    # A point of the body is on average about half of the side from another, whatever the side is.
    assert 20 < result["random_point"]["distance_mm"] < 80
