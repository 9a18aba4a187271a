"""Files cut at every 5 %, and files with flipped bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from isdmae.volume import Array

from . import cases, chest, files
from .judge import Case, read_back, sample

FLIPS = 40
SUFFIXES = (*cases.FORMATS, "-2.nii", "-2.nii.gz", ".png", "dicom")
HEADER_BYTES = 400
REFUSALS = (
    "damaged-file",
    "no-voxel-size",  # of a MetaImage whose field for it has another name now
    "unreadable-file",
    "missing-file",
    "bad-grid",
    "time-series",
    "geometry-contradicts",
    "not-orthonormal",
    "vector-image",
    "colour-image",
    "too-small",
    "not-hu",
    "not-finite",
    "undecodable-slice",
    "no-dicom",
    "no-ct-series",
    "several-series",
    "no-position",
    "mixed-spacing",
    "multi-frame",
    "gap",
    "slices-off-grid",
    "duplicate-slices",
    "displaced-slices",
    "gantry-tilt",
    "out-of-memory",
    "several-pages",
    "transparent-picture",
    "grid-not-kept",
    "write-failed",
)


def cut() -> Iterator[Case]:
    for suffix in SUFFIXES:
        for percent in range(0, 100, 5):
            yield Case(
                group="cut at every 5 %",
                name=f"{percent} % {suffix}",
                may_pass=False,
                make=partial(_damaged, suffix, partial(_cut, percent)),
                codes=REFUSALS,
            )


def flipped() -> Iterator[Case]:
    """A byte in the header or the voxels; what comes out is what an independent reader sees."""
    for suffix in SUFFIXES:
        for seed in range(FLIPS):
            where: list[Path] = []
            yield Case(
                group="a byte flipped",
                name=f"{seed} {suffix}",
                make=partial(_damaged, suffix, partial(_flip, seed), where),
                codes=REFUSALS,
                force=True,
                output=".nrrd",
                expected=None if suffix == ".png" else partial(_as_read, where),
            )


def _damaged(
    suffix: str, damage: Callable[[bytes], bytes], folder: Path | list[Path], *more: Path
) -> Path:
    target = more[0] if more else folder
    assert isinstance(target, Path)
    path = victim = _sound(suffix, target)
    if suffix == "dicom":
        victim = sorted(path.iterdir())[1]
    elif path.suffix in (".mhd", ".nhdr") and not more:
        victim = next(place for place in path.parent.iterdir() if place != path)
    victim.write_bytes(damage(victim.read_bytes()))
    if isinstance(folder, list):
        folder[:] = [path]
    return path


def _sound(suffix: str, folder: Path) -> Path:
    grid = chest.frame((10, 22, 24), turned_deg=(5.0, 0.0, -7.0))
    volume = grid.with_array(chest.hu_on(grid))
    if suffix == "dicom":
        return files.save_slices(folder / "series", files.slices_of(volume))
    if suffix == ".png":
        path = folder / "picture.png"
        grey = np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(grey), str(path))
        return path
    if suffix.startswith("-2"):
        return files.write_nifti(folder / f"scan{suffix}", volume, version=2)
    return files.write(folder / f"scan{suffix}", volume)


def _cut(percent: int, data: bytes) -> bytes:
    return data[: len(data) * percent // 100]


def _flip(seed: int, data: bytes) -> bytes:
    random = np.random.default_rng(seed)
    changed = bytearray(data)
    # Half of them in the header, where they do most harm.
    end = min(HEADER_BYTES, len(data)) if seed % 2 else len(data)
    changed[int(random.integers(end))] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _as_read(where: list[Path], affine: Array, shape: tuple[int, ...]) -> Array:
    """Return the labels that the file itself now gives to an independent reader, at these places.

    A flipped digit of an origin is a sound file of another place: nothing can tell.
    """
    own, array = _independent(where[0])
    return sample(chest.labels_by_value(array), own, affine, shape)


def _independent(path: Path) -> tuple[Array, Array]:
    if path.is_dir():
        return _stacked(path)
    if ".nii" in path.name:
        own, array = read_back(path)
        return own, array.reshape(array.shape[-3:])
    return read_back(path)


def _stacked(folder: Path) -> tuple[Array, Array]:
    usable = [pydicom.dcmread(path, force=True) for path in folder.iterdir()]
    usable = [made for made in usable if "ImagePositionPatient" in made and made.Rows == 22]
    cosines = np.array(usable[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(*cosines)
    usable.sort(key=lambda made: float(np.array(made.ImagePositionPatient, float) @ normal))
    affine = np.eye(4)
    rows, columns = map(float, usable[0].PixelSpacing)
    first, last = (np.array(usable[n].ImagePositionPatient, float) for n in (0, -1))
    affine[:3, :3] = np.stack(
        [cosines[0] * columns, cosines[1] * rows, (last - first) / (len(usable) - 1)], 1
    )
    affine[:3, 3] = first
    array = [
        made.pixel_array * float(made.get("RescaleSlope", 1))
        + float(made.get("RescaleIntercept", 0))
        for made in usable
    ]
    return affine, np.stack(array)


GROUPS: tuple[Callable[[], Iterator[Case]], ...] = (cut, flipped)
