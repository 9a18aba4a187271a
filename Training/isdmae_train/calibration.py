"""How far a model's probabilities can be believed: reliability curve and calibration error.

Guo et al. 2017 (arXiv 1706.04599): among the pixels to which the model gives a chance of 70 %, 70 %
should hold the structure. Of most pixels of a chest every model is certain, and rightly, so pixels
with a chance under `LEAST` are left out of the calibration error; the curve shows them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch

from isdmae.errors import InputError
from isdmae.grids import SliceGrid
from isdmae.inference import Predictor
from isdmae.io import write_image_atomic
from isdmae.slicewise import slice_images
from isdmae.volume import Volume, to_lps_order

from .metrics import Mask

BINS = 20
LEAST = 0.05
DRAWS = 1000
EDGE_PX, MARGIN_PX = 480, 56
Counts = npt.NDArray[np.float64]
Chances = npt.NDArray[np.float32]


@torch.inference_mode()
def slice_chances(
    image: Volume, predictor: Predictor, truth: Mapping[str, Mask], batch: int = 8
) -> Iterator[tuple[Chances, dict[str, Mask]]]:
    """Yield each axial slice's probabilities (C, H, W) and truth (H, W), in LPS order.

    Parameters
    ----------
    image : Volume
        A CT, or pictures.
    predictor : Predictor
        Of a 2D model.
    truth : mapping of str to numpy.ndarray
        bool (K, H, W) on the image's grid, for each structure.

    Raises
    ------
    InputError
        ``not-2d`` for a 3D model.
    """
    network = predictor.network
    if network.dims != 2:
        raise InputError("not-2d", "This is known of 2D models alone.", "Leave the option out.")
    turned, order = to_lps_order(image)
    is_hu = turned.is_hu and not network.info.preprocess.ct_as_picture
    masks = {name: order.apply(mask) for name, mask in truth.items()}
    scales = predictor.slice_scales(turned) or [1.0] * len(turned.array)
    for scale, alike in groupby(range(len(scales)), scales.__getitem__):
        slices = list(alike)
        grid = SliceGrid.of(
            turned, network.info.preprocess, network.info.network.stride, scale=scale
        )
        for start in range(0, len(slices), batch):
            here = slices[start : start + batch]
            scores = network.probabilities(slice_images(turned, grid, here, network), is_hu=is_hu)
            for k, chances in zip(here, grid.back(scores).cpu().numpy(), strict=True):
                yield chances, {name: mask[k] for name, mask in masks.items()}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Reliability of one structure, from the pixels of all patients; lists have `BINS` entries."""

    pixels: list[int]
    chance: list[float]
    """Mean probability that the model gave in the bin."""
    truth: list[float]
    """Share of its pixels that hold the structure."""
    error: float
    """Expected calibration error of the pixels from `LEAST` on, 0..1."""
    low: float
    high: float
    """Its 95 % interval, patients drawn with replacement."""


