"""The coverage benchmark, small; `benchmarks/coverage.json` is the large one."""

import runpy
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "coverage.py"


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.7])
def test_clustered_intervals_cover_and_naive_ones_do_not(correlation):
    measure = runpy.run_path(str(BENCHMARK))["coverage"]
    rows = measure(auroc=0.85, correlation=correlation, repetitions=1000)
    found = {(row["quantity"], row["method"]): row["coverage"] for row in rows}
    # 93 to 97 %, and three Monte-Carlo errors of 0.7 % for the small number of cohorts.
    for quantity in ("AUROC", "sensitivity", "AUROC difference"):
        clustered = [share for (name, method), share in found.items() if name == quantity and "clustered" in method]
        assert clustered
        assert min(clustered) > 0.93 - 0.021
        assert max(clustered) < 0.97 + 0.021
    naive = found["AUROC", "naive: DeLong on slices"]
    assert (naive > 0.92) == (correlation == 0.0)
    if correlation == 0.7:
        assert naive == pytest.approx(0.55, abs=0.07)
