"""The user's mistake behind an error of a library: one line that says where."""

import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from fistula.arguments import suggest
from fistula.errors import ConfigError, DataError, FistulaError

# Packages that are not always installed, by the name that is imported, and the extra that brings each.
EXTRAS = (
    dict.fromkeys(("ray", "submitit"), "cluster")
    | dict.fromkeys(("dicomweb_client", "highdicom", "pynetdicom"), "dicom")
    | dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "onnx")
    | {"optuna": "optuna"}
    | dict.fromkeys(("fastapi", "markdown_it", "uvicorn"), "serve")
    | dict.fromkeys(("mlflow", "tensorboard", "wandb_workspaces"), "tracking")
)

UNKNOWN_KEY = re.compile(r"Could not override '([^']+)'")  # what Hydra says of a misspelt key
THERE = re.compile(r"Could not append .*'([^']+)'")  # with a +, one that is there
NOT_THERE = re.compile(r"Could not delete (?:from config\. )?'([^'=]+)")  # with a ~, one that is not
SEVERAL = re.compile(r"Ambiguous value for argument '(?P<key>[^=]+)=(?P<value>.*)'\n")  # with commas, in one run
REFUSED = re.compile(r"Error merging override (?P<key>[^=]+)=(?P<value>.*)")  # one that Hydra declares the kind of
UNRESOLVED = re.compile(r"(?:Interpolation key '|Unsupported interpolation type )([\w.]+)")  # a key that is not there
# By what else Hydra says.
REMEDIES = {
    "rimary config": "Name a folder with files of your own by --config-dir",
    "HydraConfig was not set": "Within hydra, write ${hydra.KEY} instead of ${hydra:KEY}",
    "INTERVAL_SWEEP": "Name the values, or search with hydra/sweeper=search",
}
# What a disk answers that is full or closed to the user.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
# What it answers where a path cannot be one, or ends at something else than it has to.
PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)
OS_ERROR = re.compile(r"\(os error (\d+)\)")  # Polars, safetensors


