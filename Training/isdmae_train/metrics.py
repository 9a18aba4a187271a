"""Overlap metrics that count misses, and intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def dice(predicted: Mask, truth: Mask) -> float:
    """Dice overlap of two masks of one shape, 0..1; 1 where both are empty.

    A missed structure and a structure found where there is none both count 0.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"Shapes differ: {predicted.shape} and {truth.shape}.")
    total = int(predicted.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int((predicted & truth).sum()) / total


@dataclass(frozen=True)
class Summary:
    """Mean with a 95 % interval, the worst value, and how many were counted and missed."""

    mean: float
    low: float
    high: float
    worst: float
    count: int
    missed: int

    def __str__(self) -> str:
        return (
            f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}], worst {self.worst:.4f}, "
            f"n = {self.count}, missed {self.missed}"
        )


def summarise(values: Sequence[float], *, seed: int = 0, draws: int = 10_000) -> Summary:
    """Bootstrap the mean over patients (percentile interval, ``draws`` resamples).

    A value of 0 counts as a miss.
    """
    if not values:
        raise ValueError("There is nothing to summarise.")
    array = np.asarray(values, dtype=np.float64)
    random = np.random.default_rng(seed)
    means = array[random.integers(0, len(array), (draws, len(array)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Summary(
        mean=float(array.mean()),
        low=float(low),
        high=float(high),
        worst=float(array.min()),
        count=len(array),
        missed=int((array == 0).sum()),
    )
