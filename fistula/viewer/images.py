"""Encode the slices of a volume so that a browser shows any window of them."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = (8, 12)
# Of JPEG, which has all 256 grey levels (lossy WebP would leave 220). Those after the first are for a patient who
# alone is too large for a page.
QUALITIES = 92, 85, 75
TAILS = 0.1, 99.9  # percentiles of a volume that 8 bits reach over
SIDE = 224  # pixels, at most, of a slice that stands on a page as a picture; a larger one is shrunk
QUALITY = 75  # of its WebP: enough to see what was missed; a diagnosis is made on the source
SHOWN = 1.0, 99.5  # percentiles of a volume that the window shows at first


def grey_range(values: Sequence[NDArray[np.float32]], bits: int) -> tuple[float, float]:
    """What the first and the last grey level of a volume stand for.

    With 12 bits whole numbers stay what they are wherever all of them fit (4096 values); otherwise the ends are the
    smallest and largest value, with 8 bits the percentiles `TAILS`. A constant volume gets a range of 1.
    """
    low, high = min(float(image.min()) for image in values), max(float(image.max()) for image in values)
    if bits == 12 and high - low <= 4095 and all((image == np.rint(image)).all() for image in values):
        return low, low + 4095
    if bits == 8:
        low, high = percentiles(values, TAILS)
    return low, max(high, low + 1)


def percentiles(values: Sequence[NDArray[np.float32]], at: tuple[float, float]) -> tuple[float, float]:
    """Two percentiles of a volume, from every fourth pixel along rows and columns."""
    sample = np.concatenate([image[::4, ::4].ravel() for image in values])
    first, second = np.percentile(sample, at)
    return float(first), float(second)


def encode(values: NDArray[np.float32], *, low: float, high: float, bits: int, quality: int = QUALITIES[0]) -> bytes:
    """One slice ``(H, W)`` as a JPEG (8 bits) or a lossless WebP (12 bits); what lies outside the range is clipped."""
    top = 2**bits - 1
    levels = np.rint(np.clip((values - low) / (high - low), 0, 1) * top).astype(np.uint16)
    file = io.BytesIO()
    if bits == 8:
        Image.fromarray(levels.astype(np.uint8)).save(file, format="JPEG", quality=quality)
    else:
        parts = np.stack([levels >> 4, (levels & 15) << 4, np.zeros_like(levels)], axis=-1).astype(np.uint8)
        Image.fromarray(parts).save(file, format="WEBP", lossless=True, quality=30, method=1)
    return file.getvalue()


def block(images: Sequence[bytes]) -> tuple[str, list[list[int]]]:
    """Images in one base64 text, each of them padded by itself, and where each begins and how long it is."""
    texts = [base64.b64encode(image).decode() for image in images]
    starts = np.cumsum([0, *map(len, texts)])
    return "".join(texts), [[int(start), len(text)] for start, text in zip(starts, texts, strict=False)]


def picture(pixels: NDArray[np.uint8]) -> str:
    """Encode grey ``(H, W)`` or RGB ``(H, W, 3)`` as a data URI of at most `SIDE` pixels a side."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    rows, columns = shrunk(pixels.shape)
    if (columns, rows) != image.size:
        image = image.resize((columns, rows), Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    image.save(encoded, format="WEBP", quality=QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode()


def shrunk(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the picture of a slice of this shape.

    Example:
        >>> shrunk((96, 96)), shrunk((448, 320))
        ((96, 96), (224, 160))
    """
    scale = min(1.0, SIDE / max(shape[:2]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
