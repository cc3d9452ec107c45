"""From anatomy to what a scanner shows: signal, shading, partial volume, k-space, noise, artefacts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, cos, radians, sin, tan

import numpy as np
from scipy import ndimage

from fistula.phantom.canvas import stacked
from fistula.phantom.design import Design, Site
from fistula.phantom.patient import Patient, canal_centre, opening_centre
from fistula.phantom.texture import Field, draw_field
from fistula.phantom.tissue import LOOK, Tissue


@dataclass(frozen=True)
class Acquisition:
    """How one patient was scanned."""

    site: Site
    centre: tuple[float, float]  # mm from the canal's axis to the middle of the field of view (x, y)
    shading: Field  # the bias field's logarithm is this field times the site's strength
    # Gradient of the bias field's logarithm over the field of view (x, y), and its curvature.
    tilt: tuple[float, float, float]
    masks_air: bool  # air is exactly zero
    ghost: float  # strength of the ghost, 0 for none; its shift in pixels is a quarter of the matrix
    swap: int  # side (-1, 1) on which water and fat are swapped; 0 for neither

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel."""
        return self.site.fov_mm / self.site.matrix

    @property
    def tilt_radians(self) -> float:
        """Of the slices about the left-right axis."""
        return radians(self.site.tilt_degrees)

    def grid(self, supersampling: int, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns in mm from the canal's axis, in the plane, `supersampling` points a pixel along each side.

        Tilted slices lie one behind the other along their normal, and so move forwards with the level.
        """
        count = self.site.matrix * supersampling
        line = ((np.arange(count) + 0.5) / count - 0.5) * self.site.fov_mm
        return line + self.centre[1] - level * sin(self.tilt_radians), line + self.centre[0]

    def bands(self, rows: np.ndarray, level: float) -> list[tuple[np.ndarray, float]]:
        """The rows in parts of a millimetre of height at most: mm behind the axis, and the level of each part."""
        rise = sin(self.tilt_radians)
        number = min(max(1, ceil(abs(rise) * float(np.ptp(rows)))), len(rows) // 2)
        return [
            (part * cos(self.tilt_radians), level + rise * float(part.mean())) for part in np.array_split(rows, number)
        ]

    def origin(self, level: float, table: float) -> tuple[float, float, float]:
        """Patient coordinates of the first pixel's centre, the table at `table`, mm: left, posterior, head."""
        across, down = (centre - (self.site.fov_mm - self.pixel_mm) / 2 for centre in self.centre)
        down -= level * sin(self.tilt_radians)
        return across, down * cos(self.tilt_radians), table + level + down * sin(self.tilt_radians)


@dataclass(frozen=True)
class Image:
    """An image in the making or done."""

    pixels: np.ndarray  # ``(H, W)`` float32; 1 is about the signal of the brightest vessels
    body: np.ndarray  # ``(H, W)`` float32, the part of each pixel that is not air outside the body
    # Row and column of the breach (pixels, the centre of the first is 0); None where there is none.
    opening: tuple[float, float] | None
    canal: tuple[float, float]  # of the canal's axis, likewise


def draw_acquisition(rng: np.random.Generator, design: Design, site: Site) -> Acquisition:
    """Draw how a patient is positioned and scanned."""
    return Acquisition(
        site=site,
        centre=(rng.normal(0, 3), -5 + rng.normal(0, 4)),
        shading=draw_field(rng, length=55.0, turn=0.004, size=64),
        tilt=(rng.normal(0, 0.12), rng.normal(0, 0.18), rng.uniform(-0.25, 0.15)),
        masks_air=bool(rng.random() < site.masked_air),
        ghost=rng.uniform(0.03, 0.09) if rng.random() < design.ghost else 0.0,
        swap=int(rng.choice([-1, 1])) if rng.random() < design.swap else 0,
    )


def render_series(
    rng: np.random.Generator,
    patient: Patient,
    scan: Acquisition,
    levels: Sequence[float],
    *,
    step: float,
    supersampling: int,
) -> Iterator[Image]:
    """Render the slices of a patient.

    Two planes, above and below the middle of a slice, stand for its thickness; slices side by side share one, as the
    overlapping slices of a 3D acquisition share signal.

    `levels` are of the slices' middles above the anal verge, and `step` is the distance of neighbouring slices, mm.
    """
    half = min(scan.site.thickness_mm, step) / 2
    planes: dict[float, Image] = {}
    for level in levels:
        both = [round(level + offset, 6) for offset in (-half, half)]
        planes = {z: planes.get(z) or _expose(patient, scan, z, supersampling) for z in both}
        yield _scan_slice(rng, [planes[z] for z in both], scan, level)


def _expose(patient: Patient, scan: Acquisition, level: float, supersampling: int) -> Image:
    """Signal of a plane, without shading and noise; partial volume by the mean over each pixel's points."""
    rows, columns = scan.grid(supersampling, level)
    bands = [(patient.plane(height, part, columns), height) for part, height in scan.bands(rows, level)]
    signal = np.concatenate([_signal(patient, scan, one.labels, height, one.rows, columns) for one, height in bands])
    canvas = stacked([one for one, _ in bands])
    body = _bin((canvas.labels != Tissue.AIR).astype(np.float32), supersampling)
    opening = opening_centre(canvas, patient, level, slant=tan(scan.tilt_radians))
    opening = opening and _coarse(opening, supersampling)
    return Image(_bin(signal, supersampling), body, opening, _coarse(canal_centre(canvas), supersampling))


def _scan_slice(rng: np.random.Generator, planes: list[Image], scan: Acquisition, level: float) -> Image:
    """Mean of the planes, as the scanner shows it; open only if every plane is."""
    body = np.mean([plane.body for plane in planes], axis=0)
    signal = np.mean([plane.pixels for plane in planes], axis=0)
    pixels = _acquire(rng, signal * _bias(scan, level), scan)
    if scan.masks_air:
        pixels = pixels * ndimage.binary_dilation(body > 0.05, iterations=2)
    openings = [plane.opening for plane in planes if plane.opening is not None]
    canal = _middle([plane.canal for plane in planes])
    return Image(pixels, body, _middle(openings) if len(openings) == len(planes) else None, canal)


def _coarse(point: tuple[float, float], factor: int) -> tuple[float, float]:
    """A point of the supersampled plane in pixels."""
    return (point[0] + 0.5) / factor - 0.5, (point[1] + 0.5) / factor - 0.5


def _middle(points: list[tuple[float, float]]) -> tuple[float, float]:
    row, column = np.mean(points, axis=0)
    return float(row), float(column)


def _signal(
    patient: Patient, scan: Acquisition, labels: np.ndarray, level: float, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Signal of each point: its tissue's, with texture; the fat's where water and fat are swapped."""
    coarse, fine = (field.at(rows, columns, level) for field in patient.texture)
    signal = patient.signal[labels] + LOOK[3][labels] * (0.6 * coarse + 0.8 * fine)
    # Where a smooth field passes zero is a net of thin lines: the strands of connective tissue in fat.
    strands = np.exp(-np.square(coarse / 0.12)) * np.clip(fine + 0.6, 0, 2)
    signal += 0.055 * strands * (labels == Tissue.FAT)
    if scan.swap:
        border = 38 + 6 * coarse
        swapped = scan.swap * columns[None, :] > border
        signal = np.where(swapped, LOOK[2][labels] + 0.02 * fine, signal)
    gas = labels == Tissue.GAS
    if gas.any():
        # Gas in the bowel disturbs the field around it: a dark halo of a few millimetres.
        step = rows[1] - rows[0]
        signal = signal * (1 - 0.75 * np.clip(ndimage.gaussian_filter(gas.astype(np.float32), 1.6 / step), 0, 1))
    return np.maximum(signal, 0) ** scan.site.gamma


def _bias(scan: Acquisition, level: float) -> np.ndarray:
    """Multiplicative shading ``(H, W)``: smooth, a few tens of per cent over the field of view."""
    rows, columns = scan.grid(1, level)
    y, x = np.meshgrid((rows - rows.mean()) / 125, (columns - columns.mean()) / 125, indexing="ij")
    tilt = scan.tilt[0] * x + scan.tilt[1] * y + scan.tilt[2] * (x * x + y * y - 0.7)
    return np.exp(scan.site.shading * (scan.shading.at(rows, columns, level) + 2 * tilt)).astype(np.float32)


def _acquire(rng: np.random.Generator, pixels: np.ndarray, scan: Acquisition) -> np.ndarray:
    """Add complex noise and a ghost, keep the acquired middle of k-space, and take the magnitude (so Rician noise)."""
    size = len(pixels)
    if scan.ghost:
        pixels = pixels + scan.ghost * (np.roll(pixels, size // 4, axis=0) + np.roll(pixels, -size // 4, axis=0))
    # Parallel imaging amplifies noise most where the coils see least: in the middle.
    line = np.linspace(-1, 1, size, dtype=np.float32)
    gain = 1 + 0.5 * np.exp(-2.5 * (line[:, None] ** 2 + line[None, :] ** 2))
    noise = rng.standard_normal((2, size, size), dtype=np.float32) * (scan.site.noise * gain)
    frequency = np.abs(np.fft.fftfreq(size)) * 2
    # A raised cosine over the last third of the acquired band, as against ringing.
    edge = np.clip((frequency - scan.site.acquired * 0.67) / (scan.site.acquired * 0.33), 0, 1)
    keep = np.where(frequency <= scan.site.acquired, 0.25 + 0.75 * (0.5 + 0.5 * np.cos(np.pi * edge)), 0)
    spectrum = np.fft.fft2(pixels + noise[0] + 1j * noise[1]) * keep[:, None] * keep[None, :]
    return np.abs(np.fft.ifft2(spectrum)).astype(np.float32)


def _bin(fine: np.ndarray, factor: int) -> np.ndarray:
    """Mean of each ``factor`` x ``factor`` block: partial volume in the plane."""
    height, width = fine.shape
    return fine.reshape(height // factor, factor, width // factor, factor).mean(axis=(1, 3))
