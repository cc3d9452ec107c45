"""A picture of random slices of every class: the first look that a cohort deserves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fistula.errors import count

COLUMNS, SIDE, MARGIN, TITLE = 8, 112, 4, 18


def write_contact_sheet(path: Path, pixels: np.ndarray, labels: Sequence[int], classes: Sequence[str]) -> None:
    """Write a PNG with two rows of slices a class, chosen at random but always the same ones.

    Pixels are uint8 ``(N, H, W)``, labels ``(N,)`` indices into the classes.
    """
    generator = np.random.default_rng(0)
    step, block = SIDE + MARGIN, TITLE + 2 * (SIDE + MARGIN)
    sheet = Image.new("L", (COLUMNS * step + MARGIN, len(classes) * block + MARGIN), 40)
    draw = ImageDraw.Draw(sheet)
    for index, name in enumerate(classes):
        rows = np.flatnonzero(np.asarray(labels) == index)
        chosen = np.sort(generator.permutation(rows)[: 2 * COLUMNS])
        draw.text((MARGIN, index * block + 3), f"{name}: {count(len(rows), 'slice')}", fill=255)
        for place, row in enumerate(chosen):
            corner = MARGIN + place % COLUMNS * step, TITLE + index * block + place // COLUMNS * step
            sheet.paste(Image.fromarray(pixels[row]).resize((SIDE, SIDE), Image.Resampling.BILINEAR), corner)
    sheet.save(path)