class Calibration:
    """Collects slices patient by patient, then says the curve of each structure.

    ``predictor`` may be another one for other patients: the folds of a comparison make one curve.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._counts: dict[str, dict[str, Counts]] = defaultdict(dict)

    def add(
        self,
        patient: str,
        image: Volume,
        truth: Mapping[str, Mask],
        classes: Mapping[str, list[int]],
    ) -> None:
        """Count the pixels of an image; arguments as in `author_score.AuthorScore.add`."""
        for chances, masks in slice_chances(image, self.predictor, truth):
            for name, mask in masks.items():
                chance = chances[classes[name]].sum(axis=0)
                mine = self._counts[name].setdefault(patient, np.zeros((BINS, 3)))
                mine += count_bins(chance, mask)

    def curves(self, seed: int) -> dict[str, Curve]:
        """Return the curve of each structure."""
        return {
            name: curve_of(np.stack(list(patients.values())), seed)
            for name, patients in self._counts.items()
        }

    def write(self, folder: Path, seed: int) -> dict[str, Any]:
        """Draw ``reliability-STRUCTURE.png`` and return the curves as plain data."""
        curves = self.curves(seed)
        for name, curve in curves.items():
            image = sitk.GetImageFromArray(draw(curve, name), isVector=True)
            path = folder / f"reliability-{name.replace(' ', '-')}.png"
            write_image_atomic(path, image, overwrite=True)
        return {name: asdict(curve) for name, curve in curves.items()}


def count_bins(chance: Chances, truth: Mask) -> Counts:
    """Return for each of `BINS` bins its pixels, the sum of their chances, and the true ones.

    Examples
    --------
    >>> counts = count_bins(np.array([0.0, 0.99, 1.0], np.float32), np.array([False, True, False]))
    >>> counts[-1].round(2).tolist()
    [2.0, 1.99, 1.0]
    """
    bins = np.clip((chance * BINS).astype(np.int64), 0, BINS - 1).ravel()
    columns = (None, chance.ravel(), truth.ravel())
    return np.stack([np.bincount(bins, weights, minlength=BINS) for weights in columns], axis=1)


def curve_of(patients: Counts, seed: int) -> Curve:
    """Return the curve of (P, BINS, 3) counts of P patients."""
    total = patients.sum(axis=0)
    pixels = np.maximum(total[:, 0], 1)
    random = np.random.default_rng(seed)
    draws = random.integers(len(patients), size=(DRAWS, len(patients)))
    errors = [calibration_error(patients[chosen].sum(axis=0)) for chosen in draws]
    low, high = np.percentile(errors, (2.5, 97.5))
    return Curve(
        pixels=total[:, 0].astype(int).tolist(),
        chance=(total[:, 1] / pixels).tolist(),
        truth=(total[:, 2] / pixels).tolist(),
        error=calibration_error(total),
        low=float(low),
        high=float(high),
    )


def calibration_error(counts: Counts) -> float:
    """Mean distance between chance and truth, 0..1, over the pixels of the bins from `LEAST` on.

    ``counts`` is (BINS, 3): pixels of each bin, the sum of their chances, how many are true.
    """
    used = counts[round(LEAST * BINS) :]
    return float(np.abs(used[:, 1] - used[:, 2]).sum() / max(used[:, 0].sum(), 1.0))


def draw(curve: Curve, name: str) -> npt.NDArray[np.uint8]:
    """Return the reliability plot as RGB uint8 (rows, columns, 3)."""
    size = EDGE_PX + 2 * MARGIN_PX
    picture = np.full((size, size, 3), 255, np.uint8)

    def at(x: float, y: float) -> tuple[int, int]:
        return MARGIN_PX + round(x * EDGE_PX), MARGIN_PX + round((1 - y) * EDGE_PX)

    def write(text: str, place: tuple[int, int], scale: float = 0.45) -> None:
        cv2.putText(
            picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (40, 40, 40), 1, cv2.LINE_AA
        )

    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        cv2.line(picture, at(tick, 0), at(tick, 1), (225, 225, 225), 1)
        cv2.line(picture, at(0, tick), at(1, tick), (225, 225, 225), 1)
        write(f"{tick:g}", (at(tick, 0)[0] - 10, at(0, 0)[1] + 18))
        write(f"{tick:g}", (8, at(0, tick)[1] + 5))
    cv2.line(picture, at(0, 0), at(1, 1), (150, 150, 150), 1, cv2.LINE_AA)
    full = [n for n, pixels in enumerate(curve.pixels) if pixels]
    points = [at(curve.chance[n], curve.truth[n]) for n in full]
    for start, end in pairwise(points):
        cv2.line(picture, start, end, (20, 90, 200), 2, cv2.LINE_AA)
    for point in points:
        cv2.circle(picture, point, 4, (20, 90, 200), -1, cv2.LINE_AA)
    error = f"calibration error {curve.error:.3f} [{curve.low:.3f}, {curve.high:.3f}]"
    write(f"{name}: {error}", (MARGIN_PX, 32), 0.55)
    write("probability that the model gives", (MARGIN_PX + 130, size - 12))
    write("share that is true", (MARGIN_PX + 6, MARGIN_PX + 18))
    return picture
