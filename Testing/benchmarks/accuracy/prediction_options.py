"""What an option of prediction gives in accuracy, and what it costs in time.

    cd Testing/benchmarks/accuracy
    python prediction_options.py --model lungs --pictures FOLDER/covid20-2d/images \
        --truth FOLDER/covid20-2d/lung --index FOLDER/covid20-2d/case_index.csv
    python prediction_options.py --model nodule --manifest runs/nodule/cache/manifest.jsonl \
        --patients-of scores/nodule.csv
    python prediction_options.py --parts runs/lesion/cv/BUDGET/parts/RECIPE/fold* \
        --manifest runs/lesion/cache/manifest.jsonl

Each case is segmented by all ways in turns, so that a busy moment slows all of them. The parts of
a comparison are scored on the patients that each held out. Three views are tried of CTs in HU, by a
2D model of whole scans that looks at axial slices; "any size" takes from a model what makes it see
all lungs at one size.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import shutil
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from isdmae.inference import Predictor
from isdmae_train.cases import Case, cases_of
from isdmae_train.compare_table import PartResult, table_rows
from isdmae_train.config.results import EvaluateConfig
from isdmae_train.evaluate import Evaluator
from isdmae_train.score_table import Score, by_patient

log = logging.getLogger(__name__)
RELEASED = "as released"
"""What the other ways are compared with."""
Scores = dict[str, list[Score]]
Seconds = dict[str, list[float]]


def ways_of(released: Predictor, cases: list[Case], folder: Path) -> dict[str, dict[str, object]]:
    """Return what is changed in each other way that a model has with these images.

    A changed model is written to ``folder``.
    """
    ways: dict[str, dict[str, object]] = {"mirror": {"mirror": True}}
    info = released.bundle.info
    if info.lung_model:
        ways["any size"] = {"model": str(_of_any_size(released.bundle.folder, folder))}
    of_slices = info.network.spatial_dims == 2 and info.crop_edge is None
    in_hu = any(case.is_hu for case in cases) and not info.preprocess.ct_as_picture
    if of_slices and in_hu and released.views == ("axial",):
        ways["three views"] = {"views": ("axial", "coronal", "sagittal")}
    return ways


def _of_any_size(bundle: Path, folder: Path) -> Path:
    shutil.copytree(bundle, folder, dirs_exist_ok=True)
    info = folder / "model.json"
    plain = json.loads(info.read_text("utf-8")) | {"lung_model": ""}
    info.write_text(json.dumps(plain), "utf-8")
    return folder


def table(options: argparse.Namespace) -> list[str]:
    """Segment, score and time every case by every way; returns the lines of a table."""
    scores: Scores = defaultdict(list)
    seconds: Seconds = defaultdict(list)
    if not options.parts:
        add(options, options.model, options.patients_of, scores, seconds)
    for part in options.parts:
        add(options, str(part / "bundle"), part / "evaluation" / "patients.csv", scores, seconds)
    parts = [
        PartResult(recipe=name, fold="", seed=0, share=1.0, patients=tuple(by_patient(found)))
        for name, found in scores.items()
    ]
    # The patients of a folder of pictures are not named by a set.
    by_set = options.manifest is not None
    return lines(table_rows(parts, RELEASED, 0, by_set=by_set), seconds)


def add(
    options: argparse.Namespace,
    model: str,
    patients: Path | None,
    scores: Scores,
    seconds: Seconds,
) -> None:
    """Add what a model reaches in each way on the patients that a table of scores names."""
    config = EvaluateConfig(
        model=model,
        manifest=options.manifest,
        pictures=options.pictures,
        truth=options.truth,
        index=options.index,
        patients=patients_in(patients) if patients else (),
    )
    cases = cases_of(config)
    evaluators = {RELEASED: Evaluator(config, cases)}
    with tempfile.TemporaryDirectory() as folder:
        ways = ways_of(evaluators[RELEASED].predictor, cases, Path(folder))
        for name, way in ways.items():
            evaluators[name] = Evaluator(replace(config, **way), cases)
    for evaluator in evaluators.values():  # what the first image costs once
        evaluator.score(cases[0])
    for case in cases:
        for name, evaluator in evaluators.items():
            before = evaluator.seconds
            scores[name] += evaluator.score(case)
            seconds[name].append(evaluator.seconds - before)


def lines(rows: list[dict], seconds: dict[str, list[float]]) -> list[str]:
    """Lay the rows out, each with the time of its way."""
    base = np.array(seconds[RELEASED])
    several = any("set" in row for row in rows)
    head = [
        "structure",
        *(["set"] if several else []),
        "of each",
        "way",
        "Dice",
        "difference",
        "images",
        "patients",
        "time",
    ]
    result = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        dice, difference = row["dice"], row.get("dice_difference")
        words = [
            row["structure"],
            *([row["set"] or "-"] if several else []),
            row["level"],
            row["recipe"],
            f"{dice['mean']:.4f} [{dice['low']:.4f}, {dice['high']:.4f}]",
            "-"
            if difference is None
            else f"{difference['mean']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]",
            str(row["images"]),
            str(row["patients"]),
            f"{np.median(np.array(seconds[row['recipe']]) / base):.2f}x",
        ]
        result.append(f"| {' | '.join(words)} |")
    return result


def patients_in(scores: Path) -> tuple[str, ...]:
    """Return the patients that a table of scores has."""
    with scores.open(encoding="utf-8", newline="") as file:
        return tuple(sorted({row["patient"] for row in csv.DictReader(file)}))


def main() -> None:
    """Print the table."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="lungs")
    parser.add_argument("--parts", type=Path, nargs="*", default=[], help="of a comparison")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--patients-of", type=Path, help="CSV: only the patients that it names")
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--index", type=Path)
    log.info("%s", "\n".join(table(parser.parse_args())))


if __name__ == "__main__":
    main()
