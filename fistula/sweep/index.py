"""Which run each line of a sweep led to: composing a thousand configurations only to skip them takes minutes."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fistula import __version__
from fistula.errors import FistulaError
from fistula.folder import write_whole
from fistula.sweep.folder.run import read_record
from fistula.sweep.plan import Planner, RunPlan

INDEX = ".index.json"
ENVIRONMENT = re.compile(r"\$\{oc\.env:([A-Za-z_][A-Za-z_0-9]*)")


class Index:
    """What earlier calls composed; only a short cut, so one that is lost or out of date costs time and nothing else."""

    def __init__(self, study: Path, config: DictConfig) -> None:
        self.path = study / INDEX
        self._asked = _digest(config)
        try:
            self._entries: dict[str, list[Any]] = json.loads(self.path.read_text())
        except (OSError, ValueError):
            self._entries = {}

    def done(self, overrides: Sequence[str], planner: Planner) -> str | None:
        """The folder's name, if these overrides are known to mean a run that is done; None if that has to be found."""
        entry = self._entries.get(self._key(overrides))
        if entry is None:
            return None
        try:
            name, fingerprint, cohort, cohort_fingerprint, model, weights = entry
            record = read_record(self.path.parent / name)
            same_cohort = planner.cohort(Path(cohort)).fingerprint == cohort_fingerprint
            same_weights = planner.weights(model) in (None, weights)
        except (FistulaError, ValueError):
            return None
        is_same = same_cohort and same_weights
        return name if is_same and (record["state"], record.get("fingerprint")) == ("done", fingerprint) else None

    def add(self, overrides: Sequence[str], plan: RunPlan) -> None:
        cohort = (str(plan.cohort.folder), plan.cohort.fingerprint)
        weights = (plan.resolved["model"], plan.fingerprints.get("weights_fingerprint"))
        self._entries[self._key(overrides)] = [plan.folder.path.name, plan.folder.fingerprint, *cohort, *weights]

    def write(self) -> None:
        write_whole(self.path, json.dumps(self._entries, indent=0))

    def _key(self, overrides: Sequence[str]) -> str:
        return hashlib.sha256(json.dumps([self._asked, *overrides]).encode()).hexdigest()


def _digest(config: DictConfig) -> str:
    """SHA-256 of all that a sweep's configurations are composed of, but the overrides that make one run of it."""
    texts = [__version__]
    for source in config.hydra.runtime.config_sources:
        if source.schema == "file":
            files = sorted(Path(source.path).rglob("*.yaml"))
            texts += [path.read_text("utf-8", "backslashreplace") for path in files if path.parent.name != "launcher"]
    texts += [text for text in config.hydra.overrides.hydra if "launcher" not in text]
    names = {name for text in [*texts, *config.hydra.overrides.task] for name in ENVIRONMENT.findall(text)}
    texts += [f"{name}={os.environ.get(name)}" for name in sorted(names)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
