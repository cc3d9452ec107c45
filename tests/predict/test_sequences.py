"""A run on a cohort of several sequences, whose first it sees: new images of the others are no slices of its own."""

import numpy as np
import pytest

import fistula
from tests.conftest import TINY_RUN, run_command
from tests.two_sequences import OPTIONS, tree


@pytest.mark.slow
def test_only_slices_of_the_first_sequence_are_scored_and_as_in_training(tmp_path):
    tree(tmp_path, patients=10)
    told = [f"source={tmp_path / 'tree'}", f"labels={tmp_path / 'labels.csv'}", *OPTIONS]
    run_command("ingest", [*told, f"out={tmp_path / 'cohort'}"])
    run_command("train", [f"cohort={tmp_path / 'cohort'}", *TINY_RUN, f"hydra.run.dir={tmp_path / 'run'}"])
    predictor = fistula.load(tmp_path / "run", device="cpu")
    found = predictor.predict(tmp_path / "tree")
    assert len(found.slices) == 10 * 5
    assert found.left_out["reason"].to_list() == ["of sequence t2, resampled onto t1c"] * 50
    stored = predictor.runs[0].predictions.join(found.slices.select("slice_key", new="score"), on="slice_key")
    assert len(stored) == len(predictor.runs[0].predictions) > 0
    np.testing.assert_allclose(stored["new"], stored["score"], rtol=0, atol=1e-6)
