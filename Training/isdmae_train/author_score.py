"""The score as the method's authors computed it: an extra column, not comparable with the others.

Their public code pools Dice over shuffled batches, takes the best of 113 thresholds on the very
images that it reports, and chooses the slices by the truth. All three raise the number; it stands
beside ours only so that published numbers can be set next to something.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from isdmae.errors import InputError
from isdmae.inference import Predictor
from isdmae.volume import Volume

from .calibration import slice_chances
from .metrics import Mask

THRESHOLDS = 113
BATCH = 16
NOTE = (
    f"pooled over batches, best of {THRESHOLDS} thresholds, only slices whose truth holds the "
    "structure: not comparable with the other columns"
)
Counts = npt.NDArray[np.int64]


class AuthorScore:
    """Collects slices, then says the pooled Dice at the best threshold.

    Parameters
    ----------
    predictor : Predictor
        Of a 2D model that sees single slices.

    Raises
    ------
    InputError
        ``not-2d`` for another model.
    """

    def __init__(self, predictor: Predictor) -> None:
        network = predictor.network
        if network.dims != 2 or network.info.preprocess.neighbours:
            raise InputError(
                "not-2d",
                "The authors' way of scoring is for 2D models that see single slices.",
                "Leave --author-compatible out.",
            )
        self._predictor = predictor
        self._slices: dict[str, list[Counts]] = defaultdict(list)

    def add(
        self, image: Volume, truth: Mapping[str, Mask], classes: Mapping[str, list[int]]
    ) -> None:
        """Count the voxels of every slice whose truth holds the structure, at every threshold.

        Parameters
        ----------
        image : Volume
            A CT, or one picture.
        truth : mapping of str to numpy.ndarray
            bool (K, H, W) on the image's grid, for each structure.
        classes : mapping of str to list of int
            The model's classes whose probabilities add up to that of the structure.
        """
        for chances, masks in slice_chances(image, self._predictor, truth):
            for name, mask in masks.items():
                if mask.any():
                    chance = chances[classes[name]].sum(axis=0)
                    self._slices[name].append(counts_at_thresholds(chance, mask))

    def result(self, seed: int) -> dict[str, dict[str, float]]:
        """Return for each structure the best pooled Dice, its threshold, and the slices counted."""
        return {name: _best(np.stack(slices), seed) for name, slices in self._slices.items()}


def counts_at_thresholds(chance: npt.NDArray[np.floating], truth: Mask) -> Counts:
    """Count true positives, predicted and true voxels at `THRESHOLDS` even steps inside 0..1.

    Returns
    -------
    numpy.ndarray
        int64 (THRESHOLDS, 3); predicted where the chance is at least the threshold.
    """
    # Bin n holds the chances from n up to n + 1 steps: a threshold's voxels are a tail of bins.
    bins = np.clip((chance * (THRESHOLDS + 1)).astype(np.int64), 0, THRESHOLDS)
    of_all = np.bincount(bins.ravel(), minlength=THRESHOLDS + 1)
    of_truth = np.bincount(bins[truth], minlength=THRESHOLDS + 1)
    hits, predicted = (tail[::-1].cumsum()[::-1][1:] for tail in (of_truth, of_all))
    return np.stack([hits, predicted, np.full(THRESHOLDS, truth.sum())], axis=1)


def _best(slices: Counts, seed: int) -> dict[str, float]:
    """Pool (N, THRESHOLDS, 3) counts over shuffled batches; the best mean over the batches."""
    order = np.random.default_rng(seed).permutation(len(slices))
    batches = [slices[order[n : n + BATCH]].sum(axis=0) for n in range(0, len(order), BATCH)]
    dice = np.mean([2 * hits / (found + there) for hits, found, there in _columns(batches)], axis=0)
    best = int(dice.argmax())
    return {
        "dice": float(dice[best]),
        "threshold": (best + 1) / (THRESHOLDS + 1),
        "slices": len(slices),
    }


def _columns(batches: list[Counts]) -> list[tuple[Counts, Counts, Counts]]:
    return [(batch[:, 0], batch[:, 1], batch[:, 2]) for batch in batches]
