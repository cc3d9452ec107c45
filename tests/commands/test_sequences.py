"""Several sequences from the command line: resampled onto the first one's grid, or refused, or known to be blank."""

import signal
import subprocess
import sys

import numpy as np
import polars as pl
import pydicom
import pytest
import SimpleITK

from fistula.cohort.manifest import read_cohort
from tests.two_sequences import AXIAL, OPTIONS, SEQUENCES, labels, stack, tree


def ingest(run, folder, *more, out="cohort"):
    return run("ingest", f"source={folder / 'tree'}", f"labels={folder / 'labels.csv'}", f"out={folder / out}",
               *OPTIONS, *more)  # fmt: skip


def tilted(degrees):
    angle = np.radians(degrees)
    return (1, 0, 0), (0, float(np.cos(angle)), float(np.sin(angle)))


def image(values, corner, axes, spacing, gap):
    along, down = np.array(axes, float)
    made = SimpleITK.GetImageFromArray(values.astype(np.float32))
    made.SetOrigin(tuple(map(float, corner)))
    made.SetSpacing((spacing[1], spacing[0], gap))
    made.SetDirection(np.stack([along, down, np.cross(along, down)], axis=1).ravel().tolist())
    return made


@pytest.mark.parametrize(
    "t2",
    [
        pytest.param({}, id="the same grid"),
        pytest.param({"corner": (-21.3, -24.1, 1.7)}, id="a shifted table"),
        pytest.param({"shape": (14, 20), "spacing": (3.5, 2.6), "gap": 6.1, "slices": 4}, id="matrix and spacing"),
        pytest.param({"axes": tilted(18), "corner": (-23, -22, -6)}, id="a tilt"),
        pytest.param({"axes": ((-1, 0, 0), (0, -1, 0)), "corner": (23, 23, 0)}, id="turned by a half"),
        pytest.param(
            {"axes": ((0, 1, 0), (0, 0, -1)), "corner": (20, -23, 18), "gap": 3.0, "slices": 14,
             "shape": (16, 24)}, id="sagittal",
        ),
    ],
)  # fmt: skip
def test_a_sequence_lies_on_the_first_ones_grid_as_simpleitk_lays_it(tmp_path, fistula_here, t2):
    tree(tmp_path, patients=2, **t2)
    code, _, said = ingest(fistula_here, tmp_path)
    assert code == 0, said
    cohort = read_cohort(tmp_path / "cohort")
    rows = cohort.manifest.with_row_index("row")
    compared = 0
    for patient in range(2):
        values = {name: stack(tmp_path / "again", name, patient=patient, **given) for name, given in
                  (("T1", {}), ("T2", t2))}  # fmt: skip
        given = {"corner": (-23, -23, 0), "axes": AXIAL, "spacing": (2.0, 2.0), "gap": 4.0}
        grid = image(values["T1"], **given)
        moving = image(values["T2"], **{name: t2.get(name, value) for name, value in given.items()})
        wanted = SimpleITK.GetArrayFromImage(
            SimpleITK.Resample(moving, grid, SimpleITK.Transform(), SimpleITK.sitkLinear, -1e6)
        )
        first = rows.filter(pl.col("sequence") == "t1c").sort("position_mm")
        mine = next(
            part for _, part in first.group_by("patient_key", maintain_order=True)
            if np.abs(cohort.pixels[part["row"][0]].astype(float) - np.rint(values["T1"][0] / 1000 * 255)).max() <= 1
        )  # fmt: skip
        for number, key in enumerate(mine.sort("position_mm")["slice_key"]):
            other = rows.filter(pl.col("grid_key") == key).row(0, named=True)
            found = cohort.pixels[other["row"]].astype(float)
            is_inside = wanted[number] > -1e5
            # Its own pixels are whole numbers, of which one step is 0.255 of 255.
            assert np.abs(found - np.clip(wanted[number] / 1000 * 255, 0, 255))[is_inside].max() <= 1.0
            assert (found[~is_inside] == 0).mean() > 0.97 if (~is_inside).any() else True
            assert other["covered"] == pytest.approx(is_inside.mean(), abs=0.05)
            compared += int(is_inside.sum())
    assert compared > 1500


