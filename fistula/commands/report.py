"""`fistula report`: compare the runs of a study on one page."""

import glob
import hashlib
import json
import logging
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fistula.errors import ConfigError, as_typed, count, refuse_other, refuse_outside
from fistula.folder import paths_of
from fistula.report.contents import Settings
from fistula.report.page import write_report
from fistula.report.pooling import PRIMARY, SCALINGS, primary_level
from fistula.report.readers.given import Given
from fistula.report.reading_room.saliency_maps import WHICH
from fistula.report.record import NUMBERS, verify
from fistula.report.study import Study, read_study
from fistula.report.watch import watch

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Write the report into the study's folder; or, with ``verify=true``, recompute every number of the one there."""
    folder = Path(cfg.study_folder)
    if cfg.verify:
        typed = {override.partition("=")[0].lstrip("+") for override in HydraConfig.get().overrides.task}
        if unused := sorted(typed - {"study_folder", "verify"}):
            rule = "has no influence on verify=true, which recomputes the report that is there"
            raise ConfigError(", ".join(unused), rule, remedy="Leave it out")
        print(f"{folder / 'report'}: {verify(folder)} numbers recomputed from the stored predictions, all as reported")
        return
    _check(cfg)
    settings = Settings(cfg.resamples, cfg.primary, cfg.scaling, cfg.margin, cfg.prevalence, cfg.cutoff)
    if cfg.watch:
        watch(folder, settings, every=cfg.every)
    study = read_study(folder)
    save_workspace = None if cfg.workspace is None else _workspace(cfg.workspace, study, cfg.primary)
    given = read_given(study, readers=cfg.readers, scores=cfg.scores)
    page = write_report(study, settings, given=given, maps=cfg.maps, device=cfg.device)
    _log_to_wandb(study, page.parent)
    if save_workspace:
        print(f"W&B: {save_workspace()}")
    print(f"{count(len(study.runs), 'finished run')} of {count(len(study.configurations), 'configuration')}")
    if study.unfinished:
        missing = count(len(study.unfinished), "unfinished run")
        print(f"{missing}, listed on the page; the same `fistula train` command continues the study")
    print("next: fistula predict", *map(as_typed, _ensemble(study, page.parent / NUMBERS)), "source=DIR out=scores")
    print("open this page in a browser:")
    print(page)


def read_given(study: Study, *, readers: Any, scores: str | None) -> Given:
    """Read the tables of readers and of another program; their patients are the study's, or an external cohort's.

    Readers are the path of a table, a pattern of such, a list of these, or None.

    Raises:
        DataError: If a table is not what it has to be, or a patient of it is in neither.
    """
    from fistula.dicom.identity import read_pseudonyms
    from fistula.labels.tables.ratings import match_patients, read_program, read_readings, together
    from fistula.report.external.cohorts import read_externals
    from fistula.report.places.located import located_readings

    if readers is None and scores is None:
        return Given()
    scored = (run.predictions for run in study.runs)
    tested = {key for table in scored for key in table.filter(table["part"] == "test")["patient_key"]}
    cohorts = {"": tested} | {one.name: set(one.patients["patient_key"]) for one in read_externals(study)}
    pseudonym = partial(read_pseudonyms(create=False), "patient")
    found: dict[str, Any] = {}
    if readers is not None:
        tables = [
            (path, *match_patients(read_readings(path), cohorts, pseudonym, path=path))
            for path in paths_of(readers, key="readers")
        ]
        found["readings_of"], readings = together(tables)
        own = ["slice", "row", "col"]
        found["readings"] = readings.drop(own) if found["readings_of"] else located_readings(readings, study.cohort)
    if scores is not None:
        path = Path(str(scores))
        found["program_of"], table = match_patients(read_program(path), cohorts, pseudonym, path=path)
        found["program"] = table.select("patient_key", "reader", "score", "call")
    return Given(**found)


