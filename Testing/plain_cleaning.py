"""Cleaning labels voxel by voxel, as the rules are worded: what `isdmae.postprocess` must equal."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from isdmae.postprocess import CleaningCounts


def plain_clean(
    labels: np.ndarray, *, smallest: float, thinnest: int, fill_holes: bool
) -> tuple[np.ndarray, CleaningCounts]:
    """Return uint8 labels (k, j, i) cleaned; parts under ``smallest`` voxels are specks."""
    used = np.nonzero(labels.any(axis=(1, 2)))[0]
    result = labels.copy()
    part = result[used[0] : used[-1] + 1]
    moved, removed = settle_specks(part, smallest, thinnest)
    filled = fill(part, smallest) if fill_holes else 0
    return result, CleaningCounts(moved=moved, removed=removed, filled=filled)


def components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the number of each voxel's 6-connected component, 0 outside, and how many."""
    numbers = sitk.GetArrayFromImage(
        sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)))
    )
    return numbers, int(numbers.max())


def settle_specks(part: np.ndarray, smallest: float, thinnest: int) -> tuple[int, int]:
    """Move or remove small components in place; returns the voxels moved and removed."""
    specks = np.zeros(part.shape, dtype=bool)
    for value in np.unique(part[part > 0]):
        numbers, count = components(part == value)
        for one in (numbers == number for number in range(1, count + 1)):
            if one.sum() < smallest or one.any(axis=(1, 2)).sum() < thinnest:
                specks |= one
    numbers, count = components(specks)
    kept = np.where(specks, 0, part)
    moved = 0
    for one in (numbers == number for number in range(1, count + 1)):
        votes = np.zeros(256, dtype=int)
        for axis in range(3):
            for step in (-1, 1):
                beside = np.roll(kept, step, axis)
                edge = [slice(None)] * 3
                edge[axis] = slice(0, 1) if step == 1 else slice(-1, None)
                beside[tuple(edge)] = 0
                votes += np.bincount(beside[one], minlength=256)
        votes[0] = 0
        part[one] = votes.argmax()
        moved += int(one.sum()) if votes.any() else 0
    return moved, int(specks.sum()) - moved


def fill(part: np.ndarray, smallest: float) -> int:
    """Fill what each label encloses, in place; returns the voxels filled."""
    filled, single = 0, len(part) == 1
    for value in np.unique(part[part > 0]):
        around = [(0, 0) if single else (1, 1), (1, 1), (1, 1)]
        numbers, count = components(np.pad(part != value, around, constant_values=True))
        inner = numbers[0 if single else slice(1, -1), 1:-1, 1:-1].reshape(part.shape)
        for number in set(range(1, count + 1)) - {int(numbers[0, 0, 0])}:
            hole = (inner == number) & (part == 0)
            if not single or (numbers == number).sum() < smallest:
                part[hole] = value
                filled += int(hole.sum())
    return filled
