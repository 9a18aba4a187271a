"""NIfTI files, checked before ITK sees them.

ITK reads a cut file as zeros, NaN as zero, a damaged .gz as other values; for ``scan.nii.gz`` it
takes the pixels of a ``scan.nii`` beside it; and an infinite number in the header keeps it busy for
ever.
"""

from __future__ import annotations

import gzip
import math
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import SimpleITK as sitk

from .atomic import suffix_of
from .itk import damaged_file, unreadable_file
from .nifti_grid import NiftiGeometry

SUFFIXES = (".nii", ".nii.gz")
SIBLINGS = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz")
GZIP_MAGIC = b"\x1f\x8b"
HEADER_BYTES = 348
NIFTI_2_BYTES = 540
NIFTI_2_MAGIC = b"n+2\0\r\n\x1a\n"
BROKEN_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)
CHUNK_BYTES = 1 << 20
# ITK asks for it each time it opens a file.
PERMISSIVE = "ITK_NIFTI_SFORM_PERMISSIVE"
FLOATS = {16: "f4", 64: "f8"}
# datatype -> bytes of a voxel, as in nifti1.h. ITK goes by the type and not by the header's own
# count of bits, which may be anything: a negative one would make every check of size pass.
VOXEL_BYTES = {
    2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8,
    1536: 16, 1792: 16, 2048: 32, 2304: 4,
}  # fmt: skip
# A kilometre in micrometres: beyond it nothing is a CT, and arithmetic overflows.
LARGEST = 1e9


@dataclass(frozen=True, kw_only=True)
class NiftiHeader:
    """``order`` is struct's byte order, ``voxel_bytes`` the size of one stored voxel.

    ``version_1`` is the header as NIfTI-1 has it.
    """

    order: str
    version_1: bytes
    datatype: int
    voxel_bytes: int
    voxel_offset: int
    has_orientation: bool
    geometry: NiftiGeometry

    @property
    def promised_bytes(self) -> int:
        """Bytes of the voxels of one volume."""
        return math.prod(self.geometry.size) * self.voxel_bytes


def read_header(path: Path) -> NiftiHeader:
    """Read and check a header; ``InputError`` where it is none or holds impossible numbers."""
    try:
        with _open(path) as file:
            head = file.read(NIFTI_2_BYTES)
    except BROKEN_GZIP as error:
        raise unreadable_file(path, "NIfTI") from error
    lengths = {order: struct.unpack_from(order + "i", head.ljust(4))[0] for order in "<>"}
    for order, length in lengths.items():
        if length == HEADER_BYTES and head[344:HEADER_BYTES] == b"n+1\0":
            return _parse(path, head[:HEADER_BYTES], order, HEADER_BYTES + 4)
        if length == NIFTI_2_BYTES == len(head) and head[4:12] == NIFTI_2_MAGIC:
            return _parse(path, _as_version_1(path, head, order), order, NIFTI_2_BYTES + 4)
    raise unreadable_file(path, "NIfTI")


def _as_version_1(path: Path, head: bytes, order: str) -> bytes:
    """Return what a NIfTI-2 header says as a NIfTI-1 header; layout of nifti2.h, same site.

    Its numbers are rounded to float32, as in every NIfTI-1 file.
    """
    rank, *lengths = struct.unpack_from(order + "8q", head, 16)
    (units,) = struct.unpack_from(order + "i", head, 500)
    made = bytearray(HEADER_BYTES)
    fields = (
        ("i", 0, (HEADER_BYTES,)),
        # Beyond the rank anything may stand there.
        ("8h", 40, (rank, *lengths[: max(rank, 0)], *[1] * (7 - max(rank, 0)))),
        ("2h", 70, struct.unpack_from(order + "2h", head, 12)),
        ("8f", 76, struct.unpack_from(order + "8d", head, 104)),
        ("f", 108, struct.unpack_from(order + "q", head, 168)),
        ("2f", 112, struct.unpack_from(order + "2d", head, 176)),
        ("B", 123, (units & 63,)),
        ("2h", 252, struct.unpack_from(order + "2i", head, 344)),
        ("18f", 256, struct.unpack_from(order + "18d", head, 352)),
        ("4s", 344, (b"n+1",)),
    )
    try:
        for layout, place, values in fields:
            struct.pack_into(order + layout, made, place, *values)
    except (struct.error, OverflowError) as error:
        raise unreadable_file(path, "NIfTI") from error
    return bytes(made)


