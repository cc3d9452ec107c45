"""A T2-weighted series beside the first one: it knows what is active, and the first one what is pierced."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fistula.phantom.design import Design, Site
from fistula.phantom.parks import draw_clock, draw_kind, draw_tract
from fistula.phantom.patient import Patient
from fistula.phantom.tissue import LOOK, Tissue
from fistula.phantom.tract import Opening, Tract

COARSER = 0.75  # its matrix, of the first one's
HIGH_MM = 32  # above the verge; only an extrasphincteric tract opens higher
APART = 1.5  # its slices, in steps of the first one's


def with_lookalike(rng: np.random.Generator, patient: Patient, design: Design, *, step: float) -> Patient:
    """Give a control what one series alone takes for a fistula.

    Half have a scar across the sphincter, which enhances as an active tract does, and is dark on T2; half an active
    tract that stops before the sphincter. A fistula is active and crosses it: for either series alone half of the
    controls look like patients, so that no reader of one has a per-patient AUROC above 0.75.

    Of a patient with a fistula the scars then enhance too. `step` is between slices, mm.
    """
    signal = patient.signal.copy()
    signal[Tissue.HEALED] = rng.uniform(*design.tract_signal)
    found: tuple[Tract, ...] = ()
    if not patient.person.has_fistula:
        extent, width = patient.person.num_core * step + 1e-3, rng.uniform(*design.opening_width)
        opening = Opening(draw_clock(rng), patient.zone, extent, width, rng.normal(0, 0.04))
        kind, is_scar = draw_kind(rng) if patient.zone < HIGH_MM else "extra", bool(rng.random() < 0.5)
        wall = Tissue.HEALED if is_scar else Tissue.TRACT
        found = (draw_tract(rng, patient.canal, kind, opening, is_open=is_scar, wall=wall),)
    return replace(patient, signal=signal, findings=(*patient.findings, *found))


def as_t2(patient: Patient) -> Patient:
    """The same anatomy in the signals of T2."""
    return replace(patient, signal=LOOK[4])


def site_of_t2(site: Site) -> Site:
    """The same scanner with a coarser matrix and thicker slices."""
    return replace(site, matrix=round(site.matrix * COARSER), thickness_mm=site.thickness_mm * APART)


def levels_of_t2(levels: Sequence[float], *, step: float) -> list[float]:
    """Levels that cover those of the first series, from half a step below the lowest to above the highest."""
    count = int(np.ceil((max(levels) - min(levels) + step) / (APART * step))) + 1
    return [min(levels) - step / 2 + number * APART * step for number in range(count)]
