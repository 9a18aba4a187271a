"""One reliability plot of all folds of a comparison, each scored by the model that has not seen it.

    cd Testing/benchmarks/accuracy
    python reliability_of_folds.py ../../../runs/lesion/cv/five-folds/parts/from-lungs \
        --manifest ../../../runs/lesion/cache/manifest.jsonl --out reliability-lesion.png
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from isdmae_train.calibration import Calibration
from isdmae_train.cases import cases_of
from isdmae_train.config.results import EvaluateConfig
from isdmae_train.evaluate import Evaluator
from isdmae_train.score_table import read_patients

log = logging.getLogger(__name__)


def collect(parts: list[Path], manifest: Path) -> Calibration:
    """Return the chances of every held-out image by its fold's own model."""
    together: Calibration | None = None
    for part in parts:
        patients = sorted({row.patient for row in read_patients(part / "evaluation/patients.csv")})
        config = EvaluateConfig(
            model=str(part / "bundle"), manifest=manifest, patients=patients, calibration=True
        )
        cases = cases_of(config)
        evaluator = Evaluator(config, cases)
        if together is None:
            together = evaluator.calibration
        together.predictor = evaluator.predictor
        evaluator.calibration = together
        for case in cases:
            evaluator.score(case)
        log.info("%s: %d patients", part.name, len(patients))
    return together


def main() -> None:
    """Draw the plot and print the calibration error of each structure."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", type=Path, help="folder of a recipe's parts")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    parts = sorted(
        path.parents[1] for path in options.parts.glob("*-seed0-*/evaluation/patients.csv")
    )
    if not parts:
        sys.exit(f"{options.parts} holds no finished part.")
    with tempfile.TemporaryDirectory() as folder:
        curves = collect(parts, options.manifest).write(Path(folder), seed=0)
        (plot,) = Path(folder).glob("reliability-*.png")
        options.out.write_bytes(plot.read_bytes())
    for name, curve in curves.items():
        log.info("%s: %.3f [%.3f, %.3f]", name, curve["error"], curve["low"], curve["high"])
        for chance, truth in zip(curve["chance"], curve["truth"], strict=True):
            log.info("  said %.2f, was %.2f", chance, truth)


if __name__ == "__main__":
    main()
