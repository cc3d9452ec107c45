"""Archives less polite than Orthanc: that keep what they were given, list less than they have, or send less."""

import gzip
import json
import re
import ssl
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from fistula.archive import dimse, web
from fistula.archive.address import Address, Manners
from fistula.cohort.manifest import read_cohort
from fistula.dicom.parse import read_dataset
from fistula.dicom.pixels.decode import decode
from fistula.errors import ArchiveError, DataError

from .test_exchange import make_certificates

STUDY = "2.25.3"
MANNERS = Manners(timeout_s=5, retries=0)


@pytest.fixture
def study_on_disk(write_dicom, tmp_path):
    """Three slices as they are, two in JPEG 2000, one run-length encoded."""
    paths = []
    for number in range(6):
        path = tmp_path / "study" / f"{number}.dcm"
        pixels = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint16)
        image = write_dicom(path, pixels, SOPInstanceUID=f"2.25.11{number}", InstanceNumber=number + 1)
        if number > 2:
            image = pydicom.dcmread(path)
            image.compress(
                RLELossless if number == 5 else JPEG2000Lossless,
                encoding_plugin="pydicom" if number == 5 else "pylibjpeg",
                generate_instance_uid=False,
            )
            image.save_as(path)
        paths.append(path)
    return paths


@contextmanager
def dimse_archive(
    paths,
    *,
    sends=None,
    lists=None,
    classes=True,
    number=None,
    breaks_after=None,
    private=False,
    gets=True,
    finds=True,
    all_or_none=False,
    endless=None,
    hangs=None,
    tls=None,
    first_only=False,
    fails=None,
    ends=None,
    asked=None,
):
    """An archive that transcodes nothing; it may send or list fewer objects, send all or none, or break off.

    With `first_only` it sends by the first offer of a class alone, as dcmqrscp, and fails at what that does not fit.

    `fails` is the status that it answers a retrieval with, `ends` the one after what it sends; `asked` is a list that
    gets the UID that is asked for, or "" for all.

    `endless` is of what there is no end, and `hangs` at what it says no more: `find`, `number` or `get`.
    """
    import pynetdicom as network

    images = [pydicom.dcmread(path) for path in paths]
    asked = [] if asked is None else asked
    gone = threading.Event()

    def find(event):
        level = event.identifier.QueryRetrieveLevel
        if ("find" if level == "IMAGE" else "number") == hangs:
            gone.wait(30)
        while ("find" if level == "IMAGE" else "number") == endless and not gone.is_set():
            match = pydicom.Dataset()
            match.QueryRetrieveLevel, match.StudyInstanceUID, match.SOPInstanceUID = level, STUDY, "2.25.110"
            yield 0xFF00, match
        if event.identifier.QueryRetrieveLevel != "IMAGE":
            if number is not None:
                match = pydicom.Dataset()
                match.QueryRetrieveLevel, match.StudyInstanceUID = "STUDY", STUDY
                match.NumberOfStudyRelatedInstances = number
                yield 0xFF00, match
            return
        for image in images[:lists]:
            if image.StudyInstanceUID != event.identifier.StudyInstanceUID:
                continue
            match = pydicom.Dataset()
            match.QueryRetrieveLevel = "IMAGE"
            match.SOPInstanceUID, match.StudyInstanceUID = image.SOPInstanceUID, STUDY
            match.SeriesInstanceUID = image.SeriesInstanceUID
            if classes:
                match.SOPClassUID = image.SOPClassUID
            yield 0xFF00, match

    def get(event):
        only = event.identifier.get("SOPInstanceUID", "")
        asked.append(str(only))
        if hangs == "get":
            gone.wait(30)
        if fails:
            yield 1
            yield fails, None
            return
        welcome = {context.abstract_syntax for context in event.assoc.accepted_contexts}
        if all_or_none and any(image.SOPClassUID not in welcome for image in images):  # as Orthanc
            yield 0
            yield 0xC000, None
            return
        if first_only:
            kept = {}
            for context in sorted(event.assoc.accepted_contexts, key=lambda one: one.context_id):
                kept.setdefault(context.abstract_syntax, context)
            event.assoc._accepted_cx = {context.context_id: context for context in kept.values()}
        wanted = [image for image in images[:sends] if only in ("", image.SOPInstanceUID)]
        yield len(wanted) + (ends is not None)  # the library says itself that all is well after the last
        for place, image in enumerate(wanted):
            if place == breaks_after:
                event.assoc.abort()
                return
            yield 0xFF00, image
        if ends:
            yield ends, None

    entity = network.AE(ae_title="PACS")
    entity.require_called_aet = True
    for service, is_offered in ((dimse.FIND, finds), (dimse.GET, gets)):
        if is_offered:
            entity.add_supported_context(service)
    for context in network.StoragePresentationContexts[:120]:
        syntaxes = network.ALL_TRANSFER_SYNTAXES
        entity.add_supported_context(context.abstract_syntax, syntaxes, scu_role=True, scp_role=True)
    if private:
        entity.add_supported_context("1.3.12.2.1107.5.9.1", network.ALL_TRANSFER_SYNTAXES, scu_role=True, scp_role=True)
    handlers = [(network.evt.EVT_C_FIND, find), (network.evt.EVT_C_GET, get)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
    try:
        yield Address("dimse", "127.0.0.1", server.socket.getsockname()[1], title="PACS", study=STUDY)
        cannot = breaks_after is not None or fails not in (None, *dimse.UNSENT)
        assert len(asked) < 2 or not cannot, "an archive that broke off or cannot is asked again"
    finally:
        gone.set()
        server.shutdown()


@contextmanager
def web_archive(
    paths,
    *,
    accepts=None,
    lists=None,
    sends=None,
    number=None,
    breaks=False,
    pages=None,
    dressed=None,
    is_packed=False,
    puts_off=None,
    drips=None,
    stores=None,
    arrived=None,
    listed=None,
    busy=0,
    unacceptable=406,
    tls=None,
):
    """A DICOMweb archive with a list of at most `lists` matches, or `pages` at a time; `dressed` lays out its parts.

    `puts_off` is a status, a header and a body to answer everything with; `drips` is of what to send a byte a moment:
    headers, list, images or nothing at all; `stores` is the status, type and content of the answer to an object, or
    whether it is stored, and `arrived` a list that gets it. `busy` is how often it first asks for another second;
    `listed` is how it lists a UID.
    """
    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    gone = threading.Event()
    turns = chain(repeat(True, busy), repeat(False))

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def answer(self, status, kind, body, *, length=None):
            if is_packed and "gzip" in self.headers["Accept-Encoding"]:
                body = gzip.compress(body)
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Encoding": "gzip" if is_packed else ""}.items():
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def drip(self, start=b""):
            """Send a byte every tenth of a second until whoever listens has gone."""
            self.wfile.write(start)
            with suppress(OSError):
                while not gone.wait(0.1):
                    self.wfile.write(b" ")
            self.close_connection = True

        def is_busy(self):
            if is_busy := next(turns):
                self.send_response(503)
                self.send_header("Retry-After", "1")
                self.send_header("Content-Length", "0")
                self.end_headers()
            return is_busy

        def do_POST(self):
            if "Content-Length" not in self.headers:  # behind a proxy that takes no chunks, nothing comes
                return self.answer(200, "application/dicom+json", b"{}")
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.is_busy():
                return None
            if arrived is not None:
                arrived.append(body)
            status, kind, content = stores
            if content is True:
                items = [str(image.SOPInstanceUID) for image in images if str(image.SOPInstanceUID).encode() in body]
                stored = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in items]
                content = {"00081199": {"vr": "SQ", "Value": stored}}
            return self.answer(status, kind, json.dumps(content).encode())

        def do_GET(self):
            if self.is_busy():
                return None
            path, _, query = self.path.partition("?")
            if drips == "nothing":
                return gone.wait(30)
            if drips == "headers":
                return self.drip(b"HTTP/1.1 200 OK\r\nServer: ")
            if drips == ("list" if path.endswith("/instances") else "images"):
                kind = b"application/dicom+json" if drips == "list" else b"multipart/related; boundary=X"
                return self.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\nContent-Type: " + kind + b"\r\n\r\n")
            if puts_off:
                self.send_response(puts_off[0])
                self.send_header(*puts_off[1])
                self.send_header("Content-Length", str(len(puts_off[2])))
                self.end_headers()
                return self.wfile.write(puts_off[2])
            asked = dict(part.split("=", 1) for part in query.split("&") if "=" in part)
            if path.endswith("/instances"):
                offset = int(asked.get("offset", 0)) if pages else 0
                chosen = images[offset:][: pages or lists] if STUDY in path else []
                found = [{"00080018": {"vr": "UI", "Value": [str(image.SOPInstanceUID)]}} for image in chosen]
                for one in found if listed else []:
                    one["00080018"]["Value"] = listed(one["00080018"]["Value"][0])
                if not found and dressed:
                    return self.answer(204, "", b"")
                return self.answer(200, "application/dicom+json", json.dumps(found).encode())
            if path.endswith("/studies"):
                found = [] if number is None else [{"00201208": {"vr": "IS", "Value": [number]}}]
                return self.answer(200, "application/dicom+json", json.dumps(found).encode())
            if accepts and not re.search(accepts, self.headers["Accept"]):
                return self.answer(unacceptable, "text/plain", b"")
            parts = [b"--X\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() for path in paths[:sends]]
            body = b"\r\n".join([*parts, b"--X--\r\n"])
            kind = 'multipart/related; type="application/dicom"; boundary=X'
            if dressed:
                kind, body = dressed([path.read_bytes() for path in paths[:sends]])
            if breaks:
                self.answer(200, kind, body[: len(body) // 2], length=len(body))
                return self.connection.close()
            return self.answer(200, kind, body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Address("dicomweb", "127.0.0.1", server.server_port, study=STUDY)
    finally:
        gone.set()
        server.shutdown()
        server.server_close()


def as_parts(parts, *, kind="multipart/related; boundary=X", before=b"", head=b"", after=b"\r\n"):
    """A multipart answer in one of the forms that RFC 2046 leaves open."""
    content = [b"--X\r\n" + head + b"Content-Type: application/dicom\r\n\r\n" + part for part in parts]
    return kind, before + b"\r\n".join([*content, b"--X--" + after])


def taken(module, address, folder, manners=MANNERS):
    folder.mkdir(exist_ok=True)
    module.fetch(address, folder, manners)
    return sorted(pydicom.dcmread(path).SOPInstanceUID for path in folder.iterdir())


def uids(paths):
    return sorted(pydicom.dcmread(path).SOPInstanceUID for path in paths)


@pytest.mark.parametrize("classes", [True, False], ids=["lists classes", "lists no classes"])
def test_an_archive_that_transcodes_nothing_sends_every_image_as_it_is(study_on_disk, tmp_path, classes):
    with dimse_archive(study_on_disk, classes=classes) as address:
        assert taken(dimse, address, tmp_path / "out") == uids(study_on_disk)
    syntaxes = {pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in (tmp_path / "out").iterdir()}
    assert {JPEG2000Lossless, RLELossless} < syntaxes


def test_an_archive_that_looks_at_one_offer_of_a_class_is_offered_them_one_by_one(study_on_disk, tmp_path):
    with dimse_archive(study_on_disk, first_only=True) as address:
        assert taken(dimse, address, tmp_path / "out") == uids(study_on_disk)


def test_reports_beside_the_images_do_not_make_half_a_study(study_on_disk, tmp_path):
    report = pydicom.dcmread(study_on_disk[0])
    del report.PixelData
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = "2.25.88"
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = study_on_disk[0].with_name("report.dcm")
    report.save_as(path)
    for number, how in enumerate(({}, {"classes": False}, {"all_or_none": True})):
        with dimse_archive([*study_on_disk, path], **how) as address:
            came = taken(dimse, address, tmp_path / f"out {number}")
        assert {*uids(study_on_disk), "2.25.88"} == set(came)  # a segmentation of them comes likewise


@pytest.mark.parametrize("sop_class", dimse.DRAWN[::2])  # this archive has no label maps
def test_a_study_without_a_segmentation_that_is_listed_is_half_a_study(study_on_disk, tmp_path, sop_class):
    drawn = pydicom.dcmread(study_on_disk[0])
    drawn.SOPClassUID = drawn.file_meta.MediaStorageSOPClassUID = sop_class
    drawn.SOPInstanceUID = drawn.file_meta.MediaStorageSOPInstanceUID = "2.25.88"
    path = study_on_disk[0].with_name("drawn.dcm")
    drawn.save_as(path)
    with dimse_archive([*study_on_disk, path]) as address:
        assert "2.25.88" in taken(dimse, address, tmp_path / "all")
    rule = r"must send all that it lists, found 0 of 1 segmentations and structure sets, status 0x.*\. Try again"
    archive = dimse_archive([*study_on_disk, path], sends=len(study_on_disk))
    with archive as address, pytest.raises(ArchiveError, match=rule):
        taken(dimse, address, tmp_path / "half")


@pytest.mark.parametrize("archive", [dimse_archive, web_archive], ids=["dimse", "dicomweb"])
@pytest.mark.parametrize("level", ["study", "series"])
def test_an_image_of_another_study_or_series_is_never_taken(study_on_disk, tmp_path, archive, level):
    image = pydicom.dcmread(study_on_disk[0])
    series, image[f"{level.title()}InstanceUID"].value = str(image.SeriesInstanceUID), "2.25.99"
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = "2.25.88"
    image.save_as(study_on_disk[0].with_name("strange.dcm"))
    with archive([*study_on_disk, study_on_disk[0].with_name("strange.dcm")]) as address:
        address = replace(address, series=series if level == "series" else "")
        with pytest.raises(ArchiveError, match="must send only what was asked for, found 1 of another study or series"):
            taken(dimse if archive is dimse_archive else web, address, tmp_path / "out")


def test_compressed_images_of_rarer_kinds_come_though_the_archive_lists_no_classes(study_on_disk, tmp_path):
    """More classes, each in its own transfer syntax, than one association has room for."""
    for path, kind in zip(study_on_disk, ("6.1", "1.1", "20", "7", "77.1.1", "1.2"), strict=True):
        image = pydicom.dcmread(path)
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{kind}"
        if not image.file_meta.TransferSyntaxUID.is_compressed:
            image.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        image.save_as(path)
    with dimse_archive(study_on_disk, classes=False) as address:
        assert taken(dimse, address, tmp_path / "out") == uids(study_on_disk)


# What an archive may hold beside or in place of plain MR images, by class and transfer syntax.
HELD = {
    "enhanced MR in JPEG 2000": ("4.1", JPEG2000Lossless),
    "CT in JPEG-LS": ("2", JPEGLSLossless),
    "multi-frame ultrasound, run-length encoded": ("3.1", RLELossless),
    "X-ray angiography, deflated": ("12.1", DeflatedExplicitVRLittleEndian),
    "mammography in implicit VR": ("1.2", ImplicitVRLittleEndian),
    "tomosynthesis in JPEG 2000": ("13.1.3", JPEG2000Lossless),
    "positron emission in big endian": ("128", ExplicitVRBigEndian),
    "an old kind of ultrasound": ("6", RLELossless),
    "a secondary capture of several frames": ("7.2", JPEGLSLossless),
}


def held_as(path, kind, syntax):
    image = pydicom.dcmread(path)
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{kind}"
    if syntax == ExplicitVRBigEndian:
        image.PixelData = np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes()
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        plugin = {RLELossless: "pydicom", JPEG2000Lossless: "pylibjpeg", JPEGLSLossless: "pyjpegls"}[syntax]
        image.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
        image.save_as(path)
        return
    image.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        path, image, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "syntax"), HELD.values(), ids=HELD)
def test_an_image_of_any_class_comes_in_whatever_syntax_it_is_held(write_dicom, tmp_path, kind, syntax):
    paths = [tmp_path / "study" / f"{number}.dcm" for number in range(2)]
    for number, path in enumerate(paths):
        write_dicom(
            path, np.add.outer(np.arange(64), np.arange(64)).astype(np.uint16), SOPInstanceUID=f"2.25.11{number}"
        )
    held_as(paths[1], kind, syntax)
    wanted = [decoded_values(path) for path in paths]
    with dimse_archive(paths) as address:
        assert taken(dimse, address, tmp_path / "out") == uids(paths)
    found = {pydicom.dcmread(path).SOPInstanceUID: decoded_values(path) for path in (tmp_path / "out").iterdir()}
    for path, values in zip(paths, wanted, strict=True):
        np.testing.assert_array_equal(found[pydicom.dcmread(path).SOPInstanceUID], values)


def decoded_values(path):
    with path.open("rb") as file:
        return next(decode(read_dataset(file, limit=1 << 24), [0])).values


def test_a_makers_own_objects_beside_the_images_make_no_half_a_study(study_on_disk, tmp_path):
    """Of an archive that lists no classes, it cannot be known that these are no images."""
    own = pydicom.dcmread(study_on_disk[0])
    del own.PixelData
    own.SOPClassUID = own.file_meta.MediaStorageSOPClassUID = "1.3.12.2.1107.5.9.1"
    own.SOPInstanceUID = own.file_meta.MediaStorageSOPInstanceUID = "2.25.88"
    path = study_on_disk[0].with_name("own.dcm")
    own.save_as(path)
    for classes in (True, False):
        with dimse_archive([*study_on_disk, path], classes=classes, private=True) as address:
            assert set(uids(study_on_disk)) <= set(taken(dimse, address, tmp_path / f"out {classes}"))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"sends": 3}, "must send all that it lists, found 3 of 6 images"),
        ({"breaks_after": 3}, "must send all that it lists, found 3 of 6 images|broke off"),
        ({"breaks_after": 3, "classes": False}, "must send all that it lists, found 3 of 6 images|broke off"),
        ({"sends": 3, "lists": 3, "number": 6}, "must send all that it lists, found 3 of 6 images"),
        ({"lists": 0}, "has no such study or series"),
        ({"fails": 0xC001}, "found 0 of 6 images, status 0xc001"),
        ({"fails": 0xA701}, "found 0 of 6 images, status 0xa701"),
    ],
    ids=[
        "sends half",
        "breaks off",
        "breaks off, lists no classes",
        "lists and sends half",
        "lists nothing",
        "cannot",
        "has no memory",
    ],
)
def test_half_a_study_over_dimse_is_an_error(study_on_disk, tmp_path, how, message):
    with dimse_archive(study_on_disk, **how) as address, pytest.raises(ArchiveError, match=message):
        taken(dimse, address, tmp_path / "out")