def _parse(path: Path, head: bytes, order: str, first_voxel: int) -> NiftiHeader:
    """Read the fields of a NIfTI-1 header; offsets as in nifti1.h of https://nifti.nimh.nih.gov.

    Voxels lie from ``first_voxel`` on; of headers that say less, every reader has its own reading.
    """
    rank, *lengths = struct.unpack_from(order + "8h", head, 40)
    (datatype,) = struct.unpack_from(order + "h", head, 70)
    pixdim = struct.unpack_from(order + "8f", head, 76)
    (voxel_offset,) = struct.unpack_from(order + "f", head, 108)
    qform, sform = struct.unpack_from(order + "2h", head, 252)
    transforms = struct.unpack_from(order + "18f", head, 256)

    used = [voxel_offset, *pixdim[:4]]
    used += [*(transforms[:6] if qform > 0 else ()), *(transforms[6:] if sform > 0 else ())]
    if not (
        1 <= rank <= 7
        and min(lengths[:rank]) > 0
        and datatype in VOXEL_BYTES
        and voxel_offset >= first_voxel
        and all(abs(value) <= LARGEST for value in used)
    ):
        raise unreadable_file(path, "NIfTI")
    return NiftiHeader(
        order=order,
        datatype=datatype,
        version_1=head,
        voxel_bytes=VOXEL_BYTES[datatype],
        voxel_offset=int(voxel_offset),
        has_orientation=qform > 0 or sform > 0,
        geometry=NiftiGeometry(
            rank=min(rank, 3),
            size=(lengths[0], *(lengths[a] if a < rank else 1 for a in (1, 2))),
            pixdim=pixdim,
            units=head[123] & 7,
            qform_code=qform,
            sform_code=sform,
            quaternion=transforms[:6],
            srow=transforms[6:],
        ),
    )


def refuse_cut(path: Path, promised: int) -> None:
    """Raise ``InputError`` where the file, unpacked, holds fewer than ``promised`` bytes.

    It is read to its end, so that gzip compares its checksum.
    """
    held = 0
    try:
        with _open(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                held += len(chunk)
    except BROKEN_GZIP as error:
        raise damaged_file(path, "is compressed and damaged or cut short") from error
    if held < promised:
        raise damaged_file(path, f"holds {held} of {promised} bytes")


@contextmanager
def sheared_allowed() -> Iterator[None]:
    """Let ITK read axes that are not quite at right angles; the caller measures them itself."""
    before = os.environ.get(PERMISSIVE)
    os.environ[PERMISSIVE] = "YES"
    try:
        yield
    finally:
        if before is None:
            del os.environ[PERMISSIVE]
        else:
            os.environ[PERMISSIVE] = before


@contextmanager
def for_itk(path: Path, header: NiftiHeader) -> Iterator[Path]:
    """Give a path to the same image as NIfTI-1, where no other file shares its stem."""
    if _is_version_2(path):
        with tempfile.TemporaryDirectory() as folder:
            alone = Path(folder) / "scan.nii"
            _write_version_1(path, header, alone)
            yield alone
        return
    if not any(are_siblings(path, other) for other in path.parent.iterdir()):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / f"scan{suffix_of(path)}"
        try:
            alone.symlink_to(path.resolve())
        except OSError:
            # Windows lets only some users make links.
            shutil.copyfile(path, alone)
        yield alone


def are_siblings(path: Path, other: Path) -> bool:
    """Tell whether ITK may read the one file of a folder where the other is meant, a NIfTI file."""
    name = path.name.lower()
    stem = name.removesuffix(suffix_of(path))
    return other.name.lower() in {stem + suffix for suffix in SIBLINGS} - {name}


def _is_version_2(path: Path) -> bool:
    with _open(path) as file:
        return file.read(12)[4:] == NIFTI_2_MAGIC


def _write_version_1(path: Path, header: NiftiHeader, target: Path) -> None:
    head = bytearray(header.version_1)
    struct.pack_into(header.order + "f", head, 108, HEADER_BYTES + 4)
    left = header.promised_bytes
    try:
        with _open(path) as file, target.open("wb") as copy:
            file.seek(header.voxel_offset)
            copy.write(head + bytes(4))
            while left > 0 and (chunk := file.read(min(left, CHUNK_BYTES))):
                copy.write(chunk)
                left -= len(chunk)
    except BROKEN_GZIP as error:
        raise damaged_file(path, "is compressed and damaged or cut short") from error


def with_nan(image: sitk.Image, header: NiftiHeader, path: Path) -> sitk.Image:
    """Put NaN back where the file holds a value that is not finite: ITK reads zero there."""
    kind = FLOATS.get(header.datatype)
    if kind is None:
        return image
    with _open(path) as file:
        file.seek(header.voxel_offset)
        stored = np.frombuffer(
            file.read(image.GetNumberOfPixels() * header.voxel_bytes), dtype=header.order + kind
        )
    bad = ~np.isfinite(stored)
    if not bad.any():
        return image
    array = sitk.GetArrayFromImage(image)
    array.reshape(-1)[bad] = np.nan
    restored = sitk.GetImageFromArray(array)
    restored.CopyInformation(image)
    return restored


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP_MAGIC
    return cast(BinaryIO, gzip.open(path, "rb")) if compressed else path.open("rb")
