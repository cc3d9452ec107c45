"""Every key of a run's configuration, and Hydra's own: of the kind that conf/ shows, and a number within its range."""

import json
import math
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from fistula.errors import ConfigError, refuse_other, refuse_outside
from fistula.evidence.aggregate import RULES
from fistula.values import differences, faults, refuse_missing

# Keys that may be of several kinds; what takes them says what it does not take.
SEVERAL = (
    "image_size", "num_workers", "slices_per_step", "trainer.benchmark", "trainer.devices", "trainer.deterministic",
    "trainer.precision", "augmentation.images_per_slice",
)  # fmt: skip
RANGES: Mapping[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "seed": (0, 2**32 - 1),
    "image_size": (16, 4096),
    "batch_size": (2, 65_536),
    "micro_batches": (1, 65_536),
    "num_workers": (0, 256),
    "ema": (0, 0.999999),
    "mixup": (0, 100),
    "cutmix": (0, 100),
    "slices_per_step": (1, 100_000),
    "slice_weight": (0, 10**6),
    "model.inverse_penalty": (1e-9, 10**9),
    "pooling.hidden": (1, 65_536),
    "pooling.width": (2, 65_536),
    "pooling.depth": (1, 64),
    "pooling.heads": (1, 256),
    "pooling.dropout": (0, 0.999999),
    "head.width": (4, 4096),
    "head.sigma_mm": (0.1, 100),
    "head.sigma_share": (0.001, 0.5),
    "head.weight": (0, 10**6),
    "split.seed": (0, 2**63),
    "labelling.seed": (0, 2**63),
    "split.expand_before_split": (1, 1000),
    "split.folds": (1, 1000),
    "optimizer.lr": (1e-30, 1e38),
    "optimizer.weight_decay": (0, 1e38),
    "optimizer.momentum": (0, 1),
    "loss.class_balance": (0, 10),
    "loss.gamma": (0, 100),
    "loss.label_smoothing": (0, 0.999999),
    "learning.alone": (0, 0.999999),
    "learning.all_by": (0, 0.999999),
    "learning.layer_decay": (1e-6, 1),
    "schedule.warmup": (0, 0.999999),
    "stopping.patience": (1, 100_000),
    "stopping.min_delta": (0, 1e38),
    "trainer.devices": (-1, 1024),
    "trainer.log_every_n_steps": (1, 10**9),
    "trainer.num_sanity_val_steps": (-1, 10**9),
    "trainer.gradient_clip_val": (0, 1e38),
    "trainer.limit_train_batches": (1e-9, 10**9),
    "logger.wandb.settings.init_timeout": (1, 86_400),
    "operating_point.sensitivity": (1e-6, 1),
    "operating_point.false_negative_cost": (1e-6, 10**9),
    "operating_point.prevalence": (1e-6, 0.999999),
}

# Groups of which one thing is made; an option of the user's own may forget to say of what.
MADE = (
    "model", "learning", "pooling", "head", "augmentation", "sampler", "loss", "labelling", "split", "audit",
    "optimizer", "schedule", "stopping", "trainer", "operating_point",
)  # fmt: skip

OVER_ALL = {"experiment", "study"}  # groups whose options set keys of the others

# What a run sets of Lightning's trainer itself, whatever stands there, and the keys by which.
OF_THE_RUN = {
    "accumulate_grad_batches": "micro_batches",
    "callbacks": "",
    "default_root_dir": "hydra.run.dir",
    "enable_progress_bar": "",
    "fast_dev_run": "experiment=debug/overfit_batch",
    "logger": "logger",
    "plugins": "",
    "strategy": "trainer.devices",
    "use_distributed_sampler": "",
}

