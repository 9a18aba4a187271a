"""LIDC nodule crops: an .npz of 8-bit crops with a mask a reader becomes pictures and masks."""

from __future__ import annotations

import csv
import hashlib
import io as text_io
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from isdmae.atomic import write_text_atomic
from isdmae.errors import InputError

from .config.prepare import PictureSet

UNPACKED = "unpacked.sha256"
"""Beside the pictures: the digest of the file they are from."""
READERS = 2
"""A voxel is nodule where at least this many of the four readers marked it."""


def unpack_crops(path: Path, out: Path) -> None:
    """Write ``images/``, ``nodule/`` and ``index.csv`` of ``path`` to ``out``.

    Parameters
    ----------
    path : Path
        .npz with ``image`` uint8 (N, H, W), ``reader_bits`` uint8 (N, H, W) whose bit j is reader
        j, and ``id`` str (N,) as ``patient/nodule/slice``.
    out : Path
        Folder to fill; files that exist are overwritten.

    Raises
    ------
    InputError
        ``bad-crops`` where the file is not such an .npz.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            images, bits, names = file["image"], file["reader_bits"], file["id"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            "bad-crops",
            f"{path.name} cannot be read as nodule crops: {error}.",
            "Give an .npz with image, reader_bits and id.",
        ) from error
    truth = consensus(bits).astype(np.uint8) * 255
    for folder in ("images", "nodule"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    table = text_io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "case", "patient", "order_in_case"])
    for number, (image, mask, name) in enumerate(zip(images, truth, names, strict=True)):
        patient, nodule, _ = str(name).split("/")
        file_name = f"{number:05d}.png"
        sitk.WriteImage(sitk.GetImageFromArray(image), str(out / "images" / file_name))
        sitk.WriteImage(sitk.GetImageFromArray(mask), str(out / "nodule" / file_name))
        writer.writerow([file_name, f"{patient}-{nodule}", patient, number])
    write_text_atomic(out / "index.csv", table.getvalue(), overwrite=True)


def consensus(reader_bits: np.ndarray, readers: int = READERS) -> np.ndarray:
    """Return where at least ``readers`` of the readers marked a voxel, bool of the same shape.

    Bit n of ``reader_bits``, uint8 of any shape, is set where reader n marked.
    """
    counts = sum(((reader_bits >> bit) & 1).astype(np.uint8) for bit in range(8))
    result: np.ndarray = counts >= readers
    return result


def unpacked(source: PictureSet, data: Path, out: Path) -> PictureSet:
    """Unpack the crops of ``source`` below ``out``, once, and return them as a set of pictures."""
    folder = out / f"{source.id}-crops"
    path, record = data / source.images, folder / UNPACKED
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    if not (record.is_file() and record.read_text("utf-8") == digest):
        unpack_crops(path, folder)
        write_text_atomic(record, digest, overwrite=True)
    return replace(
        source,
        images=(folder / "images").resolve(),
        labels={"nodule": (folder / "nodule").resolve()},
        index=(folder / "index.csv").resolve(),
    )