@pytest.mark.parametrize("classes", [True, False], ids=["lists classes", "lists no classes"])
@pytest.mark.parametrize(
    ("how", "found"),
    [({"fails": 0xA702}, 0), ({"fails": 0xB000}, 0), ({"sends": 3, "ends": 0xB000}, 3)],
    ids=["none", "a warning", "half"],
)
def test_an_archive_that_cannot_send_an_image_in_any_form_is_asked_for_that_one_alone(
    study_on_disk, tmp_path, how, found, classes
):
    asked = []
    refused = pytest.raises(ArchiveError, match=f"must send all that it lists, found {found} of 6 images")
    with dimse_archive(study_on_disk, asked=asked, classes=classes, **how) as address, refused:
        taken(dimse, address, tmp_path / "out")
    everything = asked.index(sorted(uids(study_on_disk))[found])  # questions for all of it, before those for one
    assert set(asked[:everything]) == {""}
    assert set(asked[everything:]) == {uids(study_on_disk)[found]}
    assert len(tuple((tmp_path / "out").iterdir())) == found


def test_another_title_is_refused_in_a_line(study_on_disk, tmp_path):
    with dimse_archive(study_on_disk) as address:
        wrong = Address("dimse", address.host, address.port, title="OTHER", study=STUDY)
        with pytest.raises(ArchiveError, match="it rejects the association"):
            taken(dimse, wrong, tmp_path / "out")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"gets": False}, r"does not offer C-GET\. Use its DICOMweb address"),
        ({"finds": False}, r"does not respond \(it accepts none of the offered classes\)"),
    ],
    ids=["gives by C-MOVE alone", "lists nothing"],
)
def test_an_archive_without_a_service_is_refused_in_a_line(study_on_disk, tmp_path, how, words):
    with dimse_archive(study_on_disk, **how) as address, pytest.raises(ArchiveError, match=words):
        taken(dimse, address, tmp_path / "out")


