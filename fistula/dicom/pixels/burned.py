"""Find bright text-like marks in the corners of an image, where scanners and film digitisers write names."""

import numpy as np

TEXT_LIKE = "bright text-like corner"  # what is noted of such an image
CORNER = 0.25  # of each side
GLYPHS = 4  # so many marks of a letter's size in one line are taken for text


def looks_like_text(values: np.ndarray) -> bool:
    """Whether a corner of ``(H, W)`` has a line of small marks that are all as bright as the brightest pixel.

    Text is drawn in one value, the largest there is; anatomy and noise reach it in single pixels only. A hint for a
    person to look, not a proof: text in other places or with shaded edges is not found.
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return False
    bright = values >= high - 0.02 * (high - low)
    count = np.count_nonzero(bright)
    if count < 5 * GLYPHS or count > 0.2 * bright.size:
        return False
    height, width = (max(8, round(side * CORNER)) for side in values.shape)
    corners = (
        bright[rows, columns]
        for rows in (slice(None, height), slice(-height, None))
        for columns in (slice(None, width), slice(-width, None))
    )
    return any(_has_line(corner) for corner in corners)


def _has_line(bright: np.ndarray) -> bool:
    if np.count_nonzero(bright) < 5 * GLYPHS:  # a glyph is five pixels high
        return False
    from scipy import ndimage  # here, because few images come as far, and it takes a seventh of a second to import

    marks, _ = ndimage.label(bright, structure=np.ones((3, 3)))
    boxes = [box for box in ndimage.find_objects(marks) if _is_glyph(bright, box)]
    middles = [(box[0].start + box[0].stop) / 2 for box in boxes]
    heights = [box[0].stop - box[0].start for box in boxes]
    return any(
        sum(abs(other - middle) <= height / 2 for other in middles) >= GLYPHS
        for middle, height in zip(middles, heights, strict=True)
    )


def _is_glyph(bright: np.ndarray, box: tuple[slice, slice]) -> bool:
    height, width = box[0].stop - box[0].start, box[1].stop - box[1].start
    filled = float(bright[box].mean())
    return (
        5 <= height <= 40
        and 1 <= width <= 40
        and width <= 2 * height
        and filled < 1.01
        and (filled < 0.95 or width * 3 <= height)
    )
