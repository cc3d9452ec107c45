"""Several runs as one: those of a study that differ in nothing but fold and seed."""

import logging
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fistula.errors import ConfigError, first_of
from fistula.predict.runs.model import LoadedRun, load_run
from fistula.sweep.folder.run import RECORD, configuration_of, read_record

log = logging.getLogger(__name__)

INGEST = ("keep", "intensity", "size", "spacing_mm", "fit", "source_kind", "patient", "key_name")


def load_runs(folder: Path, *, only: str = "*", device: str = "cpu") -> list[LoadedRun]:
    """Load one run, or the runs of a study that differ in nothing but fold and seed.

    Of a study `only` those with names like this (`*` and `?` stand for anything); `device` as `device_of` has it.

    Raises:
        ConfigError: If the folder holds no such run, or runs of several configurations.
        DataError: As `load_run`.
    """
    if (folder / RECORD).is_file():
        return [load_run(folder, device=device)]
    if not folder.is_dir():
        raise ConfigError(f"run={folder}", "is not a folder", remedy="Name the folder of a run or of a study")
    folders = [path.parent for path in sorted(folder.glob(f"*/{RECORD}")) if fnmatch(path.parent.name, only)]
    done = [path for path in folders if read_record(path).get("state") == "done"]
    if not done:
        found = f"{len(folders)} runs, none of them finished" if folders else "none"
        rule = f"must hold a finished run named like {only}"
        remedy = "Train it first: fistula train"
        if not folders and (names := sorted(path.parent.name for path in folder.glob(f"*/{RECORD}"))):
            remedy = f"Its runs are {first_of(names)}"
        raise ConfigError(f"run={folder}", rule, found=found, remedy=remedy)
    if len(done) < len(folders):
        log.warning(
            "%s: %d of %d runs are not finished and are excluded", folder, len(folders) - len(done), len(folders)
        )
    return load_ensemble(done, where=f"run={folder}", device=device)


def load_ensemble(folders: Sequence[Path], *, where: str, device: str = "cpu") -> list[LoadedRun]:
    """Load finished runs that differ in nothing but fold and seed; arguments and errors as `load_runs`."""
    kinds = {configuration_of(read_record(path)): path.name for path in folders}
    if len(kinds) > 1:
        rule = "holds runs of several configurations, which cannot form an ensemble"
        those = re.sub(r"-fold\d+-seed\d+", "-fold*-seed*", folders[0].name)
        remedy = f'Name one with only=..., such as "only={those}"; the last lines of fistula report name the best'
        raise ConfigError(where, rule, found=first_of(sorted(kinds.values())), remedy=remedy)
    runs = [load_run(path, device=device) for path in folders]
    for run in runs[1:]:
        differing = [fact for fact, value in _facts(run).items() if value != _facts(runs[0])[fact]]
        if differing:
            rule = f"holds runs that disagree in {', '.join(differing)}, which cannot form an ensemble"
            remedy = "Copy the whole study again from where it was trained"
            raise ConfigError(where, rule, found=f"{runs[0].name}, {run.name}", remedy=remedy)
    return runs


def _facts(run: LoadedRun) -> dict[str, Any]:
    """What every run of an ensemble is fed alike."""
    own = {
        "image_size": run.resize.image_size,
        "interpolation": run.resize.interpolation,
        "classes": run.classes,
        "channels": run.classifier.backbone.num_slices,
        "sequences": run.classifier.backbone.sequences,
        "unit": run.unit,
    }
    return own | {key: run.cohort.record.get(key) for key in INGEST}
