"""The feature cache under kills, damage and company."""

import multiprocessing
import os

import numpy as np
import pytest

from clipjax.cache import FeatureCache, cached_array, key_of
from clipjax.errors import InputError


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    """Every cache a test opens is closed behind it."""
    opened, init = [], FeatureCache.__init__

    def remember(self, *args):
        opened.append(self)
        init(self, *args)

    monkeypatch.setattr(FeatureCache, "__init__", remember)
    yield
    for cache in opened:
        cache.close()


def some(rows, width=4):
    rows = np.asarray(rows, np.int64)
    return rows, (rows[:, None] * 10 + np.arange(width)).astype(np.float32)


def test_what_is_appended_is_read_in_row_order_and_once(tmp_path):
    cache = FeatureCache(tmp_path, 4, {})
    cache.append(*some([3, 1]), [(2, "b.jpg", "damaged")])
    cache.append(*some([0, 3]), [])
    cache.close()
    found = FeatureCache(tmp_path, 4, {}).read()
    np.testing.assert_array_equal(found.rows, [0, 1, 3])
    np.testing.assert_array_equal(found.values, some([0, 1, 3])[1])
    assert found.skipped == [(2, "b.jpg", "damaged")]


def test_a_row_that_was_skipped_once_and_computed_later_counts_as_computed(tmp_path):
    cache = FeatureCache(tmp_path, 4, {})
    cache.append(*some([]), [(2, "b.jpg", "network")])
    cache.append(*some([2]), [])
    assert cache.read().skipped == []
    assert list(cache.read().rows) == [2]


def test_a_log_torn_anywhere_keeps_every_whole_record_and_goes_on(tmp_path):
    cache = FeatureCache(tmp_path / "whole", 4, {})
    for i in range(3):
        cache.append(*some([2 * i, 2 * i + 1]), [(100 + i, "x", "y")])
    cache.close()
    data = (tmp_path / "whole" / "0000.log").read_bytes()
    record = len(data) // 3
    for cut in range(0, len(data), 7):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "0000.log").write_bytes(data[:cut])
        torn = FeatureCache(folder, 4, {})
        kept = 2 * (cut // record)
        np.testing.assert_array_equal(torn.read().rows, np.arange(kept))
        torn.append(*some([50]), [])
        torn.close()
        np.testing.assert_array_equal(FeatureCache(folder, 4, {}).read().rows, [*range(kept), 50])


def test_a_flipped_bit_is_noticed(tmp_path):
    cache = FeatureCache(tmp_path, 4, {})
    cache.append(*some([0, 1]), [])
    cache.append(*some([2, 3]), [])
    cache.close()
    path = tmp_path / "0000.log"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    np.testing.assert_array_equal(FeatureCache(tmp_path, 4, {}).read().rows, [0, 1])


def _write(folder, start):
    cache = FeatureCache(folder, 4, {})
    for i in range(start, start + 50):
        cache.append(*some([i]), [])
    os._exit(0)  # as a kill: nothing is closed


def test_writers_at_once_never_share_a_log(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(tmp_path, 50 * i)) for i in range(3)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    found = FeatureCache(tmp_path, 4, {}).read()
    np.testing.assert_array_equal(found.rows, np.arange(150))
    np.testing.assert_array_equal(found.values, some(np.arange(150))[1])


def test_an_open_log_is_left_alone_and_a_closed_one_reused(tmp_path):
    first, second = FeatureCache(tmp_path, 4, {}), FeatureCache(tmp_path, 4, {})
    first.append(*some([0]), [])
    second.append(*some([1]), [])
    assert sorted(p.name for p in tmp_path.glob("*.log")) == ["0000.log", "0001.log"]
    first.close()
    FeatureCache(tmp_path, 4, {}).append(*some([2]), [])
    assert len(list(tmp_path.glob("*.log"))) == 2
    np.testing.assert_array_equal(second.read().rows, [0, 1, 2])


def test_no_folder_keeps_nothing(tmp_path):
    cache = FeatureCache(None, 4, {})
    cache.append(*some([0]), [])
    assert len(cache.read().rows) == 0


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cache_dir"):
        FeatureCache(tmp_path / "file" / "cache", 4, {})


def test_small_arrays_are_made_once_and_again_when_damaged(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return np.arange(3.0)

    for _ in range(2):
        np.testing.assert_array_equal(cached_array(tmp_path, "k", make), [0, 1, 2])
    assert len(calls) == 1
    whole = (tmp_path / "k.npz").read_bytes()
    (tmp_path / "k.npz").write_bytes(whole[:-4])
    np.testing.assert_array_equal(cached_array(tmp_path, "k", make), [0, 1, 2])
    assert len(calls) == 2
    at = whole.index(np.arange(3.0).tobytes()) + 8
    (tmp_path / "k.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])  # one bit of a number
    np.testing.assert_array_equal(cached_array(tmp_path, "k", make), [0, 1, 2])
    assert len(calls) == 3


def test_keys_depend_on_every_part_and_not_on_their_order():
    assert key_of(a=1, b=2) == key_of(b=2, a=1)
    assert len({key_of(a=1, b=2), key_of(a=1, b=3), key_of(a=2, b=2), key_of(a=1)}) == 4
