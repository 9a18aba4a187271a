"""Read grey pictures: PNG, TIFF, JPEG or BMP, one or all of a folder."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .atomic import suffix_of
from .checks import Notice, refuse_channels
from .errors import InputError
from .itk import damaged_file, quiet_itk
from .volume import Array

FORMATS = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
}
JPEG_END = b"\xff\xd9"
JPEG_TAIL_BYTES = 4096
BMP_HEADER_BYTES = 54
BMP_INFO_BYTES = (40, 108, 124)
BMP_DEPTHS = (8, 24, 32)
MOST_TINT = 8 / 255
"""Share of the brightest value by which the colours of a grey picture may differ."""
GREY_REMEDY = "Save it again as an 8- or 16-bit grey PNG."


def load_picture(path: Path) -> tuple[Array, tuple[Notice, ...]]:
    """Read a picture whose colours, if it has any, are all grey, or as nearly as JPEG leaves it.

    Parameters
    ----------
    path : Path
        An existing file whose suffix is in ``FORMATS``.

    Returns
    -------
    numpy.ndarray
        Shape (j, i), in the file's own dtype; finite.
    tuple of Notice
        ``nearly-grey`` where the mean of slightly different colours was taken.

    Raises
    ------
    InputError
        Where it is damaged, in colour, transparent in parts, or of several pages.
    """
    _refuse_cut(path)
    try:
        with quiet_itk():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path) from error
    if 0 in image.GetSize():
        raise damaged_file(path, "holds no pixel")
    if image.GetDimension() != 2:
        # ITK reads a page of another depth or colour than the first, or the pages that a cut file
        # has left, without a word.
        raise InputError(
            "several-pages",
            f"{path.name} holds {image.GetSize()[2]} pages; one picture is needed.",
            "Save each page as a picture, all in one folder, or give the CT as DICOM or NIfTI.",
        )
    grey, notices = _to_grey(sitk.GetArrayFromImage(image), path.name)
    if grey.dtype.kind == "f" and not np.isfinite(grey).all():
        raise InputError(
            "not-finite", f"{path.name} holds NaN or infinite values.", "Save the picture again."
        )
    return grey, notices


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the natural order of their names: 2 before 10."""
    pictures = [
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and suffix_of(path) in FORMATS
    ]
    return sorted(pictures, key=_natural)


def load_stack(paths: Sequence[Path]) -> tuple[Array, tuple[Notice, ...]]:
    """Read pictures of one size as slices.

    Parameters
    ----------
    paths : sequence of Path
        At least one, in the order of the slices.

    Returns
    -------
    numpy.ndarray
        Shape (k, j, i).
    tuple of Notice
        As of `load_picture`, each kind once.

    Raises
    ------
    InputError
        ``sizes-differ`` where one has another size or number of bits than the first; or as
        `load_picture`.
    """
    slices: list[Array] = []
    notices: dict[str, Notice] = {}
    for path in paths:
        pixels, found = load_picture(path)
        if slices and (pixels.shape, pixels.dtype) != (slices[0].shape, slices[0].dtype):
            raise InputError(
                "sizes-differ",
                f"{path.name} has another size or number of bits than {paths[0].name}.",
                "Keep the pictures of one scan, all of one size, in a folder of their own.",
            )
        slices.append(pixels)
        notices |= {notice.code: notice for notice in found}
    return np.stack(slices), tuple(notices.values())


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return what sorts digits by their number and all else by its letters."""
    parts = re.split(r"([0-9]+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _to_grey(pixels: Array, name: str) -> tuple[Array, tuple[Notice, ...]]:
    """Return (j, i) from (j, i) or (j, i, channels), the colours alike, the opacity constant."""
    if pixels.ndim == 2:
        return pixels, ()
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    tint = colours.max(axis=-1) - colours.min(axis=-1)
    brightest = 255 if pixels.dtype == np.uint8 else colours.max()
    if colours.shape[-1] != 3 or not (tint <= MOST_TINT * brightest).all():
        refuse_channels(pixels.shape[-1], name)
    if alpha.size and (alpha != alpha.flat[0]).any():
        raise InputError("transparent-picture", f"{name} is transparent in parts.", GREY_REMEDY)
    if not tint.any():
        return np.ascontiguousarray(colours[..., 0]), ()
    mean = colours.mean(axis=-1)
    grey = (mean if pixels.dtype.kind == "f" else np.rint(mean)).astype(pixels.dtype)
    return grey, (_nearly_grey(float(tint.max() / brightest)),)


def _nearly_grey(share: float) -> Notice:
    return Notice(
        "nearly-grey",
        f"The colours of the picture differ by up to {100 * share:.1f} % of its range; their mean "
        "is taken for grey.",
        "Nothing to do if it is a grey picture that was saved in colour, as JPEG often is.",
    )


def _refuse_cut(path: Path) -> None:
    """Raise ``InputError`` for cut JPEG and BMP files, which ITK fills up without an error."""
    with path.open("rb") as file:
        head = file.read(BMP_HEADER_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - JPEG_TAIL_BYTES))
        tail = file.read()
    if head[:2] == b"\xff\xd8" and JPEG_END not in tail:
        raise damaged_file(path, "is cut short")
    if suffix_of(path) == ".bmp":
        _refuse_bad_bmp(path, head, size)


def _refuse_bad_bmp(path: Path, head: bytes, size: int) -> None:
    """Raise ``InputError`` for headers that would lead ITK outside its memory."""
    if len(head) < BMP_HEADER_BYTES or head[:2] != b"BM":
        raise _unreadable(path)
    start, info, width, height, _, depth, packing = struct.unpack_from("<IIiiHHI", head, 10)
    (colours,) = struct.unpack_from("<I", head, 46)
    palette = 4 * (colours or 256) if depth == 8 else 0
    if width <= 0 or height == 0:
        raise damaged_file(path, "holds no pixel")
    if info not in BMP_INFO_BYTES or depth not in BMP_DEPTHS or packing != 0 or colours > 256:
        raise _unreadable(path)
    row_bytes = (width * depth // 8 + 3) // 4 * 4
    if start < 14 + info + palette or start + row_bytes * abs(height) > size:
        raise damaged_file(path, "is cut short")


def _unreadable(path: Path) -> InputError:
    return InputError(
        "unreadable-file",
        f"{path.name} cannot be read as {FORMATS[suffix_of(path)]}: it is damaged, cut short, or "
        "another kind of file.",
        GREY_REMEDY,
    )
