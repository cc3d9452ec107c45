"""Every `fistula` command that the README and the guide show is run as shown, on a small cohort and tiny networks."""

import re
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from openpyxl import Workbook
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TINY_COHORT = ("patients=8", "controls=8", "slices.positive=2", "slices.negative=0", "slices.control=2")
TINY_RUN = ("model.architecture=test_resnet", "model.pretrained=false", "image_size=32", "epochs=1", "trainer=cpu")
IN_PROCESS = "hydra/launcher=in_process"  # a process for each run takes seconds to start
# Put after what is shown, so that it takes seconds.
SMALLER = {"phantom": TINY_COHORT, "ingest": ("size=64",), "train": TINY_RUN, "report": ("resamples=50",)}


def commands_of(page):
    """The arguments of each command in a page's plain code blocks; a line that ends in a backslash goes on."""
    plain = [block for language, block in BLOCK.findall(page.read_text()) if not language]
    lines = [line for block in plain for line in block.replace("\\\n", " ").splitlines()]
    found = [shlex.split(line, comments=True)[1:] for line in lines if re.match(r"fistula [a-z]", line)]
    return [command for command in found if command]


def write_files(page, folder):
    """Write each YAML block that begins with the name of its file."""
    for language, block in BLOCK.findall(page.read_text()):
        if language == "yaml":
            path = folder / block.splitlines()[0].removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.partition("\n")[2])


PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if commands_of(page)]


def write_pictures(folder):
    """A set of pictures that looks like COVID-CT: split, patients, two classes."""
    folder.mkdir()
    random = np.random.default_rng(0)
    lines = ["path,label,patient_id,split"]
    for patient in range(24):
        name, part = f"{patient}.png", ("train", "val", "test")[patient // 2 % 3]
        Image.fromarray(random.integers(0, 255, (32, 32), dtype=np.uint8)).save(folder / name)
        lines.append(f"{name},{patient % 2},patient{patient},{part}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def write_workbook(folder):
    """The table of labels as an Excel file, with names of its own and a column of no use."""
    headers = (pydicom.dcmread(path, stop_before_pixels=True) for path in (folder / "DIR").rglob("*.dcm"))
    patients = {str(header.SOPInstanceUID): str(header.PatientID) for header in headers}
    book = Workbook()
    book.active.append(["SOP Instance UID", "Diagnosis", "Patient", "Remarks"])
    for line in (folder / "labels.csv").read_text().splitlines()[1:]:
        image, label = line.split(",")[:2]
        book.active.append([image, int(label), patients[image], "none"])
    book.save(folder / "table.xlsx")


def as_numbers(words, numbers):
    """A table of labels with 0 and 1 for the words of the phantom."""
    numbers.write_text(words.read_text().replace(",normal,", ",0,").replace(",fistula,", ",1,"))


def write_reader_study():
    """Tables of two readers and of another program, of every patient whom the study has tested."""
    stored = [pl.read_parquet(path) for path in Path("multirun/quick").glob("*/predictions.parquet")]
    keys = sorted({key for table in stored for key in table.filter(pl.col("part") == "test")["patient_key"]})
    lines = [f"{key},{reader},{10 * number % 100}" for reader in "ab" for number, key in enumerate(keys)]
    Path("readers.csv").write_text("\n".join(["patient,reader,score", *lines]) + "\n")
    scores = [f"{key},{number}" for number, key in enumerate(keys)]
    Path("vendor.csv").write_text("\n".join(["patient,score", *scores]) + "\n")


def write_readings():
    """The tables of two readers as label pages export them: three patients of two slices, one slice disputed."""
    header = "slice_key,patient_key,label,unsure,reader,repeat"
    for reader, answers in (("a", "010101"), ("b", "010100")):
        lines = [f"s{number},p{number // 2},{answer},0,{reader},0" for number, answer in enumerate(answers)]
        Path(f"{reader}.csv").write_text("\n".join([header, *lines]) + "\n")


def smaller(command):
    """What is put after a command so that it takes seconds."""
    if command[0] == "train" and "-m" in command:
        fewer = next((few for study, few in FEWER.items() if f"study={study}" in command), ())
        if "unit=slice" in command:  # which has nothing to pool
            fewer = tuple(word for word in fewer if not word.startswith("pooling="))
        return (*TINY_RUN, IN_PROCESS, *fewer)
    if "verify=true" in command:  # it recomputes what is there
        return ()
    return SMALLER.get(command[0], ())


# What a page may take for granted: the folder, and the command that makes it.
PAPER = ("experiment=paper/1_resnet18_transfer,paper/4_resnet18_end_to_end", "split.folds=2", "split.fold=0")
PATIENT = ("pooling=attention", "learning=transfer", "split.folds=2", "split.fold=0,1")
PLACES = ("head=locate", "learning=transfer", "split.folds=2", "split.fold=0")
SEQUENCES = ("learning=transfer", "split.folds=2", "split.fold=0")
FEWER = {"paper": PAPER, "patient": PATIENT, "places": PLACES, "sequences": SEQUENCES}
COHORT = ("ingest", "source=DIR", "labels=labels.csv", "out=data/cohort", "size=64")
STUDY = ("train", "-m", "cohort=data/cohort", *TINY_RUN, IN_PROCESS)
OUTSIDE = ("ingest", "source=OUTSIDE", "labels=outside.csv", "out=data/outside", "size=64")
GRANTED = {
    "data/outside": OUTSIDE,
    "data/cohort": COHORT,
    "multirun/paper": (*STUDY, "study=paper", *PAPER),
    "multirun/places": (*STUDY, "study=places", *PLACES),
    "multirun/patient": (*STUDY, "study=patient", *PATIENT),
    "multirun/quick": (
        *STUDY,
        "study=quick",
        "learning=transfer",
        "augmentation=none",
        "hydra.sweep.subdir=tf_efficientnet_lite0-transfer-e4-none-fold0-seed0",
    ),
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_of_the_guide_works(page, fistula_here, tmp_path, monkeypatch):
    def call(*command):
        code, shown, error = fistula_here(*command)
        assert code == 0, f"{shlex.join(command)}\n{shown}\n{error}"

    monkeypatch.chdir(tmp_path)
    call("phantom", "out=DIR", *TINY_COHORT)
    # A reader's own table has 0 and 1, as the pages say.
    as_numbers(tmp_path / "DIR" / "labels.csv", tmp_path / "labels.csv")
    if "data/outside" in page.read_text():
        call("phantom", "out=OUTSIDE", *TINY_COHORT, "seed=3")
        as_numbers(tmp_path / "OUTSIDE" / "labels.csv", tmp_path / "outside.csv")
    write_workbook(tmp_path)
    write_pictures(tmp_path / "covid-ct")
    write_readings()
    write_files(page, tmp_path)

    def provide(command):
        for path, maker in GRANTED.items():
            if any(part.endswith(f"={path}") and part != f"out={path}" for part in command) and not Path(path).exists():
                provide(maker)
                call(*maker)

    for command in commands_of(page):
        provide(command)
        if any(part in ("readers=readers.csv", "scores=vendor.csv") for part in command):
            write_reader_study()
        call(*command, *smaller(command))


@pytest.mark.parametrize("group", ["learning", "augmentation", "loss", "sampler", "study"])
def test_the_guide_to_training_names_every_option(group):
    guide = (ROOT / "docs" / "training.md").read_text()
    options = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")} - {"single"}  # no study, but one run
    named = {option for option in options if f"`{option}`" in guide or f"`{group}={option}`" in guide}
    assert named == options