def test_an_archive_that_does_not_take_a_class_is_refused_in_a_line(study_on_disk):
    import pynetdicom as network

    held_as(study_on_disk[0], "2", ExplicitVRLittleEndian)
    entity = network.AE(ae_title="PACS")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.2")
    took = [(network.evt.EVT_C_STORE, lambda event: 0)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=took)
    address = Address("dimse", "127.0.0.1", server.socket.getsockname()[1], title="PACS")
    try:
        dimse.store(address, study_on_disk[:1], MANNERS)
        with pytest.raises(ArchiveError, match=r"must take every object, found a MR Image that it does not"):
            dimse.store(address, study_on_disk[:2], MANNERS)
    finally:
        server.shutdown()


@pytest.mark.parametrize(("status", "is_stored"), [(0xB000, True), (0xB007, True), (0xA700, False), (0x0124, False)])
def test_what_an_archive_stores_with_a_warning_is_stored(study_on_disk, status, is_stored):
    import pynetdicom as network

    entity = network.AE(ae_title="PACS")
    entity.supported_contexts = network.StoragePresentationContexts[:120]
    answers = [(network.evt.EVT_C_STORE, lambda _: status)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=answers)
    address = Address("dimse", "127.0.0.1", server.socket.getsockname()[1], title="PACS")
    try:
        with nullcontext() if is_stored else pytest.raises(ArchiveError, match=f"found status {status:#06x}"):
            dimse.store(address, study_on_disk[:1], MANNERS)
    finally:
        server.shutdown()


