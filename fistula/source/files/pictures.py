"""Read PNG, JPEG, TIFF, BMP and WebP pictures as grey values."""

import warnings
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fistula.dicom.container import Part, open_part
from fistula.dicom.outcome import Refused
from fistula.dicom.pixels.decode import LUMA, Picture

MAX_PIXELS = 1 << 26
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
ORIENTATION, SIDEWAYS = 274, 4  # EXIF; values above are turned by 90 degrees
WHITE_IS_ZERO = 262, 0  # TIFF 6.0, PhotometricInterpretation; Pillow heeds it up to 8 bits


def read_picture(content: bytes) -> Picture:
    """One picture's grey values, 0-255 (0-65535 if it has 16 bits), turned as its EXIF tag says.

    Colours become luma (BT.601). Transparency is dropped, never blended: in published sets it can give a label away.

    Raises:
        Refused: If it is no such picture, is one of several frames, damaged, or absurdly large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF tags and the like
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(BytesIO(content), formats=FORMATS)
            if opened.width * opened.height > MAX_PIXELS:
                raise Refused("an implausible number of pixels")
            if opened.format != "JPEG" and (pages := getattr(opened, "n_frames", 1)) > 1:
                raise Refused(
                    "an image file with several pages or frames", f"Save each of the {pages} as a separate file"
                )
            is_white_zero = getattr(opened, "tag_v2", {}).get(WHITE_IS_ZERO[0]) == WHITE_IS_ZERO[1]
            is_inverted = opened.format == "TIFF" and opened.mode[0] in "IF" and is_white_zero
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except UnidentifiedImageError as error:
        raise Refused("not a PNG, JPEG, TIFF, BMP or WebP image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refused("an implausible number of pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise Refused("a damaged image file", "Export it again") from error
    return Picture(values=_grey(image), decoder="pillow", is_inverted=is_inverted)


def picture_shape(part: Part, *, limit: int) -> tuple[int, int]:
    """Rows and columns of a picture, as `read_picture` turns it, without its values.

    Raises:
        Refused: If it cannot be read.
    """
    try:
        with warnings.catch_warnings(action="ignore"), open_part(part, limit=limit) as file:
            opened = Image.open(file, formats=FORMATS)
            width, height = opened.size
            is_turned = opened.getexif().get(ORIENTATION, 1) > SIDEWAYS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused("a damaged image file", "Export it again") from error
    return (width, height) if is_turned else (height, width)


def _grey(image: Image.Image) -> np.ndarray:
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        return np.asarray(image, np.float32)
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"), np.float32)
    if image.mode == "LA":
        return np.asarray(image.getchannel("L"), np.float32)
    return np.asarray(image.convert("RGB"), np.float32) @ LUMA
