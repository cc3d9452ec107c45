import json


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
    assert (code, "tolerance_mm: must be positive" in error) == (2, True)
