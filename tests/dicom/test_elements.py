"""The quick reader against pydicom's own, over all of its packaged files: the same elements, or none."""

from pathlib import Path

import pydicom
import pytest

from fistula.dicom import facts, frames, kinds, parse
from fistula.dicom.container import find_files
from fistula.dicom.elements import plain_dataset

FOLDER = Path(pydicom.__file__).parent / "data"
FILES = [path for name in ("test_files", "charset_files") for path in find_files(FOLDER / name)]
LARGEST = 2_000_000


def _values(dataset):
    """Every element's tag, VR and value, and of a sequence those of its items."""
    found = []
    for tag in sorted(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception as error:  # a damaged value, which has to be damaged in the same way
            found.append((tag, str(error)))
            continue
        value = [_values(item) for item in element.value] if element.VR == "SQ" else element.value
        found.append((tag, element.VR, repr(value)))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("stop", [True, False])
def test_the_quick_reader_gives_pydicoms_elements_or_none(path, stop):
    content = path.read_bytes()
    if len(content) > LARGEST or (quick := plain_dataset(content, stop_before_pixels=stop)) is None:
        return
    with path.open("rb") as file:
        slow = pydicom.dcmread(file, force=True, stop_before_pixels=stop)
        end = file.tell()
    assert _values(quick[0]) == _values(slow)
    assert _values(quick[0].file_meta) == _values(slow.file_meta)
    assert quick[0].original_encoding == slow.original_encoding
    assert quick[0].original_character_set == slow.original_character_set
    assert quick[1] == end


def test_most_packaged_images_are_read_quickly():
    quick = [path.name for path in FILES if plain_dataset(path.read_bytes(), stop_before_pixels=True)]
    assert {"MR_small.dcm", "CT_small.dcm", "JPEG2000.dcm", "MR_small_implicit.dcm"} <= set(quick)
    assert "chrJapMulti.dcm" not in quick
    assert len(quick) > 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_values_straight_from_the_bytes_are_those_that_pydicom_converts(path, monkeypatch):
    keywords = {
        word for room in (facts, frames, kinds, parse) for word in Path(room.__file__).read_text().split('"')
    } & set(pydicom.datadict.keyword_dict)
    assert len(keywords) > 40
    with path.open("rb") as file:
        dataset = pydicom.dcmread(file, force=True)
    read = {(word, kind): getattr(parse, kind)(dataset, word) for word in keywords for kind in ("text", "number")}
    monkeypatch.setattr(parse, "plain_text", lambda dataset, keyword: None)
    monkeypatch.setattr(parse, "plain_numbers", lambda dataset, keyword: None)
    for (word, kind), value in read.items():
        assert getattr(parse, kind)(dataset, word) == value, (word, kind)
