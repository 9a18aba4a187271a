"""Whole nodules from one point each, on the real CTs that come with at least two readers' marks.

    python Testing/benchmarks/accuracy/nodule_points.py [--model FOLDER] [--data FOLDER]

The patients (LIDC-IDRI-0001 and -0003) are not among those of the nodule crops. For each nodule the
point lies in its middle, then at ``--clicks`` places that a hand might hit instead: a random voxel
of the nodule, brought 40 % nearer to the middle.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from isdmae.inference import Predictor
from isdmae.io import read
from isdmae.points import Point, longest_diameter_mm
from isdmae.volume import Array, Volume, to_lps_order

ROOT = Path(__file__).resolve().parents[3]
SCANS = {"LIDC-IDRI-0001": "LIDC-IDRI-0001-dicom", "LIDC-IDRI-0003": "LIDC-IDRI-0003_ct.nii.gz"}
TOWARDS_THE_MIDDLE = 0.4
log = logging.getLogger(__name__)


def nodules(truth: Volume) -> list[Array]:
    """Return each connected part of a truth in LPS order as bool (k, j, i)."""
    image = sitk.GetImageFromArray((truth.array > 0).astype(np.uint8))
    numbers = sitk.GetArrayFromImage(sitk.ConnectedComponent(image, True))
    return [numbers == number for number in range(1, int(numbers.max()) + 1)]


def points_in(nodule: Array, scan: Volume, clicks: int, chance: np.random.Generator) -> list[Point]:
    """Return the middle of a nodule, then ``clicks`` places near it, in LPS mm."""
    voxels = np.argwhere(nodule)
    middle = voxels.mean(axis=0)
    others = voxels[chance.integers(len(voxels), size=clicks)]
    places = [middle, *(other + TOWARDS_THE_MIDDLE * (middle - other) for other in others)]
    points = [scan.affine @ (*place[::-1], 1.0) for place in places]
    return [(float(x), float(y), float(z)) for x, y, z, _ in points]


def main() -> None:
    """Print one row for each nodule."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = os.environ.get("ISDMAE_DATA", str(ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--model", default="nodule")
    parser.add_argument("--clicks", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    predictor = Predictor(options.model, device="cpu", precision="float32")
    chance = np.random.default_rng(options.seed)
    log.info(
        "| scan | slices | truth mL | found mL | truth mm | found mm | Dice | Dice of clicks |"
    )
    log.info("|---|---|---|---|---|---|---|---|")
    for name, file in SCANS.items():
        scan, _ = to_lps_order(read(options.data / "lidc" / file).volume)
        truth, _ = to_lps_order(read(options.data / "lidc" / f"{name}_nodule.nii.gz").volume)
        for nodule in nodules(truth):
            log.info("%s", row(name, scan, nodule, predictor, options.clicks, chance))


def row(
    name: str,
    scan: Volume,
    nodule: Array,
    predictor: Predictor,
    clicks: int,
    chance: np.random.Generator,
) -> str:
    """Segment a nodule at each point and return its line of the table."""
    found = [
        predictor.segment(scan, points=[point]).labelmap.array > 0
        for point in points_in(nodule, scan, clicks, chance)
    ]
    dice = [2 * (one & nodule).sum() / (one.sum() + nodule.sum()) for one in found]
    millimetres = [
        longest_diameter_mm(one.astype(np.uint8), scan.spacing_mm).get(1, 0.0)
        for one in (nodule, found[0])
    ]
    spread = f"{np.mean(dice[1:]):.3f} ({min(dice[1:]):.3f} to {max(dice[1:]):.3f})"
    return (
        f"| {name} | {nodule.any((1, 2)).sum()} | {nodule.sum() * scan.voxel_ml:.2f} | "
        f"{found[0].sum() * scan.voxel_ml:.2f} | {millimetres[0]:.1f} | {millimetres[1]:.1f} | "
        f"{dice[0]:.3f} | {spread if clicks else ''} |"
    )


if __name__ == "__main__":
    main()
