"""What is drawn on images becomes labels: segmentations, contours, masks and points, wherever their grids lie."""

import copy
import json
import logging
import shutil

import nibabel
import nrrd
import numpy as np
import polars as pl
import pydicom
import pytest
import SimpleITK
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, RTStructureSetStorage

from fistula.cohort.manifest import read_cohort

from ..conftest import item_of

SMALL = ("size=32", "spacing_mm=1.0", "workers.count=1", "keep=all")
SHAPE, SLICES, GAP = (24, 20), 5, 4.0


def turned(degrees):
    """Directions of rows and columns of an oblique plane that is turned about two axes."""
    first, second = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(first), -np.sin(first)], [0, np.sin(first), np.cos(first)]])
    about_z = np.array([[np.cos(second), -np.sin(second), 0], [np.sin(second), np.cos(second), 0], [0, 0, 1]])
    return (about_z @ about_x)[:, 0], (about_z @ about_x)[:, 1]


PLANES = {
    "axial": (np.array([1.0, 0, 0]), np.array([0, 1.0, 0])),
    "flipped": (np.array([-1.0, 0, 0]), np.array([0, 1.0, 0])),
    "oblique": turned((25, -15)),
    "sagittal": (np.array([0, 1.0, 0]), np.array([0, 0, -1.0])),
}


class Archive:
    """Patients with one series each, of which the tests draw on some."""

    def __init__(self, folder, write_dicom, plane="axial", gap=GAP, patients=2):
        self.folder, self.write = folder, write_dicom
        self.along, self.down = PLANES[plane]
        self.gap = gap
        random = np.random.default_rng(0)
        for patient in range(patients):
            for place in range(SLICES):
                write_dicom(
                    self.path(patient, place),
                    random.integers(1, 900, SHAPE, dtype=np.uint16),
                    SOPInstanceUID=self.uid(patient, place),
                    SeriesInstanceUID=f"2.25.8{patient}",
                    StudyInstanceUID=f"2.25.9{patient}",
                    FrameOfReferenceUID=f"2.25.6{patient}",
                    PatientID=f"P{patient}",
                    PatientBirthDate=f"19{50 + patient}0101",
                    PatientName="A^B",
                    PatientSex="F",
                    StudyDate="20200101",
                    StudyTime="120000",
                    StudyID="1",
                    AccessionNumber="1",
                    ImageOrientationPatient=[*self.along, *self.down],
                    ImagePositionPatient=list(self.corner(place)),
                    PixelSpacing=[1.0, 0.5],
                    SliceThickness=gap,
                    InstanceNumber=place + 1,
                )

    def path(self, patient, place):
        return self.folder / f"p{patient}" / f"{place}.dcm"

    @staticmethod
    def uid(patient, place):
        return f"2.25.7{patient}{place}"

    def corner(self, place):
        return np.array([10.0, -20.0, 30.0]) + place * self.gap * np.cross(self.along, self.down)

    def at(self, place, row, column):
        """The point of the patient at a slice, row and column."""
        return self.corner(place) + row * self.down + column * 0.5 * self.along

    def images(self, patient):
        return [pydicom.dcmread(self.path(patient, place)) for place in range(SLICES)]

    def judge(self, patient):
        """The series as SimpleITK reads it."""
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames([str(self.path(patient, place)) for place in range(SLICES)])
        return reader.Execute()


def block(rows=slice(5, 10), columns=slice(4, 9), places=slice(1, 3)):
    """A block of pixels ``(slices, rows, columns)``."""
    mask = np.zeros((SLICES, *SHAPE), np.uint8)
    mask[places, rows, columns] = 1
    return mask


@pytest.fixture
def make_archive(tmp_path, write_dicom):
    return lambda **options: Archive(tmp_path / "in", write_dicom, **options)


@pytest.fixture
def archive(make_archive):
    return make_archive()


@pytest.fixture
def ingested(tmp_path, fistula_here):
    """Ingest, and what came of it: the record and the manifest, or the one line of the refusal."""

    def ingest(word, *options):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        code, shown, error = fistula_here("ingest", "source=in", f"labels={word}", "out=out", *SMALL, *options)
        if code:
            assert code == 2, error
            return error, None
        record = json.loads((tmp_path / "out" / "ingest.json").read_text())
        return record | {"shown": shown}, read_cohort(tmp_path / "out").manifest

    return ingest


def positives(manifest):
    """Image numbers of the positive slices."""
    return sorted(manifest.filter(pl.col("label") == 1)["image_number"].to_list())


def openings(manifest):
    """Of the positive slices the opening in mm of the stored picture's middle, by image number."""
    rows = manifest.filter(pl.col("label") == 1).sort("image_number")
    return rows.select("opening_row", "opening_col").rows()


