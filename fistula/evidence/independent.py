"""The difference of two numbers that rest on different patients, from the interval of each."""

from math import sqrt

from fistula.evidence.estimate import Estimate, undefined, without_interval


def independent_difference(first: Estimate, second: Estimate) -> Estimate:
    """First less second, with an interval made of theirs: it leans as they lean, and needs no variance.

    Undefined if one of them is; without an interval if one of them has none. Both are of different patients, with
    intervals of the same level.

    Source:
        Zou & Donner (2008), Stat Med 27(10), 1693-1702 (MOVER); of proportions with Wilson's intervals it is method 10
        of Newcombe (1998), Stat Med 17(8), 873-890.

    Example:
        >>> from fistula.evidence.rates.counts import wilson
        >>> f"{independent_difference(wilson(56, 70), wilson(48, 80)):.4f}"
        '0.2000 (0.0524 to 0.3339)'
    """
    method = f"square-and-add of two intervals ({first.method}; {second.method})"
    for one in (first, second):
        if not one.is_defined:
            return undefined(method, one.reason)
    value = first.value - second.value
    for one in (first, second):
        if not one.has_interval:
            return without_interval(value, method, one.reason)
    low = value - sqrt((first.value - first.low) ** 2 + (second.high - second.value) ** 2)
    high = value + sqrt((first.high - first.value) ** 2 + (second.value - second.low) ** 2)
    return Estimate(value, low, high, method)
