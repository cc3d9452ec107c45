"""`fistula report`: compare the runs of a study on one page."""

from pathlib import Path

from omegaconf import DictConfig

from fistula.errors import ConfigError


def run(cfg: DictConfig) -> None:
    """Write the report into the study's folder; or, with ``verify=true``, recompute every number of the one there."""
    # Here, because `--help` must not wait for statistics and figures to be imported.
    from fistula.report.contents import Settings
    from fistula.report.page import write_report
    from fistula.report.record import verify
    from fistula.report.study import read_study

    folder = Path(cfg.study_folder)
    if cfg.verify:
        print(f"{folder / 'report'}: {verify(folder)} numbers recomputed from the stored predictions, all as reported")
        return
    _check(cfg)
    settings = Settings(cfg.resamples, cfg.pooling, cfg.scaling, cfg.margin, cfg.prevalence)
    study = read_study(folder)
    page = write_report(study, settings, maps=cfg.maps)
    print(f"{len(study.runs)} finished runs in {len(study.configurations)} configurations")
    if study.unfinished:
        print(f"{len(study.unfinished)} unfinished, listed on the page; the sweep's own command goes on with them")
    print("open this page in a browser:")
    print(page)


def _check(cfg: DictConfig) -> None:
    """Refuse settings that no report can have, before anything is read."""
    from fistula.report.pooling import POOLINGS, SCALINGS
    from fistula.report.saliency_maps import WHICH

    if cfg.resamples < 1:
        raise ConfigError("resamples", "must be at least 1", found=cfg.resamples, remedy="For example resamples=2000")
    if cfg.maps not in WHICH:
        raise ConfigError("maps", f"must be one of {', '.join(WHICH)}", found=cfg.maps)
    if cfg.pooling not in POOLINGS:
        raise ConfigError("pooling", f"must be one of {', '.join(POOLINGS)}", found=cfg.pooling)
    if cfg.scaling not in SCALINGS:
        raise ConfigError("scaling", f"must be one of {', '.join(SCALINGS)}", found=cfg.scaling)
    if not 0 < cfg.margin < 1:
        raise ConfigError("margin", "must lie between 0 and 1", found=cfg.margin, remedy="For example margin=0.05")
    if cfg.prevalence is not None and not 0 < cfg.prevalence < 1:
        remedy = "For example prevalence=0.2, or leave it out"
        raise ConfigError("prevalence", "must lie between 0 and 1", found=cfg.prevalence, remedy=remedy)
