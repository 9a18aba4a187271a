"""Print the accuracy tables of the released models from the scores of each patient.

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
from pathlib import Path

from isdmae_train.compare_table import markdown_table, read_results, table_rows

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SCORES = HERE / "scores"
RECIPES = ROOT / "Training" / "recipes"
log = logging.getLogger(__name__)

TABLES = {
    # name: title, the baseline of the differences, where training leaves the scores
    "lungs": ("Lungs: patients that the model has not seen", "released", "runs/accuracy"),
    "lesion": ("Lesions: one fold of patients", "scratch", "runs/lesion/cv/one-fold"),
    "lesion-folds": (
        "Lesions: all five folds, a shorter training",
        "scratch",
        "runs/lesion/cv/five-folds",
    ),
    "nodule": ("Nodules: unseen patients", "none", "runs/nodule/cv/release"),
}


def retrain(name: str, data: Path) -> None:
    """Train and score what a table needs, and keep the scores of each patient."""
    if name == "lungs":
        command = [sys.executable, str(HERE / "lungs.py"), "--data", str(data)]
    else:
        recipe = str(RECIPES / f"{name.split('-', maxsplit=1)[0]}-cv.yaml")
        command = [sys.executable, "-m", "isdmae_train", "compare", "--recipe", recipe]
        command += ["--data", str(data), "--budget", Path(TABLES[name][2]).name]
    subprocess.run(command, check=True, cwd=ROOT)
    shutil.copyfile(ROOT / TABLES[name][2] / "patients.csv", SCORES / f"{name}.csv")


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
        title, baseline, _ = TABLES[name]
        if options.train:
            retrain(name, options.data)
        path = SCORES / f"{name}.csv"
        if not path.is_file():
            log.info("## %s\n\nNot scored yet: make accuracy-train\n", title)
            continue
        rows = table_rows(read_results(path), baseline, seed=0, by_set=True)
        log.info("## %s\n\n%s\n", title, "\n".join(markdown_table(rows)))


if __name__ == "__main__":
    main()
