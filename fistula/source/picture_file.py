"""Read PNG and JPEG pictures as grey values."""

import warnings
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fistula.dicom.outcome import Refused
from fistula.dicom.pixels import LUMA, Picture

MAX_PIXELS = 1 << 26


def read_picture(content: bytes) -> Picture:
    """One picture's grey values, 0-255 (0-65535 if it has 16 bits), turned as its EXIF tag says.

    Colours become luma (BT.601). Transparency is dropped, never blended: in published sets it can give a label away.

    Raises:
        Refused: If it is not a PNG or JPEG file, is damaged, or is absurdly large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(BytesIO(content), formats=("PNG", "JPEG"))
            if opened.width * opened.height > MAX_PIXELS:
                raise Refused("an absurd number of pixels")
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except UnidentifiedImageError as error:
        raise Refused("neither PNG nor JPEG") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refused("an absurd number of pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise Refused("a damaged picture", "Export it again") from error
    return Picture(values=_grey(image), decoder="pillow")


def _grey(image: Image.Image) -> np.ndarray:
    if image.mode in ("I;16", "I;16B", "I", "F"):
        return np.asarray(image, np.float32)
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"), np.float32)
    if image.mode == "LA":
        return np.asarray(image.getchannel("L"), np.float32)
    return np.asarray(image.convert("RGB"), np.float32) @ LUMA
