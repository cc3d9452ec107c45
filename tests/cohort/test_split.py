from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from hydra.utils import instantiate

from fistula.cohort.manifest import SCHEMA
from fistula.cohort.split import ImageHoldout, PatientHoldout, PatientKFold, Predefined, SiteHoldout
from fistula.errors import ConfigError, DataError

CONF = Path(__file__).parents[2] / "conf" / "split"
BY_PATIENT = [PatientHoldout(), PatientKFold(), SiteHoldout()]


def make_manifest(*, patients=30, seed=0, sites=3):
    """Patients of either class in turn, with 1 to 9 slices, spread over the sites."""
    random = np.random.default_rng(seed)
    rows = [
        {"slice_key": f"s{patient}-{slice_}", "patient_key": f"p{patient}", "label": patient % 2}
        | {"site": f"site {patient // 2 % sites}" if sites else None}
        for patient in range(patients)
        for slice_ in range(random.integers(1, 10))
    ]
    return pl.DataFrame(rows, schema={name: SCHEMA[name] for name in ("slice_key", "patient_key", "label", "site")})


def with_split(manifest, *parts):
    """Name the parts by patient, in turn."""
    number = manifest["patient_key"].str.slice(1).cast(pl.Int64) // 2 % len(parts)
    return manifest.with_columns(split=number.replace_strict(dict(enumerate(parts)), return_dtype=pl.String))


def parts_of(table, manifest):
    return table.join(manifest, on="slice_key")


@pytest.mark.parametrize("split", BY_PATIENT, ids=lambda split: split.name)
def test_no_patient_is_in_two_parts_of_a_fold(split):
    manifest = make_manifest()
    joined = parts_of(split(manifest), manifest)
    assert joined.group_by("fold", "patient_key").agg(pl.col("part").n_unique())["part"].max() == 1


@pytest.mark.parametrize("split", [*BY_PATIENT, ImageHoldout()], ids=lambda split: split.name)
def test_every_fold_has_every_slice_once_and_both_classes_in_every_part(split):
    manifest = make_manifest()
    table = split(manifest)
    assert table.columns == ["slice_key", "copy", "fold", "part"]
    for fold in table.partition_by("fold"):
        assert fold["slice_key"].to_list() == manifest["slice_key"].to_list()
        classes = parts_of(fold, manifest).group_by("part").agg(pl.col("label").n_unique())
        assert dict(classes.iter_rows()) == {"train": 2, "val": 2, "test": 2}


@pytest.mark.parametrize("split", [*BY_PATIENT, ImageHoldout()], ids=lambda split: split.name)
def test_pseudonyms_of_another_key_change_nothing(split):
    manifest = make_manifest()
    names = manifest["patient_key"].unique().sort()
    renamed = manifest.with_columns(
        patient_key=manifest["patient_key"].replace_strict(names, names.reverse()),
        slice_key=pl.int_range(pl.len(), 0, -1).cast(pl.String),
    )
    assert split(renamed)["part"].to_list() == split(manifest)["part"].to_list()


@pytest.mark.parametrize("split", [*BY_PATIENT, ImageHoldout()], ids=lambda split: split.name)
def test_a_seed_gives_one_split_and_another_seed_another(split):
    manifest = make_manifest()
    reseeded = type(split)(seed=1)
    assert split(manifest).equals(split(manifest))
    assert not split(manifest).equals(reseeded(manifest))


def test_k_fold_tests_every_patient_once_whichever_fold_is_run():
    manifest = make_manifest()
    table = PatientKFold(folds=4)(manifest)
    tested = table.filter(part="test")
    assert sorted(tested["slice_key"]) == sorted(manifest["slice_key"])
    assert sorted(tested["fold"].unique()) == [0, 1, 2, 3]
    assert PatientKFold(folds=4, fold=3)(manifest).equals(table)


