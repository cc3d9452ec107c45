"""`fistula plan`: how many patients a study needs."""

from collections.abc import Collection
from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fistula.errors import ConfigError, count, refuse_other, refuse_outside
from fistula.evidence.design.planning import (
    Answer,
    Scenario,
    patients_for_difference,
    patients_for_rate,
    patients_for_width,
)
from fistula.evidence.design.reader_planning import cases_for_power
from fistula.folder import refuse_existing
from fistula.report.planning.patients import RATES, paragraph, write_plan
from fistula.report.planning.pilot import assumed, reader_components
from fistula.report.planning.readers import readers_paragraph, write_readers_plan
from fistula.report.study import Study, read_study

GOALS = ("interval", *RATES, "difference", "margin", "readers")
PANELS = (3, 4, 5, 6, 8, 10, 12, 15, 20)  # readers that are looked at
# What only some goals make use of.
OWN = {
    ("interval", *RATES): ("half_width",),
    RATES: ("expected", "lower"),
    ("margin",): ("margin",),
    ("readers",): ("difference",),
    ("difference", "margin"): ("other", "agreement"),
    ("difference", "margin", "readers"): ("alpha",),
    (*RATES, "difference", "margin", "readers"): ("power",),
    ("interval", "difference", "margin"): ("auroc", "folds"),
    ("interval", *RATES, "difference", "margin"): ("prevalence", "slices", "variation", "correlation", "seed"),
}  # fmt: skip
USED = {key: goals for goals, keys in OWN.items() for key in keys}


def run(cfg: DictConfig) -> None:
    """Simulate, print the paragraph, and write the page where one is wanted."""
    given = {override.partition("=")[0].lstrip("+") for override in HydraConfig.get().overrides.task}
    _check_goal(cfg.goal, given)
    out = None if cfg.out is None else Path(str(cfg.out))
    if out is not None:
        refuse_existing(out)
    study = None if cfg.pilot is None else read_study(Path(str(cfg.pilot)))
    if cfg.goal == "readers":
        _plan_readers(cfg, study, out)
        return
    if study is not None:
        cfg = _with_pilot(cfg, study, given)
    scenario = read_scenario(cfg)
    answer = _answer(cfg, scenario)
    keys = ("goal", "half_width", "expected", "lower", "margin", "power", "alpha", "seed")
    settings = {key: cfg[key] for key in keys}
    if answer.patients is None:
        remedy = "Ask for less: a wider interval, a smaller lower=, a greater difference or margin, or less power"
        raise ConfigError(f"goal={cfg.goal}", "cannot be reached with 20 000 patients", remedy=remedy)
    print(f"{count(answer.patients, 'patient')}, {answer.positives} of them positive")
    print()
    print(paragraph(scenario, answer, settings))
    if out is not None:
        print()
        print(f"open in a browser: {write_plan(out, scenario, answer, settings)}")


def _check_goal(goal: str, given: Collection[str]) -> None:
    """Refuse a goal that is none, and what was given but is nothing to it."""
    refuse_other("goal", goal, GOALS)
    for key in given:
        if goal not in USED.get(key, GOALS):
            rule = f"has no influence on goal={goal}"
            raise ConfigError(key, rule, remedy=f"Leave it out, or use goal={' or '.join(USED[key])}")
    idle = "half_width" if "lower" in given else "power"
    if goal in RATES and idle in given:
        rule = f"has no influence {'where' if 'lower' in given else 'unless'} lower is given"
        raise ConfigError(idle, rule, remedy="Leave one of them out" if "lower" in given else "For example lower=0.8")


def _with_pilot(cfg: DictConfig, study: Study, given: Collection[str]) -> DictConfig:
    """The configuration with the pilot's numbers wherever none was given on the command line."""
    found = {
        key: value for key, value in assumed(study).items() if key not in given and cfg.goal in USED.get(key, GOALS)
    }
    print(f"from {study.name}: {', '.join(f'{key} {value:.3g}' for key, value in found.items())}")
    if taken := [key for key in ("auroc", "other") if key in found]:
        # Kraemer et al. (2006), Arch Gen Psychiatry 63(5), 484-489.
        keys = " and ".join(f"{key}=" for key in taken)
        print(
            f"a pilot's AUROCs are uncertain, the highest optimistically biased: state those worth planning for, {keys}"
        )
    return cast(DictConfig, OmegaConf.merge(cfg, found))


