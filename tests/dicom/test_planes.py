"""Pixels carried from one plane to another, judged by SimpleITK on grids that lie anyhow."""

import numpy as np
import pytest
import SimpleITK

from fistula.dicom.pixels.planes import Drawn, Plane, carried, nearby

SHAPE = (20, 24, 7)  # columns, rows, slices


def turned(random):
    """A random rotation ``(3, 3)``."""
    matrix, _ = np.linalg.qr(random.normal(size=(3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def grid_of(values, spacing, origin, axes):
    image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection(axes.ravel().tolist())
    return image


def planes_of(shape, spacing, origin, axes):
    return [
        Plane(origin + axes[:, 2] * spacing[2] * number, axes[:, 0], axes[:, 1], (spacing[1], spacing[0]),
              (shape[1], shape[0]), spacing[2])
        for number in range(shape[2])
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_a_pixel_is_marked_if_simpleitk_resamples_it_so_or_a_voxels_centre_lies_in_it(seed):
    random = np.random.default_rng(seed)
    axes = turned(random) if seed % 3 else np.eye(3)
    mask_axes = axes if seed % 3 == 1 else turned(random)
    spacing, mask_spacing, origin = random.uniform(0.5, 3, 3), random.uniform(0.5, 3, 3), random.uniform(-9, 9, 3)
    mask = (random.random(random.integers(8, 16, 3)) < 0.03).astype(np.uint8)
    middle = origin + axes @ (spacing * SHAPE / 2)
    mask_origin = middle - mask_axes @ (mask_spacing * mask.shape / 2) + random.uniform(-3, 3, 3)
    image = grid_of(np.zeros(SHAPE, np.uint8), spacing, origin, axes)
    judge = SimpleITK.Resample(
        grid_of(mask, mask_spacing, mask_origin, mask_axes), image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor
    )
    drawn = [
        Drawn(1, plane, mask[:, :, number].T.astype(bool))
        for number, plane in enumerate(planes_of(mask.shape, mask_spacing, mask_origin, mask_axes))
    ]
    voxels = mask_origin + (np.argwhere(mask) * mask_spacing) @ mask_axes.T
    for wanted, plane in zip(SimpleITK.GetArrayFromImage(judge), planes_of(SHAPE, spacing, origin, axes), strict=True):
        wanted = wanted.astype(bool)
        for row, column, across in plane.places(voxels):
            at = int(np.floor(row + 0.5)), int(np.floor(column + 0.5))
            if abs(across) <= spacing[2] / 2 and 0 <= at[0] < SHAPE[1] and 0 <= at[1] < SHAPE[0]:
                wanted[at] = True
        found = np.zeros(plane.shape, bool)
        for layer in nearby(drawn, plane, spacing[2] / 2):
            found |= carried(layer, plane, spacing[2] / 2)
        np.testing.assert_array_equal(found, wanted)


def test_a_plane_lies_on_one_with_the_same_pixels_in_another_order_and_on_no_other():
    axes = turned(np.random.default_rng(5))
    spacing, origin = np.array([0.5, 0.8, 4.0]), np.array([3.0, 4.0, 5.0])
    first, second = planes_of((20, 24, 2), spacing, origin, axes)
    corner = first.points([23], [19])[0]
    mirrored = Plane(corner, -first.along, -first.down, first.spacing, first.shape, None)
    swapped = Plane(origin, first.down, first.along, (0.5, 0.8), (20, 24), None)
    assert mirrored.lies_on(first)
    assert swapped.lies_on(first)
    assert not mirrored.coincides(first)
    assert not second.lies_on(first)
    assert not Plane(origin + 0.2 * first.along, *(first.along, first.down), first.spacing, first.shape, None).lies_on(
        first
    )
    assert not Plane(origin, first.along, first.down, (0.8, 0.4), first.shape, None).lies_on(first)
