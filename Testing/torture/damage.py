"""Files cut at every 5 %, and files with flipped bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from isdmae.volume import Array, Volume

from . import cases, chest, files
from .judge import Case, read_back

FLIPS = 40
HEADER_BYTES = 400
REFUSALS = (
    "damaged-file",
    "unreadable-file",
    "missing-file",
    "nifti-2",
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
    for suffix in (*cases.FORMATS, ".png", "dicom"):
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
    for suffix in (*cases.FORMATS, ".png", "dicom"):
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
    return _sample(chest.labels_by_value(array), own, affine, shape)


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
        made.pixel_array * float(made.RescaleSlope) + float(made.RescaleIntercept)
        for made in usable
    ]
    return affine, np.stack(array)


def _sample(labels: Array, own: Array, affine: Array, shape: tuple[int, ...]) -> Array:
    k, j, i = np.indices(shape).reshape(3, -1)
    places = np.linalg.inv(own) @ affine @ np.stack([i, j, k, np.ones_like(i)])
    index = np.rint(places[2::-1]).astype(int)
    inside = ((index >= 0) & (labels.shape > index.T).T).all(axis=0)
    found = np.zeros(len(i), np.uint8)
    found[inside] = labels[tuple(index[:, inside])]
    return found.reshape(shape)


def volume_of(labels: Array, affine: Array) -> Volume:
    """Return labels as a volume, for looking at one by hand."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Volume(
        array=labels,
        spacing_mm=tuple(spacing),
        origin_mm=tuple(affine[:3, 3]),
        direction=affine[:3, :3] / spacing,
    )


GROUPS: tuple[Callable[[], Iterator[Case]], ...] = (cut, flipped)
