"""What tests share: a small cohort on disk, configurations composed from conf/, the command line."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from composing import compose_from_memory
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from joblib.externals.loky import get_reusable_executor
from omegaconf import open_dict
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from fistula.cli import config_folder, main, run_command
from fistula.cohort.manifest import FORMAT, SCHEMA, manifest_fingerprint
from fistula.source import workers
from fistula.sweep.folder.run import register_run_name

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
TINY = ("model.architecture=test_resnet", "learning=end_to_end", "image_size=32", "batch_size=8", "epochs=1")
TINY_RUN = (*TINY, "trainer=cpu", "logger=csv", "split=patient_holdout")
TRAIN = (*TINY, "trainer=cpu", "logger=csv", "split=patient_kfold", "split.folds=2", "split.fold=0,1", "image_size=48")
PHANTOM = (
    "patients=8", "controls=8", "slices.positive=2", "slices.negative=1", "slices.control=2", "supersampling=1",
)  # fmt: skip
OF_PHANTOM = ("classes=[normal,fistula]", "size=64", "spacing_mm=1", "workers.count=1")


def write_cohort(folder: Path, *, patients=20, slices=3, size=32, seed=0, classes=("0", "1")) -> Path:
    """Write a cohort whose positive slices have a brighter middle: learnable, and made without any DICOM."""
    random = np.random.default_rng(seed)
    rows, images = [], []
    for patient in range(patients):
        label = patient % len(classes)
        for position in range(slices):
            image = random.integers(0, 120, (size, size), dtype=np.uint8)
            image[size // 4 : -size // 4, size // 4 : -size // 4] += np.uint8(label * 100 // (len(classes) - 1))
            row = dict.fromkeys(SCHEMA) | {
                "slice_key": f"slice{patient}-{position}",
                "patient_key": f"patient{patient}",
                "study_key": f"study{patient}",
                "series_key": f"series{patient}",
                "volume": 0,
                "sequence": "",
                "label": label,
                "position_mm": float(position),
                "split": ("train", "train", "train", "val", "test")[patient // len(classes) % 5],
                "pixel_hash": hashlib.sha256(image.tobytes()).hexdigest(),
                "source_hash": f"{patient}-{position}",
            }
            rows.append(row)
            images.append(image)
    manifest = pl.DataFrame(rows, schema=SCHEMA)
    folder.mkdir(parents=True)
    manifest.write_parquet(folder / "manifest.parquet")
    np.save(folder / "pixels.npy", np.stack(images))
    record = {"format": FORMAT, "classes": list(classes), "fingerprint": manifest_fingerprint(manifest), "size": size}
    (folder / "ingest.json").write_text(json.dumps(record))
    return folder


def pytest_collection_modifyitems(items):
    # Their files take longest: one that came last would leave the other workers with nothing to do.
    items.sort(key=lambda item: not item.nodeid.startswith("tests/sweep/"))


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no graphics card")


@pytest.fixture(autouse=True, scope="session")
def configurations_from_memory():
    with pytest.MonkeyPatch.context() as patch:
        compose_from_memory(patch)
        yield


@pytest.fixture(autouse=True, scope="session")
def nothing_started_ahead():
    """One process can have one process to fork from, for one command; that of the tests runs them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fistula.ahead.start_ahead", lambda command: None)
        patch.setattr("fistula.ahead.keep_freed_memory", lambda: None)
        yield


@pytest.fixture
def cohort_folder(tmp_path):
    return write_cohort(tmp_path / "cohort")


@pytest.fixture
def compose_train(tmp_path):
    """Compose `conf/train.yaml` with overrides, as the command line would, with the run in a temporary folder."""

    def composed(*overrides, cohort="cohort"):
        register_run_name()
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            cfg = compose("train", [f"cohort={cohort}", *overrides], return_hydra_config=True)
        with open_dict(cfg):
            cfg.hydra.runtime.output_dir = str(tmp_path / "run")
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg

    return composed


