import argparse
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hydra.conf import HydraConf, RuntimeConf
from hydra.types import RunMode

from fistula import __version__, cli
from fistula.arguments import for_hydra, wrapped
from fistula.cli import run_command
from fistula.errors import ConfigError
from fistula.mistakes import mistake_behind
from fistula.sweep.engines.job import arguments_of


def test_help_lists_every_command(fistula):
    shown = fistula("--help")
    assert shown.returncode == 0
    assert all(f"  {command}" in shown.stdout for command in cli.COMMANDS)
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_help_fits_a_terminal_and_is_whole_in_a_pipe(fistula_here):
    shown = fistula_here("evaluate", "--help")[1]
    told = wrapped(shown, 80).splitlines()
    assert max(map(len, told)) <= 80 < max(map(len, shown.splitlines()))
    assert all(line.startswith("    # ") for line in told if line.startswith("    "))
    assert "".join(shown.split()) == "".join(word for line in told for word in line.removeprefix("    # ").split())


def test_help_imports_nothing_heavy():
    """Help answers in under half a second; what costs time is importing, so that is what is held to account."""
    code = "import sys; sys.argv = ['fistula']; from fistula.cli import main; main(); print(len(sys.modules))"
    code += "; print([name for name in ('torch', 'hydra', 'polars', 'numpy', 'pydicom') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


