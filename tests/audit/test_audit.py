import csv
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from fistula.audit.audit import Audit
from fistula.audit.certificate import read_acceptances
from fistula.cohort.manifest import read_cohort
from fistula.cohort.split import ImageHoldout, PatientKFold, Predefined
from fistula.errors import ConfigError, DataError, LeakageError

CONF = Path(__file__).parents[2] / "conf"
COVID_CT = Path(os.environ.get("FISTULA_COVID_CT", Path(__file__).parents[3] / "shared" / "data" / "covid-ct"))


@pytest.fixture
def cohort(draw_patient, make_cohort):
    """Twelve patients of four slices each."""
    pixels = np.concatenate([draw_patient(seed) for seed in range(12)])
    patients = np.repeat(np.arange(12), 4)
    return make_cohort(pixels, patients, patients % 2)


@pytest.fixture
def plant(cohort, make_cohort):
    """Repeat the first slice of some patients under new patients' names; and label the copies otherwise, if asked."""

    def planted(*patients, copy=np.copy, flip=False):
        rows = [4 * patient for patient in patients]
        pixels = np.concatenate([cohort.pixels, *[copy(cohort.pixels[row])[None] for row in rows]])
        names = [*np.repeat(np.arange(12), 4), *[f"new {patient}" for patient in patients]]
        labels = [*cohort.manifest["label"], *[(patient + flip) % 2 for patient in patients]]
        return make_cohort(pixels, names, labels)

    return planted


def brighter(image):
    return (image * 1.2 + 10).clip(0, 255).astype(np.uint8)


def table_of(cohort, part_of):
    """One fold; the part of a slice by its patient's key, or else by its own."""
    keys, patients = cohort.manifest["slice_key"], cohort.manifest["patient_key"]
    parts = [part_of.get(key, part_of.get(patient, "train")) for key, patient in zip(keys, patients, strict=True)]
    return pl.DataFrame({"slice_key": keys, "copy": 0, "fold": 0, "part": parts})


def certify(cohort, table, *, leaky_by_design=False, **settings):
    return Audit(**settings)(cohort, table, split="predefined", leaky_by_design=leaky_by_design)


def leaks(certificate):
    return {kind: check["leaks"] for kind, check in certificate.checks.items() if check["leaks"]}


def test_a_clean_split_has_a_clean_certificate(cohort):
    split = PatientKFold(folds=3)
    certificate = Audit()(cohort, split(cohort.manifest), split=split.name, leaky_by_design=split.leaky_by_design)
    certificate.enforce("audit.json")
    assert (certificate.verdict, certificate.is_marked, certificate.findings) == ("no leak", False, [])
    assert certificate.counts == {"patients": 12, "slices": 48, "folds": 3}
    assert certificate.checks["patient"] == {"compared": 12, "found": 0, "leaks": 0}
    assert certificate.checks["label_conflict"] == {"compared": 48, "found": 0, "leaks": 0}


def test_a_patient_in_two_parts_stops_the_run(cohort):
    certificate = certify(cohort, table_of(cohort, {"slice1": "test", "patient5": "val"}))
    assert leaks(certificate) == {"patient": 1, "study": 1, "series": 1}
    with pytest.raises(
        LeakageError, match=r"audit.json: no patient.*found 3.*patient patient0 in the training and test sets"
    ) as stop:
        certificate.enforce("audit.json")
    assert stop.value.exit_code == 3


@pytest.mark.parametrize("column", ["study_key", "series_key"])
def test_a_study_or_series_shared_by_two_patients_is_found_across_parts_alone(cohort, make_cohort, column):
    keys = cohort.manifest[column].replace("patient1".replace("patient", column[:-4]), f"{column[:-4]}0").to_list()
    patients = np.repeat(np.arange(12), 4)
    shared = make_cohort(cohort.pixels, patients, patients % 2, **{column: keys})
    assert leaks(certify(shared, table_of(shared, {"patient1": "val"}))) == {column[:-4]: 1}
    assert leaks(certify(shared, table_of(shared, {"patient2": "val"}))) == {}


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("copy", [np.copy, brighter], ids=["equal", "brighter"])
def test_as_many_copies_are_found_as_were_planted(plant, count, copy):
    planted = plant(*range(count), copy=copy)
    certificate = certify(planted, table_of(planted, {f"patientnew {patient}": "test" for patient in range(count)}))
    # The copy looks like each of the four neighbouring slices of the patient it was taken from.
    exact, near = (count, 3 * count) if copy is np.copy else (0, 4 * count)
    assert leaks(certificate) == {k: n for k, n in {"pixels": exact, "near_duplicate": near}.items() if n}


