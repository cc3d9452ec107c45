"""What the trackers have after a run, whatever happens to them on the way."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fistula.learning.tracking import mlflow_logger
from fistula.sweep.folder.run import short_name

from ..conftest import TINY_RUN, write_cohort
from .read_wandb import read_wandb

RUN = (*(text for text in TINY_RUN if not text.startswith("logger")), "hydra.run.dir=run")


@pytest.fixture
def train(fistula_here, tmp_path):
    cohort = write_cohort(tmp_path / "cohort")
    return lambda *arguments: fistula_here("train", f"cohort={cohort}", *RUN, *arguments)


def record(tmp_path):
    return json.loads((tmp_path / "run" / "run.json").read_text())


def offline_logs(tmp_path):
    return [read_wandb(path) for path in sorted((tmp_path / "run").glob("wandb/offline-run-*/*.wandb"))]


def test_trackers_are_told_no_folder_and_no_host(train, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tracking` is not installed")
    assert train("logger=[wandb,csv,tensorboard]")[0] == 0  # of a cohort that is named by its whole path
    (log,) = offline_logs(tmp_path)
    assert (log["run"]["host"], log["config"]["cohort"]) == ("", "cohort")
    texts = [json.dumps(log), *(path.read_text() for path in (tmp_path / "run").glob("*/hparams.yaml"))]
    assert len(texts) == 3
    assert not [text for text in texts if str(tmp_path) in text]


@pytest.mark.slow
def test_a_wandb_run_is_known_by_the_fingerprint_so_that_a_resumed_one_continues_it(train, tmp_path):
    assert train()[0] == 0
    (tmp_path / "run" / "run.json").write_text(json.dumps(record(tmp_path) | {"state": "failed"}))
    assert train()[0] == 0
    ids = {log["run"]["id"] for log in offline_logs(tmp_path)}
    assert ids == {record(tmp_path)["fingerprint"][:16]}


def test_a_study_in_a_folder_of_its_own_is_known_to_wandb_by_that_folder(fistula_here, tmp_path):
    cohort = write_cohort(tmp_path / "cohort")
    sweep = ("hydra.sweep.dir=multirun/mine", "hydra/launcher=in_process", "seed=0,1")
    run = [text for text in RUN if not text.startswith("hydra")]
    code, _, error = fistula_here("train", "-m", f"cohort={cohort}", *run, *sweep)
    assert code == 0, error
    logs = [read_wandb(path) for path in tmp_path.glob("multirun/mine/*/wandb/offline-run-*/*.wandb")]
    assert {log["run"]["group"] for log in logs} == {"mine"}
    assert {log["run"]["name"][:6] for log in logs} == {"f0-s0-", "f0-s1-"}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a home is always named")
@pytest.mark.parametrize("home", [{}, {"HOME": "/dev/null/home"}], ids=["none", "one that cannot be written to"])
def test_wandb_needs_no_home_and_says_nothing_on_the_terminal(tmp_path, home):
    program = (
        "from fistula.home import give_matplotlib_a_folder\n"
        "give_matplotlib_a_folder()\n"  # as the command line does
        "from fistula.learning.tracking import wandb, wandb_logger\n"
        "wandb_logger(mode='offline', save_dir='.').experiment.log({'a': wandb.Table(columns=['b'], data=[[1]])})\n"
        "wandb.finish()\n"
    )
    homes = ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "HF_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in homes} | home
    settings = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", program], **settings)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_several_loggers_at_once_each_have_the_results(train, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tracking` is not installed")
    code, _, error = train("logger=[wandb,csv,tensorboard]")
    assert code == 0, error
    assert offline_logs(tmp_path)[0]["exit"] == 0
    auroc = record(tmp_path)["metrics"]["test"]["slice"]["auroc"]["value"]
    header, *rows = (tmp_path / "run" / "csv" / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("test/slice/auroc")
    assert [float(value) for row in rows if (value := row.split(",")[column])] == [auroc]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert events.Scalars("test/slice/auroc")[0].value == pytest.approx(auroc)


BEGINNERS = """
import os
from fistula.learning.tracking import mlflow_logger
begun = []
for number in range(3):
    if not (child := os.fork()):
        logger = mlflow_logger(tracking_uri="sqlite:///multirun/mlflow.db", experiment_name="mine")
        logger.log_metrics({"loss": 0.5}, step=number)
        os._exit(0 if logger.experiment_id else 1)
    begun.append(child)
