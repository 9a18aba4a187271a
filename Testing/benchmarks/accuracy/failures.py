"""The worst results of a model as one picture: truth and prediction outlined.

    python Testing/benchmarks/accuracy/failures.py --model nodule \
        --manifest runs/nodule/cache/manifest.jsonl \
        --patients-of Testing/benchmarks/accuracy/scores/nodule.csv \
        --count 12 --out Resources/docs/results/nodule-failures.png

Scans, or cases of pictures, in the order of their Dice over all slices; each is shown by the slice
with the most wrong pixels, in the middle that the model sees where that is not all of it. Publish
such a picture only of data whose licence allows it; its last line names the licence.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from isdmae.errors import InputError
from isdmae.io import write_image_atomic
from isdmae_train.cases import Case, cases_of
from isdmae_train.config.results import EvaluateConfig
from isdmae_train.data import read_manifest
from isdmae_train.evaluate import Evaluator
from isdmae_train.score_table import Score, read_patients
from isdmae_train.worst_cases import LEGEND, OneSlice, WorstCases, captioned, outlined

TILE_PX, COLUMNS, GAP_PX = 256, 4, 6
EVERY = 1_000_000
log = logging.getLogger(__name__)


def worst_of_each(cases: list[Case], evaluator: Evaluator) -> list[tuple[Score, OneSlice]]:
    """Return score and slice of every structure of every case that is not perfect, worst first."""
    middle = evaluator.predictor.bundle.info.preprocess.middle
    found = []
    for case in cases:
        evaluator.worst = WorstCases(EVERY)
        scores = evaluator.score(case)
        for score in scores:
            shown = [one for of, one in evaluator.worst.kept if of.structure == score.structure]
            if score.level in ("scan", "case") and shown:
                found.append((score, seen(max(shown, key=wrong), middle)))
    # Of several that are missed altogether those come first of which there is most to see.
    found.sort(key=lambda one: (one[0].dice, -wrong(one[1])))
    return found


def wrong(shown: OneSlice) -> int:
    """Count the wrong pixels of a slice."""
    return int((shown.found ^ shown.truth).sum())


def seen(shown: OneSlice, middle: int | None) -> OneSlice:
    """Return the middle of a slice, so many pixels wide and high; all where more is wrong."""
    if middle is None:
        return shown
    box = tuple(
        slice(max(0, (size - middle) // 2), (size + middle) // 2) for size in shown.image.shape
    )
    inside = replace(shown, image=shown.image[box], found=shown.found[box], truth=shown.truth[box])
    return inside if wrong(inside) == wrong(shown) else shown


def sheet(worst: list[tuple[Score, OneSlice]], foot: tuple[str, ...]) -> np.ndarray:
    """Lay the tiles side by side, row by row: uint8 (rows, columns, 3)."""
    tiles = [tile(score, shown) for score, shown in worst]
    height = max(one.shape[0] for one in tiles)
    width = max(one.shape[1] for one in tiles)
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    canvas = np.zeros((rows * (height + GAP_PX), columns * (width + GAP_PX) - GAP_PX, 3), np.uint8)
    for number, one in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = row * (height + GAP_PX), column * (width + GAP_PX)
        canvas[top : top + one.shape[0], left : left + one.shape[1]] = one
    return captioned(canvas, foot, canvas.shape[1])


def tile(score: Score, shown: OneSlice) -> np.ndarray:
    """Draw a slice with its Dice and its id below."""
    lines = (f"Dice {score.dice:.3f}, {score.structure}", score.image)
    return captioned(outlined(shown, TILE_PX), lines, TILE_PX)


def main() -> None:
    """Draw the picture."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--patients-of", type=Path, help="CSV: only the patients that it names")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        patients: set[str] = set()
        if options.patients_of:
            patients = {one.patient for one in read_patients(options.patients_of)}
        config = EvaluateConfig(
            model=options.model, manifest=options.manifest, patients=tuple(sorted(patients))
        )
        cases = cases_of(config)
        worst = worst_of_each(cases, Evaluator(config, cases))[: options.count]
        if not worst:
            raise SystemExit("There is nothing to show: no pixel is wrong.")
        licences = {
            entry.licence
            for entry in read_manifest(options.manifest)
            if not patients or entry.patient in patients
        }
        foot = (
            f"{LEGEND}. The worst {len(worst)} of {len(cases)} cases.",
            f"Model {options.model}; licence of the images: {', '.join(sorted(licences))}",
        )
        image = sitk.GetImageFromArray(sheet(worst, foot), isVector=True)
        write_image_atomic(options.out, image, overwrite=True)
    except (InputError, OSError) as error:
        raise SystemExit(f"{error}") from error
    for score, _ in worst:
        log.info("%.3f %s", score.dice, score.image)


if __name__ == "__main__":
    main()