def seg(archive, patient, mask, path, *, kind="BINARY", labels=("lesion",), **options):
    """Write a DICOM SEG with highdicom."""
    highdicom = pytest.importorskip("highdicom")
    logging.getLogger("highdicom").setLevel(logging.ERROR)
    codes = highdicom.sr.CodedConcept
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes("49755003", "SCT", "Morphologically Altered Structure"),
            segmented_property_type=codes("4147007" if number == 1 else "23451007", "SCT", f"type {number}"),
            algorithm_type="MANUAL",
        )
        for number, label in enumerate(labels, 1)
    ]
    written = highdicom.seg.Segmentation(
        source_images=archive.images(patient),
        pixel_array=mask,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=9,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="maker",
        manufacturer_model_name="model",
        software_versions="1",
        device_serial_number="1",
        max_fractional_value=200,
        **options,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    written.save_as(path)
    return path


@pytest.mark.parametrize("plane", PLANES)
def test_a_segmentation_labels_its_slices_and_its_centroid_is_the_opening(make_archive, ingested, tmp_path, plane):
    archive = make_archive(plane=plane)
    seg(archive, 0, block().astype(bool), tmp_path / "in" / "elsewhere" / "a.dcm")
    record, manifest = ingested("masks")
    assert record["by_class"] == {"negative": 3, "positive": 2}  # the other patient has no label
    assert positives(manifest) == [2, 3]
    rows = pl.read_parquet(tmp_path / "out" / "manifest.parquet").filter(pl.col("label") == 1)
    # The picture's own centre is that of the grid; rows are 1 mm apart, columns 0.5, the cohort's 1.
    off = 7 - 11.5, (6 - 9.5) * 0.5
    turns = {"axial": off, "flipped": (off[0], -off[1]), "oblique": off, "sagittal": off}[plane]
    for row, column in rows.select("opening_row", "opening_col").rows():
        assert (row - 15.5, column - 15.5) == pytest.approx(
            turns, abs=0.51
        )  # a scaled side is a whole number of pixels


def test_a_fractional_segmentation_counts_from_half_of_its_maximum(archive, ingested, tmp_path):
    values = np.zeros((SLICES, *SHAPE), np.float32)
    values[1, 5:10, 4:9] = 0.55
    values[2, 5:10, 4:9] = 0.45
    seg(archive, 0, values, tmp_path / "in" / "a.dcm", kind="FRACTIONAL")
    _, manifest = ingested("masks")
    assert positives(manifest) == [2]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LABELMAP", {}),
        ("BINARY", {"omit_empty_frames": False}),
        ("FRACTIONAL", {"transfer_syntax_uid": RLELossless}),
        ("LABELMAP", {"transfer_syntax_uid": RLELossless}),
    ],
    ids=["label map", "with empty frames", "run lengths", "label map in run lengths"],
)
def test_a_segmentation_is_read_however_it_is_written(archive, ingested, tmp_path, kind, options):
    mask = block().astype(np.float32 if kind == "FRACTIONAL" else np.uint8)
    seg(archive, 0, mask, tmp_path / "in" / "a.dcm", kind=kind, **options)
    record, manifest = ingested("masks")
    assert manifest is not None, record
    assert record["by_class"] == {"negative": 3, "positive": 2}
    assert positives(manifest) == [2, 3]


@pytest.mark.parametrize("values", [np.float32, np.int16, np.uint8], ids=["floats", "scaled", "bytes of 255"])
def test_a_mask_of_any_type_of_number_marks_the_same(archive, ingested, tmp_path, values):
    image = _nifti(archive, 0, block())
    scale = 255 if values is np.uint8 else 1
    written = nibabel.Nifti1Image((np.asarray(image.dataobj) * scale).astype(values), image.affine)
    if values is np.int16:
        written.header.set_slope_inter(0.5, 0)
        written = nibabel.Nifti1Image(np.asarray(image.dataobj).astype(np.int16) * 3, image.affine, written.header)
    nibabel.save(written, tmp_path / "in" / "p0" / "x_seg.nii")
    _, manifest = ingested("masks")
    assert positives(manifest) == [2, 3]


def test_a_folder_of_masks_beside_a_volume_that_is_no_mask(archive, ingested, tmp_path):
    (tmp_path / "in" / "p0" / "masks").mkdir()
    nibabel.save(_nifti(archive, 0, block()), tmp_path / "in" / "p0" / "masks" / "tract.nii.gz")
    nibabel.save(_nifti(archive, 0, block() * 0 + 7), tmp_path / "in" / "p0" / "T1.nii.gz")
    record, manifest = ingested("masks")
    assert positives(manifest) == [2, 3]
    assert record["noted"]["labels=masks: masks as volumes"] == 1


def test_a_mask_that_does_not_say_where_it_lies_is_refused_beside_images_that_do(archive, ingested, tmp_path):
    image = nibabel.Nifti1Image(block().transpose(2, 1, 0), None)
    nibabel.save(image, tmp_path / "in" / "p0" / "x_seg.nii.gz")
    error, _ = ingested("masks")
    assert "p0/x_seg.nii.gz (a mask without position" in error


def test_contours_closer_than_slices_are_taken_together_and_leave_no_hole(archive, ingested, tmp_path):
    lines = [square(archive, 1, 3.5, 12.5, 2.5, 11.5), square(archive, 1, 4.5, 11.5, 3.5, 10.5)]
    lines = [lines[0], (1, [point + np.array([0, 0, 1.5]) for point in lines[1][1]])]
    structure_set(archive, 0, lines, tmp_path / "in" / "rs.dcm")
    record, manifest = ingested("masks")
    assert positives(manifest) == [2]
    assert not any("moved" in note for note in record["noted"])  # a ring's centroid would be


def test_marked_lines_are_no_points(archive, ingested, tmp_path):
    markup = {"markups": [{"type": "Line", "coordinateSystem": "LPS", "controlPoints": []}]}
    (tmp_path / "in" / "L.mrk.json").write_text(json.dumps(markup))
    error, _ = ingested("points", "negatives=rest")
    assert "L.mrk.json (marked lines or planes, not points)" in error


