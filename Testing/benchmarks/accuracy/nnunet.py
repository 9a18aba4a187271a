"""nnU-Net v2 on the pictures and folds of a comparison here, scored by the same rules.

    python Testing/benchmarks/accuracy/nnunet.py export --recipe Training/recipes/lesion-cv.yaml \
        --raw nnUNet_raw/Dataset501_Lesion
    nnUNetv2_plan_and_preprocess -d 501 -c 2d
    nnUNetv2_train 501 2d FOLD                            # 0, 1, ...; needs a GPU
    python Testing/benchmarks/accuracy/nnunet.py score --recipe Training/recipes/lesion-cv.yaml \
        --results nnUNet_results/Dataset501_Lesion/nnUNetTrainer__nnUNetPlans__2d \
        --beside runs/lesion/cv/BUDGET/patients.csv --out runs/nnunet

nnU-Net is no dependency of the project; the commands are those of its version 2.8.1. It learns from
the pictures alone: the CTs that a recipe has beside them are not exported. What it predicts of a
fold after its training (``fold_N/validation``) is cleaned by the recipe's ``postprocess``, picture
by picture, with the function that cleans what the models here find, and scored with the recipe's
tolerance.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from isdmae import io
from isdmae.errors import InputError
from isdmae.postprocess import clean
from isdmae.volume import Array
from isdmae_train.cases import Case, cases_of
from isdmae_train.compare_plan import folds_of, load_comparison
from isdmae_train.compare_table import (
    PartResult,
    markdown_table,
    read_results,
    table_rows,
    write_results,
)
from isdmae_train.config.compare import CompareConfig, CompareOptions
from isdmae_train.config.results import EvaluateConfig
from isdmae_train.data import read_manifest
from isdmae_train.folds import Fold
from isdmae_train.metrics import score_masks
from isdmae_train.score_table import Score, by_patient, make_score

NAME = "nnU-Net v2"
log = logging.getLogger(__name__)


def pictures_of(config: CompareConfig) -> tuple[list[Case], tuple[Fold, ...]]:
    """Return the pictures with truth of a comparison, and all of its folds."""
    manifest = config.prepare.out / "manifest.jsonl"
    budget = replace(config.budgets[config.budget], run_folds=0)
    folds = folds_of(config, budget, read_manifest(manifest))
    cases = cases_of(EvaluateConfig(model="", manifest=manifest))
    return [case for case in cases if not case.is_hu], folds


def names_of(case: Case) -> list[str]:
    """Return what each picture of a case is called in nnU-Net's folders."""
    return [f"{case.name}-{k:04d}" for k in range(len(case.paths))]


def export(config: CompareConfig, raw: Path) -> None:
    """Write a dataset in nnU-Net's raw layout, with the folds of the comparison."""
    cases, folds = pictures_of(config)
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    for case in cases:
        truth = case.truth()
        for k, (name, path) in enumerate(zip(names_of(case), case.paths, strict=True)):
            labels = np.zeros(next(iter(truth.values())).shape[1:], np.uint8)
            for value, label in enumerate(config.labels, start=1):
                labels[truth[label][k]] = value
            _write(raw / "imagesTr" / f"{name}_0000.png", io.read(path).volume.array[0])
            _write(raw / "labelsTr" / f"{name}.png", labels)
    everything = [name for case in cases for name in names_of(case)]
    held = [
        [name for case in cases if case.patient in fold.patients for name in names_of(case)]
        for fold in folds
    ]
    splits = [
        {"train": [name for name in everything if name not in set(out)], "val": out} for out in held
    ]
    facts = {
        "channel_names": {"0": "grey"},
        "labels": {"background": 0} | {name: n for n, name in enumerate(config.labels, start=1)},
        "numTraining": len(everything),
        "file_ending": ".png",
    }
    (raw / "splits_final.json").write_text(json.dumps(splits))
    (raw / "dataset.json").write_text(json.dumps(facts, indent=2))
    log.info("%d pictures, %d folds: %s", len(everything), len(folds), raw)


def _write(path: Path, array: np.ndarray) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(array.astype(np.uint8)), str(path))