print([os.waitpid(child, 0)[1] for child in begun])
"""


@pytest.mark.slow
def test_runs_that_begin_at_once_share_one_new_file_of_mlflow(tmp_path):
    pytest.importorskip("mlflow", reason="the extra `tracking` is not installed")
    done = subprocess.run([sys.executable, "-c", BEGINNERS], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "[0, 0, 0]\n", done.stdout + done.stderr
    with sqlite3.connect(tmp_path / "multirun" / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (3,)


@pytest.mark.slow
def test_a_server_of_mlflow_that_is_not_there_costs_a_run_seconds_and_one_line(train, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra `tracking` is not installed")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    code, shown, error = train("logger=mlflow", "logger.mlflow.tracking_uri=http://127.0.0.1:9")
    assert (code, error) == (0, "")
    (line,) = (line for line in shown.splitlines() if line.startswith("logger=mlflow"))
    assert line.startswith("logger=mlflow failed (API request to http://127.0.0.1:9/")
    assert "Retrying" not in shown


@pytest.mark.slow
def test_mlflow_keeps_everything_in_one_sqlite_file_of_the_folder_it_is_called_in(train, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra `tracking` is not installed")
    (tmp_path / "elsewhere").mkdir()
    with monkeypatch.context() as before:
        before.chdir(tmp_path / "elsewhere")
        mlflow_logger(tracking_uri="sqlite:///multirun/mlflow.db", experiment_name="another")
    code, _, error = train("logger=mlflow")
    assert code == 0, error
    with sqlite3.connect(tmp_path / "multirun" / "mlflow.db") as database:
        metrics = dict(database.execute("select key, value from metrics where key like 'test/%'").fetchall())
        names = database.execute("select name from runs").fetchall()
        kinds = "select name, value from experiments join experiment_tags using (experiment_id)"
        experiments = dict(database.execute(kinds).fetchall())
    assert metrics["test/slice/auroc"] == record(tmp_path)["metrics"]["test"]["slice"]["auroc"]["value"]
    assert names == [(short_name(record(tmp_path)["name"]),)]
    assert experiments == {tmp_path.name: "custom_model_development"}  # of the folder that the run's lies in


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        pytest.param("k" * 40, r"W&B: 127\.0\.0\.1 cannot be reached .* logged offline", id="no server"),
        pytest.param("", r"W&B: there is no key; `wandb login` asks for one\. .* logged offline", id="no key"),
    ],
)
def test_wandb_that_cannot_be_online_is_offline_and_said_once(train, tmp_path, monkeypatch, key, message):
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    code, shown, error = train("logger.wandb.mode=online")
    assert code == 0, error
    assert len(re.findall(message, shown)) == 1, shown
    assert offline_logs(tmp_path)[0]["exit"] == 0


@pytest.mark.slow
def test_a_tracker_that_is_killed_does_not_stop_the_run(fistula, tmp_path):
    """W&B's own process is killed as soon as it logs."""
    write_cohort(tmp_path / "cohort")
    killed, ended = [], threading.Event()

    def kill():
        while not killed and not ended.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = path.read_bytes()
                    inside = str(tmp_path) in os.readlink(path.with_name("cwd"))  # noqa: PTH115
                except OSError:
                    continue
                if b"wandb-core" in text and inside and list(tmp_path.glob("run/wandb/offline-run-*/*.wandb")):
                    os.kill(int(path.parent.name), signal.SIGKILL)
                    killed.append(path)
            time.sleep(0.05)

    thread = threading.Thread(target=kill)
    thread.start()
    done = fistula("train", "cohort=cohort", *RUN, "epochs=80")
    ended.set()
    thread.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert killed, done.stdout
    assert record(tmp_path)["state"] == "done"
    assert "logger=wandb failed" in done.stdout