@pytest.mark.parametrize("kind", ["application/dicom+json", "application/dicom+json;charset=utf-8", "Application/JSON"])
def test_what_a_web_archive_did_not_store_is_an_error_however_it_calls_its_answer(study_on_disk, kind):
    failed = {
        "00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]},
        "00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uids(study_on_disk)[0]]}}]},
    }
    refused = pytest.raises(ArchiveError, match=r"must confirm every object, found 1 of 2 not confirmed, 1 refused$")
    with web_archive(study_on_disk, stores=(202, kind, failed)) as address, refused:
        web.store(address, study_on_disk[:2], MANNERS)


def test_objects_reach_a_web_archive_in_one_piece_and_again_if_it_was_busy(write_dicom, tmp_path):
    """In chunks, which the client makes of more than a million bytes, they would not, and the answer be 200."""
    path = tmp_path / "large.dcm"
    write_dicom(path, np.zeros((1024, 512), np.uint16), SOPInstanceUID="2.25.110")
    arrived = []
    with web_archive([path], busy=1, stores=(200, "application/dicom+json", True), arrived=arrived) as address:
        web.store(address, [path], replace(MANNERS, retries=1))
    (body,) = arrived
    assert len(body) > path.stat().st_size > 1 << 20
    assert b"2.25.110" in body


