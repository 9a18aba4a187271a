"""Sets of 8-bit pictures: which belong together, and their masks, for `prepare`."""

from __future__ import annotations

import csv
import io as text_io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isdmae import io
from isdmae.errors import InputError
from isdmae.picture import FORMATS
from isdmae.volume import Array

from .config import PictureSet


@dataclass(frozen=True, kw_only=True)
class PictureStack:
    """The pictures of one case of one patient, in order; all of one size."""

    id: str
    patient: str
    images: tuple[Path, ...]
    masks: dict[str, tuple[Path, ...]]
    """For each label, a mask a picture."""


def stacks_of(source: PictureSet, data: Path) -> list[PictureStack]:
    """List the stacks of a set: one a case where there is an index, else one a picture.

    Raises
    ------
    InputError
        Where there is no picture, the index is not usable, or a mask is missing.
    """
    files = {path.name: path for path in _pictures(data / source.images)}
    if not files:
        raise InputError(
            "no-pictures", f"{source.images} holds no picture.", f"Known: {', '.join(FORMATS)}."
        )
    masks = {name: _by_stem(data / folder) for name, folder in source.labels.items()}
    cases: dict[tuple[str, str], list[Path]] = defaultdict(list)
    if source.index is None:
        for path in files.values():
            cases[path.stem, path.stem].append(path)
    else:
        for row in read_index(data / source.index):
            if row["file"] in files:
                case = row.get("case") or row["patient"]
                cases[case, row["patient"]].append(files[row["file"]])
    return [
        PictureStack(
            id=f"{source.id}-{case}",
            patient=f"{source.id}-{patient}",
            images=tuple(paths),
            masks={name: _masks_for(paths, found, name) for name, found in masks.items()},
        )
        for (case, patient), paths in sorted(cases.items())
    ]


def read_index(path: Path) -> list[dict[str, str]]:
    """Read a CSV with the columns file and patient, sorted by order_in_case where it has that.

    Raises
    ------
    InputError
        ``bad-index`` where it cannot be read or lacks a column.
    """
    try:
        reader = csv.DictReader(text_io.StringIO(path.read_text(encoding="utf-8-sig")))
        rows = list(reader)
        order = {id(row): int(row.get("order_in_case") or 0) for row in rows}
    except (OSError, ValueError, csv.Error) as error:
        raise _bad_index(path, f"cannot be read: {error}") from error
    columns = reader.fieldnames or ()
    if not {"file", "patient"} <= set(columns):
        raise _bad_index(path, f"has the columns {', '.join(columns) or 'none'}")
    return sorted(rows, key=lambda row: order[id(row)])


def _bad_index(index: Path, message: str) -> InputError:
    return InputError(
        "bad-index",
        f"The index {index.name} {message}.",
        "Give a CSV with the columns file and patient and a row for each picture.",
    )


def _pictures(folder: Path) -> Iterator[Path]:
    """Yield the pictures of a folder in the order of their numbers, else of their names."""
    paths = [path for path in folder.glob("*") if path.suffix.lower() in FORMATS]
    yield from sorted(paths, key=lambda p: (int(p.stem) if p.stem.isdigit() else -1, p.name))


def _by_stem(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in _pictures(folder)}


def _masks_for(images: list[Path], masks: dict[str, Path], name: str) -> tuple[Path, ...]:
    missing = [path.name for path in images if path.stem not in masks]
    if missing:
        raise InputError(
            "no-mask",
            f"{len(missing)} pictures have no mask of '{name}', the first is {missing[0]}.",
            "Give each picture a mask of the same name, or move it away.",
        )
    return tuple(masks[path.stem] for path in images)


def read_grey(path: Path) -> Array:
    """Read a picture as uint8 (H, W); 16 bits are scaled by the picture's own range."""
    array = io.read(path).volume.array[0]
    if array.dtype == np.uint8:
        return array
    low, high = float(array.min()), float(array.max())
    scaled: Array = np.round((array - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    return scaled


def read_stack(stack: PictureStack) -> tuple[Array, Array]:
    """Read pictures and labels, both uint8 (n, H, W); of two labels the later one wins.

    Raises
    ------
    InputError
        ``size-differs`` where pictures or masks have different sizes.
    """
    images = [read_grey(path) for path in stack.images]
    labels = [np.zeros(image.shape, np.uint8) for image in images]
    for value, paths in enumerate(stack.masks.values(), start=1):
        for label, path in zip(labels, paths, strict=True):
            mask = read_grey(path)
            _refuse_size(mask, label, path)
            label[mask > 127] = value
    for image, path in zip(images, stack.images, strict=True):
        _refuse_size(image, images[0], path)
    return np.stack(images), np.stack(labels)


def _refuse_size(array: Array, expected: Array, path: Path) -> None:
    if array.shape != expected.shape:
        raise InputError(
            "size-differs",
            f"{path.name} has {array.shape[1]} x {array.shape[0]} pixels, "
            f"not {expected.shape[1]} x {expected.shape[0]}.",
            "Give each mask the size of its picture, and the pictures of a case one size.",
        )
