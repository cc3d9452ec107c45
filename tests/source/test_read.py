import os

import numpy as np
import polars as pl
import pytest

from fistula.dicom.container import Part
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.look import Look
from fistula.source.grid import Grid
from fistula.source.read import read_into
from fistula.source.slices import Plan, Slice
from fistula.source.store import PixelStore
from fistula.source.survey import DEADLY
from fistula.source.workers import Workers

LOOK = Look(Pseudonyms(b"0123456789abcdef"))


class DiesAt:
    """An intensity mapping that takes its process with it when it meets the value 666, as a broken decoder would."""

    units = "display"

    def __call__(self, values, inside, windows):
        if (values == 666).any():
            os._exit(1)
        return np.clip(values / 255, 0, 1).astype(np.float32)


def _volumes(folder, write_dicom):
    volumes = []
    for volume in range(4):
        slices = []
        for place in range(3):
            value = 666 if (volume, place) == (2, 1) else 10 * volume + place
            path = folder / f"{volume}{place}"
            write_dicom(path, np.full((8, 8), value, np.uint16))
            slices.append(Slice(3 * volume + place, Part(path), 0))
        volumes.append(slices)
    return volumes


def test_pixels_in_the_store_are_those_of_their_row(tmp_path, write_dicom):
    volumes = _volumes(tmp_path, write_dicom)[:2]
    plan = Plan(Grid(8, 1.0), DiesAt(), LOOK)
    with PixelStore(tmp_path / "store", 8) as store:
        results = read_into(store, volumes, plan, Workers(1), is_risky=False)
        store.finish(tmp_path / "pixels.npy", results.sort("row")["at"].to_list())
    assert np.load(tmp_path / "pixels.npy")[:, 0, 0].tolist() == [0, 1, 2, 10, 11, 12]
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_the_one_file_that_kills_its_reader_is_refused_and_its_volume_is_kept(tmp_path, write_dicom):
    plan = Plan(Grid(8, 1.0), DiesAt(), LOOK)
    with PixelStore(tmp_path / "store", 8) as store:
        results = read_into(store, _volumes(tmp_path, write_dicom), plan, Workers(2), is_risky=True).sort("row")
        good = results.filter(pl.col("at").is_not_null())
        store.finish(tmp_path / "pixels.npy", good["at"].to_list())
    assert len(results) == 12
    assert results.filter(pl.col("reason") == DEADLY)["row"].to_list() == [7]
    assert np.load(tmp_path / "pixels.npy")[:, 0, 0].tolist() == [0, 1, 2, 10, 11, 12, 20, 22, 30, 31, 32]