@pytest.fixture
def fistula(tmp_path):
    """Run `fistula ...` in a process and folder of its own."""

    def call(*arguments, **environment):
        # A test in this process may have started a W&B service, which processes started from it would share.
        inherited = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        return subprocess.run(
            [sys.executable, "-m", "fistula.cli", *map(str, arguments)],
            cwd=tmp_path,
            env=inherited | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return call


@pytest.fixture
def fistula_here(tmp_path, monkeypatch, capsys):
    """Run `fistula ...` in this process, which spares the imports; gives exit code, standard output and error."""
    # A command has workers of its own; those that an earlier test left behind stand in that test's folder.
    while workers._pools:
        workers._pools.popitem()[1].shutdown(kill_workers=True)
    get_reusable_executor().shutdown(kill_workers=True)

    def call(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["fistula", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as leave:
            code = leave.code or 0
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


@pytest.fixture
def with_a_full_disk():
    """Call something while no file can grow beyond so many bytes: the error comes from where a full disk's does."""

    def call(size, work, *given):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            return work(*given)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return call


@pytest.fixture(autouse=True)
def pseudonym_key(tmp_path_factory, monkeypatch):
    """Keep every test away from the user's own pseudonym key."""
    path = tmp_path_factory.getbasetemp() / "pseudonym.key"
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(path))
    return path


@pytest.fixture(scope="module")
def key_of_all(tmp_path_factory):
    """The pseudonym key of each test, for what is made once for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path_factory.getbasetemp() / "pseudonym.key"))
        yield


def item_of(**attributes) -> Dataset:
    """An item of a sequence."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def write_dicom(path: Path, pixels=None, *, syntax=ExplicitVRLittleEndian, drop=(), **attributes) -> Dataset:
    """Write a valid MR slice with `attributes` put over it and those named in `drop` taken out; returns it."""
    pixels = np.arange(24 * 20, dtype=np.uint16).reshape(24, 20) if pixels is None else pixels
    image = FileDataset(str(path), {}, preamble=b"\0" * 128)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID, image.SeriesInstanceUID, image.StudyInstanceUID = (
        "2.25.11",
        "2.25.2",
        "2.25.3",
    )
    image.PatientID, image.PatientName, image.PatientSex, image.PatientBirthDate = "02", "Doe^J", "F", "19800101"
    image.StudyDate, image.Modality, image.Manufacturer = "20200101", "MR", "Philips"
    image.ManufacturerModelName, image.InstanceNumber = "Ingenia", 1
    image.ImageType, image.ScanningSequence = ["DERIVED", "PRIMARY", "W", "W", "DERIVED"], "GR"
    image.ContrastBolusAgent = "Gd"
    image.ImageOrientationPatient, image.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    image.PixelSpacing, image.PhotometricInterpretation = [1, 1], "MONOCHROME2"
    image.Rows, image.Columns, image.SamplesPerPixel = *pixels.shape[-2:], 1
    image.BitsAllocated = image.BitsStored = 8 * pixels.dtype.itemsize
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        image.NumberOfFrames = len(pixels)
    image.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        setattr(image, name, value)
    for name in drop:
        delattr(image, name)
    image.file_meta.MediaStorageSOPClassUID = image.get("SOPClassUID", MRImageStorage)
    image.file_meta.MediaStorageSOPInstanceUID = image.get("SOPInstanceUID", "2.25.9")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path)
    return image


@pytest.fixture(name="write_dicom")
def write_dicom_fixture():
    return write_dicom


@pytest.fixture
def dicom_tree(tmp_path):
    """Four patients of three slices each, two of them with a fistula; the folder and its labels.csv."""
    random = np.random.default_rng(0)
    lines = ["sop_instance_uid,label"]
    for patient in range(4):
        for place in range(3):
            pixels = random.integers(0, 4000, (24, 20)).astype(np.uint16)
            uid = f"2.25.{patient + 1}00{place + 1}"
            write_dicom(
                tmp_path / "tree" / f"P{patient}" / f"{place}.dcm",
                pixels,
                SOPInstanceUID=uid,
                SeriesInstanceUID=f"2.25.{patient + 1}",
                StudyInstanceUID=f"2.25.9{patient + 1}",
                PatientID=f"{patient:02d}",
                PatientBirthDate=f"19{60 + patient}0101",
                ImagePositionPatient=[0, 0, 3.0 * ((place * 2) % 3)],
                InstanceNumber=place + 1,
            )
            lines.append(f"{uid},{int(patient < 2 and place < 2)}")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(lines) + "\n")
    return tmp_path / "tree", labels


@contextmanager
def working_in(folder: Path, key: Path):
    """Run commands in a folder, with a pseudonym key; also in fixtures that outlive a test."""
    argv, there = sys.argv, Path.cwd()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(key))
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(there)
            sys.argv = argv


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with `phantom`, `cohort` and `study`, and the pseudonym key that they were made with."""
    folder = tmp_path_factory.mktemp("made")
    with working_in(folder, folder / "key"):
        run_command("phantom", ["out=phantom", *PHANTOM, "workers=1"])
        run_command("ingest", ["source=phantom", "labels=phantom/labels.csv", "out=cohort", *OF_PHANTOM])
        train = ["-m", "cohort=cohort", *TRAIN, "epochs=4", "optimizer.lr=3e-3", "hydra/launcher=in_process"]
        run_command("train", [*train, "hydra.sweep.dir=study"])
    return folder


@pytest.fixture(scope="session")
def other(made, tmp_path_factory):
    """A cohort of other patients, read as the study's own."""
    folder = tmp_path_factory.mktemp("other")
    with working_in(folder, made / "key"):
        run_command("phantom", ["out=phantom", *PHANTOM, "seed=5", "workers=1"])
        run_command("ingest", ["source=phantom", "labels=phantom/labels.csv", "out=hospital", *OF_PHANTOM])
    return folder / "hospital"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


def wait_until(page, condition):
    """Poll from outside: a page's own policy forbids Playwright to wait inside it."""
    deadline = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(10)


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
