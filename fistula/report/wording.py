"""Numbers and states as the page prints them."""

from math import isinf, isnan

from fistula.errors import count
from fistula.evidence.estimate import Estimate
from fistula.sweep.status import RunStatus

MINUS = "\N{MINUS SIGN}"
IDEALS = (
    "0 is ideal, and above it probabilities are too low",
    "1 is ideal, and below it probabilities are too extreme",
)


def say_ci(estimate: Estimate) -> str:
    """An estimate with its 95% CI, or with the reason why it has none."""
    if not estimate.is_defined:
        return f"n/a: {estimate.reason}"
    low, value, high = (f"{end:.3f}".replace("-", MINUS) for end in (estimate.low, estimate.value, estimate.high))
    if isinf(estimate.value):
        return f"infinite (95% CI {low} to infinity)"
    return f"{value} ({f'95% CI {low} to {high}' if estimate.has_interval else f'no CI: {estimate.reason}'})"


def say_line(line: tuple[Estimate, Estimate]) -> str:
    """The calibration intercept and slope, each with what it means, or why there is none."""
    said = []
    for name, estimate, meaning in zip(("intercept", "slope"), line, IDEALS, strict=True):
        told = f"{say_ci(estimate)[:-1]}; {meaning})" if estimate.is_defined else f"not estimable ({estimate.reason})"
        said.append(f"calibration {name}, {told}")
    return "; ".join(said)


def say_share(share: Estimate, number: int, of: int, what: str = "") -> str:
    """A share as counts, with its percentage and 95% CI where it has one.

    Example:
        >>> say_share(Estimate(0.25, 0.1, 0.5, ""), 5, 20)
        '5 of 20 (25%; 95% CI, 10% to 50%)'
        >>> say_share(Estimate(*[float("nan")] * 3, "", "no rows"), 0, 0)
        'none'
    """
    if not of:
        return "none"
    interval = f"; 95% CI, {share.low:.0%} to {share.high:.0%}" if share.has_interval else ""
    return f"{' '.join(filter(None, (f'{number} of {of}', what)))} ({share.value:.0%}{interval})"


def say_times(number: int, noun: str, units: int, seeds: int) -> str:
    """How often so many units were judged: a patient whom the runs of several seeds judge is still one patient.

    Example:
        >>> say_times(24, "patient", 24, 1), say_times(72, "patient", 24, 3)
        ('24 patients', '72 (24 patients, 3 seeds each)')
        >>> say_times(38, "patient", 30, 2)
        '38 (30 patients, some of them in several runs)'
    """
    if number == units:
        return count(number, noun)
    each = f"{seeds} seeds each" if number == units * seeds else "some of them in several runs"
    return f"{number} ({count(units, noun)}, {each})"


def say_signed(value: float) -> str:
    """A difference with its sign, the minus as wide as the plus; one that rounds to 0 has none.

    Example:
        >>> say_signed(0.25), say_signed(-0.0)
        ('+0.250', '0.000')
    """
    return f"{value:+.3f}".replace("-", MINUS) if round(value, 3) else "0.000"


def say_p(value: float) -> str:
    """A p-value as it is printed: never 0 or 1, n/a where there is no test, and on the side of 0.05 on which it is.

    Example:
        >>> say_p(0.0304), say_p(0.0496), say_p(1e-9), say_p(1.0)
        ('0.030', '0.0496', '< 0.001', '> 0.999')
    """
    if isnan(value):
        return "n/a"
    if not 0.001 <= value <= 0.999:
        return "< 0.001" if value < 0.001 else "> 0.999"
    return f"{value:.{4 if value < 0.05 and f'{value:.3f}' == '0.050' else 3}f}"


def say_progress(run: RunStatus) -> str:
    """How far a run is that has not finished, and why it failed."""
    epochs = f", epoch {run.epoch} of {run.epochs}" if run.epoch and run.state != "failed" else ""
    return f"{run.state}{epochs}" + (f": {run.note}" if run.state in ("failed", "damaged") and run.note else "")
