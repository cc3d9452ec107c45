"""Which transfer syntaxes can be decoded here, by which package, and what is missing for the rest."""

import importlib.metadata
import warnings
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import UID, AllTransferSyntaxes, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, RLELossless

from fistula.dicom.outcome import Refused
from fistula.dicom.parse import Header, whole

# gdcm last: it reads every syntax but high-throughput JPEG 2000, but a damaged JPEG can make it end the whole process.
PREFERENCE = ("pylibjpeg", "pillow", "pydicom", "pyjpegls", "gdcm")
# Of these pylibjpeg-libjpeg clamps values that have to wrap around (ITU-T T.81 H.2.1), as makers of ultrasound use it.
CLAMPED = (JPEGLossless, JPEGLosslessSV1)
PANIC = "PanicException"  # what a decoder in Rust raises on damage; no Exception, and its class has no module
PACKAGES = {"gdcm": "python-gdcm", "pylibjpeg": "pylibjpeg-openjpeg", "pillow": "pillow", "pyjpegls": "pyjpegls"}
GPL_REMEDY = "Install the GPL-3 decoder: pip install 'fistula[gpl-decoders]'"


@cache
def decoders(syntax: str) -> tuple[str, ...]:
    """Pydicom's plugins that are installed and decode `syntax`, the preferred first; ("native",) if uncompressed."""
    try:
        decoder = get_decoder(UID(syntax))
    except (NotImplementedError, ValueError):
        return ()
    if not UID(syntax).is_encapsulated:
        return ("native",)
    return preferred(decoder.available_plugins, syntax)


def preferred(plugins: Iterable[str], syntax: str) -> tuple[str, ...]:
    """The plugins in the order in which they are tried."""
    is_last = "pylibjpeg" if syntax in CLAMPED else ""
    return tuple(sorted(plugins, key=lambda plugin: (plugin == is_last, PREFERENCE.index(plugin))))


@cache
def decoder_version(plugin: str) -> str:
    """Package and version behind a plugin's name, as `decoder_name` gives it, such as ``python-gdcm 3.2.6``."""
    package = PACKAGES.get(plugin, plugin if plugin.startswith("pylibjpeg-") else "pydicom")
    return f"{package} {importlib.metadata.version(package)}"


def decoder_name(plugin: str, syntax: str) -> str:
    """What decoded: the plugin, and of pylibjpeg the package that it handed the frame to.

    Example:
        >>> decoder_name("pylibjpeg", "1.2.840.10008.1.2.5"), decoder_name("gdcm", "1.2.840.10008.1.2.5")
        ('pylibjpeg-rle', 'gdcm')
    """
    return "pylibjpeg-rle" if plugin == "pylibjpeg" and syntax == RLELossless else plugin


def decoded_by(dataset: Dataset, index: int, plugin: str, **options: Any) -> tuple[np.ndarray, str] | None:
    """Stored values and their photometric interpretation by one plugin; None if it fails.

    Args:
        dataset: The whole object.
        index: Of the frame, from 0.
        plugin: As `decoders` gives it.
        options: Of pydicom's decoder.

    Raises:
        Refused: If there is too little memory.
    """
    decoder = get_decoder(UID(dataset.file_meta.TransferSyntaxUID))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # excess padding, and the like
            chosen = "" if plugin == "native" else plugin
            array, properties = decoder.as_array(dataset, index=index, decoding_plugin=chosen, **options)
    except MemoryError as error:
        raise Refused("needs more memory than there is") from error
    except Exception:  # each decoder fails in its own ways; the next may not
        return None
    except BaseException as error:
        if type(error).__name__ != PANIC:  # the time limit, or somebody's Ctrl-C
            raise
        return None
    return array, str(properties["photometric_interpretation"])


def syntax_name(syntax: str) -> str:
    """The transfer syntax in words; ``unknown`` for a UID that is not in the standard."""
    return UID(syntax).name if UID(syntax).name != syntax else "unknown"


def require_decoder(header: Header) -> None:
    """Return if the object's pixels can be decoded by what is installed.

    Raises:
        Refused: If not; the remedy names the package, if there is one.
    """
    syntax = header.syntax
    if syntax not in AllTransferSyntaxes:
        raise Refused("an unknown transfer syntax", "Convert the files to explicit VR little endian")
    name = syntax_name(syntax)
    if any(word in name for word in ("MPEG", "HEVC", "SMPTE")):
        raise Refused(f"video ({name})", "Export single images")
    is_twelve_bit = syntax == JPEGExtended12Bit and (whole(header.dataset, "BitsStored") or 8) > 8
    if is_twelve_bit and not _has_libjpeg():
        raise Refused(f"no decoder for 12-bit lossy JPEG ({name})", GPL_REMEDY)
    if not decoders(syntax):
        raise Refused(f"no decoder for {name}", "Convert the files to explicit VR little endian")


@cache
def _has_libjpeg() -> bool:
    try:
        importlib.metadata.version("pylibjpeg-libjpeg")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