def test_a_web_archive_that_answers_well_and_names_no_object_has_stored_none(study_on_disk):
    refused = pytest.raises(ArchiveError, match=r"found 2 of 2 not confirmed\. Look for them there")
    with web_archive(study_on_disk, stores=(200, "application/dicom+json", {})) as address, refused:
        web.store(address, study_on_disk[:2], MANNERS)


@pytest.mark.parametrize("module", [web, dimse], ids=["dicomweb", "dimse"])
def test_too_many_instances_are_refused_before_they_are_fetched(study_on_disk, tmp_path, module):
    archive = web_archive if module is web else dimse_archive
    with archive(study_on_disk) as address, pytest.raises(ArchiveError, match="must have at most 5 instances"):
        taken(module, address, tmp_path / "out", Manners(timeout_s=5, retries=0, max_instances=5))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"accepts": r"transfer-syntax=\*"},
        {"accepts": r"1\.2\.840\.10008\.1\.2\.1"},
        {"accepts": r"^multipart/related; type=.?application/dicom.?$"},
        {"lists": 2},
        {"pages": 4, "number": 6},
        {"accepts": r"^multipart/related; type=.?application/dicom.?$", "unacceptable": 400},
        {"listed": lambda uid: [f"{uid}\0", None]},
        {"busy": 1},
    ],
    ids=[
        "polite",
        "needs *",
        "needs explicit little endian",
        "knows no transfer-syntax",
        "capped list",
        "paged list",
        "calls it a bad request",
        "pads UIDs, and null",
        "is busy for a second",
    ],
)
def test_a_web_archive_is_asked_until_it_gives_the_whole_study(study_on_disk, tmp_path, how):
    with web_archive(study_on_disk, **how) as address:
        assert taken(web, address, tmp_path / "out", replace(MANNERS, retries=1)) == uids(study_on_disk)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"sends": 3}, "must send all that it lists, found 3 of 6"),
        ({"sends": 3, "lists": 3, "number": 6}, "must send all that it lists, found 3 of 6"),
        ({"breaks": True}, "does not respond|sends unreadable data"),
        ({"accepts": "nothing at all"}, "refuses, found HTTP status 406"),
        ({"lists": 0}, "has no such study or series"),
    ],
    ids=["sends half", "lists and sends half", "breaks off", "accepts nothing", "lists nothing"],
)
def test_half_a_study_over_dicomweb_is_an_error(study_on_disk, tmp_path, how, message):
    with web_archive(study_on_disk, **how) as address, pytest.raises(ArchiveError, match=message):
        taken(web, address, tmp_path / "out")


