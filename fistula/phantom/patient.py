"""One synthetic patient: who it is, what it is made of, and its anatomy on a plane."""

from dataclasses import dataclass

import numpy as np

from fistula.phantom.canal import Canal, draw_canal
from fistula.phantom.canvas import Canvas
from fistula.phantom.design import Design
from fistula.phantom.mimics import Mimic, draw_mimics
from fistula.phantom.organs import paint_organs
from fistula.phantom.parks import draw_clock, draw_kind, draw_tract, draw_zone
from fistula.phantom.pelvis import Pelvis, draw_pelvis
from fistula.phantom.texture import Field, draw_field
from fistula.phantom.tissue import LOOK, Tissue
from fistula.phantom.tract import Opening, Tract

# Lowest slice, mm above the verge: below it there is no internal sphincter to pierce.
LOWEST_MM = 6.5
OPEN_TISSUES = (Tissue.TRACT, Tissue.TRACT_LUMEN)
CANAL_REACH_MM = 2.0  # around the axis, which falls between points of the canvas


@dataclass(frozen=True)
class Person:
    """What is decided before anything is drawn, so that groups can be balanced over the cohort."""

    number: int
    has_fistula: bool
    is_male: bool
    site: int  # index into the design's sites
    num_core: int  # slices at the levels of an opening: positive where there is one
    num_beyond: int  # and above and below them


@dataclass(frozen=True)
class Patient:
    """A patient's anatomy."""

    person: Person
    age: int  # years
    zone: float  # level of the middle of its slices, mm above the anal verge
    kind: str  # Parks' class of the tract; "" in a control
    canal: Canal  # layers of the anal canal
    pelvis: Pelvis  # what surrounds it
    tract: Tract | None
    findings: tuple[Mimic | Tract, ...]  # hard negatives
    signal: np.ndarray  # ``(T,)`` water signal of each tissue
    warp: tuple[Field, ...]  # displacements along x and y: two small-scale, two large-scale
    texture: tuple[Field, Field]  # a coarse one, which also shapes streaks and strands, and a fine one

    def plane(self, level: float, rows: np.ndarray, columns: np.ndarray) -> Canvas:
        """Paint the anatomy at a level (mm above the verge) on a grid of mm coordinates ``(H,)`` and ``(W,)``."""
        x, y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
        # Two scales: the far parts of the pelvis bend more than the canal does.
        far = np.clip(np.hypot(x, y) / 60 - 0.3, 0, 1)
        fields = [field.at(rows, columns, level) for field in self.warp]
        x = x + 0.55 * fields[0] + 2.6 * far * fields[2]
        y = y + 0.55 * fields[1] + 2.6 * far * fields[3]
        grain = self.texture[0].at(rows, columns, level)
        canvas = Canvas(columns, rows, x, y, grain, np.zeros(x.shape, dtype=np.uint8))
        self.pelvis.paint(canvas, level)
        self.canal.paint_sling(canvas, level)
        paint_organs(canvas, level, is_male=self.person.is_male, scale=self.pelvis.scale)
        self.canal.paint(canvas, level)
        for finding in self.findings:
            finding.paint(canvas, level, self.canal)
        if self.tract is not None:
            self.tract.paint(canvas, level, self.canal)
        return canvas

    def levels(self, step: float) -> tuple[list[float], list[float]]:
        """Levels of the positive and of the negative slices, in mm above the verge, `step` mm apart.

        The positive slices lie side by side over the height of the opening; the others a few steps above and below
        it, where the tract is seen and the sphincter is whole. A control has slices at the same levels, all negative:
        neither their number nor the height of the stack tells the groups apart.
        """
        person = self.person
        rng = np.random.default_rng([person.number, 17])
        count = person.num_core
        block = [self.zone + (k - (count - 1) / 2) * step for k in range(count)]
        gaps = 1 + np.cumsum(rng.integers(1, 4, person.num_beyond))
        above = rng.random() < 0.5
        beyond = []
        for k, gap in enumerate(gaps):
            up = block[-1] + gap * step
            down = block[0] - gap * step
            beyond.append(up if (k % 2 == 0) == above or down < LOWEST_MM else down)
        return (block, beyond) if person.has_fistula else ([], block + beyond)


