"""A small study of two folds on synthetic patients, trained once for all tests of the room."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from fistula.cli import run_command

from ..conftest import TINY, write_dicom

TRAIN = (*TINY, "trainer=cpu", "logger=csv", "split=patient_kfold", "split.folds=2", "split.fold=0,1", "image_size=48")
PHANTOM = (
    "patients=8", "controls=8", "slices.positive=2", "slices.negative=1", "slices.control=2", "supersampling=1",
)  # fmt: skip


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with `phantom`, `cohort` and `study`, and the pseudonym key that they were made with."""
    folder = tmp_path_factory.mktemp("made")
    before, argv, there = os.environ.get("FISTULA_PSEUDONYM_KEY_FILE"), sys.argv, Path.cwd()
    os.environ["FISTULA_PSEUDONYM_KEY_FILE"] = str(folder / "key")
    os.chdir(folder)
    try:
        run_command("phantom", ["out=phantom", *PHANTOM, "workers=1"])
        ingest = ["source=phantom", "labels=phantom/labels.csv", "out=cohort", "size=64", "spacing_mm=1"]
        run_command("ingest", [*ingest, "workers.count=1"])
        run_command("train", ["-m", "cohort=cohort", *TRAIN, "epochs=4", "optimizer.lr=3e-3", "hydra.sweep.dir=study"])
    finally:
        os.chdir(there)
        sys.argv = argv
        if before is None:
            del os.environ["FISTULA_PSEUDONYM_KEY_FILE"]
        else:
            os.environ["FISTULA_PSEUDONYM_KEY_FILE"] = before
    return folder


@pytest.fixture
def study(made, monkeypatch):
    """The study's folder; pseudonyms are those of its cohort."""
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(made / "key"))
    return made / "study"


@pytest.fixture
def phantom(made):
    return made / "phantom"


@pytest.fixture
def run_folders(study):
    return sorted(path.parent for path in study.glob("*/run.json"))


@pytest.fixture
def copied_run(run_folders, tmp_path):
    """A run's folder with its cohort, free to be damaged."""
    copy = tmp_path / "study" / "run"
    shutil.copytree(run_folders[0], copy)
    shutil.copytree(run_folders[0].parent / "cohort", copy.parent / "cohort")
    return copy


@pytest.fixture
def one_patient(phantom):
    """The folder of one synthetic patient."""
    return sorted({path.parent for path in phantom.rglob("*.dcm")})[0]


def head(shape=(200, 200)):
    """A slice through a head: scalp, skull, brain, ventricles."""
    row, column = np.mgrid[: shape[0], : shape[1]]
    radius = np.hypot((row - shape[0] / 2) / 95, (column - shape[1] / 2) / 75)
    picture = np.zeros(shape)
    for edge, value in ((1.0, 3000), (0.93, 100), (0.88, 1200), (0.25, 200)):
        picture[radius < edge] = value
    return (picture + 30 * np.random.default_rng(0).random(shape)).astype(np.uint16)


def write_series(folder, pixels, *, slices=4, **attributes):
    """Write `pixels` as every slice of a series of an unknown patient."""
    for place in range(slices):
        write_dicom(
            folder / f"{place}.dcm",
            pixels,
            **{
                "SOPInstanceUID": f"2.25.77{place}",
                "SeriesInstanceUID": "2.25.771",
                "StudyInstanceUID": "2.25.772",
                "PatientID": "NEW",
                "ImagePositionPatient": [0, 0, 3.0 * place],
                "InstanceNumber": place + 1,
                **attributes,
            },
        )
    return folder