def test_a_copy_in_the_same_part_is_told_but_does_not_stop_the_run(plant):
    planted = plant(0, copy=brighter)
    certificate = certify(planted, table_of(planted, {"patient1": "val", "patient2": "test"}))
    certificate.enforce("audit.json")
    assert certificate.checks["near_duplicate"] == {"compared": 49, "found": 4, "leaks": 0}
    assert certificate.verdict == "no leak"


def test_what_leaks_is_named_first(plant):
    planted = plant(0, 1, copy=brighter)
    found = certify(planted, table_of(planted, {"patientnew 1": "test"})).findings
    assert [finding.is_leak for finding in found] == [True] * 4 + [False] * 4


@pytest.mark.parametrize("copy", [np.copy, brighter], ids=["equal", "brighter"])
def test_copies_with_another_label_contradict(plant, copy):
    planted = plant(0, copy=copy, flip=True)
    found = [
        finding for finding in certify(planted, table_of(planted, {})).findings if finding.kind == "label_conflict"
    ]
    assert ["slice0", "slice48"] in [finding.keys for finding in found]
    assert all("slice48" in finding.keys for finding in found)


def test_neighbours_of_one_patient_may_differ_in_label(cohort, make_cohort):
    mixed = make_cohort(cohort.pixels, np.repeat(np.arange(12), 4), [0, 1] * 24)
    assert certify(mixed, table_of(mixed, {})).findings == []


def test_a_finding_names_the_folds_and_keeps_its_name_in_every_split(plant):
    planted = plant(0, copy=brighter)
    table = table_of(planted, {"patientnew 0": "test"})
    folds = pl.concat([table_of(planted, {}).with_columns(fold=1), table, table.with_columns(fold=2)])
    (one, *_), (three, *_) = certify(planted, table).findings, certify(planted, folds).findings
    assert (one.folds, three.folds) == ([0], [0, 2])
    assert one.id == three.id
    assert three.detail.endswith("in the training and test sets of folds 0, 2")


def test_findings_are_accepted_one_by_one_with_a_reason(cohort, tmp_path):
    table = table_of(cohort, {"slice1": "test"})
    names = [finding.id for finding in certify(cohort, table).findings]
    accept = tmp_path / "accepted.txt"
    accept.write_text("# known\n\n" + "".join(f"{name} slice 1 is a phantom scan\n" for name in names[:-1]))
    with pytest.raises(LeakageError, match=f"found 1 that do; the first, {names[-1]}"):
        certify(cohort, table, accept=str(accept)).enforce("audit.json")
    with accept.open("a") as file:
        file.write(f"{names[-1]}  the same\nseries-0000000000 of another cohort\n")
    certificate = certify(cohort, table, accept=str(accept))
    certificate.enforce("audit.json")
    assert (certificate.verdict, certificate.is_marked) == ("leaks accepted", True)
    assert [finding.accepted for finding in certificate.findings] == ["slice 1 is a phantom scan"] * 2 + ["the same"]
    assert certificate.unused_acceptances == ["series-0000000000"]


def test_slices_on_which_there_is_nothing_are_no_copies_of_each_other(cohort, make_cohort):
    pixels = np.array(cohort.pixels)
    pixels[[0, 20, 44]] = 0  # the padded end of a resampled volume, in patients of both classes
    patients = np.repeat(np.arange(12), 4)
    padded = make_cohort(pixels, patients, patients % 2)
    assert padded.manifest["pixel_hash"].n_unique() == 46
    certificate = certify(padded, table_of(padded, {"patient0": "test", "patient11": "val"}))
    assert (leaks(certificate), certificate.findings) == ({}, [])
    pixels[[0, 20, 44], 0, 0] = 1  # something is on them
    marked = make_cohort(pixels, patients, patients % 2)
    certificate = certify(marked, table_of(marked, {"patient0": "test", "patient11": "val"}))
    assert leaks(certificate) == {"pixels": 1}
    assert [finding.kind for finding in certificate.findings] == ["pixels", "label_conflict"]