@pytest.mark.parametrize(
    "how",
    [
        {"is_packed": True},
        {"dressed": partial(as_parts, kind='Multipart/Related; BOUNDARY="X"; type="application/dicom"')},
        {"dressed": partial(as_parts, before=b"\r\n", after=b"")},
        {"dressed": partial(as_parts, after=b"\r\nwhat follows is to be ignored\r\n")},
        {"dressed": partial(as_parts, head=b"MIME-Version: 1.0\r\nContent-Location: ../instances/1\r\n")},
    ],
    ids=["gzip", "other letters", "bare ends", "an epilogue", "headers of parts"],
)
def test_parts_of_an_answer_are_found_however_it_is_laid_out(study_on_disk, tmp_path, how):
    with web_archive(study_on_disk, **how) as address:
        assert taken(web, address, tmp_path / "out") == uids(study_on_disk)


@pytest.mark.parametrize("kind", ["application/dicom", "Application/DICOM; transfer-syntax=1.2.840.10008.1.2.1"])
def test_a_single_image_may_come_without_parts(study_on_disk, tmp_path, kind):
    one = study_on_disk[:1]
    with web_archive(one, dressed=lambda parts: (kind, parts[0])) as address:
        assert taken(web, address, tmp_path / "out") == uids(one)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"lists": 0, "dressed": as_parts}, "has no such study or series"),
        ({"dressed": partial(as_parts, before=b"a preamble\r\n")}, "sends unreadable data"),
        ({"dressed": lambda parts: ("application/dicom", parts[0])}, "must send all that it lists, found 1 of 6"),
        ({"dressed": lambda parts: ("application/zip", b"PK")}, "sends unreadable data"),
        ({"dressed": lambda parts: ("", b"")}, "sends unreadable data"),
        ({"dressed": lambda parts: as_parts([b"<html>"] * 6)}, "sends unreadable data, found 6 damaged objects"),
        ({"dressed": lambda parts: as_parts([*parts[2:], b"<html>"])}, "must send all that it lists, found 4 of 5"),
        ({"dressed": partial(as_parts, kind="multipart/related")}, "sends unreadable data"),
        ({"dressed": lambda parts: as_parts([parts[0]] * 6)}, "must send all that it lists, found 1 of 6"),
    ],
    ids=[
        "no content",
        "a preamble",
        "one for all",
        "a zip",
        "nothing",
        "pages",
        "a page",
        "no boundary",
        "one six times",
    ],
)
def test_an_answer_in_another_form_is_refused_in_a_line(study_on_disk, tmp_path, how, message):
    with web_archive(study_on_disk, **how) as address, pytest.raises(ArchiveError, match=message):
        taken(web, address, tmp_path / "out")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda content: b"<html>", "named as DICOM, but its content is not"),
        (lambda content: content[:300], "an image object without pixel data"),
        (lambda content: content[:-100], "pixel data cut short"),
    ],
    ids=["a page", "a piece", "cut short"],
)
def test_a_damaged_object_of_a_web_archive_costs_no_more_than_itself(
    study_on_disk, tmp_path, fistula_here, damage, why
):
    lines = [f"{uid},{place % 2}" for place, uid in enumerate(uids(study_on_disk)) if place]
    (tmp_path / "labels.csv").write_text("\n".join(["sop_instance_uid,label", *lines]))
    options = ("labels=labels.csv", "size=16", "spacing_mm=1", "workers.count=1")
    with web_archive(study_on_disk, dressed=lambda parts: as_parts([damage(parts[0]), *parts[1:]])) as address:
        source = f"source=dicomweb://127.0.0.1:{address.port}/studies/{STUDY}"
        code, _, error = fistula_here("ingest", source, "out=none", *options)
        assert (code, error.count("\n")) == (2, 1)
        assert f"found 1: 000000.dcm ({why})" in error
        code, shown, error = fistula_here("ingest", source, "out=all", "unreadable=exclude", *options)
    assert (code, error) == (0, "")
    assert why in shown
    assert len(read_cohort(tmp_path / "all").manifest) == 5


