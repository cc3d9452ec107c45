import json
import subprocess
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import fistula
from fistula.errors import ConfigError, DataError
from fistula.sweep.folder.provenance import commit
from fistula.sweep.folder.run import WITHIN, RunFolder, identity_of, run_name

CONFIG = {"epochs": 2, "optimizer": {"lr": 0.1}, "transforms": [], "cohort": "/a", "output_dir": "/b", "num_workers": 0}


def folder(path, **changes):
    return RunFolder(path, identity_of(CONFIG | changes, cohort_fingerprint="abc"))


def test_a_run_goes_from_running_to_done_and_keeps_what_was_recorded(tmp_path):
    run = folder(tmp_path)
    run.write("running", hardware="abacus")
    assert not run.is_done
    run.write("done", metrics={})
    record = json.loads((tmp_path / "run.json").read_text())
    assert run.is_done
    assert (record["state"], record["hardware"], record["metrics"]) == ("done", "abacus", {})
    assert {"running_at", "done_at"} <= record.keys()


def test_where_a_run_lies_does_not_change_what_it_is(tmp_path):
    assert folder(tmp_path, cohort="/z", output_dir="/y", num_workers=9).fingerprint == folder(tmp_path).fingerprint


@pytest.mark.parametrize("change", [{"epochs": 3}, {"optimizer": {"lr": 0.2}}, {"transforms": ["flip"]}])
def test_what_decides_the_result_is_part_of_the_identity(tmp_path, change):
    assert folder(tmp_path, **change).fingerprint != folder(tmp_path).fingerprint


def test_another_run_in_the_folder_is_refused_with_the_keys_that_differ(tmp_path):
    folder(tmp_path).write("done")
    with pytest.raises(ConfigError, match=r"already holds another run, found optimizer\.lr: 0\.1 there, 0\.5 now"):
        folder(tmp_path, optimizer={"lr": 0.5}).check()
    folder(tmp_path).check()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.doc").write_text("")
    with pytest.raises(ConfigError, match="already exists and is not a run"):
        folder(tmp_path).check()


def test_a_failure_is_recorded_with_its_cause(tmp_path):
    run = folder(tmp_path)
    try:
        raise ValueError("out of luck")
    except ValueError as error:
        run.fail(error)
    record = run.record()
    assert (record["state"], record["error"]) == ("failed", "out of luck")
    assert any("ValueError" in line for line in record["traceback"])


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run\.json: cannot be read .*Remove this run's folder"):
        folder(tmp_path).check()


def test_a_run_is_named_by_what_it_is():
    assert run_name("resnet34", "transfer", 50, "none", 2, 0, "") == "resnet34-transfer-e50-none-fold2-seed0"
    assert run_name("a", "b", 1, "c", 0, 0, "optimizer.lr=0.1").endswith("-seed0-optimizer.lr=0.1")


def test_a_certificate_that_stopped_the_run_does_not_stand_in_its_way(tmp_path):
    (tmp_path / "audit-predefined.json").write_text("{}")
    folder(tmp_path).check()
    assert folder(tmp_path).record() == {}
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="already exists and is not a run"):
        folder(tmp_path).check()


def test_a_name_of_many_overrides_fits_a_file_system_and_stays_its_own():
    others = "-".join(f"augmentation.transforms.{number}.p=0.{number}" for number in range(17))
    names = {run_name("resnet18", "transfer", 50, "none", 0, 0, others + end) for end in ("", "肛" * 30, "肛" * 31)}
    assert len(names) == 3
    assert all(len(name.encode()) <= 200 and name.startswith("resnet18-transfer-e50-none-") for name in names)
    assert run_name("a/b", "transfer", 1, "none", 0, 0, "") == "a_b-transfer-e1-none-fold0-seed0"
    assert run_name("a", "b", 1, "c", 0, 0, "covariates=[age,sex]").endswith("-covariates=age,sex")


@pytest.mark.parametrize("augmentation", ["none", "color_jitter", "mr"])
def test_runs_of_another_seed_and_fold_are_of_one_configuration(compose_train, augmentation):
    one, two = (
        identity_of(
            OmegaConf.to_container(
                compose_train(f"augmentation={augmentation}", f"seed={number}", f"split.fold={number}"), resolve=True
            )
        )
        for number in (0, 1)
    )
    assert one.keys() == two.keys()
    assert {key for key in one if one[key] != two[key]} <= set(WITHIN)


def test_a_run_from_a_checkout_names_its_commit():
    checkout = Path(fistula.__file__).parents[1]
    if not (checkout / ".git").exists():
        pytest.skip("not a checkout")
    asked = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    head = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    found = commit()
    assert found is not None
    assert found.removesuffix("-dirty") == head
