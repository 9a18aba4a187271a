"""What the lung model's recipe reaches on patients that it has not seen.

1. The released bundle on the pictures of covid20-2d (no picture of that set was ever trained on).
2. Each of the four scans left out in turn, of all four parts of the training (`make lungs`): train
   on the other three with fewer steps, export, evaluate on the scan's own grid.

    python Testing/benchmarks/accuracy/lungs.py --data FOLDER

Interrupted, it goes on where it was; ``--only`` shares the scans among several processes, after
which the command without it has nothing left to train. Scores of each patient: patients.csv in
``--out``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from isdmae_train.compare_table import PartResult, write_results
from isdmae_train.score_table import read_patients

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ROOT / "Training" / "recipes"
CACHE, CHESTS = "runs/lungs/cache", "runs/lungs/cache-phantoms"
PARTS = ("pretrain", "finetune", "refine", "hilum")
SCANS = ("LIDC-IDRI-0001", "LIDC-IDRI-0003", "cip-ct64", "elastix-lung")


def train(*arguments: str) -> None:
    """Run `isdmae-train` in a process of its own, as a user would; it leaves on failure."""
    command = [sys.executable, "-m", "isdmae_train", *arguments]
    subprocess.run(command, check=True, cwd=ROOT)


def leave_out(scan: str, out: Path, steps: tuple[int, ...]) -> Path:
    """Train without ``scan`` and evaluate on it; returns the folder of the scores.

    ``steps`` are those of each part.
    """
    run = out / scan
    scores = run / "evaluation"
    if (scores / "patients.csv").is_file():
        return scores
    for number, (part, count) in enumerate(zip(PARTS, steps, strict=True)):
        start = ["--start", str(run / PARTS[number - 1])] if number else []
        train(
            "finetune" if number else "pretrain", "--recipe", str(RECIPES / f"lungs-{part}.yaml"),
            "--out", str(run / part), *start,
            "--data.hold-out", scan, "--loop.steps", str(count),
        )  # fmt: skip
    train(
        "export", "--run", str(run / PARTS[-1]), "--out", str(run / "bundle"),
        "--card", str(RECIPES / "lungs-card.yaml"),
    )  # fmt: skip
    train(
        "evaluate", "--model", str(run / "bundle"), "--manifest", f"{CACHE}/manifest.jsonl",
        "--only", scan, "--out", str(scores),
    )  # fmt: skip
    return scores


def pictures(data: Path, model: str, out: Path) -> Path:
    """Evaluate the released bundle on covid20-2d; returns the folder of the scores."""
    folder = data / "covid20-2d"
    train(
        "evaluate", "--model", model, "--pictures", str(folder / "images"),
        "--truth", str(folder / "lung"), "--index", str(folder / "case_index.csv"),
        "--out", str(out / "covid20-2d"),
    )  # fmt: skip
    return out / "covid20-2d"


def main() -> None:
    """Train, evaluate, keep the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = os.environ.get("ISDMAE_DATA", str(ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "accuracy")
    parser.add_argument("--model", default="lungs")
    parser.add_argument(
        "--steps", nargs=len(PARTS), type=int, default=(60, 450, 500, 250), metavar=PARTS
    )
    parser.add_argument("--only", nargs="*", choices=("covid20-2d", *SCANS))
    options = parser.parse_args()
    recipe = ("--recipe", str(RECIPES / "lungs-prepare.yaml"), "--data", str(options.data))
    for folder, more in ((CACHE, ()), (CHESTS, ("--phantoms", "12", "--phantom-weight", "0.06"))):
        if not (ROOT / folder / "manifest.jsonl").is_file():
            train("prepare", *recipe, "--out", folder, *more)
    results = []
    for name in options.only or ["covid20-2d", *SCANS]:
        if name == "covid20-2d":
            kind, scores = "released", pictures(options.data, options.model, options.out)
        else:
            kind, scores = "left out", leave_out(name, options.out, tuple(options.steps))
        patients = tuple(read_patients(scores / "patients.csv"))
        results.append(PartResult(recipe=kind, fold=name, seed=0, share=1.0, patients=patients))
    write_results(options.out / "patients.csv", results)


if __name__ == "__main__":
    main()
