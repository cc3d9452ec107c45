"""Load a run: its network with its best weights, and what it said of itself."""

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import yaml
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fistula.cohort.manifest import Cohort, read_cohort
from fistula.cohort.thinning import thinned
from fistula.errors import DataError
from fistula.evidence.aggregate import RULES
from fistula.learning.classifier import FistulaClassifier
from fistula.learning.data.bags import KEYS
from fistula.learning.data.channels import image_rows, with_constants
from fistula.learning.data.slices import Resize, as_batch
from fistula.learning.losses import are_grades
from fistula.learning.training.hardware import device_of
from fistula.predict.runs.folding import folded
from fistula.predict.runs.network import RETRAIN, network_of
from fistula.sweep.folder.run import RECORD, read_record


@dataclass(frozen=True)
class LoadedRun:
    """A finished run, ready to score."""

    folder: Path
    classifier: FistulaClassifier  # in evaluation mode, in single precision, on the device asked for
    config: DictConfig
    record: dict[str, Any]
    cohort: Cohort  # the one it learned from, as kept beside it

    @property
    def classes(self) -> list[str]:
        """Class names; with two, the last is the positive one."""
        return self.cohort.classes

    @property
    def name(self) -> str:
        return str(self.record["name"])

    @property
    def threshold(self) -> float:
        """The score from which a slice is called positive; for two classes."""
        return float(self.record["operating_point"]["threshold"])

    @property
    def patient_threshold(self) -> float:
        """The same for a patient's score, on the scale of the run's aggregation."""
        return float(self.record.get("patient_operating_point", self.record["operating_point"])["threshold"])

    def rule(self, name: str) -> str:
        """How the slices' scores of a class become a patient's."""
        recorded = self.record.get("aggregation", "mean")
        return str(recorded[name] if isinstance(recorded, dict) else recorded)

    @cached_property
    def resize(self) -> Resize:
        """What scales slices to the network's input, as in training. Raises DataError if the record does not say."""
        try:
            return Resize(self.record["image_size"], self.record["interpolation"])
        except KeyError as error:
            raise DataError(self.folder / RECORD, f"has no {error}", remedy=RETRAIN) from error

    @cached_property
    def channels(self) -> NDArray[np.int64]:
        """Rows of its cohort's slices that the image of each is made of, ``(N, C)``."""
        return self.rows_of(self.cohort.manifest)

    def rows_of(self, table: pl.DataFrame) -> NDArray[np.int64]:
        """The same of any slices, as `image_rows` takes them."""
        return image_rows(table, self.classifier.backbone.num_slices, self.sequences)

    @property
    def sequences(self) -> tuple[str, ...]:
        """Those that it looks at, by name; empty where it sees the only one, or the first of several."""
        return self.classifier.backbone.sequences

    @property
    def pixels(self) -> Any:
        """What `channels` are rows of."""
        return with_constants(self.cohort.pixels, self.sequences)

    @property
    def learned(self) -> pl.DataFrame:
        """The labelled slices of its cohort that it did not score, with their `row`: those it learned from."""
        rest = self.cohort.labelled.filter(~pl.col(self.key).is_in(self.predictions[self.key].implode()))
        identity = self.record["identity"]
        fraction, seed = identity.get("split.train_fraction", 1.0), identity.get("split.seed", 0)
        trained = rest.select("slice_key", part=pl.lit("train"))
        kept = thinned(self.cohort.labelled, trained, fraction, seed=seed)["slice_key"]
        return rest.filter(pl.col("slice_key").is_in(kept.implode()))

    @property
    def unit(self) -> str:
        """What it scores: ``slice``, or ``patient``, a bag of slices."""
        return self.classifier.unit

    @property
    def key(self) -> str:
        """The column that names what it scores."""
        return KEYS[self.unit]

    @property
    def has_grades(self) -> bool:
        """Whether its classes are grades."""
        return are_grades(str(self.config.get("loss", {}).get("_target_", "")))

    def images(self, rows: NDArray[np.integer]) -> torch.Tensor:
        """Slices of its cohort as the classifier takes them, ``(N, C, S, S)``."""
        return as_batch(self.pixels[self.channels[rows]], self.resize)

    @cached_property
    def predictions(self) -> pl.DataFrame:
        """What the run stored: one row a scored slice of val and test. Raises DataError if it cannot be read."""
        path = self.folder / "predictions.parquet"
        try:
            return pl.read_parquet(path, glob=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(path, f"cannot be read ({error})", remedy=RETRAIN) from error


def load_run(folder: Path, *, device: str = "cpu") -> LoadedRun:
    """Load a finished run; nothing in its folder is executed, and its weights are checked against its record.

    Its network goes where `device_of` says.

    Raises:
        ConfigError: If there is no such device.
        DataError: If the run is unfinished or damaged, if its weights are not those that it trained, or if its
            configuration asks for code that is not this package's.
    """
    record = read_record(folder)
    if record.get("state") != "done":
        state, remedy = record.get("state"), "Let it finish: the command that trained it resumes it"
        raise DataError(f"run={folder}", "must be a finished run", found=state, remedy=remedy)
    cohort = read_cohort(cohort_folder(folder))
    if record.get("cohort_fingerprint") != cohort.fingerprint:
        raise DataError(cohort_folder(folder), f"is not the cohort that {folder.name} was trained on", remedy=RETRAIN)
    config = _read_config(folder / "config.yaml")
    state = _read_weights(folder / "best.ckpt", expected=record.get("checkpoint_sha256"))
    classifier = network_of(folder, config, record, cohort)
    try:
        classifier.load_state_dict(state)
    except RuntimeError as error:
        rule = "does not fit the network that config.yaml describes"
        raise DataError(folder / "best.ckpt", rule, remedy=RETRAIN) from error
    classifier.eval().requires_grad_(requires_grad=False).to(device_of(device))
    run = LoadedRun(folder, classifier, config, record, cohort)
    _refuse_damaged_record(run)
    image = run.images(np.zeros(1, dtype=np.int64)).to(classifier.device)
    classifier.backbone = folded(classifier.backbone, image, as_maps=bool(classifier.head.kinds))
    return run


def cohort_folder(run: Path) -> Path:
    """The cohort that a run learned from: kept in its own folder, or in its study's."""
    return run / "cohort" if (run / "cohort").is_dir() else run.resolve().parent / "cohort"


def _read_config(path: Path) -> DictConfig:
    """The configuration as it stands: nothing in it is called, filled in from elsewhere, or unfolded."""
    try:
        content = path.read_text(encoding="utf-8")
        # A run writes neither; a few lines of aliases would unfold to more than any memory holds.
        if "${" in content or any(isinstance(token, yaml.AliasToken) for token in yaml.scan(content)):
            raise DataError(path, "must have no alias (*name) and nothing to fill in (${name})", remedy=RETRAIN)
        config = OmegaConf.create(content)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise DataError(path, f"cannot be read ({error})", remedy=RETRAIN) from error
    if not isinstance(config, DictConfig) or not OmegaConf.is_dict(config.get("model")):
        raise DataError(path, "must be the configuration of a run", remedy=RETRAIN)
    return config


def _refuse_damaged_record(run: LoadedRun) -> None:
    """Ask the record for all that scoring will ask it for."""
    try:
        rules = [run.rule(name) for name in run.classes]
        thresholds = [run.threshold, run.patient_threshold] if len(run.classes) == 2 else []
        is_damaged = not (set(rules) <= set(RULES) and run.resize.image_size > 0 and all(map(isfinite, thresholds)))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(run.folder / RECORD, f"is damaged ({type(error).__name__}: {error})", remedy=RETRAIN) from error
    if is_damaged:
        raise DataError(run.folder / RECORD, "is damaged: it asks for something that no run needs", remedy=RETRAIN)


def _read_weights(path: Path, *, expected: str | None) -> dict[str, torch.Tensor]:
    if expected is None:
        raise DataError(path.parent / RECORD, "has no checkpoint_sha256 to check the weights by", remedy=RETRAIN)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", remedy=RETRAIN) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        rule = f"must have the SHA-256 stated in {RECORD} ({expected[:12]}...)"
        raise DataError(path, rule, found=f"{found[:12]}...", remedy=RETRAIN)
    try:
        # What was hashed is what is loaded; and weights alone, never code.
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # torch raises many kinds for what is no checkpoint
        raise DataError(path, "is not a checkpoint of weights", remedy=RETRAIN) from error
