"""Who trains, validates and tests: splits of a cohort, drawn from row order, labels, sites and a seed alone.

A manifest may have a column ``class``, the names of the labels, by which messages then speak of them.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from fistula.cohort.allocation import allocate_patients
from fistula.cohort.split_table import PARTS, class_of, sites_of, split_table
from fistula.cohort.thinning import check_fraction
from fistula.errors import ConfigError, DataError


@dataclass(frozen=True)
class _Split:
    """What all splits have in common. Raises ConfigError if a number is out of its range."""

    name: ClassVar[str]
    leaky_by_design: ClassVar[bool] = False
    val_fraction: float = 0.2  # of the patients (of `ImageHoldout`, the images) that are not in test, in (0, 1)
    fold: int = 0  # the one to run, counted from 0; the table holds all
    seed: int = 0  # of the draw, at least 0
    train_fraction: float = 1.0  # of the training patients that a run learns from; see `fistula.cohort.thinning`

    def __post_init__(self) -> None:
        folds, fewest = getattr(self, "folds", 1), 2 if isinstance(self, PatientKFold) else 1
        if folds < fewest:
            raise ConfigError("split.folds", f"must be at least {fewest}", found=folds)
        if not isinstance(self, SiteHoldout):  # whose folds the manifest tells
            _check_fold(self.fold, folds)
        check_fraction(self.train_fraction)
        for key in ("test_fraction", "val_fraction"):
            if not 0 < (fraction := getattr(self, key, 0.5)) < 1:
                raise ConfigError(f"split.{key}", "must lie between 0 and 1, both excluded", found=fraction)
        if self.seed < 0:
            raise ConfigError("split.seed", "must be at least 0", found=self.seed)


@dataclass(frozen=True)
class PatientHoldout(_Split):
    """One test set and one validation set of whole patients, stratified by class and, where present, by site."""

    name: ClassVar[str] = "patient_holdout"
    test_fraction: float = 0.2  # of the patients, in (0, 1)

    def __call__(self, manifest: pl.DataFrame) -> pl.DataFrame:
        """Give every slice its part; columns as in `split_table.COLUMNS`, one fold."""
        _check_patients(self.name, manifest, least=3, rule="needs 3 patients of each class, one for each set")
        is_test = _cut(manifest, self.test_fraction, seed=[self.seed, 0])
        parts = _with_validation(manifest, is_test, self.val_fraction, [self.seed, 1])
        return split_table(self.name, manifest, [parts])


@dataclass(frozen=True)
class PatientKFold(_Split):
    """Test sets that together hold every patient once, each with a validation set cut from the other patients.

    Both cuts are stratified by class and, where present, by site.
    """

    name: ClassVar[str] = "patient_kfold"
    folds: int = 5  # how many, at least 2 and at most the patients of each class

    def __call__(self, manifest: pl.DataFrame) -> pl.DataFrame:
        """Give every slice its part in every fold; columns as in `split_table.COLUMNS`."""
        rule = f"split.folds={self.folds} needs as many patients of each class"
        _check_patients(self.name, manifest, least=self.folds, rule=rule)
        shares = np.full(self.folds, 1 / self.folds)
        outer = allocate_patients(manifest, shares, seed=[self.seed, 0])
        folds = (
            _with_validation(manifest, outer == fold, self.val_fraction, [self.seed, 1, fold])
            for fold in range(self.folds)
        )
        return split_table(self.name, manifest, folds)


@dataclass(frozen=True)
class SiteHoldout(_Split):
    """Leave one site out: fold i tests on the i-th site by name, and trains and validates on the others' patients."""

    name: ClassVar[str] = "site_holdout"

    def __call__(self, manifest: pl.DataFrame) -> pl.DataFrame:
        """Give every slice its part in every fold; columns as in `split_table.COLUMNS`."""
        sites = sites_of(manifest)
        _check_fold(self.fold, len(sites))
        folds = (
            _with_validation(manifest, (manifest["site"] == site).to_numpy(), self.val_fraction, [self.seed, 1, fold])
            for fold, site in enumerate(sites)
        )
        return split_table(self.name, manifest, folds)