def test_what_is_resampled_is_of_its_grids_patient_and_carries_no_label(tmp_path, fistula_here):
    tree(tmp_path)
    code, shown, _ = ingest(fistula_here, tmp_path)
    assert code == 0
    manifest = read_cohort(tmp_path / "cohort").manifest
    assert manifest["sequence"].to_list() == ["t1c"] * 20 + ["t2"] * 20
    second = manifest.filter(pl.col("sequence") == "t2")
    assert second["label"].null_count() == second["split"].null_count() == 20
    joined = second.join(manifest, left_on="grid_key", right_on="slice_key", suffix="_grid")
    assert len(joined) == 20
    for name in ("patient_key", "study_key", "position_mm"):
        assert joined[name].to_list() == joined[f"{name}_grid"].to_list()
    assert second["slice_key"].n_unique() == 20
    assert "sequence t2: 20 slices, 4 of 4 patients" in shown


def test_without_sequences_nothing_of_them_is_written(dicom_tree, tmp_path, fistula_here):
    source, table = dicom_tree
    fistula_here("ingest", f"source={source}", f"labels={table}", f"out={tmp_path / 'cohort'}", "size=16")
    cohort = read_cohort(tmp_path / "cohort")
    assert {"grid_key", "covered"}.isdisjoint(cohort.manifest.columns)
    assert set(cohort.record).isdisjoint({"sequences", "missing", "other_frame"})
    assert "sequences" not in cohort.record["keep"]
    assert cohort.sequences == []


def test_the_first_sequence_is_as_if_it_were_alone(tmp_path, fistula_here):
    tree(tmp_path)
    ingest(fistula_here, tmp_path)
    alone = [word for word in OPTIONS if word != SEQUENCES]
    fistula_here("ingest", f"source={tmp_path / 'tree'}", f"labels={tmp_path / 'labels.csv'}",
                 f"out={tmp_path / 'alone'}", *alone, "keep.description=T1")  # fmt: skip
    both, one = read_cohort(tmp_path / "cohort"), read_cohort(tmp_path / "alone")
    assert both.grid["slice_key"].to_list() == one.manifest["slice_key"].to_list()
    assert np.array_equal(both.pixels[: len(one.pixels)], one.pixels)


def test_permuted_labels_leave_every_pixel_as_it_is(tmp_path, fistula_here):
    tree(tmp_path)
    ingest(fistula_here, tmp_path)
    text = (tmp_path / "labels.csv").read_text()
    swapped = "\n".join(line[:-1] + str(1 - int(line[-1])) if line[-1] in "01" else line for line in text.splitlines())
    (tmp_path / "labels.csv").write_text(swapped + "\n")
    ingest(fistula_here, tmp_path, out="other")
    one, other = read_cohort(tmp_path / "cohort"), read_cohort(tmp_path / "other")
    keys = ["slice_key", "pixel_hash", "covered"]
    assert one.manifest.sort("slice_key").select(keys).equals(other.manifest.sort("slice_key").select(keys))
    assert one.manifest["label"].to_list() != other.manifest["label"].to_list()


def test_a_patient_who_lacks_a_sequence_is_refused_and_named(tmp_path, fistula_here):
    tree(tmp_path, lacking=(1, 2))
    code, _, said = ingest(fistula_here, tmp_path)
    assert code == 2
    assert "4 patients of whom 2 lack t2" in said
    assert "missing=mask" in said
    assert not (tmp_path / "cohort").exists()


def test_with_a_mask_it_is_counted_and_what_goes_with_the_class_is_said(tmp_path, fistula_here):
    tree(tmp_path, patients=6, lacking=(1, 3, 5))  # all positive ones
    code, shown, _ = ingest(fistula_here, tmp_path, "missing=mask")
    assert code == 0
    cohort = read_cohort(tmp_path / "cohort")
    assert (cohort.manifest["sequence"] == "t2").sum() == 15
    assert "patients who lack t2: 3" in shown
    assert "t2 is missing in 0 of 3 0 patients, 3 of 3 1 patients: if these differ" in shown.replace("\n", " ")
    assert "lacks t2 1.00" in shown.replace("\n", " ")
    assert cohort.record["alone"]["lacks t2"] == 1.0
    assert cohort.record["sequences"]["t2"]["patients"] == 3


