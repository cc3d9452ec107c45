"""`fistula COMMAND [overrides]`: one Hydra application per command."""

import difflib
import importlib
import os
import sys
from pathlib import Path

from fistula import __version__
from fistula.errors import ConfigError, FistulaError

COMMANDS = {
    "phantom": "write a synthetic cohort as DICOM files with their labels",
    "ingest": "turn DICOM or image files and a table of labels into a checked cohort",
    "train": "train one run, or with -m a study of many",
    "report": "compare the runs of a study on one page",
}

USAGE = """fistula {version}: from DICOM and a table of labels to a study that can be defended

usage: fistula COMMAND [key=value ...]

{commands}

`fistula COMMAND --help` shows a command's options, `--cfg job` its whole configuration.
FISTULA_DEBUG=1 shows the traceback behind an error."""


def main() -> None:
    """Run one command; exit with 2 (or the error's own code) after one line when the user can mend it."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        listing = "\n".join(f"  {name:<9} {text}" for name, text in COMMANDS.items())
        print(USAGE.format(version=__version__, commands=listing))
        return
    if arguments[0] == "--version":
        print(f"fistula {__version__}")
        return
    try:
        run_command(arguments[0], arguments[1:])
    except Exception as error:
        if os.environ.get("FISTULA_DEBUG"):
            raise
        known = _as_fistula_error(error)
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        sys.exit(known.exit_code)


def run_command(command: str, arguments: list[str]) -> None:
    """Hand `arguments` to the Hydra application `fistula.commands.COMMAND.run`."""
    if command not in COMMANDS:
        raise ConfigError(command, "is not a command", remedy=_suggest(command, list(COMMANDS)))
    # Hydra otherwise prints its own text and exits with 1; main() above speaks for both.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra  # here, because `fistula --help` must not wait for it

    sys.argv = [f"fistula {command}", *arguments]
    module = importlib.import_module(f"fistula.commands.{command}")
    hydra.main(config_path=str(config_folder()), config_name=command, version_base="1.3")(module.run)()


def config_folder() -> Path:
    """Where the configuration lies: in the installed package, or at the top of a checkout."""
    installed = Path(__file__).parent / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "conf"


def _as_fistula_error(error: BaseException) -> FistulaError | None:
    """Find the user's mistake behind an error of Hydra or OmegaConf; None if it is nobody's but ours."""
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, FistulaError):
            return cause
        cause = cause.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return ConfigError(
            f"{group}={option}", f"is not one of {', '.join(error.options)}", remedy=_suggest(option, error.options)
        )
    if isinstance(error, HydraException | OmegaConfBaseException):
        cause = error.__cause__ or error
        return ConfigError("configuration", str(error).split("\n")[0] + (f" ({cause})" if cause is not error else ""))
    return None


def _suggest(word: str, words: list[str]) -> str:
    near = difflib.get_close_matches(word, words, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else f"Choose from {', '.join(words)}"