def test_a_mistyped_key_is_named_before_anything_heavy_is_imported():
    code = "import sys; sys.argv = ['fistula', 'predict', 'run=r', 'source=s', 'out=o', 'maps=1']"
    code += (
        "; from fistula.cli import main\ntry: main()\nfinally: print('torch' in sys.modules, 'polars' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (shown.returncode, shown.stdout) == (2, "False False\n")
    assert "maps: is not a key of `fistula predict`" in shown.stderr


def test_a_study_is_planned_without_lightning():
    code = "import sys, fistula.commands.train, fistula.sweep.launch"
    code += (
        "; print([name for name in ('lightning_fabric', 'pytorch_lightning', 'timm', 'wandb') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_a_command_starts_where_argparse_reads_every_help_text_as_python_3_14_does(fistula_here, monkeypatch):
    def add_argument(parser, *names, add=argparse.ArgumentParser.add_argument, **settings):
        action = add(parser, *names, **settings)
        parser._check_help(action)
        return action

    def expand(parser, action):
        parser._get_formatter()._expand_help(action)

    monkeypatch.setattr(argparse.ArgumentParser, "_check_help", expand, raising=False)
    monkeypatch.setattr(argparse.ArgumentParser, "add_argument", add_argument)
    code, shown, error = fistula_here("plan", "--help")
    assert code == 0, error
    assert "options (key=value)" in shown


def test_version(fistula):
    assert fistula("--version").stdout == f"fistula {__version__}\n"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_explains_itself(fistula_here, command):
    code, shown, error = fistula_here(command, "--help")
    assert code == 0, error
    assert shown.startswith(f"fistula {command}")
    assert "options (key=value)" in shown


@pytest.mark.parametrize(
    ("command", "line"),
    [
        pytest.param("explain", "tolerance_mm: 5.0 # distance from the opening within which a peak is a hit", id="key"),
        pytest.param("explain", "null: map if the run draws one, otherwise grad_cam", id="two lines"),
        pytest.param("ingest", "  level: slice # what each line labels", id="key in a group"),
        pytest.param("ingest", "keep: # default mdixon_water; or mr, all", id="option of a group"),
    ],
)
def test_help_says_what_each_key_means(fistula_here, command, line):
    assert line in fistula_here(command, "--help")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["trian"], "trian: is not a command. Did you mean train?", id="command"),
        pytest.param(["train", "cohort=x", "model=resnet43"], "Did you mean resnet34", id="option of a group"),
        pytest.param(
            ["train", "cohort=x", "epoch=3"], "epoch: is not a key of `fistula train`. Did you mean epochs?", id="key"
        ),
        pytest.param(["train", "cohort=x", "lr=0.1"], "Did you mean optimizer.lr?", id="key in a group"),
        pytest.param(["ingest", "lables.level=patient"], "Did you mean labels.level?", id="group of a key"),
        pytest.param(
            ["ingest", "spacing_mm=0,8"],
            "spacing_mm: must be one value, found 0,8. A decimal takes a point: spacing_mm=0.8",
            id="decimal comma",
        ),
        pytest.param(["ingest", "classes=no,yes"], 'A list needs brackets: "classes=[no,yes]"', id="list"),
        pytest.param(["ingest", "source\uff1dx"], "Write it with half-width signs: source=x", id="wide sign"),
        pytest.param(["ingest", "classes=\uff3ba,b\uff3d"], "half-width signs: classes=[a,b]", id="wide brackets"),
        pytest.param(["train", "cohort=x", "loss.alpha=3"], "loss.alpha: is not a key of", id="key of a group"),
        pytest.param(
            ["train", "-m", "cohort=x", "optimizer=adamw,sgd", "optimizer.momentum=0.9"],
            "optimizer.momentum: is a key of optimizer=sgd alone. Choose that, and give any other",
            id="key of another option",
        ),
        pytest.param(["train", "cohort=x", "epochs=1,2"], "are a sweep, and need -m", id="a sweep without -m"),
        pytest.param(["train", "cohort", "x"], "cohort: must be written as key=value", id="no equals sign"),
        pytest.param(["train", "--cohort=x"], "--cohort=x: must be written as key=value", id="as other programs do"),
        pytest.param(["doctor", "source=MR", "2024"], "2024: must be written as key=value. A value that", id="a space"),
        pytest.param(["train"], "cohort: must be given", id="a mandatory key"),
        pytest.param(["train", "-m", "study=quick"], "cohort: must be given", id="of a sweep"),
        pytest.param(["train", "cohort=x", "+seed=1"], "+seed: is a key already. Leave out the +: seed=1", id="plus"),
        pytest.param(["train", "+experiment=a"], "Leave out the +: experiment=a", id="plus before a group"),
        pytest.param(["train", "cohort=x", "+optimizer.lr=1"], "+optimizer.lr: is a key already.", id="plus inside"),
        pytest.param(["train", "cohort=x", "~model"], "~model: takes out what `fistula train` needs", id="tilde"),
        pytest.param(["train", "cohort=x", "~modle"], "modle: is not a key of `fistula train`. Did you", id="nothing"),
        pytest.param(["train", "~model.options"], "or holds no value that could be taken out", id="nothing there"),
        pytest.param(["train", "-cp", "mine", "cohort=x"], "files of your own by --config-dir", id="instead of ours"),
        pytest.param(
            ["train", "-m", "cohort=x", "optimizer.lr=interval(0.1,1)"], "with hydra/sweeper=search", id="interval"
        ),
        pytest.param(["train", "-m", "cohort=x", "seed=range(0,0)"], "seed=range(0,0): names no value", id="no run"),
        pytest.param(["train", "cohort=x", "epochs=${nope}"], "epochs: Interpolation key 'nope' not", id="nowhere"),
        pytest.param(
            ["train", "cohort=x", "epochs=${nope:3}"], "epochs: Unsupported interpolation type nope", id="no resolver"
        ),
        pytest.param(
            ["train", "cohort=x", "hydra.run.dir=/dev/null/run"], "/dev/null/run: cannot be used (Not a", id="no folder"
        ),
        pytest.param(
            ["train", "cohort=x", "hydra.run.dir=/dev/null"], "/dev/null: cannot be made a folder (File", id="a file"
        ),
        pytest.param(["predict", "-m", "run=a,b"], "-m: is only for `fistula train`", id="no sweep"),
    ],
)
def test_a_misspelling_is_one_line_and_exit_code_2(fistula_here, tmp_path, arguments, message):
    code, _, error = fistula_here(*arguments)
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1, error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["MR (2024)", "Müller_影像", "O'Brien", "a=b", "x,y", "MR [1]", "end\\", "#1 & {2}"])
def test_a_folder_may_have_any_name(fistula_here, name):
    code, _, error = fistula_here("doctor", f"source={name}")
    assert (code, error) == (2, f"error: source={name}: does not exist. Name the folder that holds the images\n")


