"""Volumes that are not DICOM, NIfTI and NRRD: where their voxels lie in the patient."""

import gzip
import io
import logging
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import nibabel
import nrrd
import numpy as np
from numpy.typing import NDArray

from fistula.dicom.container import Part, open_part
from fistula.dicom.outcome import NotTaken, Refused
from fistula.dicom.pixels.planes import Plane
from fistula.source.files.formats import VOLUME_SUFFIXES

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)  # it would comment on headers on the terminal

START = 1 << 16  # bytes that hold any header of both kinds but one with a long history
MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
TO_LPS = np.diag([-1.0, -1.0, 1.0])  # NIfTI's axes are right, anterior, head
# NRRD's names of the axes of a patient, and what turns each into left, posterior, head.
SPACES = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
SHEAR = 1e-3  # cosine between two axes from which they are not those of an image
DIFFER_MM = 0.1  # between the places that the two transforms of a NIfTI file give a voxel
EQUAL = 1.02  # spacings whose ratio is below this are equal
MAX_VOXELS = 1 << 31


@dataclass(frozen=True)
class Volume:
    """A volume's grid."""

    shape: tuple[int, int, int]  # voxels along its three axes
    times: int  # volumes of this shape in the file
    affine: NDArray[np.float64]  # ``(3, 4)``: from indices to left, posterior, head in mm
    is_placed: bool  # whether the file says where it lies; if not, `affine` has the spacing alone
    notes: tuple[str, ...]  # what is odd about it
    header: Any  # the library's own

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        # Files keep seven digits.
        first, second, third = (round(float(one), 5) for one in np.linalg.norm(self.affine[:, :3], axis=0))
        return first, second, third

    @cached_property
    def across(self) -> int:
        """The axis along which it was acquired: stated, else the one with the widest spacing, else the last."""
        stated = self.header.get_dim_info()[2] if isinstance(self.header, nibabel.Nifti1Header) else None
        if stated is not None:
            return int(stated)
        widest = int(np.argmax(self.spacing))
        others = max(self.spacing[axis] for axis in range(3) if axis != widest)
        return widest if self.spacing[widest] > EQUAL * others else 2

    def planes(self) -> list[Plane]:
        """Its slices across `across`, from the first: columns run along the first other axis, rows along the second."""
        column, row = (axis for axis in range(3) if axis != self.across)
        directions = self.affine[:, :3] / np.linalg.norm(self.affine[:, :3], axis=0)
        return [
            Plane(
                corner=self.affine[:, 3] + number * self.affine[:, self.across],
                along=directions[:, column],
                down=directions[:, row],
                spacing=(self.spacing[row], self.spacing[column]),
                shape=(self.shape[row], self.shape[column]),
                thickness=self.spacing[self.across],
            )
            for number in range(self.shape[self.across])
        ]


def is_volume(name: str) -> bool:
    """Whether a file's name is that of a volume that can be read."""
    return name.lower().endswith(VOLUME_SUFFIXES)


def read_volume_header(part: Part, *, limit: int) -> Volume:
    """Where a volume's voxels lie, from the beginning of its file.

    Raises:
        Refused: If it cannot be read, or its axes are not at right angles.
    """
    name = part.member or part.path.name
    if part.member:
        with open_part(part, limit=limit) as file:
            start = file.read(START)
    else:
        try:
            with part.path.open("rb") as raw:
                is_packed = raw.read(2) == b"\x1f\x8b"
                raw.seek(0)
                start = gzip.GzipFile(fileobj=raw).read(START) if is_packed else raw.read(START)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Refused("a damaged archive", "Export it again") from error
        except OSError as error:
            raise Refused("cannot be opened", "Check its permissions and the disk") from error
    return _header(start, name)


def read_volume(content: bytes, name: str) -> tuple[Volume, Any]:
    """A volume's grid and its voxels, unpacked: an array, or what gives one slice by slice.

    Raises:
        Refused: If it cannot be read.
    """
    volume = _header(content[:START], name)
    try:
        if isinstance(volume.header, dict):
            file = io.BytesIO(content)
            header = nrrd.read_header(file)
            voxels = np.asarray(nrrd.read_data(header, file))
            spatial = _spatial(header) if voxels.ndim > 3 else [0, 1, 2]
            return volume, np.moveaxis(voxels, spatial, [0, 1, 2])
        kind = nibabel.Nifti2Image if isinstance(volume.header, nibabel.Nifti2Header) else nibabel.Nifti1Image
        proxy: Any = kind.from_bytes(content).dataobj
        shape = (*volume.shape, volume.times) if len(proxy.shape) > 3 else volume.shape
        return volume, proxy if proxy.shape == shape else np.asarray(proxy).reshape(shape)
    except Exception as error:  # a damaged file breaks the libraries in any of their parts
        raise Refused("a damaged volume", "Export it again") from error


