"""`fistula plan`: how many patients a study needs."""

from pathlib import Path

from omegaconf import DictConfig

from fistula.errors import ConfigError, refuse_outside
from fistula.evidence.planning import Answer, Scenario, patients_for_difference, patients_for_width
from fistula.folder import refuse_existing
from fistula.report.protocol import paragraph, write_plan

GOALS = ("interval", "difference", "margin")


def run(cfg: DictConfig) -> None:
    """Simulate, print the paragraph, and write the page where one is wanted."""
    out = None if cfg.out is None else Path(str(cfg.out))
    if out is not None:
        refuse_existing(out)
    scenario = read_scenario(cfg)
    answer = _answer(cfg, scenario)
    settings = {key: cfg[key] for key in ("goal", "half_width", "margin", "power", "alpha", "seed")}
    if answer.patients is None:
        remedy = "Ask for less: a wider interval, a greater difference or margin, or less power"
        raise ConfigError(f"goal={cfg.goal}", "cannot be reached with 20 000 patients", remedy=remedy)
    print(f"{answer.patients} patients, {answer.positives} of them positive")
    print()
    print(paragraph(scenario, answer, settings))
    if out is not None:
        print()
        print(f"look at {write_plan(out, scenario, answer, settings)}")


def read_scenario(cfg: DictConfig) -> Scenario:
    """What is assumed of the patients to come.

    Raises:
        ConfigError: If a number cannot be.
    """
    if cfg.goal not in GOALS:
        raise ConfigError("goal", f"must be one of {', '.join(GOALS)}", found=cfg.goal)
    for key, low, high in (
        ("auroc", 0.501, 0.999), ("prevalence", 0.001, 0.999), ("half_width", 0.005, 0.4), ("margin", 0.005, 0.4),
        ("power", 0.1, 0.99), ("alpha", 0.001, 0.2), ("slices", 1, 1000), ("variation", 0, 5),
        ("correlation", 0, 0.99), ("agreement", 0, 0.99), ("seed", 0, 2**31),
    ):  # fmt: skip
        refuse_outside(key, cfg[key], low, high)
    if cfg.goal == "interval":
        return _scenario(cfg, None)
    if not isinstance(cfg.other, int | float) or isinstance(cfg.other, bool):
        rule = f"must be a number for goal={cfg.goal}: the AUROC of what the model is compared with"
        raise ConfigError(
            "other", rule, found="null" if cfg.other is None else cfg.other, remedy="For example other=0.80"
        )
    refuse_outside("other", cfg.other, 0.501, 0.999)
    gap = cfg.auroc - cfg.other + (cfg.margin if cfg.goal == "margin" else 0)
    if gap <= 0 if cfg.goal == "margin" else gap == 0:
        rule = "must be above other less the margin" if cfg.goal == "margin" else "must differ from other"
        raise ConfigError("auroc", f"{rule}, or there is nothing to find", found=cfg.auroc)
    return _scenario(cfg, float(cfg.other))


def _scenario(cfg: DictConfig, other: float | None) -> Scenario:
    numbers = {key: float(cfg[key]) for key in ("auroc", "prevalence", "slices", "variation", "agreement")}
    return Scenario(**numbers, correlation=float(cfg.correlation) if cfg.slices > 1 else 0.0, other=other)


def _answer(cfg: DictConfig, scenario: Scenario) -> Answer:
    if cfg.goal == "interval":
        return patients_for_width(scenario, cfg.half_width, seed=cfg.seed)
    margin = cfg.margin if cfg.goal == "margin" else None
    return patients_for_difference(scenario, power=cfg.power, alpha=cfg.alpha, margin=margin, seed=cfg.seed)