def test_the_same_contour_twice_counts_once(archive, ingested, tmp_path):
    structure_set(archive, 0, [square(archive, 1, 3.5, 12.5, 2.5, 11.5)] * 2, tmp_path / "in" / "rs.dcm")
    _, manifest = ingested("masks")
    assert positives(manifest) == [2]


def test_of_several_segments_one_is_chosen_by_label_number_code_or_pattern(archive, ingested, tmp_path):
    mask = np.stack([block(places=slice(0, 1)), block(places=slice(3, 5))], axis=-1).astype(bool)
    seg(archive, 0, mask, tmp_path / "in" / "a.dcm", labels=("abscess", "Fistelgang"))
    error, _ = ingested("masks")
    assert "labels.segment: must state which segment is the positive one, found abscess (1), Fistelgang (1)" in error
    error, _ = ingested("masks", "labels.segment=liver")
    assert "labels.segment: must be one that is there: abscess (1), Fistelgang (1), found liver" in error
    for chosen, numbers in [
        ("abscess", [1]),
        ("fistel*", [4, 5]),
        ("2", [4, 5]),
        ("'SCT:4147007'", [1]),
        ("'*'", [1, 4, 5]),
    ]:
        _, manifest = ingested("masks", f"labels.segment={chosen}")
        assert positives(manifest) == numbers


def test_several_segments_are_as_many_classes_and_a_slice_has_the_last_that_is_in_it(archive, ingested, tmp_path):
    mask = np.stack([block(places=slice(0, 2)), block(places=slice(1, 3))], axis=-1).astype(bool)
    mask[..., 1] = np.roll(mask[..., 1], 3, axis=1)  # three rows lower
    seg(archive, 0, mask, tmp_path / "in" / "a.dcm", labels=("abscess", "Fistelgang"))
    record, manifest = ingested("masks", "labels.segment=[abscess,fistel*]", "classes=[none,abscess,tract]")
    assert record["classes"] == ["none", "abscess", "tract"]
    assert record["noted"]["labels=masks: slices of several classes, which have the last of them"] == 1
    by_number = dict(manifest.filter(pl.col("label") > 0).select("image_number", "label").iter_rows())
    assert by_number == {1: 1, 2: 2, 3: 2}
    rows = dict(manifest.drop_nulls("opening_row").select("image_number", "opening_row").iter_rows())
    assert rows[2] == rows[3]  # the place is that of the tract, not of both together
    assert rows[2] - rows[1] == pytest.approx(3, abs=1e-6)
    error, _ = ingested("masks", "labels.segment=[abscess,seton]")
    assert "labels.segment: must be ones that are there: abscess (1), Fistelgang (1), found seton" in error
    error, _ = ingested("masks", "labels.segment=[abscess,fistel*]", "classes=[none,abscess]")
    assert "classes: must be 3 names for labels=masks" in error


def test_an_empty_segmentation_makes_its_slices_negative(archive, ingested, tmp_path):
    seg(archive, 0, block().astype(bool), tmp_path / "in" / "a.dcm")
    nibabel.save(_nifti(archive, 1, np.zeros_like(block())), tmp_path / "in" / "p1" / "a_seg.nii.gz")
    record, manifest = ingested("masks")
    assert record["by_class"] == {"negative": 8, "positive": 2}
    assert record["noted"]["labels=masks: masks without a pixel"] == 1
    assert manifest["patient_key"].n_unique() == 2
    (tmp_path / "in" / "a.dcm").unlink()
    error, _ = ingested("masks")
    assert "labels.segment: must each be of a mask with a pixel that is there" in error


def test_a_mask_whose_image_is_damaged_names_the_image(tmp_path, ingested):
    (tmp_path / "in").mkdir()
    values = np.zeros((8, 8, 3), np.int16)
    for name in ("a", "a_seg", "b", "b_seg"):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "in" / "a.nii.gz").write_bytes((tmp_path / "in" / "a.nii.gz").read_bytes()[:60])
    error, _ = ingested("masks", "patient=(?P<patient>.)")
    assert "found 1 that are not: a_seg.nii.gz. Check source (a.nii.gz is refused: a damaged archive), or set" in error


def test_a_volume_in_two_files_is_called_so(tmp_path, ingested):
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Pair(np.zeros((8, 8, 3), np.int16), np.eye(4)), tmp_path / "in" / "a.img")
    error, _ = ingested("masks")
    assert "a NIfTI header without its image (1)" in error


@pytest.mark.parametrize("is_contour", [True, False])
def test_a_part_that_lies_elsewhere_than_the_image_that_it_names_is_counted(archive, ingested, tmp_path, is_contour):
    path = tmp_path / "in" / "a.dcm"
    if is_contour:
        structure_set(archive, 0, [(4, square(archive, 1, 3.5, 12.5, 2.5, 11.5)[1])], path)
    else:
        image = pydicom.dcmread(seg(archive, 0, block(places=slice(1, 2)).astype(bool), path))
        source = image.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
        source.ReferencedSOPInstanceUID = archive.uid(0, 4)
        image.save_as(path)
    record, manifest = ingested("masks")
    assert positives(manifest) == [2]
    name = "labels=masks: parts that lie elsewhere than the image that they name, which is not heeded"
    assert record["noted"][name] == 1


