"""Where the lung model errs on covid20-2d: in excess or missed, at the border, in lesions.

    python Testing/benchmarks/accuracy/lung_errors.py [--model FOLDER] [--every 4]

Shares of the true lungs' area, the mean over patients. The border is one pixel on either side.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import ndimage

from isdmae.inference import Predictor
from isdmae.io import read

ROOT = Path(__file__).resolve().parents[3]
KINDS = ("excess", "excess at the border", "missed", "missed at the border", "missed lesion")
log = logging.getLogger(__name__)


def shares(found: np.ndarray, lung: np.ndarray, lesion: np.ndarray) -> list[float]:
    """Return the shares of `KINDS` of one picture; masks are bool (H, W)."""
    excess, missed = found & ~lung, lung & ~found
    masks = (
        excess,
        excess & ndimage.binary_dilation(lung),
        missed,
        missed & ~ndimage.binary_erosion(lung),
        missed & lesion,
    )
    return [float(mask.sum() / lung.sum()) for mask in masks]


def main() -> None:
    """Print a row for each patient, and the mean."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = os.environ.get("ISDMAE_DATA", str(ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--model", default="lungs")
    parser.add_argument("--every", type=int, default=4, help="take every so many-th picture")
    options = parser.parse_args()
    predictor, folder = Predictor(options.model, device="cpu"), options.data / "covid20-2d"
    with (folder / "case_index.csv").open(encoding="utf-8", newline="") as file:
        index = list(csv.DictReader(file))
    patients: dict[str, list[list[float]]] = defaultdict(list)
    for row in index[:: options.every]:
        image, lung, lesion = (
            read(folder / name / row["file"]).volume for name in ("images", "lung", "infection")
        )
        found = predictor.segment(image).labelmap.array[0] > 0
        truth, sick = lung.array[0] > 127, lesion.array[0] > 127
        patients[row["patient"]].append(shares(found, truth, sick))
    log.info("| patient | %s |\n|---%s|", " | ".join(KINDS), "|--:" * len(KINDS))
    rows = {name: np.mean(values, axis=0) for name, values in sorted(patients.items())}
    for name, row in {**rows, "mean": np.mean(list(rows.values()), axis=0)}.items():
        log.info("| %s | %s |", name, " | ".join(f"{100 * value:.1f} %" for value in row))


if __name__ == "__main__":
    main()
