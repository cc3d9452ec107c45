"""`fistula COMMAND [overrides]`: one Hydra application per command."""

import argparse
import contextlib
import functools
import importlib
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import fistula.sparing  # noqa: F401 - before anything else is imported
from fistula import __version__
from fistula.arguments import RENAMED, SWEEPS, for_hydra, refuse_unreadable, suggest, with_comments, wrapped
from fistula.errors import ConfigError, printable
from fistula.folder import remove_while_empty
from fistula.home import give_matplotlib_a_folder
from fistula.mistakes import mistake_behind

if TYPE_CHECKING:  # `fistula --help` must not wait for the import
    from omegaconf import DictConfig

# Hydra takes plugins from a top-level `hydra_plugins` alone, which several packages share: ours lie in this folder.
sys.path.append(str(Path(__file__).parent / "plugins"))

COMMANDS = {
    "phantom": "write a synthetic cohort as DICOM files, with labels",
    "plan": "estimate how many patients a study needs, in words for its protocol",
    "doctor": "list what a folder holds, what would be kept or refused, and why",
    "label": "write pages for labeling slices in a browser, without a server",
    "agree": "measure agreement of readers, list disagreements, make a consensus",
    "ingest": "turn images and a table of labels into a checked cohort",
    "train": "train one run, or with -m a study of many",
    "preview": "show what an augmentation does to slices of a cohort",
    "weights": "bring pretrained weights to an offline machine: pull, list, verify",
    "status": "show the progress of a study",
    "who": "trace a pseudonym back to patient and image, on this machine",
    "evaluate": "score a labeled external cohort, for the study's report",
    "report": "compare the runs of a study on one page",
    "predict": "score new images with a run or a study",
    "serve": "score uploaded images, on this machine",
    "explain": "measure whether a run's saliency maps point at the findings",
    "export": "write the network of a run as ONNX or TorchScript, with its card",
}

# Groups whose values may be of several kinds: what albumentations takes. `train` has more of them and checks itself.
FREE = {"preview": ("augmentation",)}

ONE_RUN = "hydra/launcher=in_process"  # of a sweep, in a process of its own

USAGE = """fistula {version}: from DICOM and a table of labels to a defensible study

usage: fistula COMMAND [key=value ...]

{commands}

`fistula COMMAND --help` shows a command's options, and `--cfg job` its whole
configuration.
FISTULA_DEBUG=1 shows the traceback behind an error."""


def main() -> None:
    """Run one command; exit with 2 (or the error's own code) after one line when the user can mend it."""
    os.umask(os.umask(0) | 0o007)  # what is written names or shows patients: for its owner and group alone
    # Before any library reads it: threads that wait without sleeping take the cores of whatever else runs, and two runs
    # on one machine are several times slower than in turn. Of a service, in short pieces, sleep would take a quarter.
    if sys.argv[1:2] != ["serve"]:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # several processes warn of what is meant to be so
    give_matplotlib_a_folder()
    if sys.argv[1:2] not in (["train"], ["serve"]):  # which end by themselves
        signal.signal(signal.SIGTERM, _end)
    # Of a terminal that is closed, which `nohup` lets a command ignore.
    if os.name == "posix" and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as in a script's background
        signal.signal(signal.SIGINT, _interrupt)
    _Interrupt.by = None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a class in Chinese, or °, where only ASCII or Latin can be written
            stream.reconfigure(errors="backslashreplace")
    try:
        _main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # `fistula train --help | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        listing = "\n".join(f"  {name:<9} {text}" for name, text in COMMANDS.items())
        print(USAGE.format(version=__version__, commands=listing))
        return
    if arguments[0] == "--version":
        print(f"fistula {__version__}")
        return
    try:
        refuse_unreadable(arguments)
        run_command(arguments[0], arguments[1:])
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, Exception) as error:
        if not (isinstance(error, KeyboardInterrupt) or _Interrupt.by):
            _exit(error, command=arguments[0])
        if _Interrupt.by != signal.SIGTERM:
            print(f"interrupted{': the same command resumes it' if arguments[0] == 'train' else ''}", file=sys.stderr)
        sys.exit(128 + (_Interrupt.by or signal.SIGINT))