@pytest.mark.parametrize("keyword", ["PixelData", "SegmentSequence", "SegmentNumber"])
def test_a_segmentation_that_lost_its_pixels_or_segments_is_no_empty_one(archive, ingested, tmp_path, keyword):
    seg(archive, 0, block().astype(bool), tmp_path / "in" / "a.dcm")
    path = seg(archive, 1, block().astype(bool), tmp_path / "in" / "b.dcm")
    image = pydicom.dcmread(path)
    del (image.SegmentSequence[0] if keyword == "SegmentNumber" else image)[keyword]
    image.save_as(path)
    error, _ = ingested("masks")
    assert "found 1 that are not: b.dcm (a segmentation without pixels, or without the numbers of its segme" in error


def test_a_segmentation_of_images_that_are_not_there_is_refused_or_counted(archive, ingested, tmp_path):
    seg(archive, 0, block().astype(bool), tmp_path / "in" / "a.dcm")
    seg(archive, 1, block().astype(bool), tmp_path / "in" / "b.dcm")
    for place in range(SLICES):
        archive.path(1, place).unlink()
    error, _ = ingested("masks")
    assert "every drawing must belong to an image in the source, found 1 that are not: b.dcm" in error
    record, _ = ingested("masks", "unmatched=exclude")
    assert record["noted"]["labels=masks: of no image"] == 1


def test_a_segmentation_that_names_two_series_labels_both(archive, ingested, tmp_path, write_dicom):
    second = []
    for place, image in enumerate(archive.images(0)):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.55{place}"
        image.SeriesInstanceUID, image.SeriesDescription = "2.25.56", "second"
        image.PixelData = np.frombuffer(image.PixelData, np.uint16)[::-1].tobytes()
        image.save_as(tmp_path / "in" / "p0" / f"second{place}.dcm")
        second.append(image)
    path = seg(archive, 0, block().astype(bool), tmp_path / "in" / "a.dcm")
    _, manifest = ingested("masks")
    assert manifest.filter(pl.col("label").is_not_null())["series_key"].n_unique() == 1
    written = pydicom.dcmread(path)
    item = Dataset()
    item.SeriesInstanceUID, item.ReferencedInstanceSequence = "2.25.56", Sequence([])
    for image in second:
        one = Dataset()
        one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        item.ReferencedInstanceSequence.append(one)
    written.ReferencedSeriesSequence.append(item)
    written.save_as(path)
    _, manifest = ingested("masks")
    assert positives(manifest) == [2, 2, 3, 3]


def _nifti(archive, patient, mask):
    """A mask on the series' own grid, as SimpleITK places it."""
    image = SimpleITK.GetImageFromArray(mask)
    image.CopyInformation(archive.judge(patient))
    path = archive.folder.parent / "as.nii.gz"
    SimpleITK.WriteImage(image, str(path))
    return nibabel.load(path)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("form", ["nii.gz", "nrrd", "reoriented", "other patient with the same grid"])
def test_a_mask_beside_a_series_is_matched_by_geometry(make_archive, ingested, tmp_path, plane, form):
    archive = make_archive(plane=plane)
    image = _nifti(archive, 0, block())
    if form == "nrrd":
        SimpleITK.WriteImage(
            SimpleITK.ReadImage(str(tmp_path / "as.nii.gz")), str(tmp_path / "in" / "p0" / "x-label.nrrd")
        )
    elif form == "reoriented":  # the same voxels, written in another order, as tools do
        nibabel.save(nibabel.as_closest_canonical(image), tmp_path / "in" / "p0" / "x_seg.nii.gz")
    elif form == "nii.gz":
        nibabel.save(image, tmp_path / "in" / "p0" / "Segmentation.nii.gz")
    else:  # beside the patients' folders, and named as one
        nibabel.save(image, tmp_path / "in" / "p0_seg.nii.gz")
    record, manifest = ingested("masks")
    assert record["by_class"] == {"negative": 3, "positive": 2}, record
    assert positives(manifest) == [2, 3]


@pytest.mark.parametrize("plane", PLANES)
def test_a_mask_on_another_grid_marks_what_simpleitk_resamples_and_what_lies_within_a_slice(
    make_archive, ingested, tmp_path, plane
):
    archive = make_archive(plane=plane)
    # A grid of the scanner's own axes with voxels of 1.5 mm, and a ball in it.
    judge = archive.judge(0)
    centre = np.array(judge.TransformContinuousIndexToPhysicalPoint((9.0, 11.0, 2.0)))
    grid = np.zeros((30, 30, 30), np.uint8)
    places = np.stack(np.meshgrid(*[np.arange(30)] * 3, indexing="ij"), axis=-1)  # x, y, z
    origin = centre - 15 * 1.5
    grid[np.linalg.norm((places - 15) * 1.5, axis=-1) < 5] = 1
    image = SimpleITK.GetImageFromArray(grid.transpose(2, 1, 0))
    image.SetSpacing([1.5] * 3)
    image.SetOrigin(origin.tolist())
    SimpleITK.WriteImage(image, str(tmp_path / "in" / "p0" / "ball_seg.nii.gz"))
    wanted = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(image, judge, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor)
    )
    _, manifest = ingested("masks")
    found = positives(manifest)
    assert set(np.flatnonzero(wanted.any(axis=(1, 2))) + 1) <= set(found)
    # Beyond: slices within whose thickness the centre of a voxel lies.
    points = origin + 1.5 * places[grid > 0]
    across = (points - archive.corner(0)) @ np.cross(archive.along, archive.down)
    near = {int(number) + 1 for number in np.round(across / GAP) if 0 <= number < SLICES}
    assert set(found) == near | set(np.flatnonzero(wanted.any(axis=(1, 2))) + 1)
    middle = manifest.filter(pl.col("image_number") == 3)
    offset = np.array(middle.select("opening_row", "opening_col").row(0)) - 15.5
    assert np.abs(offset).max() < 1.5  # the ball's centre is that of the picture, half a pixel and rounding off


