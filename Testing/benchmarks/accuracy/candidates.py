"""How many nodules a search for candidates finds, and how many of its candidates are none.

    python Testing/benchmarks/accuracy/candidates.py [--phantoms SEED ...] [--model FOLDER]

By default on the real CTs with at least two readers' marks, and on two CTs whose nodules nobody
marked. A candidate is true where 30 % of it are a nodule; in the unmarked CTs any may be one.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from nodule_points import ROOT, cases, nodules

from isdmae.inference import Predictor
from isdmae.io import read
from isdmae.volume import Array, Volume, to_lps_order

UNMARKED = {
    "ct-64": "cip-ct64/ct-64.nrrd",
    "elastix": "elastix-lung/ct_registered_to_baseline.mha",
}
TRUE_SHARE = 0.3
log = logging.getLogger(__name__)


def scans(data: Path, phantoms: list[int] | None) -> Iterator[tuple[str, Volume, list[Array]]]:
    """Yield name, CT in LPS order and nodules, of the phantoms or else of the real scans."""
    for name, scan, truth in cases(data, phantoms):
        yield name, scan, nodules(truth)
    if phantoms is None:
        for name, file in UNMARKED.items():
            yield name, to_lps_order(read(data / file).volume)[0], []


def main() -> None:
    """Print one row for each scan."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = os.environ.get("ISDMAE_DATA", str(ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--model", default="nodule")
    parser.add_argument("--phantoms", type=int, nargs="+", metavar="SEED")
    options = parser.parse_args()
    predictor = Predictor(options.model, device="cpu", precision="float32")
    log.info("| scan | nodules | found | missed (mL) | other candidates (mL) | s |")
    log.info("|---|---|---|---|---|---|")
    for name, scan, truth in scans(options.data, options.phantoms):
        log.info("%s", row(name, scan, truth, predictor))


def row(name: str, scan: Volume, truth: list[Array], predictor: Predictor) -> str:
    """Search a scan and return its line of the table."""
    result = predictor.segment(scan, search=True)
    hit: set[int] = set()
    others = []
    for label in result.labels:
        part = result.labelmap.array == label.value
        true = [n for n, one in enumerate(truth) if (one & part).sum() > TRUE_SHARE * part.sum()]
        hit.update(true)
        if not true:
            others.append(part.sum() * scan.voxel_ml)
    missed = [one.sum() * scan.voxel_ml for n, one in enumerate(truth) if n not in hit]
    seconds = sum(result.seconds.values())
    return (
        f"| {name} | {len(truth)} | {len(hit)} | {_list(missed)} | {len(others)}: "
        f"{_list(others)} | {seconds:.0f} |"
    )


def _list(millilitres: list[np.floating]) -> str:
    return ", ".join(f"{ml:.2f}" for ml in millilitres)


if __name__ == "__main__":
    main()