# Of Hydra's own part, where the same holds; what Hydra itself declares, it checks.
ENGINE = "hydra.launcher.engine"
SWEEPS: Mapping[str, tuple[float, float]] = {
    f"{ENGINE}.max_num_timeout": (0, 10**6),
    f"{ENGINE}.parameters.time": (1, 10**7),
    f"{ENGINE}.parameters.cpus_per_task": (1, 4096),
    f"{ENGINE}.parameters.gpus_per_node": (0, 1024),
    f"{ENGINE}.parameters.array_parallelism": (1, 10**6),
    f"{ENGINE}.parameters.signal_delay_s": (0, 10**6),
    "hydra.sweeper.trials": (1, 10**6),
    "hydra.sweeper.parallel": (1, 10**4),
    "hydra.sweeper.seed": (0, 2**32 - 1),
}
# Which check themselves, or are what sbatch takes.
SWEEP_SEVERAL = (
    f"{ENGINE}.jobs_per_gpu",
    f"{ENGINE}.cpus_per_job",
    f"{ENGINE}.parameters.time",
    f"{ENGINE}.parameters.gpus_per_node",
    f"{ENGINE}.parameters.mem",
)


def check_sweep(cfg: DictConfig, loader: ConfigLoader) -> None:
    """Refuse what a launcher or a sweeper cannot be made of, before Hydra makes them.

    Raises:
        ConfigError: If a value is of another kind than in conf/, or out of its range.
        MissingMandatoryValue: If neither the configuration nor the sweep says what has to be given.
    """
    default = loader.load_configuration("train", _chosen(cfg.hydra.runtime.choices), RunMode.MULTIRUN)
    for part in ("launcher", "sweeper"):
        for where, rule, found in differences(cfg.hydra[part], default.hydra[part], f"hydra.{part}"):
            if where not in SWEEP_SEVERAL:
                raise ConfigError(where, f"must be {rule}", found=found)
    for where in SWEEP_SEVERAL:
        value = OmegaConf.select(cfg, where)
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise ConfigError(where, "must be a number, a word or null", found=value)
    for where, limits in SWEEPS.items():
        if isinstance(value := OmegaConf.select(cfg, where), int | float):
            refuse_outside(where, value, *limits)
    check_places(cfg.hydra)
    lists = (OmegaConf.select(cfg.hydra, where) for where in ("overrides.task", "sweeper.params", "sweeper.outer"))
    refuse_missing(cfg, {text.partition("=")[0].lstrip("+") for swept in lists for text in swept or ()})


def check_places(hydra: Any) -> None:
    """Refuse what of Hydra's own settings would put a run elsewhere than where it is looked for.

    Raises:
        ConfigError: If a folder has no name, or a run would change into its own, or have another one inside.
    """
    for kind in ("run", "sweep"):
        # As it is written: where the one is asked for, the other may refer to what is not there.
        folders: Any = OmegaConf.to_container(hydra[kind], resolve=False)
        if not folders["dir"].strip():
            raise ConfigError(f"hydra.{kind}.dir", "must name a folder", found="nothing")
    if hydra.job.chdir:
        rule = "must be false: paths begin where the command is given"
        raise ConfigError("hydra.job.chdir", rule, found=hydra.job.chdir)
    if hydra.output_subdir is not None:
        rule = "must be null: a run writes its configuration itself"
        raise ConfigError("hydra.output_subdir", rule, found=hydra.output_subdir)