@pytest.mark.parametrize(
    ("puts_off", "message"),
    [
        ((302, ("Location", "http://elsewhere:80/studies/2.25.3"), b""), "sends on .* found http://elsewhere:80. Give"),
        ((301, ("Location", "http://me:pass@elsewhere/"), b""), "sends on .* found http://elsewhere. Give"),
        ((503, ("Retry-After", "86400"), b""), "does not respond"),
        ((200, ("Content-Type", "text/html"), b"<html>Log in</html>"), r"sends unreadable data \(JSONDecodeError\)"),
        ((200, ("Content-Type", "application/dicom+json"), b"[null]"), r"sends unreadable data \(AttributeError\)"),
    ],
    ids=["sends on", "sends on with a password", "is busy until tomorrow", "a page", "null"],
)
def test_a_web_archive_that_puts_off_is_one_error_at_once(study_on_disk, tmp_path, puts_off, message):
    manners = Manners(timeout_s=5, retries=1)
    with web_archive(study_on_disk, puts_off=puts_off) as address, pytest.raises(ArchiveError, match=message) as caught:
        taken(web, address, tmp_path / "out", manners)
    assert STUDY not in str(caught.value)


@pytest.mark.parametrize(
    ("archive", "how", "limits", "words"),
    [
        (web_archive, {"drips": "headers"}, ("archive.total_s=1",), "must be done within 1 s. Try again, or raise"),
        (web_archive, {"drips": "list"}, ("archive.total_s=1",), "must be done within 1 s"),
        (web_archive, {"drips": "images"}, ("archive.total_s=1",), "must be done within 1 s"),
        (web_archive, {"drips": "nothing"}, ("archive.timeout_s=0.5",), "does not respond"),
        (
            dimse_archive,
            {"endless": "find"},
            ("archive.max_instances=9",),
            "must end its answer within 4 parts",
        ),
        (dimse_archive, {"endless": "number"}, ("archive.max_instances=9",), "must end its answer within 4 parts"),
        (dimse_archive, {"endless": "find"}, ("archive.total_s=1", "archive.max_instances=1000000"), "within 1 s"),
        (dimse_archive, {"hangs": "find"}, ("archive.timeout_s=0.5",), "must list what it has, found no answer"),
        (dimse_archive, {"hangs": "get"}, ("archive.timeout_s=0.5",), "found 0 of 6 images, no answer"),
        (dimse_archive, {"hangs": "get"}, ("archive.total_s=1",), "must be done within 1 s"),
    ],
    ids=lambda one: " ".join(one.values()) if isinstance(one, dict) else "",
)
def test_an_archive_that_does_not_come_to_an_end_is_one_line(
    study_on_disk, tmp_path, fistula_here, archive, how, limits, words
):
    (tmp_path / "labels.csv").write_text("sop_instance_uid,label\n2.25.110,0\n2.25.111,1\n")
    begun = time.monotonic()
    with archive(study_on_disk, **how) as address:
        name = f"PACS@127.0.0.1:{address.port}/{STUDY}" if archive is dimse_archive else ""
        source = f"dimse://{name}" if name else f"dicomweb://127.0.0.1:{address.port}/studies/{STUDY}"
        options = ("labels=labels.csv", "out=out", "archive.retries=0", *limits)
        code, _, error = fistula_here("ingest", f"source={source}", *options)
    assert (code, error.count("\n")) == (2, 1)
    assert words in error
    assert STUDY not in error
    assert time.monotonic() - begun < 20
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("has_tls", "manners", "words"),
    [
        (True, {"tls": False}, r"no association without TLS\). If it speaks TLS, set archive.tls=true"),
        (False, {"tls": True}, r"no TLS: .*\). If it speaks none, set archive.tls=false"),
        (True, {"tls": True}, r"its certificate: .*\). Name the authority that issued it in archive.ca_file"),
    ],
    ids=["it alone encrypts", "we alone encrypt", "its authority is unknown"],
)
def test_an_archive_and_we_who_differ_in_tls_are_told_so(study_on_disk, tmp_path, has_tls, manners, words):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if has_tls else None
    if context:
        context.load_cert_chain(make_certificates(tmp_path / "tls") / "server.pem")
    with dimse_archive(study_on_disk, tls=context) as address, pytest.raises(ArchiveError, match=words):
        taken(dimse, address, tmp_path / "out", Manners(timeout_s=1, retries=0, **manners))


