"""`evaluate`: a bundle against truth, by patient, with a fixed rule and every miss counted."""

from __future__ import annotations

import csv
import json
import logging
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from isdmae import io
from isdmae.atomic import write_text_atomic
from isdmae.errors import InputError
from isdmae.inference import Predictor
from isdmae.labels import Label

from .config import EvaluateConfig
from .data import read_manifest
from .metrics import dice, summarise

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Dice of one structure in one image."""

    patient: str
    image: str
    structure: str
    dice: float


def evaluate(config: EvaluateConfig) -> dict[str, dict[str, float]]:
    """Predict, compare, print and write ``scores.csv`` and ``summary.json`` to ``config.out``.

    Scans are compared on their own grid. A patient's score is the mean over its images; the
    summary is over patients.

    Returns
    -------
    dict
        For each structure the fields of `isdmae_train.metrics.Summary`.
    """
    predictor = Predictor(config.model, device=config.device)
    if config.manifest is not None and config.pictures is None:
        scores = _scan_scores(config.manifest, config.only, predictor)
    elif config.pictures is not None and config.truth is not None and config.manifest is None:
        patients = _patients(config.index)
        scores = _picture_scores(config.pictures, config.truth, patients, predictor)
    else:
        raise InputError(
            "bad-usage", "Give a manifest, or pictures and their truth.", "See --help."
        )
    config.out.mkdir(parents=True, exist_ok=True)
    _write_csv(config.out / "scores.csv", scores)
    summary = _summarise(scores, config.seed)
    text = json.dumps(summary, indent=2) + "\n"
    write_text_atomic(config.out / "summary.json", text, overwrite=True)
    return summary


def _scan_scores(manifest: Path, only: tuple[str, ...], predictor: Predictor) -> list[Score]:
    entries = [
        entry for entry in read_manifest(manifest) if entry.truth and (not only or entry.id in only)
    ]
    if not entries:
        raise InputError("no-truth", "No scan with truth was chosen.", "Check --only.")
    scores = []
    for entry in tqdm(entries, desc="evaluate", unit="scan"):
        truth = io.read(manifest.parent / str(entry.truth)).volume.array
        found = predictor.segment(io.read(entry.source).volume).labelmap.array
        present = [label for label in predictor.bundle.info.labels if (truth == label.value).any()]
        for label in (*present, None):
            scores.append(_score(entry.patient, entry.id, label, found, truth))
    return scores


def _score(
    patient: str, image: str, label: Label | None, found: np.ndarray, truth: np.ndarray
) -> Score:
    if label is None:
        value = dice(found > 0, truth > 0)
    else:
        value = dice(found == label.value, truth == label.value)
    name = "all together" if label is None else label.name
    return Score(patient=patient, image=image, structure=name, dice=value)


def _picture_scores(
    pictures: Path, truth: Path, patients: dict[str, str], predictor: Predictor
) -> list[Score]:
    scores = []
    for path in tqdm(sorted(pictures.glob("*.png")), desc="evaluate", unit="picture"):
        mask = io.read(truth / path.name).volume.array
        found = predictor.segment(io.read(path).volume).labelmap.array
        patient = patients.get(path.name, path.name)
        scores.append(_score(patient, path.name, None, found, mask > mask.max() / 2))
    if not scores:
        raise InputError("no-pictures", f"{pictures} holds no PNG.", "Check the folder.")
    return scores


def _patients(index: Path | None) -> dict[str, str]:
    if index is None:
        return {}
    with index.open(encoding="utf-8", newline="") as file:
        return {row["file"]: row["patient"] for row in csv.DictReader(file)}


def _write_csv(path: Path, scores: list[Score]) -> None:
    lines = ["patient,image,structure,dice"]
    lines += [f"{s.patient},{s.image},{s.structure},{s.dice:.6f}" for s in scores]
    write_text_atomic(path, "\n".join(lines) + "\n", overwrite=True)


def _summarise(scores: list[Score], seed: int) -> dict[str, dict[str, float]]:
    summary = {}
    for structure in dict.fromkeys(score.structure for score in scores):
        by_patient = defaultdict(list)
        for score in scores:
            if score.structure == structure:
                by_patient[score.patient].append(score.dice)
        result = summarise([float(np.mean(values)) for values in by_patient.values()], seed=seed)
        for patient, values in sorted(by_patient.items()):
            log.info("  %-24s %-14s %.4f  (%d)", patient, structure, np.mean(values), len(values))
        log.info("Dice, %s, mean over patients: %s", structure, result)
        summary[structure] = asdict(result)
    return summary