def test_what_a_terminal_cannot_show_is_spelt_out_and_stops_nothing(fistula, dicom_tree):
    (dicom_tree[0] / "P0").rename(dicom_tree[0] / "患者")
    shown = fistula("doctor", f"source={dicom_tree[0]}", "workers.count=1", PYTHONIOENCODING="ascii")
    assert (shown.returncode, "Traceback" in shown.stderr) == (0, False)


def test_hydras_options_may_stand_anywhere_and_words_in_any_script_need_no_quotes():
    typed = ["cohort=c", "-m", "seed=0,1", "--config-dir", "mine", "epochs=2", "--cfg", "job"]
    expected = ["-m", "--config-dir", "mine", "--cfg", "job", "cohort=c", "seed=0,1", "epochs=2"]
    assert for_hydra("train", typed, ["cohort", "seed", "epochs"]) == expected
    assert for_hydra("ingest", ["classes=[正常,肛瘘]"], ["classes"]) == ["classes=['正常','肛瘘']"]
    # As a report ends, where runs are named by what they change.
    assert for_hydra("predict", ["only=*-fold*-head=locate"], ["only"]) == ["only='*-fold*-head=locate'"]
    assert for_hydra("who", ["key=15983e01"], ["key"]) == ["key='15983e01'"]
    assert for_hydra("predict", ["finding.value=4147007"], []) == ["finding.value='4147007'"]
    assert for_hydra("predict", ["send=-1", "archive.ca_file=1"], []) == ["send='-1'", "archive.ca_file='1'"]
    assert for_hydra("ingest", ["classes=['正常',a]"], ["classes"]) == ["classes=['正常',a]"]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["cohort=c", "--multi-run"], "--multi-run: is not an option of `fistula train`. Did you mean --multirun"),
        (["cohort=c", "-M", "seed=0,1"], "-M: is not an option of `fistula train`. Did you mean -m"),
        (["cohort=c", "\u2014m"], "\u2014m: is not an option of `fistula train`. Did you mean -m"),
        (["cohort=c", "\u2013\u2013multirun"], "is not an option of `fistula train`. Did you mean --multirun"),
        (["--", "-m"], "--: is not an option"),
        (["cohort=c", "--cfg"], "--cfg: needs a value"),
        (["--config-dir", "cohort=c"], "--config-dir: needs a value"),
        (["--multirun=true"], "--multirun=true: takes no value. Write --multirun"),
        (["--cfg", "jobs"], "--cfg: must be one of job, hydra, all, found jobs"),
        (["--seed", "3"], "--seed: must be written as key=value. For example seed=VALUE"),
        (["-m", "hydra.mode=RUN"], "hydra.mode=RUN: is said by -m"),
        (["cohort=c", "++hydra.mode=MULTIRUN"], "A sweep is fistula train -m"),
        (["\u2014seed=3"], "\u2014seed=3: must be written as key=value. For example seed=VALUE"),
    ],
)
def test_what_looks_like_an_option_and_is_none_is_refused_by_name(typed, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        for_hydra("train", typed, ["cohort", "seed"])


def test_only_train_sweeps():
    for command in ("ingest", "doctor", "predict", "report", "label"):
        with pytest.raises(ConfigError, match="-m: is only for `fistula train`"):
            for_hydra(command, ["source=a", "-m"], ["source"])
    with pytest.raises(ConfigError, match=r"-m: is not a command\. Write it after: fistula train -m"):
        run_command("-m", ["train"])


def test_a_word_that_hydra_cannot_parse_is_refused_by_name(fistula_here):
    code, _, error = fistula_here("doctor", "source=x", "negatives=rest (all")
    assert (code, error.count("\n")) == (2, 1)
    assert "negatives=rest (all: cannot be read as key=value. A value with brackets" in error


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("classes=[正常,肛瘘]", ["正常", "肛瘘"]),
        ("classes=['正常','肛瘘']", ["正常", "肛瘘"]),
        ('classes=["正常", "肛瘘"]', ["正常", "肛瘘"]),
        ("classes=['正常',肛瘘]", ["正常", "肛瘘"]),
        ("classes=['a, b',c]", ["a, b", "c"]),
        ("classes=[ 正常 , 肛瘘 ]", ["正常", "肛瘘"]),
        ("classes=[negativ,präsent]", ["negativ", "präsent"]),
        ("classes=[sain,présence d'abcès]", ["sain", "présence d'abcès"]),
        ("classes=[no fistula (0),fistula (1)]", ["no fistula (0)", "fistula (1)"]),
        ("classes=[正常\uff08阴性\uff09,肛瘘\uff08阳性\uff09]", ["正常\uff08阴性\uff09", "肛瘘\uff08阳性\uff09"]),
        ("classes=[<1 cm,≥1 cm]", ["<1 cm", "≥1 cm"]),
        ("classes=[n/a,50%,#3]", ["n/a", "50%", "#3"]),
        ("classes=[a=b,c:d]", ["a=b", "c:d"]),
        ("labels=[标签1.csv,标签 (2).csv]", ["标签1.csv", "标签 (2).csv"]),
        ("labels=[C:\\tables\\a.csv,b.csv]", ["C:\\tables\\a.csv", "b.csv"]),
        ("labels.segment=[脓肿,瘘管*]", ["脓肿", "瘘管*"]),
        ("labels.covariates=[年龄,CRP (mg/l)]", ["年龄", "CRP (mg/l)"]),
    ],
)
def test_names_in_a_list_are_taken_as_they_are_typed(typed, names):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (word,) = for_hydra("ingest", [typed], [])
    assert list(map(str, OverridesParser.create().parse_override(word).value())) == names


