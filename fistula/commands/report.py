"""`fistula report`: compare the runs of a study on one page."""

from pathlib import Path

from omegaconf import DictConfig

from fistula.errors import ConfigError
from fistula.report.page import write_report
from fistula.report.study import read_study


def run(cfg: DictConfig) -> None:
    """Write the report into the study's folder."""
    if cfg.resamples < 1:
        raise ConfigError("resamples", "must be at least 1", found=cfg.resamples, remedy="For example resamples=2000")
    study = read_study(Path(cfg.study_folder))
    page = write_report(study, resamples=cfg.resamples)
    runs = sum(len(configuration.runs) for configuration in study.configurations)
    print(f"{runs} finished runs in {len(study.configurations)} configurations")
    if study.unfinished:
        print(f"{len(study.unfinished)} unfinished, listed on the page; the sweep's own command goes on with them")
    print("open this page in a browser:")
    print(page)
