"""Overlap and surface metrics that count misses, and intervals over patients.

Definitions: Dice; NSD, the normalised surface Dice at a tolerance (Nikolov et al., J Med Internet
Res 23:e26151, 2021); HD95, the larger of the two directed 95th percentiles of surface distances.
The surface of a mask is its voxels with a face neighbour outside it or at the image's border.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]

TOLERANCE_MM = 2.0
DRAWS = 10_000


@dataclass(frozen=True, kw_only=True)
class MaskScores:
    """How well a predicted mask fits the truth; lengths in the unit of the spacing."""

    dice: float
    nsd: float
    hd95: float
    missed: bool
    """The truth holds the structure, and the prediction none of its voxels."""
    invented: bool
    """The prediction holds the structure, and the truth does not."""


def dice(predicted: Mask, truth: Mask) -> float:
    """Dice overlap of two masks of one shape, 0..1; 1 where both are empty.

    A missed structure and a structure found where there is none both count 0.
    """
    _refuse_other_shape(predicted, truth)
    total = int(predicted.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int((predicted & truth).sum()) / total


def score_masks(
    predicted: Mask,
    truth: Mask,
    *,
    spacing: Sequence[float],
    tolerance: float = TOLERANCE_MM,
) -> MaskScores:
    """Score one structure in one image.

    Parameters
    ----------
    predicted, truth : numpy.ndarray
        bool, one shape: (k, j, i) or (j, i). An axis of length 1 is left out: one slice of a scan
        has a border line, not two faces.
    spacing : sequence of float
        Distance of neighbouring voxels along each axis, in the order of the axes, in mm; 1 for
        pixels.
    tolerance : float
        Largest distance that NSD takes for a match, in the same unit.

    Returns
    -------
    MaskScores
        Both empty: Dice and NSD 1, HD95 0. One empty: Dice and NSD 0, HD95 the image's diagonal.

    Examples
    --------
    >>> truth = np.zeros((8, 8), bool)
    >>> truth[2:6, 2:6] = True
    >>> scores = score_masks(np.roll(truth, 1, axis=1), truth, spacing=(1.0, 3.0))
    >>> scores.dice, round(scores.nsd, 2), scores.hd95
    (0.75, 0.67, 3.0)
    """
    _refuse_other_shape(predicted, truth)
    if len(spacing) != truth.ndim or min(spacing) <= 0:
        raise ValueError(f"Spacing {spacing} does not fit an image of shape {truth.shape}.")
    found, there = bool(predicted.any()), bool(truth.any())
    if not (found and there):
        right = found == there
        extent = [
            length * step for length, step in zip(truth.shape, spacing, strict=True) if length > 1
        ]
        return MaskScores(
            dice=float(right),
            nsd=float(right),
            hd95=0.0 if right else float(np.linalg.norm(extent)),
            missed=there and not found,
            invented=found and not there,
        )
    overlap = dice(predicted, truth)
    nsd, hd95 = _surface_scores(predicted, truth, spacing, tolerance)
    return MaskScores(dice=overlap, nsd=nsd, hd95=hd95, missed=overlap == 0, invented=False)


def _refuse_other_shape(predicted: Mask, truth: Mask) -> None:
    if predicted.shape != truth.shape:
        raise ValueError(f"Shapes differ: {predicted.shape} and {truth.shape}.")


def _surface_scores(
    predicted: Mask, truth: Mask, spacing: Sequence[float], tolerance: float
) -> tuple[float, float]:
    """Return NSD and HD95 of two masks that are not empty."""
    box = ndimage.find_objects((predicted | truth).astype(np.uint8))[0]
    steps = np.asarray(spacing, dtype=np.float64)
    used = np.array(truth.shape) > 1
    first, second = (_surface(mask[box], used) * steps for mask in (predicted, truth))
    # A tree of the surface's points is exact and several times as fast as a distance transform of
    # the box that holds them.
    to_second = cKDTree(second).query(first)[0]
    to_first = cKDTree(first).query(second)[0]
    near = int((to_second <= tolerance).sum()) + int((to_first <= tolerance).sum())
    hd95 = max(float(np.percentile(distances, 95)) for distances in (to_second, to_first))
    return near / (len(first) + len(second)), hd95


def _surface(mask: Mask, used: npt.NDArray[np.bool_]) -> Points:
    """Return the indices (N, axes) of the voxels with a face neighbour outside, along ``used``."""
    if not used.any():
        return np.argwhere(mask).astype(np.float64)
    inner = mask
    for axis in np.flatnonzero(used):
        line = np.moveaxis(mask, axis, 0)
        both = np.zeros_like(line)
        both[1:-1] = line[:-2] & line[2:]
        inner = inner & np.moveaxis(both, 0, axis)
    return np.argwhere(mask & ~inner).astype(np.float64)


@dataclass(frozen=True)
class Summary:
    """Mean over patients with a 95 % interval, the worst of them, and how many there are."""

    mean: float
    low: float
    high: float
    worst: float
    count: int

    def __str__(self) -> str:
        return (
            f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}], worst {self.worst:.4f}, "
            f"n = {self.count}"
        )


def summarise(
    values: Sequence[float], *, seed: int = 0, draws: int = DRAWS, smaller_is_better: bool = False
) -> Summary:
    """Bootstrap the mean over patients (percentile interval, ``draws`` resamples).

    Parameters
    ----------
    values : sequence of float
        One for each patient.
    seed : int
        Of the resampling.
    draws : int
        Number of resamples.
    smaller_is_better : bool
        The worst is the largest value (distances).
    """
    if not values:
        raise ValueError("There is nothing to summarise.")
    array = np.asarray(values, dtype=np.float64)
    low, high = _interval(array, seed, draws)
    worst = array.max() if smaller_is_better else array.min()
    return Summary(float(array.mean()), low, high, float(worst), len(array))


@dataclass(frozen=True)
class Difference:
    """Mean difference over the patients that two models share, with its 95 % interval."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}], n = {self.count}"


def paired_difference(
    values: Mapping[str, float],
    baseline: Mapping[str, float],
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Difference:
    """Bootstrap the mean of ``values - baseline`` over the patients that both hold.

    Patients are drawn with both of their values, so what makes a patient hard for every model
    cancels out.

    Examples
    --------
    >>> paired_difference({"a": 0.8, "b": 0.5}, {"a": 0.7, "b": 0.4, "c": 1.0}).mean.__round__(3)
    0.1
    """
    shared = sorted(values.keys() & baseline.keys())
    if not shared:
        raise ValueError("The two have no patient in common.")
    array = np.array([values[patient] - baseline[patient] for patient in shared])
    low, high = _interval(array, seed, draws)
    return Difference(float(array.mean()), low, high, len(array))


def _interval(array: npt.NDArray[np.float64], seed: int, draws: int) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % points of the mean of ``array`` drawn with replacement."""
    random = np.random.default_rng(seed)
    means = array[random.integers(0, len(array), (draws, len(array)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
