"""A run's folder: what the run is, and what has become of it."""

import hashlib
import json
import os
import re
import socket
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fistula.errors import ConfigError, DataError
from fistula.folder import name_once, partial_beside, write_whole

RECORD = "run.json"
LONGEST_NAME = 200  # bytes, of the 255 that file systems take: other programs put words of their own after it
LOG = "log.txt"  # what the run's process said, in a sweep
FAILURE = ("error", "error_kind", "traceback", "log_tail", "failed_at")
# What may differ between two trainings that are the same run: where things lie, what is checked, what is logged.
NOT_IDENTITY = ("cohort", "audit", "output_dir", "logger", "num_workers", "study_name", "run_name")

RUN_NAME = re.compile(r"(.+?)-(\w+-e\d+-.+?)-fold(\d+)-seed(\d+)-?(.*)")

# What tells the runs of one configuration apart, among the keys of a run's identity.
WITHIN = ("seed", "augmentation.seed", "expansion.seed", "split.fold", "logger.name")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, and the identity it was opened with."""

    path: Path
    identity: dict[str, Any]  # everything that decides the run's result, as plain JSON values by dotted key

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the identity."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    @property
    def is_done(self) -> bool:
        """Whether this very run has finished here."""
        return self.record().get("state") == "done"

    def record(self) -> dict[str, Any]:
        """What `run.json` holds; empty where there is none yet.

        Raises:
            DataError: If the file is there but is not JSON.
        """
        return read_record(self.path) if (self.path / RECORD).exists() else {}

    def check(self) -> None:
        """Refuse a folder that holds anything but this run, in any state.

        Raises:
            ConfigError: If it holds another run, naming the keys that differ, or something else.
        """
        where, remedy = f"hydra.run.dir={self.path}", "Name another folder or remove this one"
        record = self.record()
        if record and record.get("fingerprint") != self.fingerprint:
            there = record.get("identity", {})
            differing = [
                f"{key}: {there.get(key)!r} there, {self.identity.get(key)!r} now"
                for key in sorted(there.keys() | self.identity.keys())
                if there.get(key) != self.identity.get(key)
            ]
            raise ConfigError(where, "already holds another run", found="; ".join(differing), remedy=remedy)
        # A certificate stays behind where a leak has stopped the run; the others come before the record.
        ours = ("audit-*.json", ".owners", LOG, ".*.partial")
        others = [path for path in self.path.glob("*") if not any(path.match(pattern) for pattern in ours)]
        if not record and others:
            raise ConfigError(where, "already exists and is not a run", remedy=remedy)

    def queue(self) -> None:
        """Announce the run, unless another process has done so, or more, in the meantime."""
        self.path.mkdir(parents=True, exist_ok=True)
        # It may have been announced already; or have begun and ended, and its owner has tidied up.
        with partial_beside(self.path / RECORD) as draft, suppress(FileExistsError, FileNotFoundError):
            draft.write_text(self._content({}, "queued", {}))
            name_once(draft, self.path / RECORD)

    def write(self, state: str, **facts: Any) -> None:
        """Set the run's state and add facts to its record; what an earlier failure left there is forgotten."""
        kept = {key: value for key, value in self.record().items() if key not in FAILURE}
        write_whole(self.path / RECORD, self._content(kept, state, facts))

    def start(self, **facts: Any) -> None:
        """Set the state to running, on this machine and in this process."""
        self.write("running", host=socket.gethostname(), pid=os.getpid(), **facts)

    def fail(self, error: BaseException) -> None:
        """Record why the run stopped, and the end of its log where it has one."""
        lines = "".join(traceback.format_exception(error)).splitlines()[-20:]
        kind, text = type(error).__name__, str(error) or type(error).__name__
        self.write("failed", error=text, error_kind=kind, traceback=lines, log_tail=self.log_tail())

    def log_tail(self, lines: int = 20) -> list[str]:
        """The last lines of what the run's process said."""
        try:
            with (self.path / LOG).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 200 * lines))
                return file.read().decode(errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    def _content(self, record: dict[str, Any], state: str, facts: dict[str, Any]) -> str:
        record = record | {"fingerprint": self.fingerprint, "identity": self.identity, "state": state}
        record |= {f"{state}_at": datetime.now(UTC).isoformat(timespec="seconds")} | facts
        return json.dumps(record, indent=1, allow_nan=False) + "\n"


def read_record(path: Path) -> dict[str, Any]:
    """Read the `run.json` of a folder. Raises DataError if it is missing or is not JSON."""
    try:
        record = json.loads((path / RECORD).read_text())
    except (OSError, ValueError) as error:
        raise DataError(path / RECORD, f"cannot be read ({error})", remedy="Remove this run's folder") from error
    if not isinstance(record, dict) or "state" not in record:
        raise DataError(path / RECORD, "is not the record of a run", remedy="Remove this run's folder")
    return record


def configuration_of(record: dict[str, Any]) -> str:
    """What tells a run's configuration from others: its factors, and its identity less what is `WITHIN` one."""
    identity = {key: value for key, value in record["identity"].items() if key not in WITHIN}
    return json.dumps([identity, record["factors"]], sort_keys=True)


def identity_of(resolved: dict[str, Any], **fingerprints: str) -> dict[str, Any]:
    """Flatten a resolved configuration to dotted keys, less what does not decide the result, plus `fingerprints`."""
    kept = {key: value for key, value in resolved.items() if key not in NOT_IDENTITY}
    if str(kept.get("head", {}).get("_target_", "")).endswith(".Classify"):
        del kept["head"]  # as before there were others
    if (model := kept.get("model", {})).get("sequences", ()) is None:  # likewise
        kept["model"] = {key: value for key, value in model.items() if key != "sequences"}
    return dict(_flat(kept, "")) | fingerprints


def _flat(node: Any, prefix: str) -> list[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        return [leaf for key, value in node.items() for leaf in _flat(value, f"{prefix}{key}.")]
    if isinstance(node, list) and node:
        return [leaf for index, value in enumerate(node) for leaf in _flat(value, f"{prefix}{index}.")]
    return [(prefix.rstrip("."), node)]


def run_name(
    architecture: str, learning: str, epochs: int, augmentation: str, fold: int, seed: int, others: str
) -> str:
    """Name a run by what it is: ``resnet34-transfer-e50-none-fold2-seed0``, then whatever else was overridden.

    What is longer than any file system takes ends with a part of its checksum instead.
    """
    name = f"{architecture}-{learning}-e{epochs}-{augmentation}-fold{fold}-seed{seed}"
    name = f"{name}-{others}".rstrip("-").replace("/", "_")
    name = name.replace("[", "").replace("]", "")  # a pattern to what reads files
    if len(name.encode()) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: LONGEST_NAME - 9].decode(errors="ignore") + f"-{digest}"


def study_name(output_dir: str) -> str:
    """Name a study by the folder that its runs lie in; the trials of a search by the study's that they are for.

    Example:
        >>> study_name("multirun/mine/resnet18-fold0"), study_name("multirun/tune/search/resnet18-fold0")
        ('mine', 'tune/search')
    """
    study = Path(str(output_dir)).absolute().parent
    return f"{study.parent.name}/{study.name}" if study.name == "search" else study.name


def short_name(name: str) -> str:
    """A run's name with what tells it from its neighbours first: trackers cut long names, and so at their end.

    Whatever else was overridden has no bounds, and stands last: most of it all runs of a study share.

    Example:
        >>> short_name("resnet34-transfer-e50-none-fold2-seed0-optimizer.lr=0.1")
        'f2-s0-transfer-e50-none-resnet34-optimizer.lr=0.1'
    """
    found = RUN_NAME.fullmatch(name)
    if found is None:
        return name
    model, factors, fold, seed, others = found.groups()
    return "-".join(part for part in (f"f{fold}", f"s{seed}", factors, model, others) if part)


def register_run_name() -> None:
    """Let the configuration call what names runs and studies, as ``${run_name:...}``."""
    for named in (run_name, study_name, short_name):
        OmegaConf.register_new_resolver(named.__name__, named, replace=True)


def one_line(metrics: dict[str, Any]) -> str:
    """AUROC of the test part, by what was scored and by patient, of the `metrics` in `run.json`; for each class."""
    if "test" not in metrics:
        return "; ".join(f"{name}: {one_line(node)}" for name, node in metrics.items())
    values = {level: found["auroc"]["value"] for level, found in metrics["test"].items()}
    return "test " + "  ".join(
        f"per-{level} AUROC " + ("n/a" if value is None else f"{value:.3f}") for level, value in values.items()
    )
