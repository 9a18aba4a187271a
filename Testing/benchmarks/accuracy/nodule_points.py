"""Whole nodules from one point each, on the real CTs that come with at least two readers' marks.

    python Testing/benchmarks/accuracy/nodule_points.py [--model FOLDER] [--data FOLDER]
    python Testing/benchmarks/accuracy/nodule_points.py --phantoms 79 102 --clicks 0

The patients (LIDC-IDRI-0001 and -0003) are not among those of the nodule crops. For each nodule the
point lies in its middle, then at ``--clicks`` places that a hand might hit instead: a random voxel
of the nodule, brought 40 % nearer to the middle. ``--phantoms`` takes synthetic chests instead,
whose pixels of 1.6 mm are coarser than any that the model learnt from.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from isdmae.inference import Predictor
from isdmae.io import read
from isdmae.labels import NODULE
from isdmae.phantom import PhantomConfig, make_phantom
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
    parser.add_argument("--phantoms", type=int, nargs="+", metavar="SEED")
    options = parser.parse_args()
    predictor = Predictor(options.model, device="cpu", precision="float32")
    chance = np.random.default_rng(options.seed)
    log.info(
        "| scan | slices | truth mL | found mL | truth mm | found mm | Dice | Dice of clicks |"
    )
    log.info("|---|---|---|---|---|---|---|---|")
    for name, scan, truth in cases(options.data, options.phantoms):
        for nodule in nodules(truth):
            log.info("%s", row(name, scan, nodule, predictor, options.clicks, chance))


def cases(data: Path, phantoms: list[int] | None) -> Iterator[tuple[str, Volume, Volume]]:
    """Yield name, CT and nodules, in LPS order, of each phantom or else of each real scan."""
    for seed in phantoms or []:
        chest = make_phantom(PhantomConfig(seed=seed))
        nodule = chest.lesions.array == NODULE.value
        yield f"phantom {seed}", chest.ct, chest.lesions.with_array(nodule)
    for name, file in SCANS.items() if phantoms is None else ():
        scan, _ = to_lps_order(read(data / "lidc" / file).volume)
        truth, _ = to_lps_order(read(data / "lidc" / f"{name}_nodule.nii.gz").volume)
        yield name, scan, truth


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
    spread = (
        f"{np.mean(dice[1:]):.3f} ({min(dice[1:]):.3f} to {max(dice[1:]):.3f})" if clicks else ""
    )
    return (
        f"| {name} | {nodule.any((1, 2)).sum()} | {nodule.sum() * scan.voxel_ml:.2f} | "
        f"{found[0].sum() * scan.voxel_ml:.2f} | {millimetres[0]:.1f} | {millimetres[1]:.1f} | "
        f"{dice[0]:.3f} | {spread} |"
    )


if __name__ == "__main__":
    main()
