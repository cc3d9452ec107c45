"""What each factor of a study adds to the AUROC, and how much seeds and patients move it."""

import numpy as np
import polars as pl

from fistula.evidence.design.factors import Effect, Spread, main_effects, seed_and_patient_spread
from fistula.evidence.ranking.macro import place_classes
from fistula.evidence.ranking.placements import Placements, place
from fistula.report.results import Row


def effects(classes: list[list[Row]]) -> list[Effect]:
    """Main effects over configurations and seeds, on the rows that all were tested on.

    The results of the configurations are for one class, or for each, in one order; then the AUROC is their mean.
    """
    rows = classes[0]
    factors = {
        name: {str(row.configuration.factors.get(name)) for row in rows} for name in rows[0].configuration.factors
    }
    varied = [name for name, levels in factors.items() if len(levels) > 1]
    if len(varied) < 2 or len({row.configuration.split for row in rows}) > 1:
        return []
    seeds = [(index, seed) for index, row in enumerate(rows) for seed in row.rows["seed"].unique(maintain_order=True)]
    tables = [_wide([(of_class[index], seed) for index, seed in seeds]) for of_class in classes]
    if not len(tables[0]):
        return []
    levels = {name: [str(rows[index].configuration.factors.get(name)) for index, _ in seeds] for name in varied}
    return main_effects(levels, _place(tables))


def spreads(rows: list[Row]) -> dict[str, Spread]:
    """What seeds and patients move, by configuration, where it has several seeds."""
    found = {}
    for row in rows:
        if row.configuration.num_seeds > 1:
            wide = _wide([(row, seed) for seed in row.rows["seed"].unique(maintain_order=True)])
            found[row.configuration.name] = seed_and_patient_spread(_place([wide]))
    return found


def _wide(columns: list[tuple[Row, int]]) -> pl.DataFrame:
    """Scores of the same rows, one column a configuration and seed: ``unit fold patient_key label 0 1 ...``."""
    unit = ["unit", "fold"]
    tables = [
        row.rows.filter(pl.col("seed") == seed).unique(unit, keep="first", maintain_order=True) for row, seed in columns
    ]
    wide = tables[0].select(*unit, "patient_key", "label")
    for number, table in enumerate(tables):
        wide = wide.join(table.select(*unit, pl.col("score").alias(str(number))), on=unit, maintain_order="left")
    return wide


def _place(tables: list[pl.DataFrame]) -> Placements:
    keys, runs = (tables[0][name].to_numpy() for name in ("patient_key", "fold"))
    labels = np.stack([table["label"].to_numpy() for table in tables], axis=1)
    scores = np.stack(
        [table.select(pl.exclude("unit", "fold", "patient_key", "label")).to_numpy() for table in tables], axis=1
    )
    if len(tables) == 1:
        return place(labels[:, 0], scores[:, 0], keys, runs)
    assert all(table["unit"].equals(tables[0]["unit"]) for table in tables)  # of the same predictions, in their order
    return place_classes(labels, scores, keys, runs)
