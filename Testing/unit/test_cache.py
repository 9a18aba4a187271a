"""Cached arrays: written compressed, indexed as numpy's, open in other processes, few at a time."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from isdmae.errors import InputError
from isdmae_train import cache
from isdmae_train.cache import CachedArray, open_array, save_array


@pytest.fixture
def volume() -> np.ndarray:
    """Smooth, as a CT is, with steps along every axis; no edge is a multiple of a block."""
    k, j, i = np.ogrid[:7, :70, :130]
    return (40 * k - 3 * j + i - 1024).astype(np.int16)


@pytest.mark.parametrize(
    "key",
    [
        3, -1, slice(1, 5), slice(None), np.int64(2), np.array([5, 1, 1]), [0], (2, slice(3, 9)),
        np.zeros(0, np.int64), (slice(None), slice(60, 70), slice(0, 3)),
    ],
)  # fmt: skip
def test_it_is_indexed_as_an_array(tmp_path: Path, volume: np.ndarray, key: object) -> None:
    save_array(tmp_path / "a.b2nd", volume)
    stored = open_array(tmp_path / "a.b2nd")
    assert (stored.shape, stored.dtype, len(stored), stored.ndim) == ((7, 70, 130), "int16", 7, 3)
    expected, found = volume[key], stored[key]  # type: ignore[index]
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_numpy_takes_from_it_without_reading_all(
    tmp_path: Path, volume: np.ndarray, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_array(tmp_path / "a.b2nd", volume)
    stored = open_array(tmp_path / "a.b2nd")

    def no_copy(*arguments: object, **named: object) -> None:
        raise AssertionError("the whole array was read")

    monkeypatch.setattr(CachedArray, "__array__", no_copy)
    for indices in ([4, 4, 6], [0], []):
        found = np.take(stored, np.array(indices, int), axis=axis)  # type: ignore[call-overload]
        assert np.array_equal(found, np.take(volume, np.array(indices, int), axis=axis))
    with pytest.raises(IndexError, match="counts from the end"):
        stored.take([-1], axis=1)


def test_it_becomes_an_array_and_goes_to_other_processes(
    tmp_path: Path, volume: np.ndarray
) -> None:
    save_array(tmp_path / "a.b2nd", volume)
    stored = open_array(tmp_path / "a.b2nd")
    assert np.array_equal(np.asarray(stored), volume)
    assert np.array_equal(pickle.loads(pickle.dumps(stored))[2], volume[2])
    assert len(pickle.dumps(stored)) < 1000


def test_it_is_smaller_and_replaced_in_place(tmp_path: Path, volume: np.ndarray) -> None:
    path = tmp_path / "a.b2nd"
    save_array(path, volume)
    assert path.stat().st_size < volume.nbytes / 2
    assert open_array(path)[0, 0, 0] == -1024
    save_array(path, volume + 5)
    assert open_array(path)[0, 0, 0] == -1019


def test_arrays_of_older_caches_open(tmp_path: Path, volume: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", volume)
    assert np.array_equal(open_array(tmp_path / "a.npy")[3], volume[3])


@pytest.mark.parametrize("name", ["a.b2nd", "a.npy"])
def test_absent_and_damaged_files_are_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        open_array(tmp_path / name)
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="isdmae-train prepare"):
        open_array(tmp_path / name)


def spoil(path: Path) -> None:
    """Overwrite a part of the compressed slices with zeros; the file opens all the same."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 10] = bytes(len(data) // 10)
    path.write_bytes(data)


def test_what_cannot_be_unpacked_is_said(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-1000, 1000, (7, 70, 130))
    save_array(tmp_path / "a.b2nd", noise.astype(np.int16))
    spoil(tmp_path / "a.b2nd")
    stored = open_array(tmp_path / "a.b2nd")
    with pytest.raises(InputError, match=r"a\.b2nd cannot be read") as refused:
        stored[:]
    assert refused.value.code == "bad-cache"


@pytest.mark.parametrize(
    "key", [4, -3, slice(None), slice(2, 5), [1, 4], (slice(None), slice(9, 10))]
)
def test_a_flipped_bit_is_found_and_its_slice_is_named(
    tmp_path: Path, volume: np.ndarray, key: object
) -> None:
    path = tmp_path / "scan" / "a.b2nd"
    path.parent.mkdir()
    save_array(path, volume)
    data = bytearray(path.read_bytes())
    packed = cache._opened(path).array.schunk.get_chunk(4)
    data[data.index(packed) + len(packed) - 1] ^= 16
    path.write_bytes(data)
    stored = open_array(path)
    assert np.array_equal(stored[3], volume[3])
    with pytest.raises(InputError, match=r"scan.a\.b2nd .* slice 4 does not match its checksum"):
        stored[key]


def test_a_flipped_bit_anywhere_changes_nothing_in_silence(
    tmp_path: Path, volume: np.ndarray
) -> None:
    random = np.random.default_rng(0)
    volume = volume + random.integers(0, 9, volume.shape, np.int16)
    save_array(tmp_path / "a.b2nd", volume)
    whole = (tmp_path / "a.b2nd").read_bytes()
    refused = 0
    for number in range(60):
        data = bytearray(whole)
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        path = tmp_path / f"{number}.b2nd"
        path.write_bytes(data)
        try:
            assert np.array_equal(np.asarray(open_array(path)), volume)
        except InputError:
            refused += 1
    assert refused > 40


def test_arrays_without_checksums_are_read(
    tmp_path: Path, volume: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "CHECKSUMS", "other")
    save_array(tmp_path / "a.b2nd", volume)
    monkeypatch.undo()
    assert cache._opened(tmp_path / "a.b2nd").checksums == []
    assert np.array_equal(open_array(tmp_path / "a.b2nd")[2], volume[2])


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_a_cache_of_many_scans_keeps_few_files_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache._opened.cache_clear()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(cache.MOST_OPEN + 30):
        save_array(tmp_path / f"{number}.b2nd", np.full((1, 8, 8), number, np.uint8))
    arrays = [open_array(tmp_path / f"{n}.b2nd") for n in range(cache.MOST_OPEN + 30)]
    assert [int(one[0][0, 0]) for one in arrays] == list(range(cache.MOST_OPEN + 30))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + cache.MOST_OPEN
