"""Find slices that two patients share: the same picture re-encoded, noisier, brighter, inverted, turned or cropped."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fistula.audit.likeness import BITS, BLOCK, WAYS, correlate, details_of, hashes_of, held, spectra_of

_ORDERS = 16  # in which the hashes are sorted, each by other bits
_WINDOW = 24  # places in such an order within which two hashes are compared, at least
_COMPARED = 1 << 22  # pairs of hashes that a smaller cohort has compared in each order all the same
_ALL = 1 << 13  # hashes, four a slice, up to which every pair is compared
_NEAREST = 8  # candidates that are kept of a slice
_SAMPLED = 64  # slices that say how much a slice resembles any
_KIN = 3  # of them that may be copies or kin of it, and are passed over
_DEVIATIONS = 7  # above what it reaches with the others; the tails of smooth fields are far from normal
_FEW = 600  # slices; each ten times as many, a hundred times as many pairs, ask for a deviation more
_SAME = 0.9995  # a correlation that counts whatever others reach
_ALIKE = 24  # bits; hashes as close as this are looked at, however close others are


@dataclass(frozen=True)
class NearDuplicate:
    """Two slices that look the same."""

    first: int  # row of the one
    second: int  # row of the other, larger
    distance: int  # hash bits that differ, in ``[0, BITS]``
    correlation: float  # of their detail at the best shift, in [0, 1]


@dataclass(frozen=True)
class Search:
    """What a search found."""

    pairs: list[NearDuplicate]  # in order of the rows
    candidates: int  # pairs within the hash distance whose detail was compared
    commonplace: int  # those of them that reach the correlation, but hardly more than the slice does with any other
    featureless: int  # slices with too little detail to recognise; they match nothing


def find_near_duplicates(
    pixels: NDArray[np.uint8], patients: NDArray[np.int64], *, distance: int, correlation: float
) -> Search:
    """Search the slices of different patients for copies, by perceptual hash and then by correlation.

    The hash finds candidates. The hashes of all slices, each held in four ways, are sorted by `_ORDERS` random orders
    of their bits, and those that come to stand near each other are compared (Charikar 2002, STOC, section 3): time
    grows as N log N, and memory as N. Up to 2000 slices every pair is compared. The correlation of their detail at the
    best shift (Lewis 1995, fast normalised cross-correlation) then tells a copy from similar anatomy, and counts only
    where it stands out from what the slice reaches with slices drawn from all: smooth round fields agree in their
    outline, and no outline is a copy. `benchmarks/near_duplicates.py` measures how many copies of each kind are found.

    `pixels` are ``(N, H, W)``, and `patients` a number for each slice; the hashes of a pair may differ in `distance` of
    `BITS` bits at most, and its correlation, in [0, 1], is at least `correlation`.
    """
    hashes, is_flat = _read(pixels)
    rows = np.flatnonzero(~is_flat)
    found = _candidates(hashes[rows], patients[rows], distance)
    first, second, ways, apart = rows[found[0]], rows[found[1]], found[2], found[3]
    agreement = _agreements(pixels, first, second, ways)
    alike = agreement >= correlation
    stands_out = np.ones(len(first), bool)
    stands_out[alike] = _stand_out(pixels, patients, rows, first[alike], second[alike], agreement[alike])
    kept = np.flatnonzero(alike & stands_out)
    kept = kept[np.lexsort((second[kept], first[kept]))]
    pairs = [NearDuplicate(int(first[k]), int(second[k]), int(apart[k]), float(agreement[k])) for k in kept]
    commonplace = int((alike & ~stands_out).sum())
    return Search(pairs, candidates=len(first), commonplace=commonplace, featureless=int(is_flat.sum()))


def _read(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    hashes = np.empty((len(pixels), WAYS, BITS // 64), np.uint64)
    is_flat = np.empty(len(pixels), bool)
    for start in range(0, len(pixels), BLOCK):
        block = slice(start, start + BLOCK)
        details, is_flat[block] = details_of(pixels[block])
        hashes[block] = hashes_of(details)
    return hashes, is_flat


def _candidates(hashes: NDArray[np.uint64], patients: NDArray[np.int64], distance: int) -> NDArray[np.int64]:
    """Pairs of different patients with close hashes; ``(4, P)``: the two, the way of the second, and the bits apart."""
    number, random = len(hashes), np.random.default_rng(0)
    found = np.empty((4, 0), np.int64)
    if number < 2:
        return found
    limits = np.minimum(distance, _usual(hashes, random))
    entries = number * WAYS
    window = entries - 1 if entries <= _ALL else max(_WINDOW, _COMPARED // entries)
    for _ in range(1 if entries <= _ALL else _ORDERS):
        order = _order(hashes.reshape(entries, -1), random.permutation(BITS)[:64])
        words = np.ascontiguousarray(hashes.reshape(entries, -1)[order].T)
        row, way = order // WAYS, order % WAYS
        for close in _close(words, row, limits, patients, window):
            one, other = row[close[0]], row[close[1]]
            pairs = np.stack([np.minimum(one, other), np.maximum(one, other), way[close[0]] ^ way[close[1]], close[2]])
            found = _nearest(np.concatenate([found, pairs], axis=1))
    return found


def _usual(hashes: NDArray[np.uint64], random: np.random.Generator) -> NDArray[np.int64]:
    """For each slice, the bits below which another is unusually close: two deviations below a sample's mean."""
    sample = hashes[random.choice(len(hashes), min(len(hashes), 4 * _SAMPLED), replace=False), 0]
    limits = np.full(len(hashes), BITS)
    if len(sample) < _SAMPLED:
        return limits
    for start in range(0, len(hashes), BLOCK):
        own = hashes[start : start + BLOCK, 0]
        apart = np.bitwise_count(own[:, None] ^ sample[None]).sum(axis=2)
        limits[start : start + BLOCK] = np.maximum(_ALIKE, apart.mean(axis=1) - 2 * apart.std(axis=1))
    return limits