def run_command(command: str, arguments: list[str]) -> None:
    """Hand `arguments` to the Hydra application `fistula.commands.COMMAND.run`."""
    if command not in COMMANDS:
        is_option = command.startswith("-") and arguments and arguments[0] in COMMANDS
        remedy = f"Write it after: fistula {arguments[0]} {command}" if is_option else suggest(command, list(COMMANDS))
        raise ConfigError(command, "is not a command", remedy=remedy)
    is_help = not {"--help", "-h"}.isdisjoint(arguments)
    is_sweep = command == "train" and not set(SWEEPS).isdisjoint(arguments) and ONE_RUN not in arguments
    if not is_help and command in ("ingest", "train"):
        from fistula.ahead import forget_ranks, keep_freed_memory, start_ahead

        forget_ranks()
        keep_freed_memory()
        if command == "ingest" or is_sweep:
            start_ahead(command)
    # Hydra otherwise prints its own text and exits with 1; main() above speaks for both.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra  # here, because `fistula --help` must not wait for it

    from fistula.values import compose_once, refuse_other_options

    # From Python 3.14 on, argparse reads every help text at once; that of Hydra's --shell-completion is no string.
    if hasattr(argparse.ArgumentParser, "_check_help"):
        argparse.ArgumentParser._check_help = lambda *_: None
    compose_once(frozenset(COMMANDS.keys() - {"train"}))
    arguments = for_hydra(command, arguments, keys_of(command))
    for argument in arguments:
        group = config_folder() / argument.partition("=")[0]
        if "=" in argument and group.is_dir():
            options = (path.relative_to(group).with_suffix("").as_posix() for path in group.rglob("*.yaml"))
            refuse_other_options(argument, sorted(options))
    sys.argv = [f"fistula {command}", *arguments]
    if command == "train" and not is_help:  # its configuration calls what names runs
        importlib.import_module("fistula.sweep.folder.run").register_run_name()
    task = _named(command)
    start = hydra.main(config_path=str(config_folder()), config_name=command, version_base="1.3")(_speaking(task))
    if not is_help:
        start()
        return
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            start()
    finally:
        text = with_comments(shown.getvalue(), config_folder() / f"{command}.yaml")
        if text and sys.stdout.isatty():  # what is piped or kept has a line for each option
            text = f"{wrapped(text, shutil.get_terminal_size().columns)}\n"
        print(text, end="")


class _Interrupt(KeyboardInterrupt):
    """Ctrl-C; not of Python's own class, which ends a process by the signal if a string is executed when it comes."""

    by: int | None = None  # the signal that has come, also where a library has made another error of it


def _interrupt(number: int, frame: object) -> NoReturn:
    _Interrupt.by = number
    raise _Interrupt


def _end(number: int, frame: object) -> NoReturn:
    """End as an interrupted command does: what was begun is removed, and no process that it started goes on."""
    _Interrupt.by = number
    sys.exit(128 + number)


def _named(command: str) -> Callable[["DictConfig"], None]:
    """A command as Hydra needs it; neither its help nor what is wrong with its keys waits for what it imports."""

    def run(cfg: "DictConfig") -> None:
        importlib.import_module(f"fistula.commands.{command}").run(cfg)

    run.__module__ = f"fistula.commands.{command}"
    return run


def keys_of(command: str) -> list[str]:
    """The keys at the top of a command's configuration, and its groups, as they are typed."""
    from omegaconf import OmegaConf

    if command not in COMMANDS:
        return []
    cfg: Any = OmegaConf.load(config_folder() / f"{command}.yaml")
    groups = [name for entry in cfg.defaults if not isinstance(entry, str) for name in entry]
    typed = {key: name for name, key in RENAMED.get(command, {}).items()}
    names = (str(name).removeprefix("override ").lstrip("/").partition("@")[0] for name in [*groups, *cfg])
    return sorted({typed.get(name, name) for name in names} - {"defaults", "hydra"})


def config_folder() -> Path:
    """Where the configuration lies: in the installed package, or at the top of a checkout."""
    installed = Path(__file__).parent / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "conf"


def _speaking(task: Callable[["DictConfig"], None]) -> Callable[["DictConfig"], None]:
    """Let a single run end with its own line alone; in a sweep Hydra has to see the error, to go on with the others."""

    @functools.wraps(task)
    def run(cfg: "DictConfig") -> None:
        from hydra.core.hydra_config import HydraConfig

        from fistula.values import refuse_missing, refuse_other_kinds

        command = task.__module__.rpartition(".")[2]
        try:
            if command != "train":
                refuse_other_kinds(cfg, typed=RENAMED.get(command, {}), free=FREE.get(command, ()))
            refuse_missing(cfg)
            task(cfg)
        except BrokenPipeError:
            raise
        except Exception as error:
            if command == "train":  # for whose run Hydra has made a folder
                remove_while_empty(Path(HydraConfig.get().runtime.output_dir))
            if _Interrupt.by:  # of an error Hydra would say that a job has failed, and a sweep would go on
                raise _Interrupt from error
            if "MULTIRUN" in str(HydraConfig.get().mode):
                raise
            _exit(error, command=command)

    return run


def _exit(error: Exception, *, command: str) -> None:
    """Leave with one line and the error's exit code; an error that is nobody's but ours keeps its traceback."""
    known = mistake_behind(error, command, keys=keys_of(command), folder=config_folder())
    if known is None or os.environ.get("FISTULA_DEBUG"):
        raise error
    print(f"error: {printable(known)}", file=sys.stderr)
    sys.exit(known.exit_code)


if __name__ == "__main__":
    main()
