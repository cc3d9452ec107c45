"""The part of a reader study that is whole: readers, and the patients whom all of them read in every modality."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.errors import ConfigError, DataError
from fistula.evidence.readers.merit import located_ratings

APART = 5  # times as high as another a scale may reach: not 0 to 100 beside 1 to 5, nor 1 to 5 beside 0 and 1


@dataclass(frozen=True)
class Block:
    """Readers who read in all of some modalities, and the patients whom all of them read there."""

    readers: list[str]
    modalities: list[str]
    cases: pl.DataFrame
    rows: pl.DataFrame

    @classmethod
    def of(cls, table: pl.DataFrame, modalities: list[str], cases: pl.DataFrame) -> "Block":
        """Take the readers who have read in all these modalities, and the patients whom none of them left out."""
        here = table.filter(pl.col("modality").is_in(modalities))
        whole = here.group_by("reader", maintain_order=True).agg(pl.col("modality").n_unique())
        readers = whole.filter(pl.col("modality") == len(modalities))["reader"].sort().to_list()
        here = here.filter(pl.col("reader").is_in(readers))
        counts = here.group_by("patient_key").agg(pl.len())
        complete = counts.filter(pl.col("len") == len(readers) * len(modalities))["patient_key"]
        chosen = cases.filter(pl.col("patient_key").is_in(complete.implode())).sort("patient_key")
        rows = here.filter(pl.col("patient_key").is_in(complete.implode()))
        return cls(readers, modalities, chosen, rows.sort("modality", "reader", "patient_key"))

    @property
    def labels(self) -> NDArray[np.int64]:
        """Of the patients, ``(C,)``."""
        return self.cases["label"].to_numpy()

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many readers, patients, and of them positive."""
        return len(self.readers), len(self.cases), int(self.cases["label"].sum())

    def values(self, column: str) -> NDArray[np.float64]:
        """A column of the readings, ``(M, R, C)``, modalities in the order asked for."""
        blocks = [self.rows.filter(pl.col("modality") == name)[column].to_numpy() for name in self.modalities]
        return np.stack(blocks).astype(np.float64).reshape(len(self.modalities), *self.sizes[:2])

    def ratings(self, figure: str) -> NDArray[np.float64]:
        """What a figure of merit is made of, ``(M, R, C)``."""
        if figure in ("sensitivity", "specificity"):
            return self.values("call")
        if figure == "minutes":
            return self.values("minutes")
        scores = self.values("score")
        if figure == "lroc":
            located = np.nan_to_num(self.values("located")) == 1
            return located_ratings(self.labels == 1, scores, located)
        return scores

    @property
    def why_not(self) -> str:
        """Why nothing can be estimated; empty if it can."""
        if not self.readers:
            return "no reader has read in both"
        _, cases, positives = self.sizes
        negatives = cases - positives
        return "" if min(positives, negatives) > 1 else f"all have read {positives} positive and {negatives} negative"


def refuse_other_scales(table: pl.DataFrame, cutoff: float) -> None:
    """A cutoff makes calls of scores on its own scale alone: of others it would make nobody positive.

    Raises:
        ConfigError: If no score reaches it.
        DataError: If a reader's never do, and lie far below another's.
    """
    highest = float(table["score"].to_numpy().max())
    if highest < cutoff:
        raise ConfigError("cutoff", f"must be reached by a score; the highest is {highest:g}", found=f"{cutoff:g}")
    tops = table.group_by("reader", "modality", maintain_order=True).agg(pl.col("score").max())
    below = tops.filter((pl.col("score") < cutoff) & (APART * pl.col("score") <= highest))
    if len(below):
        reader, _, top = below.row(0)
        rule = f"must be on one scale where cutoff={cutoff:g} dichotomizes them"
        found = f"none above {top:g} of {reader}, and {highest:g} of others"
        raise DataError("readers", rule, found=found, remedy="Bring the scores to one scale, or omit cutoff=")


def with_known_places(table: pl.DataFrame) -> pl.DataFrame:
    """Readings without those of positive patients whose place nobody knows.

    Raises:
        DataError: If the place of a positive patient is judged for some readings and not for others.
    """
    positive = table.filter(pl.col("label") == 1).group_by("patient_key").agg(known=pl.col("located").is_not_null())
    told = positive.select("patient_key", all=pl.col("known").list.all(), any=pl.col("known").list.any())
    if len(torn := told.filter(pl.col("any") & ~pl.col("all"))):
        rule = "located must be given for every reading of a positive patient, or for none"
        found = f"some readings without it, such as those of {', '.join(torn['patient_key'].head(3))}"
        raise DataError("readers", rule, found=found, remedy="Enter 0 where a reader gave no location or a wrong one")
    return table.filter(~pl.col("patient_key").is_in(told.filter(~pl.col("all"))["patient_key"].implode()))


def days_between(table: pl.DataFrame, first: str, second: str) -> tuple[int, float] | None:
    """Least and median days between a reader's readings of a patient in two modalities; None without dates."""
    dated = table.drop_nulls("date").select("patient_key", "reader", "modality", day=pl.col("date").str.to_date())
    one, other = (dated.filter(pl.col("modality") == name) for name in (first, second))
    both = one.join(other, on=("patient_key", "reader"))
    apart = (both["day"] - both["day_right"]).dt.total_days().abs()
    return None if apart.is_empty() else (int(apart.to_numpy().min()), float(np.median(apart.to_numpy())))
