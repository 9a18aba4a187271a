"""Draw the Dice of every unseen patient of the released models, from the scores in this folder.

python Testing/benchmarks/accuracy/draw_scores.py [--out Resources/docs/results/models.png]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from isdmae_train.compare_table import read_results

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from measure import figure_of  # noqa: E402

GROUPS = {
    # title: table of scores, level, how the names of its patients begin, the target
    "Lungs: 14 patients with COVID-19": ("lungs", "slice", "", 0.975),
    "Lesions: 14 patients (five folds)": ("lesion-folds", "case", "covid20-", 0.80),
    "Lesions: 50 single pictures (five folds)": ("lesion-folds", "slice", "infnet-", 0.78),
    "Nodules: 83 patients": ("nodule", "case", "", 0.84),
}


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = HERE.parents[2] / "Resources" / "docs" / "results" / "models.png"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    figure, axes = figure_of(len(GROUPS))
    for axis, (title, (table, level, head, target)) in zip(axes, GROUPS.items(), strict=True):
        scores = [
            patient.dice
            for part in read_results(HERE / "scores" / f"{table}.csv")
            for patient in part.patients
            if patient.level == level and patient.patient.startswith(head)
        ]
        dice = np.sort(scores)[::-1]
        axis.plot(np.arange(1, len(dice) + 1), dice, "o", markersize=4)
        axis.axhline(dice.mean(), color="tab:blue", linewidth=1, label=f"mean {dice.mean():.3f}")
        axis.axhline(target, color="grey", linewidth=1, linestyle="--", label=f"aim {target:g}")
        axis.set_title(title, fontsize=9)
        axis.set_ylim(0, 1.02)
        axis.set_xlabel("patients, the best first" if len(dice) > 10 else "the best first")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=8, loc="lower left")
    axes[0].set_ylabel("Dice")
    figure.savefig(options.out, dpi=90)


if __name__ == "__main__":
    main()
