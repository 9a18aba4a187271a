"""`evaluate`: a bundle against truth, by patient, with a fixed rule and every miss counted."""

from __future__ import annotations

import csv
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
from tqdm import tqdm

from isdmae import io
from isdmae.atomic import write_text_atomic
from isdmae.errors import InputError, IsdmaeError
from isdmae.inference import Predictor
from isdmae.labels import Label

from .config import EvaluateConfig
from .data import ManifestEntry, read_manifest
from .metrics import dice, summarise

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Dice of one structure in one image."""

    patient: str
    image: str
    structure: str
    dice: float


Item = tuple[str, Callable[[], list[Score]]]
"""The name of an image, and what scores it."""


def evaluate(config: EvaluateConfig) -> dict[str, dict[str, float]]:
    """Predict, compare, print and write ``scores.csv`` and ``summary.json`` to ``config.out``.

    Scans are compared on their own grid. A structure scores where the truth or the prediction
    holds it, so one that is found where there is none counts 0. A patient's score is the mean over
    its images; the summary is over patients.

    Returns
    -------
    dict
        For each structure the fields of `isdmae_train.metrics.Summary`.

    Raises
    ------
    InputError
        Where the choice of images is wrong, or none of them could be scored; ``images-skipped``
        where some could not, after the table of the others was written.
    """
    items, unit = _items(config)
    scores, left_out = _score_each(items, unit)
    config.out.mkdir(parents=True, exist_ok=True)
    _write_csv(config.out / "scores.csv", scores)
    summary = _summarise(scores, config.seed)
    text = json.dumps(summary, indent=2) + "\n"
    write_text_atomic(config.out / "summary.json", text, overwrite=True)
    if left_out:
        raise InputError(
            "images-skipped",
            f"{len(left_out)} of {len(items)} {unit}s are not in the table: {'; '.join(left_out)}.",
            "Mend them or leave them out.",
        )
    return summary


def _items(config: EvaluateConfig) -> tuple[list[Item], str]:
    """Return what is to be scored, and what one of it is called; all checks come before work."""
    if config.manifest is not None and config.pictures is None:
        return _scans(config, config.manifest), "scan"
    if config.pictures is not None and config.truth is not None and config.manifest is None:
        return _pictures(config, config.pictures, config.truth), "picture"
    raise InputError("bad-usage", "Give a manifest, or pictures and their truth.", "See --help.")


def _score_each(items: list[Item], unit: str) -> tuple[list[Score], list[str]]:
    scores: list[Score] = []
    left_out: list[str] = []
    for name, score in tqdm(items, desc="evaluate", unit=unit):
        try:
            scores += score()
        except IsdmaeError as error:
            left_out.append(f"{name}: {error}")
    if not scores:
        raise InputError(
            "nothing-evaluated",
            f"None of {len(items)} {unit}s could be scored.",
            f"The first: {left_out[0]}",
        )
    return scores, left_out


def _scans(config: EvaluateConfig, manifest: Path) -> list[Item]:
    entries = _choose(read_manifest(manifest), config.only)
    predictor = Predictor(config.model, device=config.device)
    return [
        (entry.id, partial(_scan_scores, entry, manifest.parent, predictor)) for entry in entries
    ]


def _choose(entries: list[ManifestEntry], only: tuple[str, ...]) -> list[ManifestEntry]:
    unknown = sorted(set(only) - {entry.id for entry in entries})
    if unknown:
        known = ", ".join(entry.id for entry in entries)
        raise InputError(
            "unknown-scan",
            f"The manifest does not list {', '.join(unknown)}.",
            f"It lists {known}.",
        )
    chosen = [entry for entry in entries if not only or entry.id in only]
    without = [entry.id for entry in chosen if not entry.truth]
    if len(without) == len(chosen) or (only and without):
        raise InputError(
            "no-truth", f"There is no truth for {', '.join(without)}.", "Check --only."
        )
    return [entry for entry in chosen if entry.truth]


def _scan_scores(entry: ManifestEntry, folder: Path, predictor: Predictor) -> list[Score]:
    truth = io.read(folder / str(entry.truth)).volume.array
    scan = io.read(entry.source).volume
    _refuse_other_size(truth, scan.array)
    found = predictor.segment(scan).labelmap.array
    labels = [
        label
        for label in predictor.bundle.info.labels
        if (truth == label.value).any() or (found == label.value).any()
    ]
    return [_score(entry.patient, entry.id, label, found, truth) for label in (*labels, None)]


def _refuse_other_size(truth: np.ndarray, image: np.ndarray) -> None:
    if truth.shape != image.shape:
        raise InputError(
            "size-differs",
            f"The truth has {_size(truth)} voxels and the image {_size(image)}.",
            "Give the truth on the image's own grid.",
        )


def _size(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape[::-1]))


def _score(
    patient: str, image: str, label: Label | None, found: np.ndarray, truth: np.ndarray
) -> Score:
    if label is None:
        value = dice(found > 0, truth > 0)
    else:
        value = dice(found == label.value, truth == label.value)
    name = "all together" if label is None else label.name
    return Score(patient=patient, image=image, structure=name, dice=value)


def _pictures(config: EvaluateConfig, pictures: Path, truth: Path) -> list[Item]:
    paths = sorted(pictures.glob("*.png"))
    if not paths:
        raise InputError("no-pictures", f"{pictures} holds no PNG.", "Check the folder.")
    patients = _patients(config.index, [path.name for path in paths])
    predictor = Predictor(config.model, device=config.device)
    return [
        (path.name, partial(_picture_scores, path, truth, patients[path.name], predictor))
        for path in paths
    ]


def _picture_scores(path: Path, truth: Path, patient: str, predictor: Predictor) -> list[Score]:
    mask = io.read(truth / path.name).volume.array
    picture = io.read(path).volume
    _refuse_other_size(mask, picture.array)
    found = predictor.segment(picture).labelmap.array
    return [_score(patient, path.name, None, found, mask > mask.max() / 2)]


def _patients(index: Path | None, names: list[str]) -> dict[str, str]:
    """Return the patient of each picture; without an index every picture is one of its own."""
    if index is None:
        return {name: name for name in names}
    patients = {row["file"]: row["patient"] for row in _index_rows(index)}
    missing = [name for name in names if not patients.get(name)]
    if missing:
        raise _bad_index(index, f"has no patient for {len(missing)} pictures, first {missing[0]}")
    return patients


def _index_rows(index: Path) -> list[dict[str, str]]:
    try:
        with index.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or (), list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise _bad_index(index, f"cannot be read: {error}") from error
    if not {"file", "patient"} <= set(columns):
        raise _bad_index(index, f"has the columns {', '.join(columns) or 'none'}")
    return rows


def _bad_index(index: Path, message: str) -> InputError:
    return InputError(
        "bad-index",
        f"The index {index.name} {message}.",
        "Give a CSV with the columns file and patient and a row for each picture.",
    )


def _write_csv(path: Path, scores: Iterable[Score]) -> None:
    text = StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["patient", "image", "structure", "dice"])
    writer.writerows([s.patient, s.image, s.structure, f"{s.dice:.6f}"] for s in scores)
    write_text_atomic(path, text.getvalue(), overwrite=True)


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