def _ensemble(study: Study, record: Path) -> list[str]:
    """What names the runs of the best configuration to `fistula predict`: its only run, or a pattern of their names."""
    best = json.loads(record.read_text(encoding="utf-8"))["best"]
    runs = next(configuration.runs for configuration in study.configurations if configuration.name == best)
    names = {re.sub(r"(fold|seed)\d+", r"\1*", glob.escape(run.folder.name)) for run in runs}
    others = [run.folder.name for run in study.runs if run not in runs]
    if len(runs) == 1 or len(names) > 1 or any(fnmatchcase(name, pattern) for name in others for pattern in names):
        return [f"run={runs[0].folder}"]
    return [f"run={study.folder}", f"only={names.pop()}"]


def _log_to_wandb(study: Study, report: Path) -> None:
    """Tell W&B the results, where the study's runs told it theirs; what fails there fails no report."""
    told = _wandb_of(study)
    if told is None:
        return
    from fistula.learning.tracking import record_study

    settings = {str(key): value for key, value in told.items() if key != "_target_"}
    settings["settings"] = OmegaConf.to_container(told.settings)
    key = hashlib.sha256(f"{study.name} {study.cohort.fingerprint}".encode()).hexdigest()[:16]
    try:
        record_study(settings, name=study.name, key=key, report=report)
    except Exception as error:
        log.warning("logger=wandb failed (%s); the report itself is complete", error)


def _wandb_of(study: Study) -> DictConfig | None:
    """How the study's runs told W&B; None where they did not."""
    configs = (path for run in study.runs if (path := run.folder / "config.yaml").is_file())
    loggers = (OmegaConf.load(path).logger for path in configs)
    return next((logger["wandb"] for logger in loggers if "wandb" in logger), None)


def _workspace(entity: str, study: Study, primary: str) -> Callable[[], str]:
    """What saves a page of the study's runs at W&B and gives its address; refused before anything is written."""
    from fistula.learning.tracking import why_not_online
    from fistula.learning.training.workspace import save, study_workspace

    told = _wandb_of(study)
    if told is None:
        rule = "needs a study whose runs were logged to W&B"
        raise ConfigError("workspace", rule, found=study.name, remedy="Train with logger=wandb")
    if reason := why_not_online():
        raise ConfigError("workspace", f"needs W&B online ({reason})", remedy="Leave it out until then")
    page = study_workspace(entity, told.project, study.name, level=primary_level(study, primary))
    return partial(save, page)


def _check(cfg: DictConfig) -> None:
    """Refuse settings that no report can have, before anything is read."""
    refuse_outside("resamples", cfg.resamples, 1, 1_000_000)
    refuse_outside("every", cfg.every, 0.1, 86400)
    refuse_other("maps", cfg.maps, WHICH)
    refuse_other("primary", cfg.primary, PRIMARY)
    refuse_other("scaling", cfg.scaling, SCALINGS)
    if not 0 < cfg.margin < 1:
        raise ConfigError("margin", "must lie between 0 and 1", found=cfg.margin, remedy="For example margin=0.05")
    if cfg.cutoff is not None and not cfg.readers:
        raise ConfigError("cutoff", "needs readers", found=cfg.cutoff, remedy="Add readers=FILE, or leave it out")
    if cfg.cutoff is not None and not 0 < cfg.cutoff <= 100:
        raise ConfigError("cutoff", "must be above 0 and at most 100", found=cfg.cutoff, remedy="For example cutoff=50")
    if cfg.prevalence is not None and not 0 < cfg.prevalence < 1:
        remedy = "For example prevalence=0.2, or leave it out"
        raise ConfigError("prevalence", "must lie between 0 and 1", found=cfg.prevalence, remedy=remedy)
    readers = [] if cfg.readers is None else paths_of(cfg.readers, key="readers")
    scores = [] if cfg.scores is None else [Path(str(cfg.scores))]
    for key, path in [*(("readers", path) for path in readers), *(("scores", path) for path in scores)]:
        if not path.is_file():  # said before a sweep is watched, after whose end they are read
            raise ConfigError(key, "must name files", found=path, remedy="Check the path")
