"""What of a slice two patients cannot share by chance: its fine detail, a hash of its spectrum, and how two agree."""

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

SIDE = 64  # pixels, of the square that two slices are compared on
BITS = 256
WAYS = 4  # as it is, mirrored, transposed, both; a half turn changes no strength of a spectrum
BLOCK = 1024
_RING = 16  # bits that share one threshold: frequencies of about one radius
_REACH = 6  # pixels of SIDE, the largest shift that the correlation searches
_FINE, _COARSE = 1.0, 3.0  # pixels of SIDE, standard deviations: detail between them is kept
_FLAT = 0.5  # grey levels; with less detail than this, rms, a slice shows nothing to recognise


def details_of(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Take each slice's detail at `SIDE`, faded at the borders, of unit norm; and mark the slices without detail.

    Detail is a band of spatial frequencies, divided by its local strength, so that the outline of a body, which all
    patients share, does not outweigh what lies inside.
    """
    fade = np.sqrt(np.outer(np.hanning(SIDE + 2), np.hanning(SIDE + 2)))[1:-1, 1:-1]
    details = np.empty((len(pixels), SIDE, SIDE), np.float32)
    strengths = np.empty(len(pixels))
    for row, image in enumerate(pixels):
        small = cv2.resize(np.asarray(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        band = cv2.GaussianBlur(small, (0, 0), _FINE) - cv2.GaussianBlur(small, (0, 0), _COARSE)
        local = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 1.5 * _COARSE))
        strengths[row] = local.mean()
        faded = band / (local + 0.5 * strengths[row] + 1e-6) * fade
        details[row] = faded - faded.mean()
    details /= np.maximum(np.linalg.norm(details, axis=(1, 2)), 1e-6)[:, None, None]
    return details, strengths < _FLAT


def hashes_of(details: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Of each way to hold a slice, which of the `BITS` lowest frequencies are strong; ``(N, WAYS, BITS / 64)``.

    A frequency is strong above the median of its ring. Magnitudes of a spectrum do not change with a shift, nor with
    the sign of the detail (Oppenheim and Lim 1981, Proc IEEE 69(5), on phase and magnitude).
    """
    spectra = np.abs(scipy.fft.rfft2(details)).reshape(len(details), -1)
    bits = np.empty((len(details), WAYS, BITS // _RING, _RING), bool)
    for way, places in enumerate(_FREQUENCIES):
        strength = spectra[:, places].reshape(len(details), -1, _RING)
        bits[:, way] = strength > np.median(strength, axis=2, keepdims=True)
    return np.packbits(bits.reshape(len(details), WAYS, BITS), axis=2).view(np.uint64)


def _frequencies() -> list[NDArray[np.intp]]:
    """Where in a flat `rfft2` the lowest frequencies stand, for each way to hold a slice."""
    down = np.fft.fftfreq(SIDE, 1 / SIDE).astype(int)[:, None]
    across = np.arange(SIDE // 2 + 1)[None]
    # Of each frequency and its mirror image through the origin one is taken; none at zero.
    radius = np.where((across > 0) | (down > 0), np.hypot(down, across), np.inf)
    lowest = np.argsort(radius, axis=None, kind="stable")[:BITS]
    row, column = (values.ravel()[lowest] for values in np.broadcast_arrays(down, across))
    found = []
    for way in range(WAYS):
        y, x = (column, row) if way & 2 else (row, column)
        y = -y if way & 1 else y
        y, x = np.where(x < 0, -y, y), np.abs(x)
        found.append(y % SIDE * (SIDE // 2 + 1) + x)
    return found


_FREQUENCIES = _frequencies()


def held(details: NDArray[np.float32], ways: NDArray[np.int64]) -> NDArray[np.float32]:
    """Each slice's detail in the way that goes with its hash of that number."""
    result = details.copy()
    transposed, mirrored = ways & 2 > 0, ways & 1 > 0
    # The hash of way 3 mirrors first: its rows are columns of the mirrored slice.
    result[mirrored] = result[mirrored, ::-1]
    result[transposed] = result[transposed].transpose(0, 2, 1)
    return result


def spectra_of(details: NDArray[np.float32]) -> NDArray[np.complex64]:
    """What `correlate` takes."""
    return scipy.fft.rfft2(details, norm="ortho")


def correlate(one: NDArray[np.complex64], other: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Correlation of each pair's detail where it is largest, in [0, 1].

    At any shift of at most `_REACH` pixels each way, with the second as it is or half a turn further, and whether or
    not it is bright where the first is dark.

    Both are spectra ``(P, SIDE, SIDE / 2 + 1)``, or ``(1, ...)`` for all.
    """
    # The spectrum of a half turn is the conjugate, up to the shift by one pixel of a grid without a centre.
    shifted = [(_DOWN @ (one * turned) @ _ACROSS).real for turned in (other.conj(), other)]
    return np.max([np.abs(agreement).max(axis=(1, 2)) for agreement in shifted], axis=0)


def _inverse(frequencies: int) -> NDArray[np.complex64]:
    """The part of an inverse Fourier transform that gives the shifts within reach; ``(frequencies, shifts)``."""
    phases = np.outer(np.arange(frequencies), np.arange(-_REACH, _REACH + 1))
    return np.exp(2j * np.pi * phases / SIDE).astype(np.complex64)


# Columns between the first and the last of an `rfft2` stand for themselves and for their mirror image.
_DOWN = _inverse(SIDE).T
_ACROSS = (
    _inverse(SIDE // 2 + 1)
    * np.where(np.arange(SIDE // 2 + 1) % (SIDE // 2) == 0, np.float32(1), np.float32(2))[:, None]
)
