import numpy as np
import pytest

from fistula.source.store import PixelStore


def rows(numbers, size=8):
    return [np.full((size, size), number % 251, np.uint8) for number in numbers]


@pytest.mark.parametrize("seed", range(100))
def test_rows_come_in_the_order_that_is_asked_for(tmp_path, seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 40))
    put = random.permutation(count)[: random.integers(1, count + 1)].tolist()
    order = random.permutation(put)[: random.integers(1, len(put) + 1)].tolist()
    with PixelStore(tmp_path / "store", 8) as store:
        store.put(put, rows(put))
        store.finish(tmp_path / "pixels.npy", order)
    found = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    assert np.array_equal(found, np.stack(rows(order)))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("order", [range(90), range(40, 90), [*range(50, 90), *range(50)], [*range(89, 40, -1), 3, 4]])
def test_rows_that_stand_together_come_in_their_order_too(tmp_path, order):
    with PixelStore(tmp_path / "store", 8) as store:
        store.put(range(90), rows(range(90)))
        store.finish(tmp_path / "pixels.npy", order)
    assert np.array_equal(np.load(tmp_path / "pixels.npy"), np.stack(rows(order)))


def test_no_row_at_all_is_an_empty_file_that_opens(tmp_path):
    with PixelStore(tmp_path / "store", 8) as store:
        store.finish(tmp_path / "pixels.npy", [])
    assert np.load(tmp_path / "pixels.npy").shape == (0, 8, 8)


@pytest.mark.parametrize("size", [8, 100, 4096])
def test_the_header_has_the_length_that_rows_leave_room_for(tmp_path, size):
    with PixelStore(tmp_path / "store", size) as store:
        store.put([0], rows([7], size))
        store.finish(tmp_path / "pixels.npy", [0])
    assert np.array_equal(np.load(tmp_path / "pixels.npy"), np.stack(rows([7], size)))