def test_fractions_are_of_patients_and_validation_of_what_is_left():
    manifest = make_manifest(patients=100)
    joined = parts_of(PatientHoldout(test_fraction=0.3, val_fraction=0.1)(manifest), manifest)
    patients = dict(joined.group_by("part").agg(pl.col("patient_key").n_unique()).iter_rows())
    # Of each 50 of a class: 15, then a tenth of 35, 3.5, rounded up for the one class and down for the other.
    assert patients == {"test": 30, "val": 7, "train": 63}


def test_each_site_is_left_out_once_in_the_order_of_the_names():
    manifest = make_manifest()
    joined = parts_of(SiteHoldout(fold=2)(manifest), manifest)
    for fold, site in enumerate(["site 0", "site 1", "site 2"]):
        inside = joined.filter(pl.col("fold") == fold)
        assert inside.filter(site=site)["part"].unique().to_list() == ["test"]
        assert inside.filter(pl.col("site") != site).filter(part="test").is_empty()


def test_two_sites_are_enough_to_leave_one_out():
    manifest = make_manifest(sites=2)
    assert SiteHoldout()(manifest)["fold"].unique().sort().to_list() == [0, 1]


def test_a_predefined_split_is_kept():
    manifest = with_split(make_manifest(), "train", "val", "test")
    assert Predefined()(manifest)["part"].to_list() == manifest["split"].to_list()


def test_a_predefined_split_without_validation_has_it_cut_from_train_by_patient():
    manifest = with_split(make_manifest(), "train", "train", "test")
    joined = parts_of(Predefined()(manifest), manifest)
    assert joined.filter(split="test")["part"].unique().to_list() == ["test"]
    assert sorted(joined.filter(split="train")["part"].unique()) == ["train", "val"]
    assert joined.group_by("patient_key").agg(pl.col("part").n_unique())["part"].max() == 1


def test_a_split_by_image_puts_patients_on_every_side_and_says_so():
    manifest = make_manifest()
    joined = parts_of(ImageHoldout()(manifest), manifest)
    assert joined.group_by("patient_key").agg(pl.col("part").n_unique())["part"].max() == 3
    assert ImageHoldout().leaky_by_design
    assert not any(split.leaky_by_design for split in (*BY_PATIENT, Predefined()))


def test_a_split_by_image_can_be_drawn_several_times():
    manifest = make_manifest()
    table = ImageHoldout(folds=3, fold=2)(manifest)
    tests = [set(part["slice_key"]) for part in table.filter(part="test").partition_by("fold")]
    assert [len(test) for test in tests] == [len(tests[0])] * 3
    assert len({frozenset(test) for test in tests}) == 3
    assert table.filter(fold=0).equals(ImageHoldout()(manifest))