def cleaned(path: Path, shape: tuple[int, ...], config: CompareConfig) -> Array:
    """Read a predicted picture and clean it as those of the models here are: uint8 (H, W).

    Raises
    ------
    InputError
        Where it is absent, or has another size than its truth, (H, W).
    """
    labels = io.read(path).volume
    if labels.shape[1:] != shape:
        raise InputError(
            "size-differs",
            f"{path} has {labels.shape[2]} x {labels.shape[1]} pixels, its truth "
            f"{shape[1]} x {shape[0]}.",
            "Predict the pictures that `export` wrote.",
        )
    return clean(labels, config.postprocess)[0].array[0]


def scores_of(case: Case, folder: Path, config: CompareConfig) -> Iterator[Score]:
    """Clean and score a case's predictions as `isdmae_train.evaluate` does those of a model here.

    Raises
    ------
    InputError
        Where a picture is not predicted, or at another size.
    """
    masks, tolerance = case.truth(), config.tolerance_mm
    shape = next(iter(masks.values())).shape[1:]
    found = [cleaned(folder / f"{name}.png", shape, config) for name in names_of(case)]
    for value, label in enumerate(config.labels, start=1):
        pairs = [(one == value, masks[label][k]) for k, one in enumerate(found)]
        for (here, there), path in zip(pairs, case.paths, strict=True):
            empty = not (here.any() or there.any())
            values = score_masks(here, there, spacing=(1.0, 1.0), tolerance=tolerance)
            title = f"{case.name}/{Path(path).name}" if case.in_stack else case.name
            yield make_score(case.patient, title, label, "slice", "px", values, empty=empty)
        if case.in_stack:
            here, there = (np.stack(masks) for masks in zip(*pairs, strict=True))
            values = score_masks(here, there, spacing=(1.0, 1.0, 1.0), tolerance=tolerance)
            empty = not (here.any() or there.any())
            yield make_score(case.patient, case.name, label, "case", "px", values, empty=empty)


def score(config: CompareConfig, results: Path, out: Path, beside: Path | None) -> list[str]:
    """Score the folds that nnU-Net has predicted; returns the lines of the table."""
    cases, folds = pictures_of(config)
    parts = list(read_results(beside)) if beside else []
    for number, fold in enumerate(folds):
        folder = results / f"fold_{number}" / "validation"
        if not folder.is_dir():
            log.info("fold %s is not predicted yet: %s", fold.name, folder)
            continue
        mine = [case for case in cases if case.patient in fold.patients]
        scores = [one for case in mine for one in scores_of(case, folder, config)]
        parts.append(
            PartResult(
                recipe=NAME, fold=fold.name, seed=0, share=1.0, patients=tuple(by_patient(scores))
            )
        )
    out.mkdir(parents=True, exist_ok=True)
    write_results(out / "patients.csv", parts)
    baseline = next((part.recipe for part in parts if part.recipe != NAME), NAME)
    return markdown_table(table_rows(parts, baseline, config.seed, by_set=True))


def main() -> None:
    """Write the dataset, or score the predictions."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", choices=("export", "score"))
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--raw", type=Path, help="export: a new folder nnUNet_raw/DatasetNNN_NAME")
    parser.add_argument(
        "--results", type=Path, help="score: the trainer's folder in nnUNet_results"
    )
    parser.add_argument("--beside", type=Path, help="score: patients.csv of a comparison here")
    parser.add_argument("--out", type=Path, default=Path("runs/nnunet"))
    options = parser.parse_args()
    needed = {"export": options.raw, "score": options.results}[options.task]
    if needed is None:
        parser.error(f"{options.task} needs --{'raw' if options.task == 'export' else 'results'}")
    try:
        config = load_comparison(CompareOptions(recipe=options.recipe))
        if options.task == "export":
            export(config, options.raw)
        else:
            lines = score(config, options.results, options.out, options.beside)
            log.info("%s", "\n".join(lines))
    except (InputError, OSError) as error:
        raise SystemExit(f"{error}") from error


if __name__ == "__main__":
    main()