def test_a_segment_between_slices_far_apart_is_in_none_and_said_to_be(make_archive, ingested, tmp_path, write_dicom):
    archive = make_archive(gap=40.0)
    for place, image in enumerate(archive.images(0)):
        image.SliceThickness = 3
        image.save_as(archive.path(0, place))
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:3, 3] = [-10.0, 20.0, 30.0 + 15.0]  # RAS, 15 mm above the first slice
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 5, 5), np.uint8), affine), tmp_path / "in" / "p0" / "x_seg.nii.gz")
    error, _ = ingested("masks")
    assert "p0/x_seg.nii.gz (lies in no slice of its images)" in error


def test_a_mask_that_may_be_of_two_patients_is_refused(archive, ingested, tmp_path):
    nibabel.save(_nifti(archive, 0, block()), tmp_path / "in" / "x_seg.nii.gz")
    error, _ = ingested("masks")
    assert "x_seg.nii.gz: may be of several patients. Put it into the folder of its images" in error


def test_names_and_layers_of_3d_slicers_segmentation_are_used(archive, ingested, tmp_path):
    image = _nifti(archive, 0, block())
    affine = np.diag([-1, -1, 1, 1]) @ image.affine
    layers = np.stack([block().transpose(2, 1, 0) * 3, block(places=slice(4, 5)).transpose(2, 1, 0)], axis=0)
    header = {
        "space": "left-posterior-superior",
        "kinds": ["list", "domain", "domain", "domain"],
        "space directions": np.vstack([[np.nan] * 3, affine[:3, :3].T]),
        "space origin": affine[:3, 3],
        "Segment0_Name": "tract", "Segment0_LabelValue": "3", "Segment0_Layer": "0",
        "Segment0_Tags": "TerminologyEntry:Segmentation~SCT^49755003^Altered~SCT^4147007^Mass~^^~Anatomic~^^~^^|",
        "Segment1_Name": "muscle", "Segment1_LabelValue": "1", "Segment1_Layer": "1",
    }  # fmt: skip
    nrrd.write(str(tmp_path / "in" / "p0" / "Segmentation.seg.nrrd"), layers, header)

    for chosen, numbers in [("tract", [2, 3]), ("muscle", [5]), ("Mass", [2, 3])]:
        _, manifest = ingested("masks", f"labels.segment={chosen}")
        assert positives(manifest) == numbers