def test_a_tilde_that_the_shell_has_left_is_the_home_folder(fistula_here, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"source={tmp_path}/nowhere: does not exist" in fistula_here("doctor", "source=~/nowhere")[2]


def test_debug_shows_the_traceback(fistula):
    shown = fistula("trian", FISTULA_DEBUG="1")
    assert "Traceback" in shown.stderr


def test_a_reader_that_has_seen_enough_is_told_nothing_more():
    """`fistula train --help | head -1`, with a pipe that is closed before anything is said."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "fistula.cli", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_setting_that_lightning_refuses_once_it_trains_is_one_line():
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    error = MisconfigurationException("You requested 0.1 of 2 batches. Please increase it.")
    found = mistake_behind(error, "train", keys=[], folder=Path())
    assert str(found) == "trainer: cannot be used as it is set, found You requested 0.1 of 2 batches"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_that_a_full_disk_does_not_take_is_one_line(tmp_path, with_a_full_disk, kind):
    table, path = pl.DataFrame({"one": range(1000)}), tmp_path / "table"
    # As text, for the oldest Polars says nothing of a short file that the disk does not take.
    write = table.write_parquet if kind == "parquet" else lambda path: path.write_text(table.write_csv())
    with pytest.raises((OSError, pl.exceptions.ComputeError)) as caught:
        with_a_full_disk(100, write, path)
    found = mistake_behind(caught.value, "predict", keys=[], folder=Path())
    assert "cannot be written (File too large). Free some space" in str(found)


def test_no_table_is_written_as_csv_by_polars_itself():
    """The oldest one that is allowed says nothing of a full disk."""
    written = re.compile(r"\.write_csv\((?!\)|include_header|text\))")
    package = Path(cli.__file__).parent
    assert not [str(path) for path in package.rglob("*.py") if written.search(path.read_text("utf-8"))]


def test_letters_that_python_was_told_not_to_read_are_refused(fistula):
    told = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    done = fistula("ingest", "source=tree", "classes=[normal,Fístel]", **told)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("where only ASCII is set. Unset PYTHONUTF8, or set LC_ALL=C.UTF-8\n")


def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setattr(cli, "_main", lambda arguments: None)
    for command, told, expected in (
        ("train", None, "PASSIVE"),
        ("train", "ACTIVE", "ACTIVE"),
        ("serve", None, None),
        ("serve", "PASSIVE", "PASSIVE"),
    ):
        monkeypatch.setattr(sys, "argv", ["fistula", command])
        monkeypatch.setenv("OMP_WAIT_POLICY", told or "")
        if told is None:
            monkeypatch.delenv("OMP_WAIT_POLICY")
        cli.main()
        assert os.environ.get("OMP_WAIT_POLICY") == expected


@pytest.mark.parametrize(
    ("arguments", "started"),
    [
        (("ingest", "source=nowhere"), ["ingest"]),
        (("ingest", "--help"), []),
        (("train", "-m", "cohort=nowhere"), ["train"]),
        (("train", "cohort=nowhere"), []),
    ],
)
def test_processes_are_started_ahead_where_there_will_be_some(fistula_here, monkeypatch, arguments, started):
    found = []
    monkeypatch.setattr("fistula.ahead.start_ahead", found.append)
    fistula_here(*arguments)
    assert found == started


def test_a_run_of_a_sweep_in_a_process_of_its_own_starts_none(fistula_here, monkeypatch):
    found = []
    monkeypatch.setattr("fistula.ahead.start_ahead", found.append)
    arguments = arguments_of(
        HydraConf(mode=RunMode.MULTIRUN, runtime=RuntimeConf(config_sources=[])), ["cohort=nowhere"]
    )
    assert "--multirun" in arguments
    fistula_here(*arguments)
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        pytest.param('exec("os.kill(os.getpid(), signal.SIGINT)")', id="while a string is executed"),
        pytest.param("try: os.kill(os.getpid(), signal.SIGINT)\n finally: raise ImportError", id="in an import"),
    ],
)
def test_ctrl_c_has_one_exit_code_wherever_it_comes(tmp_path, line):
    """A module that is run would end by the signal in the first case, in the second by the error that follows."""
    (tmp_path / "program.py").write_text(f"""
import os, signal, sys
from fistula import cli
def interrupted(*_):
 {line}
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a script's background ignores
cli.run_command = interrupted
sys.argv = ["fistula", "doctor"]
cli.main()
""")
    done = subprocess.run([sys.executable, "-m", "program"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, "interrupted\n")


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "interrupted\n"), (signal.SIGTERM, "")])
def test_a_signal_ends_a_command_though_a_library_makes_another_error_of_it(tmp_path, number, said):
    """Hydra would say that a job had failed, before the command says that it was interrupted."""
    (tmp_path / "program.py").write_text(f"""
import os, signal, sys
from fistula import cli
from fistula.commands import doctor
def stopped(cfg):
 try: os.kill(os.getpid(), {number:d})
 finally: raise ImportError
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a script's background ignores
doctor.run = stopped
sys.argv = ["fistula", "doctor", "source=."]
cli.main()
""")
    done = subprocess.run([sys.executable, "-m", "program"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + number, said)


@pytest.mark.parametrize("is_ignored", [False, True], ids=["a terminal is closed", "under nohup"])
def test_what_was_begun_is_taken_back_where_the_terminal_is_closed(tmp_path, is_ignored):
    (tmp_path / "program.py").write_text(f"""
import os, signal, sys
from pathlib import Path
from fistula import cli
from fistula.folder import whole_folder
def closed(*_):
    with whole_folder(Path("out")):
        os.kill(os.getpid(), signal.SIGHUP)
signal.signal(signal.SIGHUP, signal.SIG_IGN if {is_ignored} else signal.SIG_DFL)  # whatever these tests run under
cli.run_command = closed
sys.argv = ["fistula", "predict"]
cli.main()
""")
    done = subprocess.run([sys.executable, "-m", "program"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0 if is_ignored else 128 + signal.SIGTERM, "")
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"program.py", *["out"] * is_ignored}