def _header(start: bytes, name: str) -> Volume:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _nrrd(start) if start.startswith(b"NRRD") else _nifti(start)
    except NotTaken:
        raise
    except Exception as error:  # a damaged file breaks the libraries in any of their parts
        raise Refused("a damaged volume", "Export it again") from error


def _nifti(start: bytes) -> Volume:
    sizes = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
    kind = nibabel.Nifti2Header if 540 in sizes else nibabel.Nifti1Header
    magic = start[4:7] if 540 in sizes else start[344:347]
    if not sizes & {348, 540} or magic not in (b"n+1", b"n+2"):
        if magic in (b"ni1", b"ni2"):
            raise Refused("a NIfTI header without its image", "Save it as one file, .nii.gz")
        raise Refused("named as NIfTI, but its content is not", "Export it again")
    header = kind(start[: kind.template_dtype.itemsize])
    shape = [int(size) for size in header.get_data_shape()]
    extent = _three([*shape, 1, 1, 1])
    times = int(np.prod(shape[3:])) if len(shape) > 3 else 1
    _refuse_shape(extent, times)
    transforms = [
        (affine, int(code)) for affine, code in (header.get_sform(coded=True), header.get_qform(coded=True)) if code
    ]
    units = header.get_xyzt_units()[0]
    if units not in MM_PER_UNIT:
        raise Refused("an invalid unit of length")
    notes = []
    if len(transforms) == 2 and _apart(transforms[0][0], transforms[1][0], extent) > DIFFER_MM / MM_PER_UNIT[units]:
        notes.append("sform and qform differ: sform used")
    zooms = [*map(float, header.get_zooms()[:3]), 1.0, 1.0][:3]
    affine = transforms[0][0] if transforms else np.diag([*zooms, 1.0])
    affine = TO_LPS @ np.asarray(affine, float)[:3] * MM_PER_UNIT[units]
    return _checked(Volume(extent, times, affine, bool(transforms), tuple(notes), header))


def _nrrd(start: bytes) -> Volume:
    header = nrrd.read_header(io.BytesIO(start))
    if "data file" in header or "datafile" in header:
        raise Refused("an NRRD header without its image", "Save it as one file, .nrrd")
    sizes, spatial = [int(size) for size in header["sizes"]], _spatial(header)
    signs = SPACES.get(str(header.get("space", "")).lower())
    if len(spatial) == 0 and len(sizes) == 3:
        mm = np.asarray(header.get("spacings", [1.0] * 3), float)
        return _checked(Volume(_three(sizes), 1, np.diag([*mm, 1.0])[:3], is_placed=False, notes=(), header=header))
    if len(spatial) != 3 or signs is None:
        raise Refused("an NRRD volume without orientation in the patient", "Save it again with 3D Slicer")
    directions = np.asarray(header["space directions"], float)[spatial]
    affine = np.column_stack([directions.T, np.asarray(header.get("space origin", (0.0,) * 3), float)])
    layers = [size for axis, size in enumerate(sizes) if axis not in spatial]
    affine = np.diag(np.array(signs, float)) @ affine
    shape = _three([sizes[axis] for axis in spatial])
    return _checked(Volume(shape, int(np.prod(layers)), affine, is_placed=True, notes=(), header=header))


def _spatial(header: Any) -> list[int]:
    """The axes that lie in the patient; others hold layers or colours."""
    directions = np.asarray(header.get("space directions", np.full((1, 1), np.nan)), float)
    return [int(axis) for axis in np.flatnonzero(np.isfinite(directions).all(axis=1))]


def _three(sizes: Sequence[int]) -> tuple[int, int, int]:
    return sizes[0], sizes[1], sizes[2]


def _checked(volume: Volume) -> Volume:
    _refuse_shape(volume.shape, volume.times)
    axes = volume.affine[:, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(volume.affine).all() or lengths.min() < 1e-4 or lengths.max() > 1e3:
        raise Refused("an invalid voxel spacing")
    cosines = (axes / lengths).T @ (axes / lengths)
    if np.abs(cosines - np.eye(3)).max() > SHEAR:
        raise Refused("a volume whose axes are not at right angles", "Resample it onto a grid that has them")
    return volume


def _refuse_shape(shape: Sequence[int], times: int) -> None:
    if min(*shape, times) < 1 or np.prod([*map(float, shape), float(times)]) > MAX_VOXELS:
        raise Refused("an implausible number of voxels")


def _apart(first: NDArray, second: NDArray, shape: Sequence[int]) -> float:
    """The largest distance between the places that two transforms give the corners of a volume."""
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in shape])).reshape(3, -1)
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.linalg.norm((np.asarray(first) - np.asarray(second))[:3] @ corners, axis=0).max())