def draw_patient(rng: np.random.Generator, person: Person, design: Design, *, step: float) -> Patient:
    """Draw a patient's anatomy and findings.

    `step` is between slices, mm: the opening is as high as its positive slices together.
    """
    canal, pelvis = draw_canal(rng, is_male=person.is_male), draw_pelvis(rng, is_male=person.is_male)
    kind = draw_kind(rng)  # for a control too: its slices then lie at the levels where fistulas open
    half = person.num_core * step / 2
    zone = max(draw_zone(rng, kind), LOWEST_MM + half + step)
    width = rng.uniform(*design.opening_width)
    opening = Opening(draw_clock(rng), zone, person.num_core * step + 1e-3, width, rng.normal(0, 0.04))
    tract = draw_tract(rng, canal, kind, opening, companions=design.companions) if person.has_fistula else None
    mean, spread, low, high = (41.4, 10.1, 20, 59) if person.has_fistula else (38.4, 8.9, 25, 54)
    signal = rng.uniform(LOOK[0], LOOK[1])
    signal[Tissue.TRACT] = rng.uniform(*design.tract_signal)
    # Fat ripples in the intersphincteric plane as in the fossa: one suppression for all fat.
    signal[Tissue.PLANE] = np.clip(signal[Tissue.FAT] + rng.uniform(0.05, 0.12), 0, 1)
    return Patient(
        person=person,
        age=int(np.clip(rng.normal(mean, spread), low, high)),
        zone=zone,
        kind=kind if person.has_fistula else "",
        canal=canal,
        pelvis=pelvis,
        tract=tract,
        findings=tuple(draw_mimics(rng, canal, zone=zone, cleft=pelvis.cleft, chances=design.findings)),
        signal=signal.astype(np.float32),
        warp=tuple(draw_field(rng, length=length, turn=0.02) for length in (7.0, 7.0, 22.0, 22.0)),
        texture=(draw_field(rng, length=4.5, turn=0.06, size=240), draw_field(rng, length=1.1, turn=0.35, size=420)),
    )


def opening_centre(canvas: Canvas, patient: Patient, level: float, slant: float = 0.0) -> tuple[float, float] | None:
    """Row and column (fractional indices of the canvas) of the middle of the breach within sphincter and mucosa.

    None where the plane shows no breach. A plane that rises by `slant` for each mm to posterior meets it at another
    level than the canal's axis.
    """
    if patient.tract is None or patient.tract.opening is None:
        return None
    opening = patient.tract.opening
    angle = opening.angle(level)
    level -= slant * float(patient.canal.radii(angle, level)[1] * np.cos(angle))
    if not opening.is_open(level):
        return None
    _, mucosa, internal, _, _ = (float(radius) for radius in patient.canal.radii(angle, level))
    box = canvas.box(0, 0, internal)
    radius = np.hypot(canvas.x[box], canvas.y[box])
    off = np.arctan2(canvas.x[box], -canvas.y[box]) - angle
    across = np.abs(radius * np.sin(off))
    near = (np.cos(off) > 0) & (across <= opening.half_width(level)) & (radius <= internal) & (radius >= mucosa - 1)
    rows, columns = np.nonzero(near & np.isin(canvas.labels[box], OPEN_TISSUES))
    if not len(rows):
        return None
    return float(rows.mean()) + box[0].start, float(columns.mean()) + box[1].start


def canal_centre(canvas: Canvas) -> tuple[float, float]:
    """Row and column (fractional indices of the canvas) of the canal's axis: the middle of what lies within 2 mm."""
    box = canvas.box(0, 0, CANAL_REACH_MM)
    rows, columns = np.nonzero(np.hypot(canvas.x[box], canvas.y[box]) <= CANAL_REACH_MM)
    return float(rows.mean()) + box[0].start, float(columns.mean()) + box[1].start
