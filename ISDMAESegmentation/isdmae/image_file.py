"""Read NIfTI, NRRD and MetaImage files, and refuse those that ITK would read wrongly.

ITK reads a cut NIfTI file as zeros, NaN in it as zero, a damaged compressed file as other values,
and for ``scan.nii.gz`` it takes the pixels of a ``scan.nii`` beside it, each without a word.
"""

from __future__ import annotations

import gzip
import math
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import SimpleITK as sitk

from . import meta_image
from .atomic import suffix_of
from .checks import refuse_channels, refuse_time_series
from .errors import InputError, ResourceError
from .itk import damaged_file, is_out_of_memory, not_enough_memory, not_orthonormal, quiet_itk

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
CHUNK_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
FLOATS = (sitk.sitkFloat32, sitk.sitkFloat64)
NIFTI_FLOATS = {"16": "f4", "64": "f8"}


@dataclass(frozen=True)
class LoadedImage:
    """A 2D or 3D scalar SimpleITK image, its format, and whether the file gives an orientation."""

    image: sitk.Image
    format: str
    has_orientation: bool


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
        Where the file is damaged, cut, a time series, in colour, or not at right angles.
    ResourceError
        Where there is not enough memory for it.
    """
    name, io_name = FORMATS[suffix_of(path)]
    if suffix_of(path) in meta_image.SUFFIXES:
        meta_image.check_header(path)
    with quiet_itk(), _without_sibling(path) as alone:
        reader = sitk.ImageFileReader()
        reader.SetImageIO(io_name)
        reader.SetFileName(str(alone))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise _explained(error, path, name) from error
        refuse_time_series(math.prod(reader.GetSize()[3:]), path.name)
        refuse_channels(reader.GetNumberOfComponents(), path.name)
        _refuse_incomplete(path, reader)
        if reader.GetDimension() > 3:
            reader.SetExtractSize([*reader.GetSize()[:3], *[0] * (reader.GetDimension() - 3)])
        try:
            image = reader.Execute()
        except (RuntimeError, MemoryError) as error:
            raise _explained(error, path, name) from error
        if name == "NIfTI" and image.GetPixelID() in FLOATS:
            image = _with_nan(image, reader, path)
    return LoadedImage(image, name, _has_orientation(reader, name))


@contextmanager
def _without_sibling(path: Path) -> Iterator[Path]:
    """Give a path to the same NIfTI file in a folder where no other file shares its stem."""
    suffix = suffix_of(path)
    stem = path.name.lower().removesuffix(suffix)
    others = {f"{stem}{other}" for other in (".nii", ".nii.gz", ".hdr", ".img", ".img.gz")}
    others.discard(path.name.lower())
    if suffix not in (".nii", ".nii.gz") or not any(
        other.name.lower() in others for other in path.parent.iterdir()
    ):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / f"scan{suffix}"
        try:
            alone.symlink_to(path.resolve())
        except OSError:
            # Windows lets only some users make links.
            shutil.copyfile(path, alone)
        yield alone


def _refuse_incomplete(path: Path, reader: sitk.ImageFileReader) -> None:
    """Raise ``InputError`` where the file holds fewer bytes than it promises, or damaged ones."""
    suffix = suffix_of(path)
    promised = math.prod(reader.GetSize()) * _stored_bytes(reader)
    try:
        if suffix not in DETACHED and promised > MOST_COMPRESSION * path.stat().st_size:
            raise damaged_file(path, f"promises {promised} bytes of voxels")
        if suffix in (".nii", ".nii.gz"):
            promised += _voxel_offset(reader)
            _refuse_cut_nifti(path, promised)
        if suffix in meta_image.SUFFIXES:
            meta_image.refuse_cut(path, promised)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged_file(path, "is compressed and damaged or cut short") from error


def _stored_bytes(reader: sitk.ImageFileReader) -> int:
    """Bytes of one voxel in the file: NIfTI may store as int16 what is read as float."""
    if reader.HasMetaDataKey("bitpix"):
        return int(reader.GetMetaData("bitpix")) // 8
    return int(sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent())


def _refuse_cut_nifti(path: Path, promised: int) -> None:
    held = 0
    # Reading to the end makes gzip compare its checksum.
    with _open_nifti(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            held += len(chunk)
    if held < promised:
        raise damaged_file(path, f"holds {held} of {promised} bytes")


def _open_nifti(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP_MAGIC
    return cast(BinaryIO, gzip.open(path, "rb")) if compressed else path.open("rb")


def _with_nan(image: sitk.Image, reader: sitk.ImageFileReader, path: Path) -> sitk.Image:
    """Put NaN back where the file holds a value that is not finite: ITK reads zero there."""
    kind = NIFTI_FLOATS.get(_metadata(reader, "datatype", ""))
    if kind is None:
        return image
    with _open_nifti(path) as file:
        # The first field is the header's own length, far under 65536 in the right byte order.
        order = "<" if int.from_bytes(file.read(4), "little") < 65536 else ">"
        file.seek(_voxel_offset(reader))
        stored = np.frombuffer(
            file.read(image.GetNumberOfPixels() * int(kind[1])), dtype=order + kind
        )
    bad = ~np.isfinite(stored)
    if not bad.any():
        return image
    array = sitk.GetArrayFromImage(image)
    array.reshape(-1)[bad] = np.nan
    restored = sitk.GetImageFromArray(array)
    restored.CopyInformation(image)
    return restored


def _has_orientation(reader: sitk.ImageFileReader, name: str) -> bool:
    if name == "NIfTI":
        codes = [_metadata(reader, key, "0") for key in ("qform_code", "sform_code")]
        return any(code != "0" for code in codes)
    if name == "NRRD":
        return bool(_metadata(reader, "NRRD_space", ""))
    return True


def _voxel_offset(reader: sitk.ImageFileReader) -> int:
    return int(float(_metadata(reader, "vox_offset", "0")))


def _metadata(reader: sitk.ImageFileReader, key: str, default: str) -> str:
    return str(reader.GetMetaData(key)) if reader.HasMetaDataKey(key) else default


def _explained(error: Exception, path: Path, name: str) -> InputError | ResourceError:
    if is_out_of_memory(error):
        return not_enough_memory(path.name)
    if "orthonormal" in str(error):
        return not_orthonormal(path.name)
    return InputError(
        "unreadable-file",
        f"{path.name} cannot be read as {name}: it is damaged, cut short, or another kind of file.",
        "Copy or download it again, or give it the suffix of its true format.",
    )
