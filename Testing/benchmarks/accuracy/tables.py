"""Print the accuracy tables of models and comparisons from the scores of each patient.

    make accuracy          # the tables, from the scores in this folder
    make accuracy-train    # train and score anew first: hours on two cores; goes on if stopped

Scores are one row a patient (Testing/benchmarks/accuracy/scores); the tables' means, intervals and
paired differences are computed from them here, for each set of pictures by itself.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from isdmae_train.compare_table import markdown_table, read_results, table_rows

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SCORES = HERE / "scores"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Table:
    """One table: from which scores, and by what they are made anew."""

    title: str
    baseline: str
    """Of the paired differences."""
    recipe: str
    """Of `isdmae-train compare`; empty: ``lungs.py``."""
    budget: str = ""
    runs: str = ""
    """Folder in which training leaves ``patients.csv``."""


TABLES = {
    "lungs": Table("Lungs: the released model", "released", "", runs="runs/accuracy"),
    "lesion": Table(
        "Lesions: one fold of patients", "scratch", "lesion-cv", "one-fold", "runs/lesion/cv"
    ),
    "lesion-folds": Table(
        "Lesions: five folds, a shorter training", "scratch", "lesion-cv", "five-folds",
        "runs/lesion/cv",
    ),
    "nodule": Table("Nodules: unseen patients", "fine", "nodule-cv", "release", "runs/nodule/cv"),
    "nodule-seeds": Table(
        "Nodules: three seeds, a shorter training", "none", "nodule-cv",
        "teachers-own-resolution", "runs/nodule/cv",
    ),
    "nodule-distilled": Table(
        "Nodules: one network that learnt from those three", "own-resolution", "nodule-cv",
        "distilled-own-resolution", "runs/nodule/cv",
    ),
    "nodules-patients": Table(
        "Nodules: pre-training, few patients with labels", "none", "compare-nodules", "patients",
        "runs/compare-nodules",
    ),
    "nodules-patients-long": Table(
        "Nodules: the same, fine-tuned as long as from scratch", "isd-mae", "compare-nodules",
        "patients-long", "runs/compare-nodules",
    ),
    "nodules-patients-seeds": Table(
        "Nodules: the same with three draws of patients", "none", "compare-nodules",
        "patients-seeds", "runs/compare-nodules",
    ),
    "nodules-methods": Table(
        "Nodules: the method taken apart", "isd-mae", "compare-nodules", "methods",
        "runs/compare-nodules",
    ),
    "options-blocks": Table(
        "Nodules: encoders", "dice-ce", "compare-options", "blocks", "runs/compare-options"
    ),
    "pretraining-3d": Table(
        "Lesions: pre-training in 3D", "none-3d", "compare-3d", "longer", "runs/compare-3d"
    ),
    "blocks-3d": Table(
        "Lesions: 3D blocks", "none-3d", "compare-3d", "blocks", "runs/compare-3d"
    ),
    "views": Table("Lungs: views", "axial", "compare-views", "laptop", "runs/compare-views"),
}  # fmt: skip


def retrain(name: str, data: Path) -> None:
    """Train and score what a table needs, and keep the scores of each patient."""
    table = TABLES[name]
    if not table.recipe:
        command = [sys.executable, str(HERE / "lungs.py"), "--data", str(data)]
    else:
        command = [sys.executable, "-m", "isdmae_train", "compare", table.recipe]
        command += ["--data", str(data), "--budget", table.budget]
    subprocess.run(command, check=True, cwd=ROOT)
    scores = ROOT / table.runs / table.budget / "patients.csv"
    shutil.copyfile(scores, SCORES / f"{name}.csv")


def main() -> None:
    """Print the tables; train first where that is asked for."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = os.environ.get("ISDMAE_DATA", str(ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--train", action="store_true", help="train and score anew first")
    parser.add_argument("--only", nargs="*", choices=TABLES, default=list(TABLES))
    options = parser.parse_args()
    SCORES.mkdir(exist_ok=True)
    for name in options.only:
        table = TABLES[name]
        if options.train:
            retrain(name, options.data)
        path = SCORES / f"{name}.csv"
        if not path.is_file():
            log.info("## %s\n\nNot scored yet: make accuracy-train\n", table.title)
            continue
        rows = table_rows(read_results(path), table.baseline, seed=0, by_set=True)
        log.info("## %s\n\n%s\n", table.title, "\n".join(markdown_table(rows)))


if __name__ == "__main__":
    main()
