"""A user's own configuration files, in a folder named by --config-dir: what is wrong with one is said by name."""

from concurrent.futures.process import BrokenProcessPool

import pytest
from omegaconf import OmegaConf

from fistula.errors import TrainingError
from fistula.sweep.index import _digest
from fistula.sweep.launch import check_networks

from ..conftest import TINY_RUN

GLOBAL = "# @package _global_\n"


@pytest.fixture
def own(fistula_here, cohort_folder, tmp_path):
    """Train with experiments that files hold; give exit code and standard error."""

    def train(*words, **files):
        (tmp_path / "mine" / "experiment").mkdir(parents=True)
        for name, text in files.items():
            data = text if isinstance(text, bytes) else text.encode()
            (tmp_path / "mine" / "experiment" / f"{name}.yaml").write_bytes(data)
        given = words or [f"experiment={next(iter(files))}"]
        code, _, error = fistula_here("train", "--config-dir", "mine", f"cohort={cohort_folder}", *TINY_RUN, *given)
        return code, error

    return train


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GLOBAL}seed: 3\n\tepochs: 1\n", "a.yaml, line 3: is not YAML, found character '\\t' that cannot start any"),
        (f"{GLOBAL}seed: 3\nseed: 4\n", "a.yaml, line 3: is not YAML, found duplicate key seed"),
        (f"{GLOBAL}run_name: a: b\n", "a.yaml, line 2: is not YAML, found mapping values are not allowed here"),
        (f"{GLOBAL}seed: !!python/tuple [1]\n", "a.yaml, line 2: is not YAML, found could not determine a constructor"),
        (f"{GLOBAL}run_name: Größe\n".encode("latin-1"), "a.yaml: must be a text in UTF-8, found a byte 0xf6"),
        (f"{GLOBAL}seed: 3\n".encode("utf-16"), "a.yaml: must be a text in UTF-8, found a byte 0xff"),
        ("seed: 3\n", "experiment=a: must begin with the line # @package _global_, without which its keys are not"),
        (f"{GLOBAL}seed: 3\n".encode("utf-8-sig"), "experiment=a: must begin with the line # @package _global_"),
        (f"# mine\n{GLOBAL}seed: 3\n", "Not even a comment or a byte-order mark may stand before it"),
        ("", "experiment=a: must begin with the line"),
        (f"{GLOBAL}epoch: 3\n", "epoch: is not used. Did you mean epochs?"),
        (f"{GLOBAL}gradient_checkpointing: 'off'\n", "gradient_checkpointing: must be true or false, found off"),
    ],
    ids=(
        "tab",
        "twice",
        "colon",
        "python",
        "latin",
        "utf-16",
        "no package",
        "mark",
        "comment",
        "empty",
        "misspelt",
        "kind",
    ),
)
def test_a_file_that_would_not_do_what_it_says_is_refused_by_name(own, tmp_path, text, message):
    code, error = own(a=text)
    assert (code, error.count("\n")) == (2, 1), error
    assert message in error
    assert not (tmp_path / "multirun").exists()


def test_a_sweep_over_experiments_that_are_sweeps_themselves_is_refused(own):
    sweep = f"{GLOBAL}hydra: {{sweeper: {{params: {{seed: '0,1'}}}}}}\n"
    code, error = own("-m", "experiment=a,b", a=sweep, b=sweep.replace("0,1", "2,3"))
    assert (code, error.count("\n")) == (2, 1), error
    assert "hydra.sweeper.params: cannot be set by what is swept (experiment=a). Give each" in error


def test_yes_and_no_and_a_number_without_a_point_are_read_as_they_are_meant(own, tmp_path):
    code, error = own(a=f"{GLOBAL}gradient_checkpointing: off\noptimizer: {{lr: 1e-3}}\n")
    assert code == 0, error
    (written,) = tmp_path.glob("multirun/single/*/config.yaml")
    assert "gradient_checkpointing: false" in written.read_text()
    assert "lr: 0.001" in written.read_text()


def test_a_file_in_another_encoding_that_a_sweep_does_not_use_does_not_stop_it(tmp_path):
    (tmp_path / "b.yaml").write_bytes(b"\xff")
    sources = [{"path": str(tmp_path), "schema": "file", "provider": "command-line"}]
    hydra = {"runtime": {"config_sources": sources}, "overrides": {"hydra": [], "task": []}}
    assert _digest(OmegaConf.create({"hydra": hydra}))


def test_a_trial_of_a_network_that_the_system_ends_is_one_line(monkeypatch):
    def submit(*_):
        raise BrokenProcessPool

    monkeypatch.setattr("fistula.sweep.launch.ProcessPoolExecutor.submit", submit)
    with pytest.raises(TrainingError, match="model: cannot be tried: the process that builds it was ended"):
        check_networks([])
