"""What a configuration asks for: the cohort, the split, and the run with its folder and identity."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import polars as pl
from omegaconf import DictConfig, OmegaConf

from fistula import __version__
from fistula.audit.gate import pass_gate
from fistula.cohort.manifest import Cohort, read_cohort
from fistula.cohort.split_table import split_fingerprint
from fistula.errors import ConfigError, DataError, say_class
from fistula.evidence.ranking.counting import slices_tell_the_class
from fistula.learning.building.making import make
from fistula.learning.data.bags import check_bags
from fistula.learning.data.channels import ADJACENT, OF_SEQUENCES, check_positions, chosen_sequences
from fistula.learning.data.covariates import check_covariates
from fistula.learning.data.mixing import check_mixing
from fistula.learning.pipeline import refuse_mirrors
from fistula.learning.places.points import kinds_of, names_side, side_of_labels
from fistula.learning.weights.store import weights_fingerprint
from fistula.sweep.folder.run import RECORD, RunFolder, identity_of, read_record
from fistula.sweep.keys import Keys


@dataclass(frozen=True)
class RunPlan:
    """A run that is asked for."""

    cfg: DictConfig  # its configuration, as `conf/train.yaml` composes it
    resolved: dict[str, Any]  # the same as plain values
    cohort: Cohort
    split: Any  # as configured; its ``name`` and whether it is ``leaky_by_design``
    table: pl.DataFrame  # of the split, every fold
    folder: RunFolder
    # Of cohort and split, and of the weights that it starts from where they are known beforehand.
    fingerprints: dict[str, str]

    @property
    def name(self) -> str:
        return str(self.cfg.run_name)

    def pass_gate(self, study: Path) -> dict[str, Any]:
        """Audit the split, once a study; see `fistula.audit.gate.pass_gate`."""
        audit, leaky = make(self.cfg.audit), self.split.leaky_by_design
        return pass_gate(self.cohort, self.table, study, audit=audit, split=self.split.name, leaky_by_design=leaky)


class Planner:
    """Plan runs; a cohort is read and a split drawn once for all the runs that share them."""

    def __init__(self) -> None:
        self.cohort = cache(read_cohort)
        self._tables: dict[str, tuple[pl.DataFrame, str]] = {}
        self._weights = cache(lambda model: weights_fingerprint(json.loads(model)))
        self._keys = Keys()

    def weights(self, model: dict[str, Any]) -> str | None:
        """Fingerprint of a network's weights; see `fistula.learning.weights.store.weights_fingerprint`."""
        return self._weights(json.dumps(model, sort_keys=True))

    def plan(self, cfg: DictConfig) -> RunPlan:
        """Read, draw and identify what `cfg` asks for; nothing is written.

        Raises:
            FistulaError: If a number, the cohort or the split cannot be, or a slice has not the neighbours asked for.
        """
        self._keys.check(cfg)
        cohort = self.cohort(Path(cfg.cohort))
        split = make(cfg.split)
        resolved = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
        if resolved["model"].get("channels") == ADJACENT:
            check_positions(cohort.manifest)
        if resolved["model"].get("channels") in OF_SEQUENCES:
            chosen_sequences(resolved["model"].get("sequences"), cohort.sequences)
        drawn_from = {key: value for key, value in resolved["split"].items() if key not in ("fold", "train_fraction")}
        key = json.dumps([cohort.fingerprint, drawn_from], sort_keys=True)
        # A fold that the table lacks is drawn for anew, because the split then says what is wrong.
        if key not in self._tables or cfg.split.fold not in self._tables[key][0]["fold"]:
            names = pl.col("label").replace_strict(dict(enumerate(cohort.classes)), return_dtype=pl.String)
            table = split(cohort.labelled.with_columns(names.alias("class")))
            self._tables[key] = table, split_fingerprint(table)
        table, fingerprint = self._tables[key]
        _check_classes(cohort, table, cfg.split.fold)
        check_covariates(resolved["covariates"], cohort.manifest.columns)
        check_mixing(cfg)
        if cfg.model.architecture == "clinical" and not cfg.covariates:
            rule = "must have covariates, and uses nothing else"
            raise ConfigError("model=clinical", rule, remedy="Name some: covariates=[age,sex]")
        if cfg.split.get("expand_before_split", 1) > 1 and not cfg.augmentation._target_.endswith(".Expanded"):
            rule = "must make the copies that split.expand_before_split asks for"
            raise ConfigError("augmentation", rule, remedy="Say augmentation=color_jitter_expanded")
        check_bags(cfg, cohort, table.filter(pl.col("fold") == cfg.split.fold))
        if cfg.aggregation != "mean":
            _check_aggregation(cfg.aggregation, cohort)
        _check_head(cfg, cohort, table.filter(pl.col("fold") == cfg.split.fold))
        fingerprints = {"cohort_fingerprint": cohort.fingerprint, "split_fingerprint": fingerprint}
        path = Path(cfg.output_dir)
        weights = self.weights(resolved["model"]) or _weights_of_done(path)
        if weights is not None:
            fingerprints["weights_fingerprint"] = weights
        folder = RunFolder(path, identity_of(resolved, **fingerprints, version=__version__))
        return RunPlan(cfg, resolved, cohort, split, table, folder, fingerprints)


