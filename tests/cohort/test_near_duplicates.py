import cv2
import numpy as np
import pytest

from fistula.cohort.near_duplicates import BITS, find_near_duplicates

DISTANCE, CORRELATION = 72, 0.92  # as in conf/audit/stop.yaml
PATIENTS = 40


def shift(image, x, y):
    return cv2.warpAffine(image, np.float32([[1, 0, x], [0, 1, y]]), image.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def crop(image, border):
    return cv2.resize(image[border:-border, border:-border], image.shape[::-1], interpolation=cv2.INTER_AREA)


def noisy(image):
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


COPIES = {
    "equal": np.copy,
    "as JPEG of quality 50": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [1, 50])[1], 0),
    "noisy, 5 % of the range": noisy,
    "brighter, with more contrast": lambda image: (image * 1.25 + 15).clip(0, 255).astype(np.uint8),
    "shifted by 3 % of the side": lambda image: shift(image, 4, -4),
    "cropped by 2 % on each side": lambda image: crop(image, 2),
    "at half the resolution": lambda image: cv2.resize(cv2.resize(image, (64, 64)), image.shape[::-1]),
}


def search(pixels, patients, *, distance=DISTANCE, correlation=CORRELATION):
    return find_near_duplicates(pixels, np.asarray(patients), distance=distance, correlation=correlation)


@pytest.fixture(scope="module")
def pelves(draw_patient):
    """Slices of 40 patients of similar anatomy, and the patient of each."""
    return np.concatenate([draw_patient(seed) for seed in range(PATIENTS)]), np.repeat(np.arange(PATIENTS), 4)


def test_similar_anatomy_is_no_copy(pelves):
    found = search(*pelves)
    assert found.candidates > 20
    assert found.pairs == []


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_every_planted_copy_is_found_and_nothing_else(pelves, copy):
    pixels, patients = pelves
    # A slice of patient 0, 3, 6, ... once more under a name of its own; neighbours of the original differ in noise
    # alone, so all four slices of that patient look like the copy.
    originals = range(0, len(pixels), 12)
    copies = np.stack([copy(pixels[row]) for row in originals])
    found = search(np.concatenate([pixels, copies]), [*patients, *range(PATIENTS, PATIENTS + len(copies))])
    expected = {(row + slice_, len(pixels) + place) for place, row in enumerate(originals) for slice_ in range(4)}
    assert {(pair.first, pair.second) for pair in found.pairs} == expected


def test_slices_of_one_patient_are_never_a_pair(pelves):
    pixels, _ = pelves
    assert search(pixels[:4], [0, 0, 0, 0]).pairs == []
    assert len(search(pixels[:4], [0, 1, 2, 3]).pairs) == 6


def test_the_order_of_the_slices_changes_nothing(pelves):
    pixels, patients = pelves
    pixels, patients = np.concatenate([pixels, pixels[:3]]), np.concatenate([patients, [90, 91, 92]])
    there, back = search(pixels, patients), search(pixels[::-1], patients[::-1])
    last = len(pixels) - 1
    assert there.pairs
    assert {(pair.first, pair.second) for pair in there.pairs} == {
        (last - pair.second, last - pair.first) for pair in back.pairs
    }


def test_a_copy_has_distance_zero_and_correlation_one(pelves):
    pixels, _ = pelves
    (pair,) = search(pixels[[0, 0]], [0, 1]).pairs
    assert (pair.first, pair.second, pair.distance) == (0, 1, 0)
    assert pair.correlation == pytest.approx(1, abs=1e-5)


def test_the_correlation_is_that_of_the_aligned_detail(pelves):
    """Judge by brute force: the best of all shifts, one at a time, of the same detail."""
    from fistula.cohort.near_duplicates import _details

    pixels, _ = pelves
    chosen = pixels[[0, 4, 8]]
    details, _ = _details(chosen)
    found = search(chosen, [0, 1, 2], distance=BITS // 2 - 1, correlation=0.1)
    assert len(found.pairs) == 3
    for pair in found.pairs:
        shifts = [(down, across) for down in range(-6, 7) for across in range(-6, 7)]
        best = max((details[pair.first] * np.roll(details[pair.second], way, (0, 1))).sum() for way in shifts)
        assert pair.correlation == pytest.approx(best, abs=1e-4)


def test_slices_without_detail_match_nothing_and_are_counted():
    ramp = np.tile(np.arange(0, 128, dtype=np.uint8), (128, 1))
    flat = np.stack([np.zeros((128, 128), np.uint8), np.full((128, 128), 200, np.uint8), ramp, ramp])
    found = search(flat, range(4))
    assert (found.pairs, found.candidates, found.featureless) == ([], 0, 4)


def test_noise_matches_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (60, 128, 128), np.uint8)
    assert search(noise, range(60)).pairs == []


def test_a_cohort_of_one_slice_has_no_pairs():
    assert search(np.zeros((1, 64, 48), np.uint8), [0]).pairs == []