def _order(hashes: NDArray[np.uint64], bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sort by 64 of the bits."""
    words = np.empty(len(hashes), np.uint64)
    for start in range(0, len(hashes), 1 << 16):
        whole = np.unpackbits(hashes[start : start + (1 << 16)].view(np.uint8), axis=1)
        packed = np.ascontiguousarray(np.packbits(whole[:, bits], axis=1))
        words[start : start + (1 << 16)] = packed.view(np.uint64)[:, 0]
    return np.argsort(words.byteswap())


def _close(
    words: NDArray[np.uint64],
    row: NDArray[np.int64],
    limits: NDArray[np.int64],
    patients: NDArray[np.int64],
    window: int,
) -> Iterator[NDArray[np.int64]]:
    """Places in one order, at most `window` apart, of slices of different patients with close hashes; ``(3, P)``."""
    limit, patient = limits[row].astype(np.uint16), patients[row]
    held, size = [], 0
    for step in range(1, window + 1):
        apart = np.zeros(len(row) - step, np.uint16)
        for word in words:
            apart += np.bitwise_count(word[:-step] ^ word[step:])
        place = np.flatnonzero(apart <= np.minimum(limit[:-step], limit[step:]))
        place = place[patient[place] != patient[place + step]]
        held.append(np.stack([place, place + step, apart[place].astype(np.int64)]))
        size += len(place)
        if size > 1 << 20 or step == window:
            yield np.concatenate(held, axis=1)
            held, size = [], 0


def _nearest(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each pair once, in its closest way, where it is among the `_NEAREST` of one of its slices."""
    pairs = pairs[:, np.lexsort((pairs[2], pairs[3], pairs[1], pairs[0]))]
    is_new = np.ones(pairs.shape[1], bool)
    is_new[1:] = (pairs[:2, 1:] != pairs[:2, :-1]).any(axis=0)
    pairs = pairs[:, is_new]
    near = np.zeros(pairs.shape[1], bool)
    for side in (0, 1):
        order = np.lexsort((pairs[1 - side], pairs[3], pairs[side]))
        slices = pairs[side, order]
        starts = np.searchsorted(slices, slices)
        near[order] |= np.arange(len(order)) - starts < _NEAREST
    return pairs[:, near]


def _agreements(
    pixels: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64], ways: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Correlations of pairs of rows, with the detail of no more than a block of them in memory."""
    result = np.empty(len(first), np.float32)
    for start in range(0, len(first), BLOCK):
        block = slice(start, start + BLOCK)
        shown, place = np.unique(np.concatenate([first[block], second[block]]), return_inverse=True)
        one, other = np.split(place, 2)
        details = details_of(pixels[shown])[0]
        result[block] = correlate(spectra_of(details[one]), spectra_of(held(details[other], ways[block])))
    return result


def _stand_out(
    pixels: NDArray[np.uint8],
    patients: NDArray[np.int64],
    rows: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    agreement: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Whether each pair agrees better than its slices do with a sample: by `_DEVIATIONS` of Fisher's z (1921)."""
    sample = np.random.default_rng(1).choice(rows, min(len(rows), _SAMPLED), replace=False)
    spectra = spectra_of(details_of(pixels[sample])[0])
    matches = {row: {row} for row in first.tolist() + second.tolist()}
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        matches[one].add(other)
        matches[other].add(one)
    deviations = _DEVIATIONS + max(0.0, float(np.log10(max(len(rows), 1) / _FEW)))
    least = np.zeros(len(pixels))
    for row, alike in matches.items():
        unlike = (patients[sample] != patients[row]) & ~np.isin(sample, list(alike))
        if unlike.sum() >= _SAMPLED // 4:
            reached = correlate(spectra_of(details_of(pixels[[row]])[0]), spectra[unlike])
            z = np.arctanh(np.sort(reached)[:-_KIN])
            least[row] = min(z.mean() + deviations * z.std(), np.arctanh(_SAME))
    return np.arctanh(np.minimum(agreement, 1 - 1e-7)) >= np.maximum(least[first], least[second])