@pytest.mark.parametrize("frame", ["2.25.78", ""])
def test_another_frame_of_reference_is_refused_or_joined_with_its_distance(tmp_path, fistula_here, frame):
    tree(tmp_path, frame=frame, corner=(-18, -23, 0))
    code, _, said = ingest(fistula_here, tmp_path)
    assert code == 2
    assert "must have the frame of reference of the first sequence" in said
    code, shown, _ = ingest(fistula_here, tmp_path, "other_frame=join")
    assert code == 0
    assert "volumes of t2 joined from another frame of reference, middles up to 5.0 mm apart: 4" in shown


def test_a_sequence_of_another_study_is_no_partner(tmp_path, fistula_here):
    for patient in range(4):
        stack(tmp_path / "tree", "T1", patient=patient)
        stack(tmp_path / "tree", "T2", patient=patient)
        for path in (tmp_path / "tree" / f"P{patient:02d}").glob("T2*"):
            image = pydicom.dcmread(path)
            image.StudyInstanceUID = f"2.25.5{patient}"
            image.save_as(path)
    labels(tmp_path)
    code, _, said = ingest(fistula_here, tmp_path)
    assert code == 2
    assert "4 lack t2" in said


def test_a_patient_who_lacks_the_first_sequence_is_left_out_and_counted(tmp_path, fistula_here):
    tree(tmp_path)
    stack(tmp_path / "tree", "T2", patient=7)
    code, shown, _ = ingest(fistula_here, tmp_path)
    assert code == 0
    assert "volumes of t2 that overlap none of t1c in their study: excluded: 1" in shown.replace("\n", " ")
    assert read_cohort(tmp_path / "cohort").manifest["patient_key"].n_unique() == 4


@pytest.mark.parametrize("shift", [(0, 0, 40), (80, 0, 0)], ids=["above", "beside"])
def test_a_sequence_that_lies_elsewhere_in_the_body_is_no_partner(tmp_path, fistula_here, shift):
    tree(tmp_path, corner=tuple(np.add((-23, -23, 0), shift).tolist()))
    code, _, said = ingest(fistula_here, tmp_path)
    assert code == 2
    assert "4 lack t2" in said


def test_one_that_is_shifted_by_20_mm_is_laid_where_it_is(tmp_path, fistula_here):
    tree(tmp_path, corner=(-3, -23, 0))
    code, _, _ = ingest(fistula_here, tmp_path)
    assert code == 0
    cohort = read_cohort(tmp_path / "cohort")
    second = cohort.manifest.with_row_index("row").filter(pl.col("sequence") == "t2")
    # Of 24 columns of 2 mm the first ten lie before the other's first pixel.
    assert second["covered"].to_list() == pytest.approx([14 / 24] * 20, abs=1e-4)
    assert not cohort.pixels[second["row"].to_list()][:, :, :10].any()


def test_seven_sequences_are_laid_on_the_first(tmp_path, fistula_here):
    names = ["t1c", "t2", "t1", "adc", "dwi", "flair", "swi"]
    for patient in range(2):
        for number in range(7):
            stack(tmp_path / "tree", f"S{number}x", patient=patient)
    labels(tmp_path, 2, name="S0x")
    rules = ", ".join(f"{name}: {{description: S{number}x}}" for number, name in enumerate(names))
    code, shown, said = fistula_here("ingest", f"source={tmp_path / 'tree'}", f"labels={tmp_path / 'labels.csv'}",
                                     f"out={tmp_path / 'cohort'}", "keep=all", f"keep.sequences={{{rules}}}", "size=24",
                                     "spacing_mm=2", "workers.count=1")  # fmt: skip
    assert code == 0, said
    assert read_cohort(tmp_path / "cohort").sequences == names
    assert "sequence swi: 10 slices, 2 of 2 patients" in shown


@pytest.mark.parametrize("name", ["a b", "1st", "a-b"])
def test_names_that_could_be_mistaken_are_refused(tmp_path, fistula_here, name):
    tree(tmp_path, patients=2)
    rules = f"{{t1c: {{description: T1}}, {name}: {{description: T2}}}}"
    code, _, said = fistula_here("ingest", f"source={tmp_path / 'tree'}", f"labels={tmp_path / 'labels.csv'}",
                                 f"out={tmp_path / 'cohort'}", "keep=all", f"keep.sequences={rules}")  # fmt: skip
    assert code == 2
    assert "must be called by a letter, then letters, digits or _" in said


