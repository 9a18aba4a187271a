"""Read NIfTI, NRRD and MetaImage files, and refuse those that ITK would read wrongly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from . import meta_image, nifti, nrrd
from .atomic import suffix_of
from .checks import Notice, refuse_channels, refuse_time_series
from .errors import InputError, ResourceError, says_memory_is_short
from .itk import (
    damaged_file,
    not_enough_memory,
    quiet_itk,
    unreadable_file,
)
from .nifti_grid import Grid, read_grid
from .shear import not_orthonormal, notices_of_shear, straight_grid

# suffix -> (name for people, ITK's reader)
FORMATS = {
    ".nii": ("NIfTI", "NiftiImageIO"),
    ".nii.gz": ("NIfTI", "NiftiImageIO"),
    ".nrrd": ("NRRD", "NrrdImageIO"),
    ".seg.nrrd": ("NRRD", "NrrdImageIO"),
    ".nhdr": ("NRRD", "NrrdImageIO"),
    ".mha": ("MetaImage", "MetaImageIO"),
    ".mhd": ("MetaImage", "MetaImageIO"),
}
DETACHED = (".nhdr", ".mhd")
# DEFLATE packs 1032 bytes into one at best.
MOST_COMPRESSION = 1100


@dataclass(frozen=True)
class LoadedImage:
    """A 2D or 3D scalar SimpleITK image, its format, and whether the file gives an orientation.

    Its axes can be up to 0.1 degrees off right angles, which ``from_sitk`` mends; ``notices`` hold
    the warnings on its grid.
    """

    image: sitk.Image
    format: str
    has_orientation: bool
    notices: tuple[Notice, ...] = ()


def load_image(path: Path) -> LoadedImage:
    """Read one NIfTI, NRRD or MetaImage file.

    Parameters
    ----------
    path : Path
        An existing, readable file whose suffix is in ``FORMATS``.

    Returns
    -------
    LoadedImage
        The image with the file's own dtype and grid.

    Raises
    ------
    InputError
        Where the file is damaged, cut, a time series, in colour, not at right angles, or does not
        say how large its voxels are.
    ResourceError
        Where there is not enough memory for it.
    """
    suffix = suffix_of(path)
    name, _ = FORMATS[suffix]
    with quiet_itk():
        if suffix in nifti.SUFFIXES:
            return _load_nifti(path)
        if suffix in meta_image.SUFFIXES:
            meta_image.check_header(path)
        with _explaining(path):
            reader = _open_reader(path, path)
            promised = math.prod(reader.GetSize()) * _voxel_bytes(reader)
            if suffix not in DETACHED:
                _refuse_bomb(path, promised)
            if suffix in meta_image.SUFFIXES:
                meta_image.refuse_cut(path, promised)
            if suffix in nrrd.SUFFIXES:
                nrrd.refuse_unmeasured(path, min(3, reader.GetDimension()))
                nrrd.refuse_damaged(path, promised)
            image = reader.Execute()
    notices = _check_axes(image, path.name)
    return LoadedImage(image, name, _has_orientation(path, reader), notices)


def _check_axes(image: sitk.Image, name: str) -> tuple[Notice, ...]:
    direction = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)
    straight_grid(np.array(image.GetSpacing()), direction, name)
    return tuple(notices_of_shear(direction))


def _has_orientation(path: Path, reader: sitk.ImageFileReader) -> bool:
    if suffix_of(path) in meta_image.SUFFIXES:
        return meta_image.has_orientation(path)
    key = "NRRD_space"
    return bool(reader.HasMetaDataKey(key)) and nrrd.is_in_patient(reader.GetMetaData(key))


def _load_nifti(path: Path) -> LoadedImage:
    header = nifti.read_header(path)
    grid, notices = read_grid(header.geometry, path.name)
    _refuse_bomb(path, header.promised_bytes)
    with nifti.for_itk(path, header) as alone, nifti.sheared_allowed(), _explaining(path):
        reader = _open_reader(path, alone)
        nifti.refuse_cut(path, header.promised_bytes + header.voxel_offset)
        try:
            image = nifti.with_nan(reader.Execute(), header, path)
        except RuntimeError:
            # ITK does not say why. The file is whole, so for want of memory? It holds it twice.
            np.empty(2 * header.promised_bytes, np.uint8)
            raise
    if grid is not None and image.GetDimension() == 3:
        _lay_on(image, grid)
    return LoadedImage(image, "NIfTI", header.has_orientation, tuple(notices))


def _lay_on(image: sitk.Image, grid: Grid) -> None:
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction.ravel().tolist())


def _open_reader(path: Path, place: Path) -> sitk.ImageFileReader:
    """Read the header of ``path``, which lies at ``place``; refuse what is no single CT volume."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(FORMATS[suffix_of(path)][1])
    reader.SetFileName(str(place))
    reader.ReadImageInformation()
    size = reader.GetSize()
    refuse_time_series(math.prod(size[3:]), path.name)
    refuse_channels(reader.GetNumberOfComponents(), path.name)
    if len(size) > 3:
        reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
    return reader


def _voxel_bytes(reader: sitk.ImageFileReader) -> int:
    return int(sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent())


def _refuse_bomb(path: Path, promised: int) -> None:
    if promised > MOST_COMPRESSION * path.stat().st_size:
        raise damaged_file(path, f"promises {promised} bytes of voxels")


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turn ITK's failures into errors that a person can act on."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise _explained(error, path) from error


def _explained(error: Exception, path: Path) -> InputError | ResourceError:
    if says_memory_is_short(error):
        return not_enough_memory(path.name)
    if "orthonormal" in str(error):
        return not_orthonormal(path.name)
    return unreadable_file(path, FORMATS[suffix_of(path)][0])
