"""What a pilot study says of patients and readers to come: the numbers that a plan assumes."""

from math import isnan
from typing import Any

import numpy as np
import polars as pl
from scipy.special import ndtri

from fistula.errors import DataError
from fistula.evidence.design.reader_planning import Components, of_modalities, of_model
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.readers.analysis import study_readers
from fistula.evidence.readers.merit import model_figure
from fistula.report.choice import best_configuration
from fistula.report.external.cohorts import FOLDER, outside, read_external
from fistula.report.pooling import primary_level, ranking, test_rows
from fistula.report.readers.block import Block
from fistula.report.readers.cases import cases_of
from fistula.report.readers.given import Given
from fistula.report.results import Row, results
from fistula.report.study import Configuration, Study

LEAST, MOST = 0.501, 0.999  # AUROCs that can be planned with


def assumed(study: Study) -> dict[str, float]:
    """A plan's assumptions from the best configuration's test rows, at the study's primary level.

    Returns:
        ``auroc prevalence slices variation correlation folds``, and, where there are two configurations or more,
        ``other`` and ``agreement`` of the next best.

    Raises:
        DataError: If the study has no defined AUROC.
    """
    level = primary_level(study, "auto")
    best = best_configuration(study, level=level)
    rows = _rows(study, best, level)
    area = _area(rows)
    if isnan(area):
        raise DataError(f"pilot={study.folder}", "has no defined AUROC to plan with")
    units = rows.unique("unit", maintain_order=True)  # in any other order, sums have other last digits
    people = units.group_by("patient_key", maintain_order=True).agg(pl.len(), pl.col("label").max())
    sizes, positives = people["len"].cast(pl.Float64).to_numpy(), people["label"].to_numpy()
    found = {
        "auroc": float(np.clip(area, LEAST, MOST)),
        "prevalence": float(positives.mean()),
        "slices": float(sizes.mean()),
        "variation": float(sizes.std() / sizes.mean()),
        "correlation": _alike(rows) if sizes.max() > 1 else 0.0,
        "folds": len({run.record["fold"] for run in best.runs}),
    }
    others = [c for c in study.configurations if c is not best and not c.is_canary and c.split == best.split]
    ranked = sorted(((_area(_rows(study, other, level)), other.name, other) for other in others), reverse=True)
    if ranked and not isnan(ranked[0][0]):
        found["other"] = float(np.clip(ranked[0][0], LEAST, MOST))
        found["agreement"] = _agreement(rows, _rows(study, ranked[0][2], level))
    return found


def reader_components(study: Study) -> tuple[Components, float, str]:
    """Variances and difference of the reader study in a pilot's report, and what the difference is of.

    Raises:
        DataError: If the report has no readers, or too few to estimate variances from.
    """
    given = Given.read(study.folder / "report")
    remedy = f"Make it: fistula report study={study.folder} readers=readers.csv"
    if given.readings is None:
        raise DataError(f"pilot={study.folder}", "must have a report with readers", remedy=remedy)
    external = read_external(study, study.folder / FOLDER / given.readings_of) if given.readings_of else None
    judged = study.configuration_of(external.runs[0]) if external else best_configuration(study)
    rows: list[Row] = results(study, resamples=1, scaling="platt", prevalence=None, only=judged.name)
    own = next(row for row in rows if row.level == "patient" and row.positive == study.positives[0])
    level = primary_level(study, "auto")
    found = outside(study, external, rows, primary=level, scaling="platt") if external else []
    model, cases = cases_of(study, own, found, given.readings_of, scaling="platt")
    names = given.readings["modality"].unique(maintain_order=True).to_list()[:2]
    block = Block.of(given.readings.with_columns(call=pl.lit(None, pl.Int64)), names, cases)
    if block.why_not or len(block.readers) < 2:
        raise DataError(
            f"pilot={study.folder}", "has too few readers to plan from", found=block.why_not or "one reader"
        )
    if len(names) > 1:
        reads = study_readers(block.labels, block.ratings("auroc"))
        gap = float(reads.figures[0].mean() - reads.figures[1].mean())
        return of_modalities(reads), gap, f"{names[0]} minus {names[1]}"
    ratings, scores = block.ratings("auroc")[0], block.cases["score"].to_numpy()
    merit = model_figure(block.cases["networks"].to_numpy())
    figures = study_readers(block.labels, np.concatenate([ratings, scores[None]])[None], merit).figures[0]
    gap = float(figures[-1] - figures[:-1].mean())
    return of_model(block.labels, scores, ratings, merit), gap, f"{model} minus readers"


def _rows(study: Study, configuration: Configuration, level: str) -> pl.DataFrame:
    return test_rows(study, configuration, study.positives[0], level=level, scaling="platt")


def _area(rows: pl.DataFrame) -> float:
    return clustered_auroc(*ranking(rows)).value


def _normal(rows: pl.DataFrame) -> pl.DataFrame:
    """Scores as normal deviates of their rank within run and class: on the scale of the binormal model."""
    group = ("run", "label")
    share = (pl.col("score").rank().over(group) - 0.5) / pl.len().over(group)
    return rows.with_columns(
        deviate=share.map_batches(lambda s: pl.Series(ndtri(s.to_numpy())), return_dtype=pl.Float64)
    )


def _alike(rows: pl.DataFrame) -> float:
    """Intraclass correlation of the deviates of a patient's slices of one class and run, by analysis of variance."""
    groups = (
        _normal(rows)
        .group_by("run", "label", "patient_key", maintain_order=True)
        .agg(pl.len().alias("n"), pl.col("deviate").mean().alias("mean"), pl.col("deviate").var(ddof=0).fill_null(0.0))
    )
    sizes, means = groups["n"].to_numpy().astype(float), groups["mean"].to_numpy()
    inside, number = sizes.sum() - len(sizes), len(sizes)
    if inside <= 0 or number < 3:
        return 0.0
    within = float((sizes * groups["deviate"].to_numpy()).sum() / inside)
    between = float((sizes * means**2).sum() / (number - 1))
    usual = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / (number - 1)
    variance = max(0.0, (between - within) / usual)
    return float(np.clip(variance / (variance + within), 0, 0.99)) if variance + within > 0 else 0.0


def _agreement(first: pl.DataFrame, second: pl.DataFrame) -> float:
    keys: Any = ["unit", "seed", "fold"]
    one, two = (_normal(rows).unique(keys, maintain_order=True).select(*keys, "deviate") for rows in (first, second))
    found = (
        one.join(two, on=keys, suffix="_second", maintain_order="left")
        .select(pl.corr("deviate", "deviate_second"))
        .item()
    )
    return 0.0 if found is None or isnan(found) else float(np.clip(found, 0, 0.99))
