"""Images in: DICOM, NIfTI, NRRD, MetaImage and pictures. Labelmaps, images and texts out."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from . import dicom, image_file, picture
from .atomic import atomic_path, is_unicode, suffix_of, write_text_atomic
from .checks import Notice, notice_unknown_orientation, refuse_tiny
from .errors import InputError
from .itk import from_sitk, not_enough_memory, to_sitk
from .labelmap_file import write_image_atomic, write_labelmap
from .volume import Array, Volume

__all__ = [
    "ReadResult",
    "atomic_path",
    "from_sitk",
    "read",
    "to_sitk",
    "write_image_atomic",
    "write_labelmap",
    "write_text_atomic",
]


@dataclass(frozen=True, kw_only=True)
class ReadResult:
    """What a file or folder held.

    Parameters
    ----------
    volume : Volume
        Voxels as stored, after rescale; ``isdmae.checks.prepare_hu`` cleans and checks them.
    notices : tuple of Notice
        Warnings of the reader.
    source : mapping of str to str
        ``format``, and for DICOM ``series_uid``, ``series_description`` and ``modality``.
        Read-only; nothing in it names the patient.
    """

    volume: Volume
    notices: tuple[Notice, ...]
    source: Mapping[str, str]


def read(
    path: str | os.PathLike[str], *, series_uid: str | None = None, allow_gaps: bool = False
) -> ReadResult:
    """Read one scan or picture.

    Parameters
    ----------
    path : path
        A folder with a DICOM series or with pictures, one DICOM file (a DICOMDIR stands for its
        folder), or a file whose suffix is .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .png, .tif,
        .tiff, .jpg, .jpeg or .bmp.
    series_uid : str, optional
        The series to take from a folder with several.
    allow_gaps : bool
        Interpolate missing DICOM slices instead of refusing them.

    Returns
    -------
    ReadResult
        Pictures have shape (1, j, i), ``is_hu`` False and 1 mm pixels; those of a folder without
        DICOM images, all of one size, are the slices of a stack in the natural order of names.

    Raises
    ------
    InputError
        Where there is nothing to read or it cannot be read rightly.
    ResourceError
        Where there is not enough memory for it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     scan = Path(folder) / "scan.nii.gz"
    ...     write_image_atomic(scan, to_sitk(Volume(array=np.zeros((3, 4, 5), np.int16))))
    ...     result = read(scan)
    >>> result.volume.shape, result.source["format"]
    ((3, 4, 5), 'NIfTI')
    """
    path = Path(path)
    try:
        _refuse_missing(path)
        return _read(path, series_uid, allow_gaps)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                "bad-file-name",
                f"The path, of {len(str(path))} letters, is longer than the system allows.",
                "Check the path for a slip, or choose a shorter one.",
            ) from error
        raise InputError(
            "not-readable",
            f"{path.name} cannot be read: {error.strerror or error}.",
            "Check that you may read it and everything in it.",
        ) from error
    except MemoryError as error:
        raise not_enough_memory(path.name) from error


def _read(path: Path, series_uid: str | None, allow_gaps: bool) -> ReadResult:
    if path.is_dir():
        return _read_folder(path, series_uid, allow_gaps)
    suffix = suffix_of(path)
    if series_uid and suffix in (*image_file.FORMATS, *picture.FORMATS):
        raise InputError(
            "unknown-series",
            f"{path.name} is no DICOM series, so it holds no series {series_uid}.",
            "Leave the series out, or give the DICOM folder.",
        )
    if suffix in image_file.FORMATS:
        return _read_image(path)
    if suffix in picture.FORMATS:
        return _read_picture(path)
    if suffix == ".dcm" or dicom.is_dicom(path):
        return _read_dicom(path.parent, series_uid or dicom.series_of(path), allow_gaps)
    known = ", ".join([*image_file.FORMATS, *picture.FORMATS])
    raise InputError(
        "unknown-format",
        f"{path.name} is of no known format.",
        f"Give a DICOM folder or one of {known}.",
    )


def _refuse_missing(path: Path) -> None:
    if not is_unicode(path):
        raise InputError(
            "bad-file-name",
            "The path holds characters that are not valid Unicode.",
            "Rename the file or folder.",
        )
    if path.is_dir():
        return
    if not path.is_file():
        raise InputError(
            "missing-file", f"{path.name} does not exist.", "Check the path for a slip."
        )
    # ITK does not tell a file that may not be read from one that is damaged.
    with path.open("rb"):
        pass


def _read_folder(folder: Path, series_uid: str | None, allow_gaps: bool) -> ReadResult:
    """Read a DICOM series, or where there is none the pictures as a stack."""
    try:
        return _read_dicom(folder, series_uid, allow_gaps)
    except InputError as error:
        pictures = picture.pictures_in(folder)
        if error.code != "no-dicom" or series_uid or not pictures:
            raise
    pixels, notices = picture.load_stack(pictures)
    return _of_pictures(pixels, notices, pictures[0])


def _read_dicom(folder: Path, series_uid: str | None, allow_gaps: bool) -> ReadResult:
    series = dicom.read_series(folder, series_uid, allow_gaps=allow_gaps)
    source = {
        "format": "DICOM",
        "series_uid": series.info.uid,
        "series_description": series.info.description,
        "modality": series.info.modality,
    }
    return ReadResult(volume=series.volume, notices=series.notices, source=MappingProxyType(source))


def _read_image(path: Path) -> ReadResult:
    loaded = image_file.load_image(path)
    unknown = () if loaded.has_orientation else (notice_unknown_orientation(),)
    return ReadResult(
        volume=from_sitk(loaded.image),
        notices=unknown + loaded.notices,
        source=MappingProxyType({"format": loaded.format}),
    )


def _read_picture(path: Path) -> ReadResult:
    pixels, notices = picture.load_picture(path)
    return _of_pictures(pixels[np.newaxis], notices, path)


def _of_pictures(slices: Array, notices: tuple[Notice, ...], path: Path) -> ReadResult:
    volume = Volume(array=slices, is_hu=False)
    refuse_tiny(volume)
    source = {"format": picture.FORMATS[suffix_of(path)]}
    return ReadResult(volume=volume, notices=notices, source=MappingProxyType(source))