def _check_classes(cohort: Cohort, table: pl.DataFrame, fold: int) -> None:
    """Refuse before training what could not be scored after it: a threshold needs slices with and without a class."""
    val = table.filter((pl.col("fold") == fold) & (pl.col("part") == "val"))["slice_key"]
    held = set(cohort.labelled.filter(pl.col("slice_key").is_in(val.implode()))["label"])
    absent = [say_class(name) for label, name in enumerate(cohort.classes) if label not in held]
    if absent:
        missing = f"has no {' or '.join(absent)} slice in the validation set"
        rule = f"{missing} of fold {fold}, on which a threshold is chosen"
        remedy = "Take fewer folds, another split.seed, or add patients with such slices"
        raise DataError("split", rule, remedy=remedy)


def _check_aggregation(rule: str, cohort: Cohort) -> None:
    """Refuse a rule that rises with the number of slices where that number alone tells the class."""
    labelled = cohort.labelled
    for label, name in enumerate(cohort.classes):
        area = slices_tell_the_class((labelled["label"] == label).to_numpy(), labelled["patient_key"].to_numpy())
        if (len(cohort.classes) > 2 or label) and area.has_interval and not area.low <= 0.5 <= area.high:
            told = f"the number of slices alone predicts {say_class(name)} (per-patient AUROC {area})"
            remedy = "Use aggregation=mean, which does not rise with it"
            raise ConfigError("aggregation", f"must be mean where {told}", found=rule, remedy=remedy)


def _check_head(cfg: DictConfig, cohort: Cohort, parts: pl.DataFrame) -> None:
    """Raise ConfigError where places cannot be learned, or would be learned of mirror images."""
    kinds = kinds_of(cohort.manifest) if cfg.head._target_.endswith(".Locate") else ()
    if why := side_of_labels(cohort.classes, kinds):
        refuse_mirrors(make(cfg.augmentation), why, has_sides=names_side(cohort.classes))
    if not kinds:
        return
    if len(cohort.classes) != 2:
        rule = "is for two classes, of which the second has a place"
        remedy = "Ingest with two classes, or use head=classify"
        raise ConfigError("head=locate", rule, found=f"{len(cohort.classes)} classes", remedy=remedy)
    train = parts.filter(pl.col("part") == "train")["slice_key"]
    marked = cohort.labelled.filter((pl.col("label") == 1) & pl.col("opening_row").is_not_null())
    if not marked["slice_key"].is_in(train.implode()).any():
        rule, remedy = "needs points in the training set, and it has none", "Use another split, or head=classify"
        raise ConfigError("head=locate", rule, remedy=remedy)


def _weights_of_done(folder: Path) -> str | None:
    """What a finished run says of its weights: they may be gone by now, and need not be there again to skip it."""
    if not (folder / RECORD).exists():
        return None
    record = read_record(folder)
    return record.get("weights_fingerprint") if record["state"] == "done" else None
