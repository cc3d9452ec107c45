from dataclasses import replace

import numpy as np
import pytest

from fistula.phantom.render import draw_acquisition, render_series

from .conftest import STEP_MM


@pytest.fixture
def scan(make_design):
    """A plain scan at the first site; changed by keyword."""

    def make(number=0, **changes):
        design = make_design()
        made = draw_acquisition(np.random.default_rng([9, number]), design, design.sites[0])
        return replace(made, **{"ghost": 0.0, "swap": 0, "masks_air": False} | changes)

    return make


def rendered(patient, scan, levels, *, seed=0, supersampling=1):
    rng = np.random.default_rng(seed)
    return list(render_series(rng, patient, scan, levels, step=STEP_MM, supersampling=supersampling))


def test_air_is_rician_or_masked(make_patient, scan):
    patient = make_patient(1, has_fistula=False)
    image = rendered(patient, scan(), [20.0])[0]
    # Behind the body, far enough that nothing rings into it.
    assert image.body[-20:].max() == 0
    air = image.pixels[-12:]
    # Magnitude of complex noise alone: mean / standard deviation = sqrt(pi / (4 - pi)) = 1.913.
    assert air.mean() / air.std() == pytest.approx(1.913, abs=0.12)
    masked = rendered(patient, scan(masks_air=True), [20.0])[0]
    assert np.mean(masked.pixels[masked.body == 0] == 0) > 0.9
    assert (masked.pixels[masked.body > 0.5] > 0).all()


def test_shading_is_smooth_and_a_few_tens_of_per_cent(make_patient, scan):
    patient = make_patient(1, has_fistula=False)
    plain = replace(scan().site, noise=0.0, shading=0.0)
    even, shaded = (
        rendered(patient, scan(site=site), [20.0])[0].pixels for site in (plain, replace(plain, shading=0.2))
    )
    gain = np.where(even > 0.2, shaded / np.maximum(even, 0.2), np.nan)
    assert 1.2 < np.nanmax(gain) / np.nanmin(gain) < 4
    assert np.nanpercentile(np.abs(np.diff(gain, axis=1)), 95) < 0.02


def test_a_pixel_holds_the_mean_of_its_points(make_patient, scan):
    patient = make_patient(1, has_fistula=False)
    site = replace(scan().site, noise=0.0, acquired=1.0, gamma=1.0, shading=0.0)
    coarse = replace(site, matrix=site.matrix // 2)
    fine, binned = (
        rendered(patient, scan(site=one), [20.0], supersampling=points)[0].body
        for one, points in ((site, 1), (coarse, 2))
    )
    half = len(fine) // 2
    np.testing.assert_allclose(binned, fine.reshape(half, 2, half, 2).mean(axis=(1, 3)), atol=1e-6)
    assert ((binned > 0) & (binned < 1)).any()


def test_tissues_are_as_bright_as_the_reviews_order_them(make_patient, scan):
    patient = make_patient(2, has_fistula=False)
    patient = replace(patient, canal=replace(patient.canal, gas=0.0))
    site = replace(scan().site, noise=0.0, shading=0.0, gamma=1.0)
    image = rendered(patient, scan(site=site), [17.0])[0].pixels
    rows, columns = scan().grid(1, 20.0)
    x, y = np.meshgrid(columns, rows)
    radius, angle = np.hypot(x, y), np.arctan2(x, -y)
    _, mucosa, internal, plane, external = patient.canal.radii(angle, 17.0)
    side = np.abs(np.sin(angle)) > 0.5
    inside = {
        "mucosa": (radius < mucosa - 1.5) & (radius > 2.5),
        "internal": np.abs(radius - (mucosa + internal) / 2) < 0.5,
        "plane": np.abs(radius - (internal + plane) / 2) < 0.4,
        "external": side & (np.abs(radius - (plane + external) / 2) < 1.5),
        "fossa": side & (np.abs(radius - external - 6) < 2),
    }
    seen = {name: float(np.median(image[where])) for name, where in inside.items()}
    assert seen["mucosa"] > seen["internal"] > seen["external"] > seen["plane"] > 0
    assert seen["fossa"] < seen["plane"] + 0.2
    assert seen["fossa"] < 0.5 * seen["external"]


@pytest.mark.parametrize("number", range(1, 9))
def test_the_opening_is_brighter_than_the_sphincter(make_patient, scan, number):
    patient = make_patient(number, has_fistula=True)
    patient = replace(patient, tract=replace(patient.tract, has_seton=False))
    site = replace(scan().site, noise=0.0, shading=0.0)
    level = patient.levels(STEP_MM)[0][4]
    image = rendered(patient, scan(site=site), [level], supersampling=2)[0]
    row, column = (round(value) for value in image.opening)
    rows, columns = scan().grid(1, 20.0)
    x, y = np.meshgrid(columns, rows)
    _, mucosa, internal, _, _ = patient.canal.radii(np.arctan2(x, -y), level)
    ring = np.abs(np.hypot(x, y) - (mucosa + internal) / 2) < 0.5
    near = image.pixels[row - 1 : row + 2, column - 1 : column + 2]
    assert near.max() > np.median(image.pixels[ring])


def test_water_and_fat_swap_on_one_side(make_patient, scan):
    patient = make_patient(3, has_fistula=False)
    plain, swapped = (rendered(patient, scan(swap=swap), [20.0])[0].pixels for swap in (0, 1))
    changed = np.abs(swapped - plain).mean(axis=0)
    assert changed[200:].mean() > 0.2
    assert changed[:100].mean() < 0.05


def test_a_ghost_repeats_the_body_a_quarter_away(make_patient, scan):
    patient = make_patient(4, has_fistula=False)
    plain, ghosted = (rendered(patient, scan(ghost=ghost), [20.0])[0] for ghost in (0.0, 0.2))
    air = plain.body == 0
    beside = air & (np.roll(plain.body, 64, axis=0) + np.roll(plain.body, -64, axis=0) > 0.9)
    assert ghosted.pixels[beside].mean() > 1.5 * plain.pixels[beside].mean()


def test_slices_of_a_patient_resemble_each_other_more_than_those_of_another(make_patient, scan):
    images = []
    for number in range(1, 7):
        patient = make_patient(number, has_fistula=number % 2 == 0)
        levels = [20.0, 23.0, 26.0]
        middle = slice(78, 178)
        images += [
            image.pixels[middle, middle].ravel() for image in rendered(patient, scan(number), levels, seed=number)
        ]
    correlation = np.corrcoef(images)
    same = np.kron(np.eye(6), np.ones((3, 3))) * (1 - np.eye(18)) > 0
    other = np.kron(1 - np.eye(6), np.ones((3, 3))) > 0
    assert correlation[same].mean() > correlation[other].mean() + 0.15


def test_a_slice_does_not_depend_on_the_slices_before_it_but_for_noise(make_patient, scan):
    patient = make_patient(5, has_fistula=True)
    quiet = scan(site=replace(scan().site, noise=0.0))
    alone = rendered(patient, quiet, [21.0])[0].pixels
    third = rendered(patient, quiet, [19.0, 20.0, 21.0])[2].pixels
    np.testing.assert_array_equal(alone, third)