@pytest.mark.parametrize(
    ("certificate", "ca_file", "words"),
    [
        ("server", "ca", None),
        ("server", None, r"its certificate: unable to get local issuer .*\). Name the authority"),
        ("server", "another", r"its certificate: .*\). Name the authority"),
        ("itself", None, r"its certificate: self.signed certificate\). Give that certificate itself in archive"),
        ("itself", "itself", r"its certificate: IP address mismatch.*\). Address the archive by the name"),
        ("late", "ca", r"its certificate: certificate has expired\). The archive's administrator has to renew it"),
        ("", None, r"no TLS: .*\). If it speaks none, set archive.tls=false"),
    ],
    ids=["its authority", "none", "another authority", "self-signed", "of another name", "expired", "no TLS"],
)
def test_a_web_archive_is_trusted_by_its_authority_alone(study_on_disk, tmp_path, certificate, ca_file, words):
    folder = make_certificates(tmp_path / "tls")
    (folder / "itself.pem").write_text((folder / "ca.key").read_text() + (folder / "ca.pem").read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
    if context:
        context.load_cert_chain(folder / f"{certificate}.pem")
    manners = Manners(timeout_s=5, retries=0, tls=True, ca_file=ca_file and str(folder / f"{ca_file}.pem"))
    refused = pytest.raises(ArchiveError, match=words) if words else nullcontext()
    with web_archive(study_on_disk, tls=context) as address, refused:
        assert taken(web, address, tmp_path / "out", manners) == uids(study_on_disk)


@pytest.mark.parametrize("archive", [dimse_archive, web_archive], ids=["dimse", "dicomweb"])
def test_no_archive_is_blamed_for_a_full_disk(study_on_disk, tmp_path, archive):
    with (
        archive(study_on_disk) as address,
        pytest.raises(DataError, match=r"TMPDIR: cannot hold what the archive sends"),
    ):
        (dimse if archive is dimse_archive else web).fetch(address, tmp_path / "missing", MANNERS)


@pytest.mark.parametrize("archive", [dimse_archive, web_archive], ids=["dimse", "dicomweb"])
def test_a_cohort_is_ingested_from_an_archive_as_from_a_folder(study_on_disk, tmp_path, fistula_here, archive):
    lines = [f"{uid},{place % 2}" for place, uid in enumerate(uids(study_on_disk))]
    (tmp_path / "labels.csv").write_text("\n".join(["sop_instance_uid,label", *lines]))
    small = ("labels=labels.csv", "size=16", "spacing_mm=1", "workers.count=1")
    assert fistula_here("ingest", f"source={study_on_disk[0].parent}", "out=folder", *small)[0] == 0
    with archive(study_on_disk) as address:
        name = f"PACS@127.0.0.1:{address.port}/{STUDY}" if archive is dimse_archive else ""
        source = f"dimse://{name}" if name else f"dicomweb://127.0.0.1:{address.port}/studies/{STUDY}"
        code, shown, error = fistula_here("ingest", f"source={source}", "out=archive", *small)
    assert (code, error) == (0, "")
    assert STUDY not in shown
    folder, fetched = (read_cohort(tmp_path / out) for out in ("folder", "archive"))
    told = [column for column in folder.manifest.columns if column != "source_hash"]  # of the file
    assert fetched.manifest.select(told).equals(folder.manifest.select(told))
    np.testing.assert_array_equal(fetched.pixels, folder.pixels)
    with archive(study_on_disk, sends=3) as address:
        source = source.replace(source.split(":")[2].partition("/")[0], str(address.port))
        code, shown, error = fistula_here("ingest", f"source={source}", "out=half", *small)
    assert (code, error.count("\n")) == (2, 1)
    assert "must send all that it lists, found 3 of 6" in error
    assert not any(uid in shown + error for uid in (STUDY, "2.25.11"))
    assert not (tmp_path / "half").exists()
