import gzip
from functools import partial

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK

from fistula.dicom.container import Part
from fistula.dicom.outcome import Refused
from fistula.source.files.volume_slices import volume_facts, volume_pictures
from fistula.source.files.volumes import read_volume_header

LIMIT = 1 << 24
VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def turned(degrees, axis):
    """A rotation ``(3, 3)`` about one axis of the patient."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = (other for other in range(3) if other != axis)
    matrix = np.eye(3)
    matrix[[first, first, second, second], [first, second, first, second]] = [cosine, -sine, sine, cosine]
    return matrix


def affine_of(matrix, spacing, origin):
    return np.vstack([np.column_stack([matrix * spacing, origin]), [0, 0, 0, 1]])


LIES = {
    "as RAS": np.eye(3),
    "as LPS": np.diag([-1.0, -1.0, 1.0]),
    "mirrored": np.diag([-1.0, 1.0, 1.0]),
    "axes exchanged": np.eye(3)[[2, 0, 1]],
    "oblique": turned(20, 0) @ turned(-35, 2) @ turned(10, 1),
    "oblique and flipped": turned(50, 1) @ np.diag([1.0, -1.0, -1.0]),
}


@pytest.fixture(params=LIES.values(), ids=LIES)
def written(request, tmp_path):
    affine = affine_of(request.param, [0.7, 0.8, 4.0], [11.0, -20.0, 33.0])
    image = nibabel.Nifti1Image(VALUES, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz"


def test_every_voxel_lies_where_simpleitk_says(written):
    judge = SimpleITK.ReadImage(str(written))
    volume = read_volume_header(Part(written), limit=LIMIT)
    assert volume.across == 2
    for number, plane in enumerate(volume.planes()):
        for row, column in [(0, 0), (4, 3), (2, 1)]:
            ours = plane.points([row], [column])[0]
            np.testing.assert_allclose(ours, judge.TransformIndexToPhysicalPoint((column, row, number)), atol=2e-4)


def test_an_nrrd_volume_lies_where_simpleitk_says_too(written, tmp_path):
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(written)), str(tmp_path / "a.nrrd"))
    first = read_volume_header(Part(written), limit=LIMIT).planes()
    second = read_volume_header(Part(tmp_path / "a.nrrd"), limit=LIMIT).planes()
    assert all(one.coincides(other) for one, other in zip(first, second, strict=True))


def test_a_slice_has_the_voxels_that_simpleitk_reads(written):
    values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(written)))  # z, y, x
    content = nibabel.load(written).to_bytes()
    for picture, wanted in zip(volume_pictures(content, "a.nii", range(6)), values, strict=True):
        np.testing.assert_array_equal(picture.values, wanted)
        assert picture.spacing == pytest.approx((0.8, 0.7))


def test_position_and_orientation_are_those_of_a_dicom_slice(tmp_path):
    nibabel.save(nibabel.Nifti1Image(VALUES, affine_of(np.eye(3), [1, 1, 5], [0, 0, 7])), tmp_path / "a.nii")
    facts = volume_facts(Part(tmp_path / "a.nii"), limit=LIMIT)
    assert [one["position_mm"] for one in facts] == [7, 12, 17, 22, 27, 32]
    # Columns run to the right and rows to the front: half a turn from how it is stored.
    assert {(one["orientation"], one["turned"], one["tilt_degrees"]) for one in facts} == {("axial", "turn180", 0.0)}


@pytest.mark.parametrize(
    ("spacing", "stated", "across"),
    [([4, 1, 1], None, 0), ([1, 4, 1], None, 1), ([1, 1, 1], None, 2), ([1, 1, 4], 0, 0)],
    ids=["widest first", "widest second", "equal: the last", "as stated"],
)
def test_slices_run_along_the_axis_of_acquisition(tmp_path, spacing, stated, across):
    image = nibabel.Nifti1Image(VALUES, affine_of(np.eye(3), spacing, [0, 0, 0]))
    if stated is not None:
        image.header.set_dim_info(slice=stated)
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_volume_header(Part(tmp_path / "a.nii"), limit=LIMIT)
    assert volume.across == across
    picture = next(volume_pictures(image.to_bytes(), "a.nii", [1]))
    np.testing.assert_array_equal(picture.values, np.take(VALUES, 1, axis=across).T)


def test_metres_and_microns_become_millimetres(tmp_path):
    image = nibabel.Nifti1Image(VALUES, np.diag([0.002, 0.002, 0.004, 1]))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "a.nii")
    assert read_volume_header(Part(tmp_path / "a.nii"), limit=LIMIT).spacing == pytest.approx((2, 2, 4))


def test_two_transforms_that_differ_are_noted_and_none_leaves_the_orientation_open(tmp_path):
    image = nibabel.Nifti1Image(VALUES, np.eye(4))
    image.set_qform(affine_of(np.eye(3), [1, 1, 1], [5, 0, 0]), code=1)
    image.set_sform(np.eye(4), code=1)
    nibabel.save(image, tmp_path / "a.nii")
    assert {one["notes"] for one in volume_facts(Part(tmp_path / "a.nii"), limit=LIMIT)} == {
        "sform and qform differ: sform used"
    }
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "b.nii")
    facts = volume_facts(Part(tmp_path / "b.nii"), limit=LIMIT)
    assert {(one["orientation"], one["turned"]) for one in facts} == {("", "")}
    assert "no orientation" in facts[0]["notes"]


def test_volumes_in_time_are_volumes_of_their_own(tmp_path):
    values = np.stack([VALUES, VALUES + 1000], axis=-1)
    image = nibabel.Nifti1Image(values, np.diag([1, 1, 4, 1]))
    nibabel.save(image, tmp_path / "a.nii")
    facts = volume_facts(Part(tmp_path / "a.nii"), limit=LIMIT)
    assert [one["acquisition"] for one in facts] == ["volume 1"] * 6 + ["volume 2"] * 6
    assert [one["frame"] for one in facts] == list(range(12))
    np.testing.assert_array_equal(next(volume_pictures(image.to_bytes(), "a.nii", [8])).values, values[:, :, 2, 1].T)


def test_what_is_not_a_number_is_outside(tmp_path):
    values = np.full((4, 5, 6), 7.0, np.float32)
    values[0, 0, 0] = np.nan
    picture = next(volume_pictures(nibabel.Nifti1Image(values, np.eye(4)).to_bytes(), "a.nii", [0]))
    assert not picture.inside[0, 0]
    assert picture.inside.sum() == 19
    assert picture.values[0, 0] == 7


def _read_whole(path):
    read_volume_header(Part(path), limit=LIMIT)
    return list(volume_pictures(path.read_bytes(), "a.nii", range(6)))


def _sheared(path):
    affine = np.eye(4)
    affine[0, 1] = 0.4
    nibabel.save(nibabel.Nifti1Image(VALUES, affine), path)


def _complex(path):
    nibabel.save(nibabel.Nifti1Image(VALUES.astype(np.complex64), np.eye(4)), path)


def _large(path):
    values = np.ones((4, 5, 6))
    values[0, 0, 0] = 1e300
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


def _cut(path):
    path.write_bytes(nibabel.Nifti1Image(VALUES, np.eye(4)).to_bytes()[:400])


def _packed(damaged, path):
    path.write_bytes(damaged(gzip.compress(nibabel.Nifti1Image(VALUES, np.eye(4)).to_bytes())))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (_sheared, "axes are not at right angles"),
        (_complex, "complex numbers"),
        (_cut, "a damaged volume"),
        (_large, "values beyond the range of 32-bit numbers"),
        (partial(_packed, lambda content: content[:60]), "a damaged archive"),
        (partial(_packed, lambda content: content[:20] + bytes(99) + content[119:]), "a damaged archive"),
        (lambda path: path.write_bytes(b"text" * 200), "named as NIfTI, but its content is not"),
        (lambda path: nrrd.write(str(path.with_suffix(".nrrd")), VALUES) or
         path.write_bytes(path.with_suffix(".nrrd").read_bytes()), None),
    ],
    ids=[
        "sheared", "complex", "cut short", "beyond float32", "a download that broke off", "a packed one with damage",
        "text", "an NRRD without a place is taken",
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_words(tmp_path, write, reason):
    path = tmp_path / "a.nii"
    write(path)
    if reason is None:
        assert not read_volume_header(Part(path), limit=LIMIT).is_placed
        return
    with pytest.raises(Refused, match=reason):
        _read_whole(path)


def test_what_the_library_thinks_of_a_header_does_not_reach_the_terminal(tmp_path, capfd):
    content = bytearray(nibabel.Nifti1Image(VALUES, np.eye(4)).to_bytes())
    content[80:84] = np.float32(-1).tobytes()  # a spacing
    (tmp_path / "a.nii").write_bytes(content)
    assert read_volume_header(Part(tmp_path / "a.nii"), limit=LIMIT).shape == VALUES.shape
    assert capfd.readouterr() == ("", "")
