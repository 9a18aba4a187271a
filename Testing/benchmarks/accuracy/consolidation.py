"""How much of what lies in synthetic lungs, or touches their wall, is found there.

    python Testing/benchmarks/accuracy/consolidation.py [--model FOLDER ...] [--coarse]

The chests have seeds that no model was trained on (`prepare` makes 1000, 1001, ...).
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace

from isdmae.inference import Predictor
from isdmae.labels import CONSOLIDATION, GROUND_GLASS
from isdmae.phantom import PhantomConfig, make_phantom

SEEDS = (77, 79, 101, 102)
COARSE = PhantomConfig(shape=(48, 96, 112), spacing_mm=(3.2, 3.2, 6.4))
log = logging.getLogger(__name__)


def main() -> None:
    """Print the share of each lesion's voxels that each model labels."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", nargs="+", default=["lungs", "covid-lesion"])
    parser.add_argument("--coarse", action="store_true", help="pixels of 3.2 mm")
    options = parser.parse_args()
    grid = COARSE if options.coarse else PhantomConfig()
    log.info("| model | seed | consolidation | ground glass |\n|---|--:|--:|--:|")
    for model in options.model:
        predictor = Predictor(model, device="cpu")
        for seed in SEEDS:
            chest = make_phantom(replace(grid, seed=seed))
            found = predictor.segment(chest.ct).labelmap.array > 0
            shares = [
                found[chest.lesions.array == label.value].mean()
                for label in (CONSOLIDATION, GROUND_GLASS)
            ]
            log.info("| %s | %d | %.2f | %.2f |", model, seed, *shares)


if __name__ == "__main__":
    main()
