"""A number with its interval, or the reason why there is none."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite, isinf, isnan, nan
from typing import Any

LEVEL = 0.95  # of an interval, where nobody asks for another


@dataclass(frozen=True)
class Estimate:
    """A value, the ends of its interval, and how they were made.

    Formatting shows what is missing: ``n/a: no positives`` for an undefined value, ``1.000 (n/a: one patient)`` for a
    value without an interval. The format specification is that of the numbers (``.3f`` where none is given).

    Args:
        value: The estimate; NaN where undefined.
        low: Lower end of the interval; NaN where undefined.
        high: Upper end; NaN where undefined.
        method: How the interval was made, with its level, as `name_method` writes it.
        reason: Why value or interval is undefined; empty where both are there.

    Example:
        >>> str(Estimate(0.8237, 0.7485, 0.8988, "DeLong, 95%"))
        '0.824 (0.749 to 0.899)'
        >>> f"{Estimate(96 / 99, 0.9148, 0.9896, 'Wilson, 95%'):.1%}"
        '97.0% (91.5% to 99.0%)'
        >>> str(undefined("Wilson, 95%", "no positives"))
        'n/a: no positives'
    """

    value: float
    low: float
    high: float
    method: str
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse a gap that says nothing: whatever is NaN has a reason."""
        if not self.reason and (isnan(self.value) or isnan(self.low) or isnan(self.high)):
            raise ValueError(
                f"an estimate with NaN needs a reason: {self.value}, {self.low}, {self.high}, {self.method}"
            )

    @property
    def is_defined(self) -> bool:
        """Whether there is a value; it may still lack an interval."""
        return not isnan(self.value)

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are finite."""
        return isfinite(self.low) and isfinite(self.high)

    def within(self, least: float, most: float) -> "Estimate":
        """The same with an interval that ends where the value has to."""
        return replace(self, low=max(self.low, least), high=min(self.high, most))

    def __format__(self, specification: str) -> str:
        if not self.is_defined:
            return f"n/a: {self.reason}"
        spec = specification or ".3f"
        if isinf(self.value):
            return f"infinite (n/a: {self.reason})"
        if isnan(self.low) or isnan(self.high):
            return f"{self.value:{spec}} (n/a: {self.reason})"
        return f"{self.value:{spec}} ({self.low:{spec}} to {self.high:{spec}})"

    def __str__(self) -> str:
        return format(self)

    def as_json(self) -> dict[str, Any]:
        """Its parts as JSON takes them, from which `of_json` makes it again."""
        return {name: json_number(value) for name, value in asdict(self).items()}

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> "Estimate":
        """What was written by `as_json`, whatever else stands beside it."""
        numbers = (told["value"], told["low"], told["high"])
        value, low, high = (nan if one is None else inf if one == "infinite" else float(one) for one in numbers)
        return cls(value, low, high, told["method"], told["reason"])


def json_number(value: Any) -> Any:
    """A number as JSON takes it, which has neither NaN nor infinity; all else as it is."""
    if not isinstance(value, float) or isfinite(value):
        return value
    return None if isnan(value) else "infinite"


def undefined(method: str, reason: str) -> Estimate:
    """An estimate that could not be made."""
    return Estimate(nan, nan, nan, method, reason)


def without_interval(value: float, method: str, reason: str) -> Estimate:
    """An estimate whose interval could not be made."""
    return Estimate(float(value), nan, nan, method, reason)


def name_method(name: str, level: float) -> str:
    """The name of a method with the level of its interval.

    Raises:
        ValueError: If `level` is outside (0, 1).

    Example:
        >>> name_method("Wilson", 0.95)
        'Wilson, 95%'
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be inside (0, 1), got {level}")
    return f"{name}, {100 * level:g}%"
