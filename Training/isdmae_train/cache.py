"""Arrays of the cache: compressed slice by slice, and read by memory map as far as needed.

A file is a Blosc2 array (``.b2nd``); arrays of older caches (``.npy``) open as before. Every slice
is a chunk of its own, because slices and cubes are both cut from whole slices; its blocks of
64 x 64 cost cubes nothing and halve what coronal and sagittal planes decompress. LZ4 behind a bit
shuffle makes CTs 2.7 times smaller: see `Testing/benchmarks/cache_read.py`. Each slice has a CRC-32
of its compressed bytes, checked when a process first reads it from an open file; arrays without
one, of older caches, are read as they are.

Blosc2 takes half a second to import, so that happens with the first array.
"""

from __future__ import annotations

import logging
import os
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isdmae.atomic import atomic_path
from isdmae.errors import InputError
from isdmae.volume import Array

SUFFIX = ".b2nd"
BLOCK = 64
"""Edge in pixels of what is compressed by itself."""
CHECKSUMS = "crc32"
"""Of the slices, among the metadata of a file."""
MOST_OPEN = 64
"""Arrays that a process keeps open; each holds a file descriptor."""


@dataclass(frozen=True)
class CachedArray:
    """A compressed (K, H, W) array, read where it is indexed; may be sent to another process.

    It is indexed as numpy's arrays are: ``array[k]``, ``array[a:b]``, ``array[indices]``; where the
    file is damaged that raises InputError ``bad-cache``.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        if isinstance(key, (np.ndarray, list)):
            return self.take(np.asarray(key))
        file = _opened(self.path)
        try:
            file.check(key[0] if isinstance(key, tuple) else key)
            result: Array = file.array[int(key) if isinstance(key, np.integer) else key]
        except RuntimeError as error:
            raise _bad_cache(self.path, error) from error
        return result

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype=dtype)

    def take(self, indices: Any, axis: int = 0, **_numpy: Any) -> Array:
        """Do what `numpy.take`, which calls this, does; read no more than lies between."""
        indices = np.asarray(indices)
        if indices.size == 0:
            shape = self.shape[:axis] + indices.shape + self.shape[axis + 1 :]
            return np.zeros(shape, self.dtype)
        if axis == 0:
            used, places = np.unique(indices, return_inverse=True)
            return np.stack([self[int(k)] for k in used])[places.reshape(indices.shape)]
        first, last = int(indices.min()), int(indices.max())
        if first < 0:
            raise IndexError(f"index {first} counts from the end, which is not done here")
        box = (slice(None),) * axis + (slice(first, last + 1),)
        return np.take(self[box], indices - first, axis=axis)


def open_array(path: Path) -> Array | CachedArray:
    """Open an array of the cache; nothing is read before it is indexed.

    Parameters
    ----------
    path : Path
        ``.b2nd`` or ``.npy``, (K, H, W).

    Returns
    -------
    CachedArray or numpy.memmap

    Raises
    ------
    InputError
        ``bad-cache`` where the file is absent or damaged.
    """
    try:
        if path.suffix != SUFFIX:
            mapped: Array = np.load(path, mmap_mode="r")
            return mapped
        stored = _opened(path.resolve()).array
    except (OSError, ValueError, RuntimeError) as error:
        raise _bad_cache(path, error) from error
    return CachedArray(path.resolve(), stored.shape, np.dtype(stored.dtype))


def _bad_cache(path: Path, why: object) -> InputError:
    return InputError(
        "bad-cache",
        f"{path} cannot be read: {why}.",
        "Remove it and run `isdmae-train prepare` (or the same `train`) again, which makes anew "
        "what is missing.",
    )


def save_array(path: Path, array: Array) -> None:
    """Write a (K, H, W) array as ``.b2nd``, atomically; see `isdmae.atomic.atomic_path`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_array(Path(folder) / "a.b2nd", np.arange(24).reshape(2, 3, 4))
    ...     a = open_array(Path(folder) / "a.b2nd")
    ...     a[1, 2], a.take([0, 0], axis=2).shape
    (array([20, 21, 22, 23]), (2, 3, 2))
    """
    blosc2 = _blosc2()
    _, height, width = array.shape
    _opened.cache_clear()  # Windows replaces no file that is open
    with atomic_path(path, overwrite=True) as temporary:
        stored = blosc2.asarray(
            np.ascontiguousarray(array),
            urlpath=os.fspath(temporary),
            mode="w",
            chunks=(1, height, width),
            blocks=(1, min(BLOCK, height), min(BLOCK, width)),
            cparams={
                "codec": blosc2.Codec.LZ4,
                "clevel": 5,
                "filters": [blosc2.Filter.BITSHUFFLE],
                "nthreads": 1,
            },
        )
        stored.schunk.vlmeta[CHECKSUMS] = [_checksum(stored, k) for k in range(len(array))]


@dataclass(frozen=True)
class _OpenFile:
    """An open array, what its slices must be, and which of them were found to be so."""

    path: Path
    array: Any
    checksums: list[int]
    whole: npt.NDArray[np.bool_]

    def check(self, key: Any) -> None:
        """Raise InputError where a slice that ``key`` chooses is not what was written."""
        if not self.checksums:
            return
        for k in np.atleast_1d(np.arange(len(self.whole))[key]):
            if not self.whole[k]:
                if _checksum(self.array, int(k)) != self.checksums[k]:
                    raise _bad_cache(self.path, f"slice {k} does not match its checksum")
                self.whole[k] = True


def _checksum(stored: Any, k: int) -> int:
    """Return the CRC-32 of slice ``k`` as it lies in the file, and of shape and type."""
    kind = f"{tuple(stored.shape)} {np.dtype(stored.dtype).str}"
    return zlib.crc32(stored.schunk.get_chunk(k), zlib.crc32(kind.encode()))


@lru_cache(maxsize=MOST_OPEN)
def _opened(path: Path) -> _OpenFile:
    # One thread: the loaders of a run are processes, one for each core that it may use.
    array = _blosc2().open(os.fspath(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
    metadata = dict(array.schunk.vlmeta.getall())
    checksums = list(metadata.get(CHECKSUMS, []))
    return _OpenFile(path, array, checksums, np.zeros(array.shape[0], bool))


def _blosc2() -> Any:
    # A part of it would tell at every start how many threads it could use.
    logging.getLogger("numexpr").setLevel(logging.WARNING)
    import blosc2

    return blosc2
