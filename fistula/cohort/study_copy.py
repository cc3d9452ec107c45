"""Keep a cohort with the study that learns from it, so that the report needs nothing but the study's folder."""

import json
import os
import shutil
from pathlib import Path

from fistula.cohort.manifest import Cohort
from fistula.errors import ConfigError, DataError
from fistula.folder import whole_folder

KEPT = ("manifest.parquet", "pixels.npy", "ingest.json")


def link_cohort(cohort: Cohort, study: Path) -> None:
    """Put a cohort's files into `study/cohort`, as links where the file system has them, else as copies.

    Links cost no space, and are safe: a cohort's files are never written to again. Several runs may do this at the
    same moment: the first to finish decides, and the others must agree.

    Raises:
        ConfigError: If the study keeps another cohort.
    """
    kept = study / "cohort"
    if not kept.exists():
        try:
            with whole_folder(kept, key="study") as partial:
                for name in KEPT:
                    _link_or_copy(cohort.folder / name, partial / name)
        except (OSError, ConfigError, DataError):
            if not kept.exists():
                raise
    fingerprint = json.loads((kept / "ingest.json").read_text(encoding="utf-8"))["fingerprint"]
    if fingerprint != cohort.fingerprint:
        rule = f"is not the cohort of the study {study}: a study has one"
        remedy = "Use the study's cohort, or start another study with hydra.sweep.dir=DIR"
        raise ConfigError(f"cohort={cohort.folder}", rule, remedy=remedy)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