def test_a_warning_lets_the_run_go_on_and_marks_it(cohort):
    certificate = certify(cohort, table_of(cohort, {"slice1": "test"}), mode="warn")
    certificate.enforce("audit.json")
    assert (certificate.verdict, certificate.is_marked) == ("leaks allowed by audit=warn", True)


def test_a_split_that_leaks_by_design_is_marked_and_every_copy_is_counted(cohort):
    split = ImageHoldout(expand_before_split=4)
    certificate = Audit()(cohort, split(cohort.manifest), split=split.name, leaky_by_design=split.leaky_by_design)
    certificate.enforce("audit.json")
    assert (certificate.verdict, certificate.is_marked) == ("leaky by design", True)
    assert certificate.checks["patient"]["leaks"] == 12
    assert certificate.checks["slice"]["leaks"] > 30
    assert certificate.checks["pixels"]["leaks"] == 0


def test_the_certificate_is_json_without_nan(cohort):
    content = json.loads(
        certify(cohort, table_of(cohort, {"slice1": "test"})).to_json(), parse_constant=lambda name: pytest.fail(name)
    )
    assert (content["verdict"], content["is_marked"], content["split"]) == ("leaks", True, "predefined")
    assert content["search"] == {
        "bits": 256,
        "distance": 72,
        "correlation": 0.92,
        "candidates": content["search"]["candidates"],
        "commonplace": 0,
        "featureless": 0,
    }
    assert content["confounding"][0]["reason"] == "no slice has label and site"
    assert len(content["by_construction"]) == 2


def test_both_options_build_and_share_their_settings():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        stop, warn = (instantiate(compose(f"audit/{mode}").audit) for mode in ("stop", "warn"))
    assert (stop, warn) == (Audit(), Audit(mode="warn"))
    assert set(yaml.safe_load((CONF / "audit" / "stop.yaml").read_text())) == {"_target_", *vars(stop)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "off"}, r"audit.mode: must be stop or warn, found off"),
        ({"near_duplicate_distance": 128}, r"audit.near_duplicate_distance: must lie in 0 to 127.*found 128"),
        ({"near_duplicate_distance": -1}, r"audit.near_duplicate_distance: must lie in 0 to 127.*found -1"),
        ({"near_duplicate_correlation": 0.0}, r"audit.near_duplicate_correlation: must be above 0 and at most 1"),
        ({"confounding_level": 1.5}, r"audit.confounding_level: must be above 0 and at most 1, found 1.5"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Audit(**settings)


def test_the_ends_of_the_ranges_are_settings_that_work():
    ends = {"near_duplicate_correlation": 1.0, "confounding_level": 1.0}
    assert Audit(near_duplicate_distance=0, **ends).near_duplicate_distance == 0
    assert Audit(near_duplicate_distance=127, **ends).near_duplicate_distance == 127


def test_a_split_of_another_cohort_is_refused(cohort):
    with pytest.raises(DataError, match=r"split, fold 0: must hold exactly the cohort's slices"):
        certify(cohort, table_of(cohort, {}).head(5))


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, ConfigError, r"audit.accept=.*none.txt: cannot be read \(No such file or directory\)"),
        (b"patient-12ab\n", DataError, r"line 1: needs an id, a space and a reason, found patient-12ab. Write why"),
        (b"# x\na 1\na 2\n", DataError, r"line 3: each finding is accepted once, found a again"),
        (b"\xff\xfe", DataError, r"must be a text file in UTF-8"),
    ],
)
def test_a_file_of_acceptances_that_cannot_be_used_is_refused(tmp_path, content, error, message):
    path = tmp_path / ("none.txt" if content is None else "accepted.txt")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        read_acceptances(path)


def test_a_thousand_slices_without_a_leak_have_no_finding(draw_patient, make_cohort):
    pixels = np.concatenate([draw_patient(seed, slices=10) for seed in range(103)])
    patients = np.repeat(np.arange(103), 10)
    large = make_cohort(pixels, patients, patients % 2)
    table = PatientKFold()(large.manifest)
    certificate = certify(large, table)
    assert certificate.findings == []