def _system_error(error: BaseException) -> int:
    """The operating system's number of an error; 0 if it has none. Libraries in Rust have it in their text alone."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = OS_ERROR.search(str(error))
    return int(found[1]) if found else 0


def mistake_behind(error: BaseException, command: str, *, keys: Sequence[str], folder: Path) -> FistulaError | None:
    """The user's mistake behind an error of Hydra, OmegaConf or the system; None if it is nobody's but ours.

    Of a command with these `keys`, as they are typed; `folder` is that of the configuration.
    """
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
    from yaml import YAMLError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, FistulaError):
            return cause
        if isinstance(cause, ImportError) and (missing := _missing_extra(cause)):
            remedy = f"pip install 'fistula[{EXTRAS[missing]}]'"
            return ConfigError(f"fistula {command}", f"needs {missing}, which is not installed", remedy=remedy)
        if isinstance(cause, YAMLError | UnicodeDecodeError) and (unreadable := _unreadable(cause)):
            return unreadable
        if _is_lightnings(cause):
            return ConfigError("trainer", "cannot be used as it is set", found=str(cause).strip().split(". ")[0])
        if (number := _system_error(cause)) in DISK:
            remedy = "Free some space, or name a place that can be written to"
            where = getattr(cause, "filename", None) or "disk"
            return DataError(where, f"cannot be written ({os.strerror(number)})", remedy=remedy)
        if number in PATH:
            return ConfigError(getattr(cause, "filename", None) or "path", f"cannot be used ({os.strerror(number)})")
        cause = cause.__cause__
    remedy = f"`fistula {command} --help` lists the keys and groups"
    remedy = next((better for said, better in REMEDIES.items() if said in str(error)), remedy)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        rule = f"is not one of {', '.join(error.options)}"
        return ConfigError(f"{group}={option}", rule, remedy=suggest(option, error.options))
    if isinstance(error, MissingMandatoryValue):
        return ConfigError((error.full_key or "configuration").removesuffix("_folder"), "must be given", remedy=remedy)
    if isinstance(error, HydraException) and (there := THERE.search(str(error).split("\n")[0])):
        return ConfigError(f"+{there[1]}", "is a key already", remedy=f"Leave out the +: {there[1]}=VALUE")
    if isinstance(error, HydraException) and (unknown := UNKNOWN_KEY.match(str(error)) or NOT_THERE.match(str(error))):
        key, known = unknown[1], [one for one in keys if one != "hydra/job_logging"]  # which nobody types
        top = key.partition(".")[0]
        rule = f"is not a key of `fistula {command}`"
        if top in known and not UNKNOWN_KEY.match(str(error)):
            rule += ", or holds no value that could be taken out"
        stated = re.compile(rf"^{re.escape(key)}:", re.MULTILINE)
        groups = {path.parent.name for path in folder.glob("*/*.yaml") if stated.search(path.read_text("utf-8"))}
        group, _, own = key.partition(".")
        stated = re.compile(rf"^{re.escape(own)}:", re.MULTILINE)
        options = sorted(path.stem for path in folder.glob(f"{group}/*.yaml") if stated.search(path.read_text("utf-8")))
        if own and options and UNKNOWN_KEY.match(str(error)):
            rule = f"is a key of {' and '.join(f'{group}={name}' for name in options)} alone"
            remedy = f"Choose that, and give any other {group} a command of its own"
            return ConfigError(key, rule, remedy=remedy)
        inside = sorted(groups & set(known))
        if inside:
            return ConfigError(key, rule, remedy=f"Did you mean {' or '.join(f'{group}.{key}' for group in inside)}?")
        if top != key and top not in known and (near := get_close_matches(top, known, n=1)):
            return ConfigError(key, rule, remedy=f"Did you mean {near[0]}{key.removeprefix(top)}?")
        return ConfigError(key, rule, remedy=suggest(top, known) if top not in known else remedy)
    if isinstance(error, HydraException) and (refused := REFUSED.match(str(error).split("\n")[0])):
        why = str(error.__cause__ or error).split("\n")[0].rstrip(".")
        return ConfigError(refused["key"], f"cannot be {refused['value']} ({why})", remedy=remedy)
    if isinstance(error, OverrideParseException):
        remedy = "A value with brackets, colons, quotes or the like needs its own quotes, as in \"key='VALUE'\""
        return ConfigError(error.override, "cannot be read as key=value", remedy=remedy)
    if isinstance(error, HydraException | OmegaConfBaseException):
        if several := SEVERAL.search(str(error)):
            return _several_values(several["key"], several["value"], command)
        first, why = (str(e).split("\n")[0].rstrip(".") for e in (error, error.__cause__ or error))
        where = getattr(error, "full_key", None) or "configuration"
        if unresolved := UNRESOLVED.search(first):  # found where it is read first, which may be a name made of others
            typed = (word for word in sys.argv if f"${{{unresolved[1]}" in word)
            where = next(typed, where).partition("=")[0]
        return ConfigError(where, first if why in first else f"{first} ({why})", remedy=remedy)
    if _is_hydras(error):
        if isinstance(error, OSError) and error.filename:
            remedy = "Name another one by hydra.run.dir, or by hydra.sweep.dir with -m"
            return ConfigError(error.filename, f"cannot be made a folder ({error.strerror})", remedy=remedy)
        found = f"{type(error).__name__} {error}".strip().split("\n")[0]
        return ConfigError("configuration", "has a setting under hydra that Hydra cannot use", found=found)
    return None


def _unreadable(error: Exception) -> FistulaError | None:
    """What is wrong with a file of the configuration, and in which line; None if the file is none of these."""
    read = [frame.f_locals.get("full_path") for frame, _ in traceback.walk_tb(error.__traceback__)]
    path = next((one for one in reversed(read) if one), None)
    if path is None or not str(path).endswith(".yaml"):
        return None
    if isinstance(error, UnicodeDecodeError):
        return ConfigError(path, "must be a text in UTF-8", found=f"a byte {error.object[error.start]:#x}")
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
    return ConfigError(
        f"{path}, line {mark.line + 1}" if mark else path,
        "is not YAML",
        found=problem.split("\n")[0].removeprefix("found "),
    )


def _several_values(key: str, value: str, command: str) -> ConfigError:
    """A decimal comma, a list without its brackets, or a sweep that was not asked for."""
    if re.fullmatch(r"\d+,\d+", value):
        remedy = f"A decimal takes a point: {key}={value.replace(',', '.')}"
    else:
        remedy = f'A list needs brackets: "{key}=[{value}]"'
    sweep = "; several values are a sweep, and need -m" if command == "train" else ""
    return ConfigError(key, "must be one value", found=value, remedy=remedy + sweep)


def _is_hydras(error: BaseException) -> bool:
    """Whether Hydra has raised it by itself, or what it has called of Python's: of our own rooms none is behind it."""
    import hydra
    import omegaconf

    theirs = [Path(str(module.__file__)).parent for module in (hydra, omegaconf)]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        folders = Path(frame.filename).parents
        if Path(__file__).parent in folders or any(folder in folders for folder in theirs):
            return Path(__file__).parent not in folders
    return False


def _is_lightnings(error: BaseException) -> bool:
    """Whether Lightning refuses what it was told: by its own kind of error, which only `train` has imported, or not."""
    frames = traceback.extract_tb(error.__traceback__)
    raised_there = bool(frames) and "pytorch_lightning" in Path(frames[-1].filename).parts
    return type(error).__name__ == "MisconfigurationException" or (isinstance(error, ValueError) and raised_there)


def _missing_extra(error: ImportError) -> str | None:
    """Name the package of an extra that could not be imported; Lightning says it in its message alone."""
    return next((word for word in re.findall(r"\w+", error.name or str(error)) if word in EXTRAS), None)
