"""What the default model's recipe reaches on patients that it has not seen.

1. The released bundle on the pictures of covid20-2d (no picture of that set was ever trained on).
2. Each of the four scans left out in turn, of pre-training and fine-tuning alike: train on the
   other three with fewer steps, export, evaluate on the scan's own grid.

    make accuracy        # or: python Testing/benchmarks/lungs_accuracy.py --data FOLDER

Interrupted, it goes on where it was. The tables are printed and written to ``--out``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "Training" / "recipes"
SCANS = ("LIDC-IDRI-0001", "LIDC-IDRI-0003", "cip-ct64", "elastix-lung")
log = logging.getLogger(__name__)


def train(*arguments: str) -> None:
    """Run `isdmae-train` in a process of its own, as a user would; it leaves on failure."""
    command = [sys.executable, "-m", "isdmae_train", *arguments]
    subprocess.run(command, check=True, cwd=ROOT)


def leave_out(scan: str, out: Path, steps: tuple[int, int]) -> Path:
    """Train without ``scan`` and evaluate on it; returns the summary.

    ``steps`` are those of pre-training and of fine-tuning.
    """
    run = out / scan
    summary = run / "evaluation" / "summary.json"
    if summary.is_file():
        return summary
    train(
        "pretrain", "--recipe", str(RECIPES / "lungs-pretrain.yaml"),
        "--out", str(run / "pretrain"),
        "--data.hold-out", scan, "--loop.steps", str(steps[0]),
    )  # fmt: skip
    train(
        "finetune", "--recipe", str(RECIPES / "lungs-finetune.yaml"),
        "--out", str(run / "finetune"), "--start", str(run / "pretrain"),
        "--data.hold-out", scan, "--loop.steps", str(steps[1]),
    )  # fmt: skip
    train(
        "export", "--run", str(run / "finetune"), "--out", str(run / "bundle"),
        "--card", str(RECIPES / "lungs-card.yaml"),
    )  # fmt: skip
    train(
        "evaluate", "--model", str(run / "bundle"), "--manifest", "runs/lungs/cache/manifest.jsonl",
        "--only", scan, "--out", str(summary.parent),
    )  # fmt: skip
    return summary


def pictures(data: Path, model: str, out: Path) -> Path:
    """Evaluate the released bundle on covid20-2d; returns the summary."""
    folder = data / "covid20-2d"
    train(
        "evaluate", "--model", model, "--pictures", str(folder / "images"),
        "--truth", str(folder / "lung"), "--index", str(folder / "case_index.csv"),
        "--out", str(out / "covid20-2d"),
    )  # fmt: skip
    return out / "covid20-2d" / "summary.json"


def main() -> None:
    """Train, evaluate, print."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = os.environ.get("ISDMAE_DATA", str(ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "accuracy")
    parser.add_argument("--model", default="lungs")
    parser.add_argument("--pretrain-steps", type=int, default=60)
    parser.add_argument("--finetune-steps", type=int, default=450)
    parser.add_argument("--only", nargs="*", choices=("covid20-2d", *SCANS))
    options = parser.parse_args()
    if not (ROOT / "runs" / "cache" / "manifest.jsonl").is_file():
        train(
            "prepare", "--recipe", str(RECIPES / "lungs-prepare.yaml"), "--data", str(options.data)
        )
    chosen = options.only or ["covid20-2d", *SCANS]
    rows = ["| data | structure | Dice | worst patient | patients |", "|---|---|---|---|---|"]
    for name in chosen:
        if name == "covid20-2d":
            summary = pictures(options.data, options.model, options.out)
        else:
            steps = (options.pretrain_steps, options.finetune_steps)
            summary = leave_out(name, options.out, steps)
        structures = json.loads(summary.read_text(encoding="utf-8"))["structures"]
        for structure, levels in structures.items():
            (level,) = levels
            values = levels[level]["dice"]
            interval = (
                f" [{values['low']:.4f}, {values['high']:.4f}]" if values["count"] > 1 else ""
            )
            rows.append(
                f"| {name} | {structure} | {values['mean']:.4f}{interval} | "
                f"{values['worst']:.4f} | {values['count']} |"
            )
    log.info("\n%s", "\n".join(rows))


if __name__ == "__main__":
    main()