@dataclass(frozen=True)
class Predefined(_Split):
    """The parts that the table of labels names; without a `val` part, `val_fraction` of `train` is cut by patient.

    Whether these parts share a patient is for the audit to say.
    """

    name: ClassVar[str] = "predefined"

    def __call__(self, manifest: pl.DataFrame) -> pl.DataFrame:
        """Give every slice its part; columns as in `split_table.COLUMNS`, one fold."""
        named = manifest["split"]
        if named.null_count():
            rule = "needs the column split (train, val or test) for every slice"
            found = f"{named.null_count()} of {len(named)} slices without it"
            remedy = "Fill the column in the table of labels and ingest again, or use split=patient_kfold"
            raise DataError("split=predefined", rule, found=found, remedy=remedy)
        unknown = sorted(set(named) - set(PARTS))
        if unknown:
            raise DataError("split=predefined", "the column split holds train, val or test", found=unknown[0])
        if "val" in named:
            return split_table(self.name, manifest, [named.to_numpy()])
        is_test = (named == "test").to_numpy()
        parts = _with_validation(manifest, is_test, self.val_fraction, [self.seed, 1])
        return split_table(self.name, manifest, [parts])


@dataclass(frozen=True)
class ImageHoldout(_Split):
    """The paper's protocol: hold-outs by image, stratified by label alone. Leaky by design."""

    name: ClassVar[str] = "image_holdout"
    leaky_by_design: ClassVar[bool] = True
    test_fraction: float = 0.2  # of the images, in (0, 1)
    # Images made of each slice before the split: the slice itself (`copy` 0 in the table) and jittered copies (`copy` 1
    # and up), which fall on any side. 1 makes no copies; the paper's is 4.
    expand_before_split: int = 1
    folds: int = 1  # how many draws, each of its own test images; at least 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.expand_before_split < 1:
            raise ConfigError("split.expand_before_split", "must be at least 1", found=self.expand_before_split)

    def __call__(self, manifest: pl.DataFrame) -> pl.DataFrame:
        """Give every image its part in every draw; columns as in `split_table.COLUMNS`, a row for each copy."""
        images = manifest.with_columns(copy=pl.lit(list(range(self.expand_before_split)))).explode("copy")
        images = images.with_columns(patient_key=pl.int_range(pl.len()).cast(pl.String), site=pl.lit(None, pl.String))
        tests = [_cut(images, self.test_fraction, seed=[self.seed, 0, fold]) for fold in range(self.folds)]
        folds = (
            _with_validation(images, is_test, self.val_fraction, [self.seed, 1, fold])
            for fold, is_test in enumerate(tests)
        )
        return split_table(self.name, images, folds)


def _cut(manifest: pl.DataFrame, fraction: float, *, seed: list[int]) -> np.ndarray:
    """Mark the slices of a `fraction` of the patients."""
    return allocate_patients(manifest, np.array([1 - fraction, fraction]), seed=seed) == 1


def _with_validation(manifest: pl.DataFrame, is_test: np.ndarray, fraction: float, seed: list[int]) -> np.ndarray:
    """Name the parts when `is_test` is test and a `fraction` of the other patients validates."""
    parts = np.where(is_test, "test", "train")
    if not is_test.all():
        parts[~is_test] = np.where(_cut(manifest.filter(~is_test), fraction, seed=seed), "val", "train")
    return parts


def _check_patients(name: str, manifest: pl.DataFrame, *, least: int, rule: str) -> None:
    """Refuse a class, or a cohort, with fewer than `least` patients."""
    holders = manifest.group_by("label").agg(pl.col("patient_key").n_unique()).sort("label")
    for label, patients in holders.iter_rows():
        if patients < least:
            found = f"{patients} for {class_of(manifest, label)}"
            remedy = f"{'Use fewer folds, or add' if 'folds' in rule else 'Add'} patients of that class"
            raise DataError(f"split={name}", rule, found=found, remedy=remedy)


def _check_fold(fold: int, folds: int) -> None:
    if not 0 <= fold < folds:
        raise ConfigError("split.fold", f"must lie in 0 to {folds - 1}, one of {folds} folds", found=fold)