def structure_set(archive, patient, contours, path, *, guide=()):
    """Write an RTSTRUCT; contours are points of the patient with the number of the slice that each is on."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = FileDataset(str(path), {}, preamble=b"\0" * 128, file_meta=meta)
    written.SOPClassUID, written.SOPInstanceUID = RTStructureSetStorage, "2.25.4444"
    written.StudyInstanceUID, written.SeriesInstanceUID = f"2.25.9{patient}", "2.25.4445"
    written.Modality, written.PatientID = "RTSTRUCT", f"P{patient}"
    roi, lines = Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 7, "tract", f"2.25.6{patient}"
    lines.ReferencedROINumber, lines.ContourSequence = 7, Sequence([])
    for place, points in contours:
        item, image = Dataset(), Dataset()
        image.ReferencedSOPInstanceUID = archive.uid(patient, place)
        item.ContourImageSequence, item.ContourGeometricType = Sequence([image]), "CLOSED_PLANAR"
        item.NumberOfContourPoints, item.ContourData = len(points), [round(float(x), 4) for p in points for x in p]
        lines.ContourSequence.append(item)
    written.StructureSetROISequence, written.ROIContourSequence = Sequence([roi]), Sequence([lines])
    for number, kind in enumerate(guide, 8):  # further structures, with one line of this kind each
        roi, lines = copy.deepcopy(roi), copy.deepcopy(lines)
        roi.ROINumber, roi.ROIName, lines.ReferencedROINumber = number, kind, number
        lines.ContourSequence[0].ContourGeometricType = kind
        written.StructureSetROISequence.append(roi)
        written.ROIContourSequence.append(lines)
    written.save_as(path, enforce_file_format=True)


def square(archive, place, low, high, left, right):
    return place, [archive.at(place, *one) for one in [(low, left), (low, right), (high, right), (high, left)]]


@pytest.mark.parametrize("plane", PLANES)
def test_contours_of_a_structure_set_are_filled_and_holes_are_left_out(make_archive, ingested, tmp_path, plane):
    archive = make_archive(plane=plane)
    lines = [square(archive, 1, 3.5, 12.5, 2.5, 11.5), square(archive, 1, 5.5, 10.5, 4.5, 9.5)]
    structure_set(archive, 0, [*lines, square(archive, 3, 6.6, 6.8, 5.6, 5.8)], tmp_path / "in" / "rs.dcm")
    record, manifest = ingested("masks")
    assert positives(manifest) == [2, 4]
    # The ring's centroid is in its hole, and the point is moved into the ring.
    assert record["noted"]["labels=masks: points moved from a centroid outside its part into it"] == 1


def test_a_line_that_is_not_closed_costs_its_own_structure_alone(archive, ingested, tmp_path):
    lines = [square(archive, 1, 3.5, 12.5, 2.5, 11.5)]
    structure_set(archive, 0, lines, tmp_path / "in" / "rs.dcm", guide=("OPEN_NONPLANAR", "POINT"))
    _, manifest = ingested("masks", "labels.segment=tract")
    assert positives(manifest) == [2]
    error, _ = ingested("masks", "labels.segment=OPEN*")
    assert "rs.dcm (a contour that is not closed)" in error


def test_a_contour_that_lost_points_on_the_way_is_refused(archive, ingested, tmp_path):
    path = tmp_path / "in" / "rs.dcm"
    structure_set(archive, 0, [square(archive, 1, 3.5, 12.5, 2.5, 11.5)], path)
    image = pydicom.dcmread(path)
    image.ROIContourSequence[0].ContourSequence[0].NumberOfContourPoints = 5
    image.save_as(path)
    error, _ = ingested("masks")
    assert "a contour of more or fewer points than it states" in error


@pytest.mark.parametrize("keyword", ["StructureSetROISequence", "ROINumber", "ReferencedROINumber"])
def test_contours_of_a_structure_that_is_not_named_are_not_lost(archive, ingested, tmp_path, keyword):
    path = tmp_path / "in" / "rs.dcm"
    structure_set(archive, 0, [square(archive, 1, 3.5, 12.5, 2.5, 11.5)], path)
    image = pydicom.dcmread(path)
    of = {"ROINumber": image.StructureSetROISequence[0], "ReferencedROINumber": image.ROIContourSequence[0]}
    del of.get(keyword, image)[keyword]
    image.save_as(path)
    error, _ = ingested("masks")
    assert "found 1 that are not: rs.dcm (contours of a structure that it does not name)" in error


def test_marked_points_label_the_nearest_slice_and_pixel(archive, ingested, tmp_path):
    x, y, z = archive.at(2, 6, 8) + np.array([0, 0, 1.5])
    markup = {"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [
        {"label": "opening", "position": [x, y, z]}]}]}  # fmt: skip
    (tmp_path / "in" / "p0" / "F.mrk.json").write_text(json.dumps(markup))
    x, y, z = archive.at(0, 3, 4)
    (tmp_path / "in" / "p1" / "F.fcsv").write_text(
        "# Markups fiducial file version = 4.11\n# CoordinateSystem = 0\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
        f"1,{-x},{-y},{z},0,0,0,1,1,1,0,F-1,,\n"
    )
    record, manifest = ingested("points", "negatives=rest")
    assert record["by_class"] == {"negative": 8, "positive": 2}
    assert positives(manifest) == [1, 3]
    assert record["noted"]["labels=points: points more than 1 mm off their slice"] == 1
    error, _ = ingested("points", "negatives=rest", "labels.within_mm=1")
    assert "p0/F.mrk.json (opening, within 1 mm of no slice)" in error
    error, _ = ingested("points")
    assert "every class needs at least one image" in error


def report(archive, patient, path, *, by_image, maker="maker", data=None, graphic="POINT", frames=None, space=None):
    """Write a structured report with one point, in an image's pixels or in the patient's space."""
    written = archive.images(patient)[0]
    for keyword in ("PixelData", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        del written[keyword]
    if space:
        del written.FrameOfReferenceUID
    written.SOPClassUID = written.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    written.SOPInstanceUID = written.file_meta.MediaStorageSOPInstanceUID = f"2.25.33{patient}"
    written.SeriesInstanceUID, written.Modality, written.Manufacturer = "2.25.32", "SR", maker
    finding, group, point, image, reference, code = (Dataset() for _ in range(6))
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "4147007", "SCT", "Mass"
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121071", "DCM", "Finding"
    finding.ValueType, finding.ConceptNameCodeSequence, finding.ConceptCodeSequence = "CODE", [name], [code]
    if by_image:
        point.ValueType, point.GraphicType, point.GraphicData = "SCOORD", graphic, data or [8.5, 6.5]  # column, row
        reference.ReferencedSOPInstanceUID = archive.uid(patient, 3)
        if frames is not None:
            reference.ReferencedFrameNumber = frames
        image.ValueType, image.ReferencedSOPSequence = "IMAGE", [reference]
        point.ContentSequence = [image]
    else:
        point.ValueType, point.GraphicType = "SCOORD3D", graphic
        point.GraphicData = data or [float(value) for value in archive.at(1, 6, 8)]
        point.ReferencedFrameOfReferenceUID = space or f"2.25.6{patient}"
    group.ValueType, group.ContentSequence = "CONTAINER", [finding, point]
    written.ValueType, written.ContentSequence = "CONTAINER", [group]
    written.save_as(path)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"by_image": True, "frames": [1, 2]}, "a point assigned to several frames"),
        ({"by_image": True, "data": [500.0, 6.5]}, "Mass, beside its image"),
        ({"by_image": True, "data": [-3.0, 6.5]}, "Mass, beside its image"),
        ({"by_image": True, "data": [8.5, 6.5, 9.5, 7.5]}, "a point that is not 2 numbers"),
        ({"by_image": True, "graphic": "MULTIPOINT", "data": [8.5, 6.5, 9.5, 7.5]}, "none of any image"),
        ({"by_image": False, "space": "2.25.999"}, "drawn in another frame of reference than that of its images"),
        ({"by_image": False, "data": [500.0, 500.0, 500.0]}, "Mass, within 5 mm of no slice"),
    ],
    ids=["several frames", "right of it", "left of it", "four numbers", "several points", "another space", "far away"],
)  # fmt: skip
def test_a_point_that_cannot_be_meant_in_one_way_is_refused(archive, ingested, tmp_path, how, reason):
    report(archive, 0, tmp_path / "in" / "a.dcm", **how)
    error, manifest = ingested("points", "negatives=rest")
    assert manifest is None
    assert reason in error


def test_a_frame_of_reference_of_its_own_says_where_a_point_is(archive, ingested, tmp_path):
    report(archive, 1, tmp_path / "in" / "b.dcm", by_image=False, space="2.25.61")
    assert positives(ingested("points", "negatives=rest")[1]) == [2]


@pytest.mark.parametrize("drawn", ["segmentation", "contours"])
def test_what_is_drawn_in_another_frame_of_reference_is_refused(archive, ingested, tmp_path, drawn):
    path = tmp_path / "in" / "a.dcm"
    if drawn == "contours":
        structure_set(archive, 0, [square(archive, 1, 3.5, 12.5, 2.5, 11.5)], path)
    else:
        seg(archive, 0, block().astype(bool), path)
    written = pydicom.dcmread(path)
    if drawn == "contours":
        written.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "2.25.999"
    written.FrameOfReferenceUID = "2.25.999"
    written.save_as(path)
    error, _ = ingested("masks")
    assert "(drawn in another frame of reference than that of its images)" in error


def test_points_of_structured_reports_are_labels_but_not_those_of_fistulas_own(archive, ingested, tmp_path):
    report(archive, 0, tmp_path / "in" / "a.dcm", by_image=True)
    report(archive, 1, tmp_path / "in" / "b.dcm", by_image=False)
    for code in ("4147007", "'SCT:4147007'"):
        assert positives(ingested("points", "negatives=rest", f"labels.segment={code}")[1]) == [2, 4]
    record, manifest = ingested("points", "negatives=rest", "labels.segment=mass")
    assert positives(manifest) == [2, 4]
    assert record["noted"]["labels=points: DICOM reports"] == 2
    for row, column in openings(manifest):  # both at row 6 and column 8 of 24 x 20
        assert (row - 15.5, column - 15.5) == pytest.approx((6 - 11.5, (8 - 9.5) * 0.5), abs=1e-3)
    report(archive, 1, tmp_path / "in" / "b.dcm", by_image=False, maker="fistula")
    record, _ = ingested("points", "negatives=rest")
    assert record["by_class"] == {"negative": 9, "positive": 1}


def test_nnunets_folders_become_a_cohort(tmp_path, ingested):
    random = np.random.default_rng(0)
    for number in range(4):
        affine = np.diag([0.8, 0.8, 4, 1])
        for name, values in {
            f"imagesTr/case{number}_0000": random.integers(0, 900, (20, 24, 5)).astype(np.int16),
            f"labelsTr/case{number}": block().transpose(2, 1, 0) * (2 if number % 2 else 0),
        }.items():
            path = tmp_path / "in" / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, affine), path)
    said = {"labels": {"background": 0, "muscle": 1, "tract": 2}, "channel_names": {"0": "T1"}}
    (tmp_path / "in" / "dataset.json").write_text(json.dumps(said))
    record, manifest = ingested("masks", "labels.segment=tract", "patient=(?P<patient>case\\d)")
    assert record["by_class"] == {"negative": 16, "positive": 4}
    assert (record["patients"], record["source_kind"]) == (4, "volumes")
    assert positives(manifest) == [2, 2, 3, 3]


def test_pictures_with_masks_beside_them_become_a_cohort(tmp_path, ingested):
    folder = tmp_path / "in" / "良性"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.fromarray(np.full((30, 40), number, np.uint8)).save(folder / f"P{number} (1).png")
        mask = np.zeros((30, 40), np.uint8)
        mask[10:13, 20:25] = 255 * (number % 2)
        Image.fromarray(mask).save(folder / f"P{number} (1)_mask.png")
    second = np.zeros((30, 40), np.uint8)
    second[20:30, 0:9] = 255
    Image.fromarray(second).save(folder / "P1 (1)_mask_1.png")
    record, manifest = ingested("masks", "patient=(?P<patient>P\\d)", "size=40")
    assert record["by_class"] == {"negative": 2, "positive": 2}
    assert record["noted"]["labels=masks: slices of several masks, which are combined"] == 1
    assert {(row, column - 0) for row, column in openings(manifest)} == {(16.0, 22.0), (29.5, 4.0)}  # padded by 5


def test_a_mask_of_another_size_and_an_image_called_a_mask_are_refused(tmp_path, ingested, write_dicom):
    (tmp_path / "in").mkdir()
    for name, side in {"a": 30, "a_mask": 20, "b": 30, "b_mask": 30}.items():
        Image.fromarray(np.full((side, side), 200, np.uint8)).save(tmp_path / "in" / f"{name}.png")
    error, _ = ingested("masks", "patient=(?P<patient>.)")
    assert "every drawing must be readable, found 1 that are not: a_mask.png (a mask of another size" in error
    values = np.random.default_rng(0).integers(0, 900, (20, 24, 5)).astype(np.int16)
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    for name in ("a", "a_seg"):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "in" / f"{name}.nii.gz")
    error, _ = ingested("masks", "patient=(?P<patient>.)")
    assert "a_seg.nii.gz (an image rather than a mask" in error


def test_a_mask_whose_image_is_gone_is_not_taken_for_that_of_another(tmp_path, ingested):
    (tmp_path / "in").mkdir()
    for name in ("a", "b_mask"):
        Image.fromarray(np.full((20, 20), 200, np.uint8)).save(tmp_path / "in" / f"{name}.png")
    error, _ = ingested("masks", "patient=(?P<patient>.)")
    assert "every drawing must belong to an image in the source, found 1 that are not: b_mask.png" in error


def test_fat_beside_water_in_one_series_is_not_labelled_by_a_mask_of_the_water(archive, ingested, tmp_path):
    seg(archive, 0, block().astype(bool), tmp_path / "in" / "a.dcm")
    for place, image in enumerate(archive.images(0)):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.66{place}"
        image.ImageType = ["ORIGINAL", "PRIMARY", "F", "F"]
        image.InstanceNumber = 50 + place
        image.save_as(tmp_path / "in" / "p0" / f"fat{place}.dcm")
    record, manifest = ingested("masks", "keep.component=[water]", "negatives=rest")
    assert manifest is not None, record
    assert record["by_class"] == {"negative": 8, "positive": 2}
    assert positives(manifest) == [2, 3]


def test_doctor_lists_the_segments(archive, fistula_here, tmp_path):
    seg(archive, 0, block().astype(bool), tmp_path / "in" / "a.dcm")
    code, shown, error = fistula_here("doctor", "source=in", "labels=masks", "keep=all")
    assert code == 0, error
    assert "lesion, type 1, 4147007, SCT:4147007" in shown
    assert "ingest would stop" not in shown
    assert "next: fistula ingest source=in labels=masks keep=all" in shown


def test_without_anything_drawn_masks_are_refused_in_one_line(archive, ingested):
    error, _ = ingested("masks")
    assert "labels=masks: must find masks below in, found none of any image. They are DICOM segmentations" in error


@pytest.fixture
def enhanced(tmp_path, write_dicom):
    """Two patients, each with all slices in one object."""
    for patient in range(2):
        write_dicom(
            tmp_path / "in" / f"p{patient}" / "a.dcm",
            np.random.default_rng(patient).integers(1, 900, (SLICES, *SHAPE), dtype=np.uint16),
            SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1",
            PatientID=f"P{patient}", SOPInstanceUID=f"2.25.5{patient}", SeriesInstanceUID=f"2.25.6{patient}",
            StudyInstanceUID=f"2.25.4{patient}", FrameOfReferenceUID=f"2.25.3{patient}",
            PerFrameFunctionalGroupsSequence=[
                item_of(PlanePositionSequence=[item_of(ImagePositionPatient=[0, 0, 4.0 * at])]) for at in range(SLICES)
            ],
            SharedFunctionalGroupsSequence=[item_of(
                PlaneOrientationSequence=[item_of(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
                PixelMeasuresSequence=[item_of(PixelSpacing=[1.0, 0.5], SliceThickness=4)],
            )],
            drop=("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"),
        )  # fmt: skip
    return tmp_path / "in"


def test_a_mask_marks_frames_of_an_enhanced_object(enhanced, ingested):
    affine = np.diag([-0.5, -1.0, 4.0, 1.0])  # right, anterior, head
    nibabel.save(nibabel.Nifti1Image(block().transpose(2, 1, 0), affine), enhanced / "p0" / "x_seg.nii.gz")
    record, manifest = ingested("masks")
    assert manifest is not None, record
    assert sorted(manifest.filter(pl.col("label") == 1)["frame"].to_list()) == [1, 2]
    assert record["by_class"] == {"negative": 3, "positive": 2}


@pytest.mark.parametrize("frame", [3, None])
def test_a_point_in_an_enhanced_object_says_in_which_frame(enhanced, ingested, frame):
    """A report in an image of five frames, and none: the first is not meant by default."""
    reference = item_of(ReferencedSOPInstanceUID="2.25.50") if frame is None else item_of(
        ReferencedSOPInstanceUID="2.25.50", ReferencedFrameNumber=frame)  # fmt: skip
    image = item_of(ValueType="IMAGE", ReferencedSOPSequence=[reference])
    point = item_of(ValueType="SCOORD", GraphicType="POINT", GraphicData=[8.5, 6.5], ContentSequence=[image])
    written = pydicom.dcmread(enhanced / "p0" / "a.dcm")
    for keyword in ("PixelData", "Rows", "Columns", "PerFrameFunctionalGroupsSequence", "NumberOfFrames"):
        del written[keyword]
    written.SOPClassUID = written.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    written.SOPInstanceUID = written.file_meta.MediaStorageSOPInstanceUID = "2.25.333"
    written.SeriesInstanceUID, written.Modality, written.Manufacturer = "2.25.32", "SR", "maker"
    written.ValueType, written.ContentSequence = "CONTAINER", [point]
    written.save_as(enhanced / "sr.dcm")
    record, manifest = ingested("points", "negatives=rest")
    if frame is None:
        assert "sr.dcm (of a multiframe image, without the number of the frame)" in record
    else:
        assert manifest.filter(pl.col("label") == 1)["frame"].to_list() == [frame - 1]