@pytest.mark.skipif(not COVID_CT.is_dir(), reason=f"COVID-CT is not at {COVID_CT} (FISTULA_COVID_CT)")
def test_the_two_figures_in_train_and_test_of_covid_ct_with_opposite_labels_are_found(make_cohort):
    with (COVID_CT / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    pictures = [cv2.imread(str(COVID_CT / row["path"]), cv2.IMREAD_GRAYSCALE) for row in rows]
    pixels = np.stack([cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA) for picture in pictures])
    columns = {"slice_key": [row["path"] for row in rows], "split": [row["split"] for row in rows]}
    real = make_cohort(pixels, [row["patient_id"] for row in rows], [int(row["label"]) for row in rows], **columns)
    certificate = certify(real, Predefined()(real.manifest))
    conflicts = [finding.keys for finding in certificate.findings if finding.kind == "label_conflict"]
    leaking = [finding for finding in certificate.findings if finding.is_leak]
    assert len(leaking) == 2
    assert sorted(finding.keys for finding in leaking) == sorted(conflicts)
    assert [finding.parts for finding in leaking] == [["train", "test"]] * 2
    with pytest.raises(LeakageError, match="found 2 that do"):
        certificate.enforce("audit.json")


@pytest.mark.slow
def test_phantom_patients_resemble_each_other_and_are_no_copies(fistula_here, tmp_path):
    for command in (
        ("phantom", "out=dicom", "patients=12", "controls=12", "supersampling=1"),
        ("ingest", "source=dicom", "labels=dicom/labels.csv", "classes=[normal,fistula]", "out=cohort"),
    ):
        code, _, error = fistula_here(*command)
        assert code == 0, error
    phantoms = read_cohort(tmp_path / "cohort")
    certificate = certify(phantoms, PatientKFold()(phantoms.manifest))
    assert certificate.search["candidates"] > 0
    assert certificate.findings == []


def with_second(cohort, pixels, *, lacking=()):
    """The cohort with a T2 on the grid of each slice, but for some patients."""
    first = cohort.manifest.with_columns(sequence=pl.lit("t1c"))
    second = first.with_columns(
        slice_key="t2 " + pl.col("slice_key"), sequence=pl.lit("t2"), label=pl.lit(None, pl.Int64),
        grid_key="slice_key", covered=pl.lit(1.0),
        pixel_hash=pl.Series([hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]),
    )  # fmt: skip
    is_there = ~second["patient_key"].is_in(list(lacking))
    manifest = pl.concat([first, second.filter(is_there)], how="diagonal")
    record = cohort.record | {"keep": {"sequences": {"t1c": {}, "t2": {}}}}
    pixels = np.concatenate([cohort.pixels, pixels[is_there.to_numpy()]])
    return replace(cohort, manifest=manifest, pixels=pixels, record=record)


@pytest.mark.parametrize("copy", [np.copy, brighter], ids=["equal", "brighter"])
def test_a_second_sequence_that_is_a_copy_of_another_patients_is_a_leak(cohort, draw_patient, copy):
    second = np.concatenate([draw_patient(100 + seed) for seed in range(12)])
    table = table_of(cohort, {"patient5": "test"})
    assert leaks(certify(with_second(cohort, second), table)) == {}
    second[20] = copy(second[0])  # the first slices of patients 0 and 5, whose own pictures differ
    certificate = certify(with_second(cohort, second), table)
    assert set(leaks(certificate)) == {"near_duplicate"}
    assert ["slice0", "slice20"] in [finding.keys for finding in certificate.findings]


def test_how_many_lack_a_sequence_is_said_by_class_and_whether_that_tells_it(cohort):
    lacking = [f"patient{number}" for number in (1, 3, 5, 7, 9)]  # of the six of class 1
    certificate = certify(with_second(cohort, cohort.pixels[::-1].copy(), lacking=lacking), table_of(cohort, {}))
    (said,) = certificate.lacking
    assert said.startswith("t2 is missing in 0 of 6 0 patients, 5 of 6 1 patients")
    assert certificate.alone["lacks t2"] == pytest.approx(11 / 12)  # five of six above six, one tied with them
    assert certify(cohort, table_of(cohort, {})).lacking == []
