"""Which runs of a study speak for it: those named, or the configuration with the highest AUROC within the study."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from statistics import fmean

from fistula.errors import ConfigError, first_of
from fistula.evidence.ranking.placements import place
from fistula.report.pooling import primary_level, ranking, test_rows
from fistula.report.study import Configuration, Run, Study
from fistula.sweep.folder.run import RECORD


def chosen_runs(study: Study, folder: Path, *, only: str) -> list[Run]:
    """The finished runs that a folder and a pattern name; of a study with several configurations the best one's.

    The folder is the study's or a run's; `only` is a pattern of names, where `*` leaves the choice to the AUROC.

    Raises:
        ConfigError: If no finished run has such a name.
    """
    if (folder / RECORD).is_file():
        named = [run for run in study.runs if run.folder.resolve() == folder.resolve()]
    elif only == "*":
        named = best_configuration(study).runs
    else:
        named = [run for run in study.runs if fnmatch(run.folder.name, only)]
    if not named:
        names = [run.folder.name for run in study.runs]
        raise ConfigError(f"only={only}", "must name finished runs", found=first_of(names))
    return named


def best_configuration(study: Study, *, level: str | None = None) -> Configuration:
    """The one with the highest AUROC on the study's own test rows, of several classes their mean; leaky ones last."""
    at = level or primary_level(study, "auto")
    honest: Sequence[Configuration] = [c for c in study.configurations if not c.is_canary] or study.configurations

    def rank(configuration: Configuration) -> tuple[bool, bool, bool, float]:
        tables = (test_rows(study, configuration, name, level=at, scaling="platt") for name in study.positives)
        return configuration.rank(fmean(place(*ranking(rows)).aurocs[0] for rows in tables))

    return min(honest, key=rank) if len(honest) > 1 else honest[0]