def test_the_papers_copies_are_made_before_the_split_and_fall_on_every_side():
    manifest = make_manifest()
    table = ImageHoldout(expand_before_split=4)(manifest)
    assert len(table) == 4 * len(manifest)
    assert table.group_by("slice_key").agg(pl.col("copy").sort())["copy"].to_list() == [[0, 1, 2, 3]] * len(manifest)
    assert table.group_by("slice_key").agg(pl.col("part").n_unique())["part"].max() == 3
    assert table.filter(part="test").height == pytest.approx(0.2 * len(table), abs=1)


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_option_builds_the_split_of_its_name(file):
    settings = yaml.safe_load(file.read_text())
    split = instantiate(settings)
    assert (split.name, split.fold) == (file.stem, settings["fold"])
    assert split == type(split)()  # the defaults in Python are those of conf/


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PatientKFold(folds=1), r"split.folds: must be at least 2, found 1"),
        (lambda: PatientKFold(fold=5), r"split.fold: must lie in 0 to 4, one of 5 folds, found 5"),
        (lambda: PatientKFold(val_fraction=1.0), r"split.val_fraction: must lie between 0 and 1.*found 1.0"),
        (lambda: PatientHoldout(fold=1), r"split.fold: must lie in 0 to 0"),
        (lambda: PatientHoldout(test_fraction=1.0), r"split.test_fraction: must lie between 0 and 1.*found 1.0"),
        (lambda: Predefined(val_fraction=0.0), r"split.val_fraction: must lie between 0 and 1.*found 0.0"),
        (lambda: Predefined(fold=1), r"split.fold: must lie in 0 to 0, one of 1 folds, found 1"),
        (lambda: ImageHoldout(folds=0), r"split.folds: must be at least 1, found 0"),
        (lambda: ImageHoldout(test_fraction=0.0), r"split.test_fraction: must lie between 0 and 1.*found 0.0"),
        (lambda: ImageHoldout(fold=1), r"split.fold: must lie in 0 to 0, one of 1 folds, found 1"),
        (lambda: ImageHoldout(expand_before_split=0), r"split.expand_before_split: must be at least 1, found 0"),
        (lambda: SiteHoldout(seed=-1), r"split.seed: must be at least 0, found -1"),
        (lambda: SiteHoldout(fold=3)(make_manifest()), r"split.fold: must lie in 0 to 2, one of 3 folds, found 3"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("split", "manifest", "message"),
    [
        (
            PatientKFold(),
            make_manifest(patients=9),
            r"split.folds=5 needs as many patients of each class, found 4 for class 1",
        ),
        (PatientHoldout(), make_manifest(patients=4), r"needs 3 patients of each class.*found 2 for class 0\. Add"),
        (
            SiteHoldout(),
            make_manifest(sites=0),
            r"needs the site of every slice, found \d+ of \d+ .*Fill the column site",
        ),
        (SiteHoldout(), make_manifest(sites=1), r"needs two sites or more, found 1 \(site 0\)"),
        (
            SiteHoldout(),
            make_manifest().with_columns(patient_key=pl.col("patient_key").replace("p2", "p0")),
            r"needs each patient at one site, found 1 patient at several",
        ),
        (
            Predefined(),
            make_manifest().with_columns(split=pl.lit(None, pl.String)),
            r"split=predefined: needs the column split.*without it. Fill the column",
        ),
        (
            Predefined(),
            with_split(make_manifest(), "train", "dev", "test"),
            r"the column split holds train, val or test, found dev",
        ),
        (
            Predefined(),
            with_split(make_manifest(), "train", "val", "test").with_columns(
                split=pl.when((pl.col("split") == "test") & (pl.col("label") == 1))
                .then(pl.lit("train"))
                .otherwise("split")
            ),
            r"split=predefined, fold 0: the test set must hold slices of at least two classes, found class 0 only",
        ),
        (
            Predefined(),
            with_split(make_manifest(), "test", "val", "test"),
            r"the training set must hold every class, found 0 classes in 0 slices",
        ),
        (
            Predefined(),
            with_split(make_manifest(), "test", "test", "test"),
            r"the training set must hold every class, found 0 classes in 0 slices",
        ),
    ],
)
def test_a_cohort_that_cannot_be_split_so_is_refused(split, manifest, message):
    with pytest.raises(DataError, match=message):
        split(manifest)


NAMES = pl.col("label").replace_strict({0: "normal", 1: "fistula"}, return_dtype=pl.String).alias("class")
ONE_PATIENT = (pl.col("label") == 1) & (pl.col("patient_key") != "p1")
FEW = make_manifest().with_columns(NAMES).filter(~ONE_PATIENT)
LEFT_OUT = pl.when((pl.col("split") == "test") & (pl.col("label") == 1)).then(pl.lit("train")).otherwise("split")


@pytest.mark.parametrize(
    ("split", "manifest", "message"),
    [
        (PatientKFold(), FEW, "found 1 for fistula"),
        (PatientHoldout(), FEW, "found 1 for fistula"),
        (SiteHoldout(), FEW, "set must hold .* found normal only"),
        (
            Predefined(),
            with_split(make_manifest(), "train", "val", "test").with_columns(NAMES, split=LEFT_OUT),
            "the test set must hold .* found normal only",
        ),
        (ImageHoldout(), make_manifest().with_columns(NAMES).filter(~ONE_PATIENT).head(4), r"found \w+ only\. Change"),
    ],
)
def test_a_class_that_cannot_be_split_is_called_by_its_name(split, manifest, message):
    with pytest.raises(DataError, match=message) as found:
        split(manifest)
    assert "label" not in str(found.value)
