"""A folder a class: at the first level, or wherever one is called as a class is."""

import unicodedata
import zipfile

import numpy as np
import polars as pl
import pytest
from PIL import Image

from fistula.cohort.manifest import read_cohort

SMALL = ("size=16", "workers.count=1")
NAME = "(?P<patient>[^_]+)_"


@pytest.fixture
def pictures(tmp_path):
    def write(*names):
        random = np.random.default_rng(0)
        for name in names:
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (16, 16), dtype=np.uint8)).save(path)

    return write


@pytest.fixture
def ingested(tmp_path, fistula_here):
    def ingest(*options):
        code, _, error = fistula_here("ingest", "source=in", "labels=folders", "out=out", *SMALL, *options)
        if code:
            assert code == 2
            return error
        return read_cohort(tmp_path / "out")

    return ingest


def test_folders_of_the_first_level_are_classes_and_a_patient_in_two_of_them_is_one(pictures, ingested):
    pictures("normal/P1_1.png", "normal/P2_1.png", "fistula/P1_2.png", "fistula/P3_1.png")
    cohort = ingested(f"patient={NAME}")
    assert cohort.record["by_class"] == {"normal": 2, "fistula": 2}
    assert cohort.manifest["patient_key"].n_unique() == 3


def test_a_class_may_be_a_folder_below_the_patients(pictures, ingested):
    pictures("P1/normal/1.png", "P1/fistula/2.png", "P2/normal/1.png", "P3/other/1.png", "P3/fistula/2.png")
    cohort = ingested("classes=[normal,fistula]", "patient=folder:1")
    assert cohort.record["by_class"] == {"normal": 2, "fistula": 2}
    assert cohort.record["noted"]["labels=folders: images in no folder of a class"] == 1
    assert cohort.manifest.filter(pl.col("label").is_null()).height == 1


@pytest.mark.parametrize("layout", ["one archive", "one archive with a folder above", "an archive a class"])
@pytest.mark.parametrize("options", [(), ("classes=[normal,fistula]",)], ids=["found", "named"])
def test_archives_are_folders_of_their_names(pictures, tmp_path, fistula_here, layout, options):
    names = [f"{name}/P{number}_{name}.png" for name in ("normal", "fistula") for number in range(2)]
    pictures(*names)
    (tmp_path / "zip").mkdir()
    for name in names:
        of_class = layout == "an archive a class"
        archive = f"{name.partition('/')[0]}.zip" if of_class else "all.zip"
        inside = name.partition("/")[2] if of_class else f"data/{name}" if "above" in layout else name
        with zipfile.ZipFile(tmp_path / "zip" / archive, "a") as file:
            file.write(tmp_path / "in" / name, inside)
    source = "zip" if layout == "an archive a class" else "zip/all.zip"
    words = (f"source={source}", "labels=folders", f"patient={NAME}", "out=out", *SMALL, *options)
    code, _, error = fistula_here("ingest", *words)
    assert code == 0, error
    assert read_cohort(tmp_path / "out").record["by_class"] == {"normal": 2, "fistula": 2}


def test_names_in_any_script_and_composed_in_any_way_are_classes(pictures, ingested):
    pictures("正常/患者1_1.png", "痔瘻/患者2_1.png", unicodedata.normalize("NFD", "가느다란/患者3_1.png"))
    cohort = ingested("classes=[正常,痔瘻,가느다란]", f"patient={NAME}")
    assert cohort.record["by_class"] == {"正常": 1, "痔瘻": 1, "가느다란": 1}


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (["normal/fistula/P1_1.png", "fistula/P2_1.png"], ["classes=[normal,fistula]"], "in folders of two classes"),
        (["a/P1_1.png", "b/P2_1.png"], [], "classes: must be given, because the labels of labels=folders are words"),
        (["a/P1_1.png", "b/P2_1.png"], ["classes=[c,d]"], "of folders below source, found c, d. There are a, b"),
        (["normal/P1_1.png", "normal/P2_1.png"], ["classes=[normal,fistula]"], "every class needs at least one image"),
        (["normal/P1_1.png"], ["labels.level=patient"], "labels.level: must be slice with labels=folders"),
    ],
    ids=["two classes", "no order", "no such folder", "one class", "another level"],
)  # fmt: skip
def test_what_gives_no_labels_is_refused_in_one_line(pictures, ingested, names, options, words):
    pictures(*names)
    assert words in ingested(f"patient={NAME}", *options)


def test_pictures_that_name_no_patient_are_refused(pictures, ingested):
    pictures("normal/P1_1.png", "fistula/P2_1.png")
    assert "must have a patient_id" in ingested()


def test_a_picture_copied_into_two_folders_is_said(pictures, ingested, tmp_path):
    pictures("normal/P1_1.png", "normal/P2_1.png", "fistula/P3_1.png")
    (tmp_path / "in" / "fistula" / "P4_1.png").write_bytes((tmp_path / "in" / "normal" / "P1_1.png").read_bytes())
    cohort = ingested(f"patient={NAME}")
    assert "1 picture has several labels: 2 slices are the same in every pixel" in cohort.record["early"]


@pytest.mark.parametrize("classes", ["normal", "[normal]", "[normal,Normal]", "[正常\uff0c肛瘘]", "[]"])
def test_classes_that_are_no_list_of_names_are_refused_with_an_example(pictures, ingested, classes):
    pictures("normal/P1_1.png", "fistula/P2_1.png")
    error = ingested(f"patient={NAME}", f"classes={classes}")
    assert "classes: must be a list of two or more different names, found" in error
    assert 'Write them in brackets, with plain commas: "classes=[normal,fistula]"' in error