def _plan_readers(cfg: DictConfig, study: Study | None, out: Path | None) -> None:
    """How many readers and patients find a difference, from the variances of a pilot's reader study."""
    if study is None:
        rule = "must be given for goal=readers: a study whose report has readers"
        raise ConfigError("pilot", rule, remedy="For example pilot=multirun/quick")
    for key, low, high in (("power", 0.1, 0.99), ("alpha", 0.001, 0.2)):
        refuse_outside(key, cfg[key], low, high)
    parts, found, what = reader_components(study)
    effect = found if cfg.difference is None else float(cfg.difference)
    refuse_outside("difference", abs(effect), 0.001, 0.5)
    settings = {"power_wanted": cfg.power, "alpha": cfg.alpha}
    needed = {number: cases_for_power(parts, effect, readers=number, **settings) for number in PANELS}
    if not any(needed.values()):
        remedy = "Ask for less: a greater difference, or less power"
        raise ConfigError("goal=readers", f"cannot be reached with {PANELS[-1]} readers", remedy=remedy)
    text = readers_paragraph(parts, effect, what, needed, cfg, pilot=study.name, observed=cfg.difference is None)
    for number, cases in needed.items():
        print(f"{number} readers: {f'{cases} patients' if cases else 'no number of patients suffices'}")
    print()
    print(text)
    if out is not None:
        print()
        print(f"open in a browser: {write_readers_plan(out, text, needed, parts, effect)}")


def read_scenario(cfg: DictConfig) -> Scenario:
    """What is assumed of the patients to come. Raises ConfigError if a number cannot be."""
    for key, low, high in (
        ("auroc", 0.501, 0.999), ("prevalence", 0.001, 0.999), ("half_width", 0.005, 0.4), ("margin", 0.005, 0.4),
        ("power", 0.1, 0.99), ("alpha", 0.001, 0.2), ("slices", 1, 1000), ("variation", 0, 5),
        ("correlation", 0, 0.99), ("agreement", 0, 0.99), ("folds", 1, 20), ("seed", 0, 2**31),
        ("expected", 0.5, 0.999),
    ):  # fmt: skip
        refuse_outside(key, cfg[key], low, high)
    if cfg.goal in RATES and cfg.lower is not None:
        refuse_outside("lower", cfg.lower, 0.001, 0.999)
        if cfg.lower >= cfg.expected:
            rule = f"must be below expected, {cfg.expected:g}"
            raise ConfigError("lower", rule, found=cfg.lower, remedy="For example expected=0.9 lower=0.8")
    if cfg.goal in ("interval", *RATES):
        return _scenario(cfg, None)
    if cfg.power <= cfg.alpha:
        raise ConfigError("power", f"must be above alpha, {cfg.alpha:g}", found=cfg.power, remedy="Try power=0.8")
    if cfg.other is None:
        rule = f"must be a number for goal={cfg.goal}: the AUROC of the comparator"
        raise ConfigError("other", rule, found="null", remedy="For example other=0.80")
    refuse_outside("other", cfg.other, 0.501, 0.999)
    gap = cfg.auroc - cfg.other + (cfg.margin if cfg.goal == "margin" else 0)
    if gap <= 0 if cfg.goal == "margin" else gap == 0:
        rule = "must be above other minus the margin" if cfg.goal == "margin" else "must differ from other"
        raise ConfigError("auroc", f"{rule}; otherwise, there is nothing to detect", found=cfg.auroc)
    return _scenario(cfg, float(cfg.other))


def _scenario(cfg: DictConfig, other: float | None) -> Scenario:
    numbers = {key: float(cfg[key]) for key in ("auroc", "prevalence", "slices", "variation", "agreement")}
    correlation = float(cfg.correlation) if cfg.slices > 1 else 0.0
    return Scenario(**numbers, correlation=correlation, other=other, folds=int(cfg.folds))


def _answer(cfg: DictConfig, scenario: Scenario) -> Answer:
    if cfg.goal == "interval":
        return patients_for_width(scenario, cfg.half_width, seed=cfg.seed)
    if cfg.goal in RATES:
        target, positive = cfg.half_width if cfg.lower is None else cfg.power, cfg.goal == "sensitivity"
        return patients_for_rate(
            scenario, cfg.expected, positive=positive, target=target, lower=cfg.lower, seed=cfg.seed
        )
    margin = cfg.margin if cfg.goal == "margin" else None
    return patients_for_difference(scenario, power=cfg.power, alpha=cfg.alpha, margin=margin, seed=cfg.seed)
