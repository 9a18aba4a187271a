"""Pictures of what a model did worst: outlines of truth and prediction on the image."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk

from isdmae.io import write_image_atomic
from isdmae.volume import Array

from .distributed import collected, rank
from .metrics import Mask
from .score_table import Score

EDGE_PX = 512
TRUTH_COLOUR = (0, 200, 0)
FOUND_COLOUR = (255, 0, 255)
BOTH_COLOUR = (255, 255, 0)
LEGEND = "green: truth, magenta: prediction, yellow: both"
WINDOW_HU = (-1350.0, 150.0)
LINE_PX = 20


@dataclass(frozen=True, kw_only=True)
class OneSlice:
    """What there is to see: ``image``, ``found`` and ``truth`` (H, W), and the pixel's size."""

    image: Array
    found: Mask
    truth: Mask
    window: tuple[float, float]
    pixel_mm: tuple[float, float] = (1.0, 1.0)


class WorstCases:
    """Keeps the ``count`` lowest scores that it is offered, with a slice of each."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: list[tuple[tuple[float, int, str], Score, OneSlice]] = []

    def offer(self, score: Score, wrong: int, show: Callable[[], OneSlice]) -> None:
        """Keep a score if it is among the worst; of equal ones that with more ``wrong`` voxels.

        ``show`` is called only for what is kept. What both left empty is no error.
        """
        key = (score.dice, -wrong, f"{score.image} {score.structure}")
        full = len(self._kept) >= self.count
        if wrong == 0 or self.count == 0 or (full and key >= self._kept[-1][0]):
            return
        self._kept.append((key, score, show()))
        self._kept.sort(key=lambda kept: kept[0])
        del self._kept[self.count :]

    @property
    def kept(self) -> list[tuple[Score, OneSlice]]:
        """What is kept, worst first."""
        return [(score, shown) for _, score, shown in self._kept]

    def write(self, folder: Path) -> list[Path]:
        """Write the pictures, worst first, and remove those of an earlier evaluation.

        Of several processes each writes what it has of the worst of all.
        """
        keys = [tuple(key) for key in collected([list(key) for key, _, _ in self._kept])]
        worst = sorted(keys)[: self.count]
        numbers = {key: number for number, key in enumerate(worst, start=1)}
        if rank() == 0:
            for old in folder.glob("worst-*.png"):
                old.unlink()
        collected([])  # nobody writes before that is done
        paths = []
        for key, score, shown in self._kept:
            if key not in numbers:
                continue
            number = numbers[key]
            folder.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{score.image}-{score.structure}")[:80]
            path = folder / f"worst-{number:02d}-{name}.png"
            image = sitk.GetImageFromArray(draw(score, shown), isVector=True)
            write_image_atomic(path, image, overwrite=True)
            paths.append(path)
        return paths


def draw(score: Score, shown: OneSlice) -> Array:
    """Return a slice with its outlines and two lines below: uint8 (rows, columns, 3)."""
    hd95 = "" if score.hd95 is None else f", HD95 {score.hd95:.1f} {score.unit}"
    title = f"{score.image}: {score.structure}, Dice {score.dice:.3f}{hd95}"
    return captioned(outlined(shown, EDGE_PX), (title, LEGEND), EDGE_PX)


def outlined(shown: OneSlice, edge: int) -> Array:
    """Return a slice in grey with the outlines of `LEGEND`: uint8 (rows, columns, 3).

    Its longer side in mm becomes ``edge`` pixels.
    """
    low, high = shown.window
    grey = np.clip((shown.image.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    lengths = [n * mm for n, mm in zip(shown.image.shape, shown.pixel_mm, strict=True)]
    height, width = (max(1, round(edge * length / max(lengths))) for length in lengths)
    colour = np.repeat((_resize(grey, width, height, cv2.INTER_LINEAR) * 255)[..., None], 3, axis=2)
    colour = colour.astype(np.uint8)
    truth, found = (_outline(mask, width, height) for mask in (shown.truth, shown.found))
    colour[truth], colour[found], colour[truth & found] = TRUTH_COLOUR, FOUND_COLOUR, BOTH_COLOUR
    return colour


def _resize(image: Array, width: int, height: int, how: int) -> Array:
    resized: Array = cv2.resize(image, (width, height), interpolation=how)
    return resized


def _outline(mask: Mask, width: int, height: int) -> Mask:
    large = _resize(mask.astype(np.uint8), width, height, cv2.INTER_NEAREST)
    # OpenCV takes what lies beyond the border for part of the mask; the border is drawn, too.
    inner = cv2.erode(np.pad(large, 1), np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    outline: Mask = (large > 0) & (inner == 0)
    return outline


def captioned(colour: Array, lines: Sequence[str], width: int) -> Array:
    """Add lines of text below a picture, uint8 (rows, columns, 3), which ``width`` may widen."""
    height = 4 + LINE_PX * len(lines)
    canvas = np.zeros((colour.shape[0] + height, max(width, colour.shape[1]), 3), np.uint8)
    left = (canvas.shape[1] - colour.shape[1]) // 2
    canvas[: colour.shape[0], left : left + colour.shape[1]] = colour
    for number, line in enumerate(lines):
        text = line.encode("ascii", "replace").decode()
        place = (4, colour.shape[0] + 16 + LINE_PX * number)
        cv2.putText(
            canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA
        )
    return canvas