def test_two_volumes_that_fit_one_rule_are_refused(tmp_path, fistula_here):
    tree(tmp_path)
    stack(tmp_path / "tree", "T2 again", patient=2)
    code, _, said = ingest(fistula_here, tmp_path)
    assert code == 2
    assert "a study must have one volume of t2" in said
    assert "keep.sequences.t2" in said


def test_slices_that_a_sequence_does_not_reach_are_known_as_such(tmp_path, fistula_here):
    tree(tmp_path, slices=3)  # at 0, 4 and 8 of 0 to 16 mm
    code, shown, _ = ingest(fistula_here, tmp_path)
    assert code == 0
    cohort = read_cohort(tmp_path / "cohort")
    second = cohort.manifest.with_row_index("row").filter(pl.col("sequence") == "t2").sort("position_mm")
    assert second["covered"].to_list() == [1.0] * 12 + [0.0] * 8
    assert not cohort.pixels[second["row"].to_list()[12:]].any()
    assert "sequence t2: 12 slices" in shown


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("{t1c: {description: T1}}", "must name two sequences or more"),
        ("{t1c: {description: T1}, t2: {descripton: T2}}", "keep.sequences.t2: must be rules out of"),
        ("{t1c: {description: T1}, t2: {modality: [XX]}}", "keep.sequences.t2.modality"),
        ("{t1c: {description: T}, t2: {description: T2}}", "must not keep the same images as keep.sequences.t1c"),
        ("{t1c: {description: T1}, t-2: {description: T2}}", "must be called by a letter"),
        ("{t3: {description: T3}, t2: {description: T2}}", "must keep at least one image"),
    ],
)
def test_rules_that_cannot_work_are_refused(tmp_path, fistula_here, rules, message):
    tree(tmp_path, patients=2)
    code, _, said = fistula_here("ingest", f"source={tmp_path / 'tree'}", f"labels={tmp_path / 'labels.csv'}",
                                 f"out={tmp_path / 'cohort'}", "keep=all", f"keep.sequences={rules}")  # fmt: skip
    assert code == 2
    assert message in said


def test_a_label_on_another_sequence_is_refused(tmp_path, fistula_here):
    tree(tmp_path)
    labels(tmp_path, name="T2")
    code, _, said = ingest(fistula_here, tmp_path)
    assert code == 2
    assert "of sequence t2, resampled onto t1c" in said


def test_doctor_says_which_rule_takes_what_and_whether_ingest_would_stop(tmp_path, fistula_here):
    tree(tmp_path, lacking=(1,))
    code, shown, _ = fistula_here("doctor", f"source={tmp_path / 'tree'}", "keep=all", SEQUENCES)
    assert code == 0
    assert "keep rules: kept as t1c: 20 slices" in shown
    assert "keep rules: kept as t2: 15 slices" in shown
    assert "1 lack t2" in shown
    _, shown, _ = fistula_here("doctor", f"source={tmp_path / 'tree'}", "keep=all", SEQUENCES, "missing=mask")
    assert "ingest would stop" not in shown
    assert "missing=mask" in shown.partition("next: fistula ingest")[2]


@pytest.mark.parametrize("size", [6_000, 18_000], ids=["the first sequence", "what lies on it"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, fistula_here, with_a_full_disk, size):
    tree(tmp_path)  # 20 slices of 576 pixels, of each sequence
    code, _, error = with_a_full_disk(size, ingest, fistula_here, tmp_path)
    assert (code, error.count("\n")) == (2, 1), error
    assert "cannot be written (File too large). Free some space" in error
    assert not [path for path in tmp_path.iterdir() if "cohort" in path.name]


@pytest.mark.slow
def test_one_that_is_killed_while_sequences_are_resampled_leaves_no_cohort(tmp_path, fistula_here):
    tree(tmp_path)
    told = [f"source={tmp_path / 'tree'}", f"labels={tmp_path / 'labels.csv'}", f"out={tmp_path / 'cohort'}", *OPTIONS]
    killed = (
        "import os, signal, fistula.cohort.ingest as ingest\n"
        "ingest.resampled = lambda *given: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from fistula.cli import run_command\n"
        f"run_command('ingest', {told!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", killed], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name[:8] for path in tmp_path.glob("*cohort*")] == [".cohort."]
    code, _, said = ingest(fistula_here, tmp_path)
    assert code == 0, said
    assert len(read_cohort(tmp_path / "cohort").manifest) == 40
