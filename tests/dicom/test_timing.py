"""The time limit of a file ends every step of its reading, whatever that step catches."""

import ast
import io
import time
from pathlib import Path

import pytest

import fistula
from fistula.dicom import outcome, parse
from fistula.dicom.header import mend, private
from fistula.dicom.outcome import Refused
from fistula.dicom.pixels import codestream, syntax
from fistula.dicom.pixels import decode as pixels
from fistula.dicom.timing import TimeLimit

ROOM = Path(fistula.__file__).parent


def _sleep(*_, **__):
    time.sleep(5)


class _SlowFile(io.BytesIO):
    def read(self, size=-1):
        return _sleep()


class _SlowDataset(parse.Dataset):
    def get(self, *_):
        return _sleep()

    def __getitem__(self, key):
        return _sleep()


def _slow_dataset():
    dataset = _SlowDataset()
    dataset.PixelRepresentation = 1
    return dataset


def _damage():
    with outcome.damage_refused():
        _sleep()


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(lambda: parse._parse(_SlowFile()), id="the parser"),
        pytest.param(lambda: parse.attribute(_slow_dataset(), "PixelRepresentation"), id="a value"),
        pytest.param(lambda: mend._items(_slow_dataset(), "PixelRepresentation", mend.Mended()), id="a sequence"),
        pytest.param(_damage, id="all that is damaged"),
    ],
)
def test_nothing_on_the_way_swallows_the_limit(step):
    started = time.monotonic()
    with pytest.raises(Refused, match="took longer than the time limit"), TimeLimit(0.05):
        step()
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        (syntax, "get_decoder", lambda dataset: syntax.decoded_by(dataset, 0, "gdcm")),
        (pixels, "apply_color_lut", lambda dataset: pixels._painted(None, dataset)),
        (codestream, "get_frame", lambda dataset: codestream.encoded(dataset, 0)),
    ],
    ids=["the decoders", "a palette", "fragments"],
)
def test_no_decoder_swallows_the_limit(module, name, call, monkeypatch):
    dataset = parse.Dataset()
    dataset.file_meta = parse.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.5"
    dataset.PixelData = b""
    monkeypatch.setattr(module, name, _sleep)
    with pytest.raises(Refused, match="took longer than the time limit"), TimeLimit(0.05):
        call(dataset)


def test_a_private_sequence_does_not_swallow_the_limit(monkeypatch):
    view = private.Private(parse.Dataset())
    monkeypatch.setattr(view, "element", lambda *_: _SlowElement())
    with pytest.raises(Refused, match="took longer than the time limit"), TimeLimit(0.05):
        view.items(0x2005, "Philips MR Imaging DD 005", 0x0F)


class _SlowElement:
    @property
    def value(self):
        return _sleep()


@pytest.mark.parametrize(
    "path", sorted([*ROOM.glob("dicom/*.py"), *ROOM.glob("cohort/*.py")]), ids=lambda path: path.stem
)
def test_no_clause_keeps_more_than_exceptions(path):
    """An `except:` or `except BaseException` that does not raise again would keep the limit."""
    clauses = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ExceptHandler)]
    wide = [node for node in clauses if node.type is None or "BaseException" in ast.dump(node.type)]
    assert [node.lineno for node in wide if not any(isinstance(step, ast.Raise) for step in ast.walk(node))] == []