class Keys:
    """Checks configurations; what the groups that a run has chosen hold without changes is composed once."""

    def __init__(self) -> None:
        self._defaults: dict[str, DictConfig] = {}

    def check(self, cfg: DictConfig) -> None:
        """Raise ConfigError if a value is of another kind than the one in conf/, or out of its range."""
        if HydraConfig.initialized():
            check_places(HydraConfig.get())
        listed = OmegaConf.select(cfg, "augmentation.transforms")
        drawn = [f"augmentation.transforms[{at}]" for at in range(len(listed) if isinstance(listed, ListConfig) else 0)]
        for where in (*MADE, *(f"logger.{name}" for name in cfg.logger), *drawn):
            made = OmegaConf.select(cfg, where)
            if not isinstance(made, DictConfig) or "_target_" not in made:
                remedy = f"Start from a copy of an option of {where.partition('.')[0]} in conf/"
                raise ConfigError(f"{where}._target_", "must name what to build", remedy=remedy)
        if GlobalHydra.instance().is_initialized():
            for group in sorted(OVER_ALL & cfg.keys()):
                where = f"{group}={HydraConfig.get().runtime.choices[group]}"
                rule = "must begin with the line # @package _global_, without which its keys are not used"
                raise ConfigError(where, rule, remedy="Not even a comment or a byte-order mark may stand before it")
            if unused := sorted(map(str, cfg.keys() - self._default().keys() - {"hydra"})):
                meant = get_close_matches(unused[0], map(str, self._default()), n=1)
                remedy = f"Did you mean {meant[0]}?" if meant else "Leave it out"
                raise ConfigError(", ".join(unused), "is not used", remedy=remedy)
            for where, rule, found in faults(cfg, self._default()):
                if where not in SEVERAL:
                    raise ConfigError(where, f"must be {rule}", found=found)
        for name in sorted(OF_THE_RUN.keys() & cfg.trainer.keys()):
            other = OF_THE_RUN[name]
            remedy = f"Set {other}" if other else "Leave it out"
            raise ConfigError(
                f"trainer.{name}", "is set by the run itself", found=str(cfg.trainer[name]), remedy=remedy
            )
        for where in ("run_name", "study_name"):
            if not cfg[where].strip():
                raise ConfigError(where, "must be a name", found="nothing")
        for where, value in _numbers(cfg):
            if not math.isfinite(value):
                raise ConfigError(where, "must be finite", found=value)
        if cfg.num_workers != "auto" and not (isinstance(cfg.num_workers, int) and cfg.num_workers >= 0):
            raise ConfigError("num_workers", "must be auto or at least 0", found=cfg.num_workers)
        if cfg.image_size != "pretrained" and type(cfg.image_size) is not int:
            raise ConfigError("image_size", "must be a whole number of pixels, or pretrained", found=cfg.image_size)
        for where, limits in RANGES.items():
            value = OmegaConf.select(cfg, where)
            if isinstance(value, str) and where not in SEVERAL:
                raise ConfigError(where, "must be a number", found=value)
            if isinstance(value, int | float) and not isinstance(value, bool):
                refuse_outside(where, value, *limits)
        for where in ("trainer.max_epochs", "learning.epochs"):
            if (value := OmegaConf.select(cfg, where)) not in (None, cfg.epochs):
                raise ConfigError(where, f"must be that of epochs, {cfg.epochs}", found=value, remedy="Set epochs")
        refuse_other("aggregation", cfg.aggregation, RULES)

    def _default(self) -> DictConfig:
        hydra = HydraConfig.get()
        choices = {key: name for key, name in hydra.runtime.choices.items() if not key.startswith("hydra/")}
        chosen = _chosen({key: name for key, name in choices.items() if key not in OVER_ALL})
        key = json.dumps(chosen)
        if key not in self._defaults:
            loader = GlobalHydra.instance().config_loader()
            self._defaults[key] = loader.load_configuration("train", chosen, RunMode.RUN)
        return self._defaults[key]


def _chosen(choices: Mapping[str, Any]) -> list[str]:
    """The overrides that choose the same options again."""
    names = {key: list(name) if isinstance(name, list | ListConfig) else name for key, name in choices.items()}
    return [
        f"{key}=[{','.join(name)}]" if isinstance(name, list) else f"{key}={name}"
        for key, name in sorted(names.items())
        if name is not None
    ]


def _numbers(node: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """Every fraction of a configuration, by its key."""
    if isinstance(node, float):
        yield where, node
    elif isinstance(node, DictConfig):
        for key in map(str, node):
            if not OmegaConf.is_missing(node, key):
                yield from _numbers(node[key], f"{where}.{key}".lstrip("."))
    elif isinstance(node, ListConfig):
        for index, one in enumerate(node):
            yield from _numbers(one, f"{where}[{index}]")
