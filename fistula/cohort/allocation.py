"""Divide groups of slices among parts, so that classes, sites, patients and slices are shared out evenly.

Five folds of 58 + 45 patients with very uneven numbers of slices (log-normal, median 8): the spread, largest less
smallest fold, mean over 20 cohorts; before the slash ours, after it scikit-learn's `StratifiedGroupKFold`, which
balances slices alone. `tests/cohort/test_allocation.py` measures it again.

====================================  =========  ==========  ===========  ================  =============
cohort                                patients   positives   class×site   slices (of mean)  prevalence
====================================  =========  ==========  ===========  ================  =============
one site                              1.0 / 2.0  1.0 / 1.3   1.0 / 2.1    0.010 / 0.009     0.004 / 0.006
four sites                            1.0 / 2.0  1.0 / 1.3   1.0 / 4.9    0.012 / 0.009     0.007 / 0.006
four, slices of both classes          1.0 / 6.8  0.8 / 5.6   2.1 / 6.6    0.011 / 0.056     0.007 / 0.021
====================================  =========  ==========  ===========  ================  =============
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def allocate_patients(manifest: pl.DataFrame, shares: Floats, *, seed: list[int]) -> Integers:
    """Give every slice of a manifest a part by patient, stratified by class and, where any slice has one, by site."""
    sites = None if manifest["site"].null_count() == len(manifest) else _codes(manifest["site"].fill_null(""))
    return allocate(manifest["label"].to_numpy(), _codes(manifest["patient_key"]), shares, seed=seed, sites=sites)


def allocate(
    labels: Integers, groups: Integers, shares: Floats, *, seed: list[int], sites: Integers | None = None
) -> Integers:
    """Give every slice a part, all slices of a group the same one.

    A group counts for the class, among those it holds, that the fewest groups hold. Within each class, groups are
    apportioned to the parts by number; within each site of that class likewise; and the seats are filled from the
    groups with the most slices down, each going where its slices are most lacking. Gives ``(N,)``, in ``[0, P)``; with
    no fewer groups of a class than parts, every part gets one of them.

    Args:
        labels: ``(N,)``, in ``[0, K)``.
        groups: ``(N,)``, a number for each group in order of first appearance.
        shares: ``(P,)``, positive, summing to 1: the fraction of the groups that each part is to get.
        seed: Non-negative integers; equal seeds give equal parts, with any version of NumPy.
        sites: ``(N,)``, a number for each site; a group is at the site of its first slice.
    """
    counts = np.zeros((groups.max() + 1, labels.max() + 1))
    np.add.at(counts, (groups, labels), 1)
    classes = _rarest_class(counts)
    places = np.zeros(len(counts), int) if sites is None else sites[np.unique(groups, return_index=True)[1]]
    # Ties go to the first part: the order of the parts is drawn, so that no fold is favoured.
    columns = _shuffled(len(shares), [*seed, 0])
    shares = shares[columns]
    stratum = np.unique(np.stack([classes, places]), axis=1, return_inverse=True)[1].ravel()
    order = _dealing_order(counts.sum(1), round(1 / shares.min()), seed)
    slices = counts / counts.sum(0).clip(1)
    return columns[_deal(order, slices, stratum, _quotas(classes, stratum, shares), shares)][groups]


def _deal(order: Integers, slices: Floats, stratum: Integers, quotas: Integers, shares: Floats) -> Integers:
    """Seat the groups in `order`, each where its slices are most lacking among the parts with a seat for its stratum.

    Args:
        order: ``(G,)``, the groups in turn.
        slices: ``(G, K)``, of each class, as a fraction of all slices of that class.
        stratum: ``(G,)``, in ``[0, S)``.
        quotas: ``(S, P)``, seats; zero at the end.
        shares: ``(P,)``.
    """
    left = np.zeros((len(quotas), slices.shape[1]))
    np.add.at(left, stratum, slices)
    wanted = np.repeat(shares[:, None], slices.shape[1], axis=1)
    parts = np.zeros(len(order), int)
    for group in order:
        quota = quotas[stratum[group]]
        # What a part would still lack if its open seats all went to the mean group of those that are left.
        means = left / quotas.sum(1, keepdims=True).clip(1)
        lacking = (wanted - quotas.T @ means) @ (slices[group] - means[stratum[group]])
        # Rounded: a tie must be a tie on every machine, whatever the order in which its library sums.
        part = int(np.argmax(np.where(quota > 0, lacking.round(12), -np.inf)))
        parts[group] = part
        wanted[part] -= slices[group]
        left[stratum[group]] -= slices[group]
        quota[part] -= 1
    return parts


def _quotas(classes: Integers, stratum: Integers, shares: Floats) -> Integers:
    """How many groups of each stratum each part takes, ``(S, P)``; first by class, then by stratum within the class."""
    quotas = np.zeros((stratum.max() + 1, len(shares)), int)
    owed = np.zeros(len(shares))
    for label in np.unique(classes):
        number = int((classes == label).sum())
        seats = apportion(number, shares, owed=owed, least=1)
        owed += number * shares - seats
        for place in _largest_first(stratum[classes == label]):
            quotas[place] = apportion(int((stratum == place).sum()), seats / seats.sum(), owed=owed)
            seats = seats - quotas[place]
    return quotas


def apportion(number: int, shares: Floats, *, owed: Floats, least: int = 0) -> Integers:
    """Divide `number` seats by largest remainder (Hamilton's method); among equal remainders, by what is owed.

    Gives ``(P,)``, summing to `number`.

    Args:
        number: Seats to give.
        shares: ``(P,)``, summing to 1.
        owed: ``(P,)``, seats that earlier divisions owe each part.
        least: Seats that every part gets where there are enough, taken from the part with the most.

    Example:
        >>> apportion(11, np.array([0.5, 0.25, 0.25]), owed=np.array([0.0, 0.0, 0.5]))
        array([5, 3, 3])
    """
    ideal = number * shares
    seats = np.floor(ideal).astype(int)
    # Rounded, because 0.1 + 0.2 must tie with 0.3, and a hair less than a whole seat is one: its remainder comes first.
    preference = np.lexsort((-owed.round(9), -(ideal - seats).round(9)))
    seats[preference[: number - seats.sum()]] += 1
    while number >= least * len(shares) and seats.min() < least:
        seats[seats.argmin()] += 1
        seats[seats.argmax()] -= 1
    return seats


def _codes(column: pl.Series) -> Integers:
    """Number a column's values in order of first appearance: renaming patients changes nothing."""
    values = column.unique(maintain_order=True)
    return column.replace_strict(values, np.arange(len(values)), return_dtype=pl.Int64).to_numpy()


def _rarest_class(counts: Floats) -> Integers:
    """For each group, of the classes it holds, the one that the fewest groups hold; ``(G, K)`` to ``(G,)``."""
    holders = (counts > 0).sum(0)
    return np.where(counts > 0, holders, np.iinfo(np.int64).max).argmin(1)


def _dealing_order(slices: Floats, tier: int, seed: list[int]) -> Integers:
    """Order the groups for dealing: most slices first, but drawn within tiers of `tier` groups.

    In strict order of size, the seed would decide nothing where all groups differ in size.
    """
    lot = _shuffled(len(slices), [*seed, 1])
    tiers = np.argsort(np.lexsort((lot, -slices))) // tier
    return np.lexsort((_shuffled(len(slices), [*seed, 2]), tiers))


def _largest_first(places: Integers) -> Integers:
    names, sizes = np.unique(places, return_counts=True)
    return names[np.argsort(-sizes, kind="stable")]


def _shuffled(number: int, seed: list[int]) -> Integers:
    """Draw a permutation that is the same with every NumPy: only raw bit streams are promised to stay (NEP 19)."""
    return np.argsort(np.random.PCG64(seed).random_raw(number), kind="stable")
