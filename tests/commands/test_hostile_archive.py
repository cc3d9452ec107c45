"""An archive of the worst kind: every file has its outcome, and ingest keeps just what doctor calls an image."""

import gzip
import json
import os
import zipfile

import numpy as np
import pydicom
import pytest
import zstandard
from pydicom.uid import MPEG2MPML, ExplicitVRBigEndian, JPEGLSLossless, RLELossless

from fistula.cohort.manifest import read_cohort

LIMIT = 4_000_000
BOMB = b"\0" * (LIMIT + 1_000_000)
IMAGES = (
    "plain", "a.dcm.gz", "b.zst", "c.zip/x/ünï.dcm", "big endian", "no preamble", "compressed", "jpeg-ls",
    "no geometry", "no plane", "no uid", "no patient", "unknown charset", "broken name", "all padding", "constant",
    "one pixel", "a line", "no frames", "[red]tab\té.dcm", "\\xff.dcm",
)  # fmt: skip
SKIPPED = ("c.zip/empty", "c.zip/notes.txt", "empty", "fifo", "report", "segmentation", "document")
REFUSED = {
    "bomb.zip/bomb.dcm": "unpacks to more than the size limit",
    "bomb.gz": "unpacks to more than the size limit",
    "bomb.zst": "unpacks to more than the size limit",
    "rows": "an implausible number of pixels or frames",
    "frames": "an implausible number of pixels or frames",
    "no bits": "an image without BitsStored",
    "no sign": "an image without PixelRepresentation",
    "no interpretation": "an image without PhotometricInterpretation",
    "cut": "pixel data cut short",
    "dangling": "a link to a file that is missing",
    "text.dcm": "named as DICOM, but its content is not",
    "video": f"video ({MPEG2MPML.name})",
}


@pytest.fixture
def archive(tmp_path, write_dicom):
    tree = tmp_path / "tree"
    random = np.random.default_rng(0)
    numbers = iter(range(1, 1000))

    def write(name, pixels=None, drop=(), **changes):
        number = next(numbers)
        names = {"SOPInstanceUID": f"2.25.1{number}", "SeriesInstanceUID": f"2.25.2{number}", "PatientID": f"{number}"}
        pixels = random.integers(0, 4000, (64, 64)).astype(np.uint16) if pixels is None else pixels
        return write_dicom(tree / name, pixels, drop=drop, **names | changes)

    def packed(pack):
        write("spare")
        content = (tree / "spare").read_bytes()
        (tree / "spare").unlink()
        return pack(content)

    write("plain")
    (tree / "a.dcm.gz").write_bytes(packed(gzip.compress))
    (tree / "b.zst").write_bytes(packed(zstandard.compress))
    with zipfile.ZipFile(tree / "c.zip", "w") as archive:
        archive.writestr("x/ünï.dcm", packed(bytes))
        archive.writestr("notes.txt", "text")
        archive.writestr("empty", b"")
    with zipfile.ZipFile(tree / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.dcm", BOMB)
    (tree / "bomb.gz").write_bytes(gzip.compress(BOMB))
    (tree / "bomb.zst").write_bytes(zstandard.compress(BOMB))
    big = write("big endian")
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    big.PixelData = np.frombuffer(big.PixelData, "<u2").astype(">u2").tobytes()
    pydicom.dcmwrite(tree / "big endian", big, implicit_vr=False, little_endian=False)
    (tree / "no preamble").write_bytes(packed(lambda content: content[132:]))
    for name, syntax in (("compressed", RLELossless), ("jpeg-ls", JPEGLSLossless)):
        dataset = write(name)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(tree / name)
    video = write("video")
    video.file_meta.TransferSyntaxUID = MPEG2MPML
    video.PixelData = pydicom.encaps.encapsulate([b"\0" * 100])
    video["PixelData"].is_undefined_length = True
    video.save_as(tree / "video")
    write("no geometry", drop=("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"))
    write("no plane", ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    write("no uid", drop=("SeriesInstanceUID", "StudyInstanceUID"))
    write("no patient", PatientID="")
    write("unknown charset", SpecificCharacterSet="ISO 2022 IR 999")
    (tree / "broken name").write_bytes(packed(lambda content: content.replace(b"Doe^", b"D\xf6\xe9^")))
    write("all padding", np.zeros((64, 64), np.uint16), PixelPaddingValue=0)
    write("constant", np.full((64, 64), 7, np.uint16))
    write("one pixel", np.ones((1, 1), np.uint16))
    write("a line", np.arange(5000, dtype=np.uint16).reshape(1, 5000))
    write("no frames", NumberOfFrames="0")
    write("rows", Rows=65535, Columns=65535)
    write("frames", NumberOfFrames="99999999")
    write("no bits", drop=("BitsStored", "HighBit"))
    write("no sign", drop=("PixelRepresentation",))
    write("no interpretation", drop=("PhotometricInterpretation",))
    (tree / "cut").write_bytes(packed(lambda content: content[:-50]))
    for name, sop_class in (("report", "88.33"), ("segmentation", "66.4"), ("document", "104.1")):
        write(name, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{sop_class}")
    write("[red]tab\té.dcm")
    (tree / os.fsdecode(b"\xff.dcm")).write_bytes(packed(bytes))
    (tree / "text.dcm").write_text("not DICOM")
    (tree / "empty").write_bytes(b"")
    (tree / "loop").symlink_to(tree)
    (tree / "dangling").symlink_to(tree / "nowhere")
    os.mkfifo(tree / "fifo")
    return tree


def _doctor(run, archive, *more):
    arguments = (f"source={archive}", "keep=all", "max_object_mb=4", "workers.count=1")
    code, shown, error = run("doctor", *arguments, *more)
    assert code == 0, error
    return shown


@pytest.mark.slow
def test_every_file_has_its_outcome_and_ingest_keeps_what_doctor_calls_an_image(archive, tmp_path, fistula_here):
    headers = _doctor(fistula_here, archive, "json=headers.json")
    _doctor(fistula_here, archive, "json=decoded.json", "decode=true")
    found = {}
    for record in json.loads((tmp_path / "decoded.json").read_text()):
        found[record["path"].removeprefix(f"{archive}/")] = record
    assert {name for name, record in found.items() if record["outcome"] == "image"} == set(IMAGES)
    assert {name for name, record in found.items() if record["outcome"] == "skipped"} == set(SKIPPED)
    assert {name: record["reason"] for name, record in found.items() if record["outcome"] == "refused"} == REFUSED
    for record in json.loads((tmp_path / "headers.json").read_text()):
        decoded = found[record["path"].removeprefix(f"{archive}/")]
        assert record | {"series": None} == decoded | {"series": None}  # named with a key that is forgotten
    assert "21 slices" in headers
    # the last has a name that no table in UTF-8 can hold
    lines = [f'"{name}",{index % 2}' for index, name in enumerate(IMAGES[:-1])]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]))
    arguments = (
        "keep=all",
        "size=16",
        "spacing_mm=4",
        "unreadable=exclude",
        "max_object_mb=4",
        "workers.count=1",
    )
    code, _, error = fistula_here("ingest", f"source={archive}", "labels=labels.csv", "out=cohort", *arguments)
    assert code == 0, error
    cohort = read_cohort(tmp_path / "cohort")
    assert len(cohort.manifest) == len(IMAGES) - 1
    assert cohort.record["flow"][1]["excluded"] == {
        reason: list(REFUSED.values()).count(reason) for reason in REFUSED.values()
    }
