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


@pytest.fixture
def covid(fistula_here, tmp_path, monkeypatch):
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    modes = ("model=efficientnet_lite0", "learning=transfer,end_to_end", "image_size=128", "epochs=6")
    fixed = ("split=predefined", "audit=warn", "logger=csv", "trainer=cpu", "hydra.sweep.dir=study")
    code, _, error = fistula_here("train", "-m", f"cohort={covid}", *modes, *fixed)
    assert code == 0, error
    records = [json.loads(path.read_text()) for path in (tmp_path / "study").glob("*/run.json")]
    auroc = {r["factors"]["learning"]: r["metrics"]["test"]["slice"]["auroc"]["value"] for r in records}
    assert auroc["transfer"] > 0.75
    assert auroc["transfer"] > auroc["end_to_end"] + 0.05


def test_the_official_split_does_not_pass_the_audit(fistula_here, covid):
    code, _, error = fistula_here("train", f"cohort={covid}", "split=predefined", "learning=end_to_end", "epochs=1")
    assert code == 3
    assert "may stand on two sides" in error
