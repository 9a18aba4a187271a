"""The truth of a scan: labelmaps and masks read, checked, and brought to label values 1, 2, ..."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from isdmae import io
from isdmae.errors import InputError
from isdmae.labels import LUNGS
from isdmae.volume import Array, Volume, to_lps_order

from .config.prepare import LabelSource
from .lidc import nodules_of
from .lung_truth import lung_truth

SIDES_CHANGED = "Left and right lung had each other's label value."
MOST_VALUES = 8
"""That a message lists."""


def label_names(source: LabelSource) -> tuple[str, ...]:
    """Return the names of the cached label values 1, 2, ...; the classical method finds lungs."""
    names = tuple(source.masks or source.values)
    lungs = tuple(label.name for label in LUNGS)
    return lungs if set(names) <= set(lungs) else names


def label_file(source: LabelSource) -> Path | None:
    """Return the file that the labels come from, the first of several; None where they are made."""
    return source.path or next((path for paths in source.masks.values() for path in paths), None)


def read_truth(ct: Volume, source: LabelSource, data: Path) -> tuple[Volume, tuple[str, ...]]:
    """Return the truth of ``ct`` on its own grid, and what was put right in it.

    Parameters
    ----------
    ct : Volume
        In HU.
    source : LabelSource
        Where the truth comes from.
    data : Path
        The folder that its paths start from.

    Returns
    -------
    Volume
        uint8: value n is the n-th of `label_names`.
    tuple of str
        In words.

    Raises
    ------
    InputError
        ``label-missing``, ``grid-differs``, ``unknown-labels`` or ``empty-label``, naming the file;
        what the reader raises where it is damaged.
    """
    file = label_file(source)
    if file is None:
        return lung_truth(ct), ()
    truth = np.zeros(ct.shape, np.uint8)
    for number, name in enumerate(label_names(source), start=1):
        for path in source.masks.get(name, ()) if source.masks else (file,):
            truth[_marked(ct, data / path, source, name)] = number
    if not truth.any():
        raise InputError(
            "empty-label",
            f"{file.name} holds none of the labels.",
            "Check its values; for a scan that is free of them, give no labels and say free_of.",
        )
    result = ct.with_array(truth)
    if source.mend_sides and _sides_differ(result, label_names(source)):
        left, right = (label_names(source).index(label.name) + 1 for label in LUNGS)
        swapped = truth.copy()
        swapped[truth == left], swapped[truth == right] = right, left
        return ct.with_array(swapped), (SIDES_CHANGED,)
    return result, ()


def _marked(ct: Volume, path: Path, source: LabelSource, name: str) -> Array:
    """Return where a file says ``name``, bool (k, j, i)."""
    if not path.is_file():
        raise InputError(
            "label-missing",
            f"The file of labels {path.name} does not exist.",
            "Add it, or list the scan without labels.",
        )
    if path.suffix.lower() == ".xml":
        return nodules_of(ct, path)
    file = io.read(path).volume
    if not ct.same_grid(file, tolerance=1e-3):
        raise InputError(
            "grid-differs",
            f"The labels {path.name} do not lie on the scan's grid: {_size(file)} voxels, the scan "
            f"has {_size(ct)}.",
            "Resample them onto the scan.",
        )
    values = _whole(file.array, path)
    if source.bits is not None:
        values &= source.bits
    wanted = source.values.get(name, None if source.masks else ())
    if source.complete:
        _refuse_unknown(values, source, name, path)
    return values != 0 if wanted is None else np.isin(values, wanted)


def _whole(array: Array, path: Path) -> Array:
    """Return label values as int64; some tools write 0.9999 for 1."""
    values = np.rint(array).astype(np.int64)
    if array.dtype.kind == "f" and not np.allclose(values, array, atol=1e-2):
        raise _unknown(path, "are no whole numbers")
    return values


def _refuse_unknown(values: Array, source: LabelSource, name: str, path: Path) -> None:
    found = {int(value) for value in np.unique(values)} - {0}
    alike = source.masks.get(name)  # the labels of the same file
    names = [other for other in source.values if source.masks.get(other) == alike]
    known = {value for other in names for value in source.values[other]}
    if not known and len(found) <= 1:  # a mask, of whatever value
        return
    unknown = sorted(found - known)
    if unknown:
        more = ", ..." if len(unknown) > MOST_VALUES else ""
        raise _unknown(path, f"are unknown: {', '.join(map(str, unknown[:MOST_VALUES]))}{more}")


def _unknown(path: Path, message: str) -> InputError:
    return InputError(
        "unknown-labels",
        f"Values of the labels {path.name} {message}.",
        "Name every value, or correct the file.",
    )


def _sides_differ(truth: Volume, names: tuple[str, ...]) -> bool:
    """Tell whether the left lung lies on the patient's right (LPS: x grows to the left)."""
    if not {label.name for label in LUNGS} <= set(names):
        return False
    turned = to_lps_order(truth)[0].array
    places = [
        np.argwhere((turned == names.index(label.name) + 1).any(axis=(0, 1))) for label in LUNGS
    ]
    return all(len(place) for place in places) and places[0].mean() < places[1].mean()


def _size(volume: Volume) -> str:
    return " x ".join(str(count) for count in reversed(volume.shape))
