"""From the scores of images to those of patients, and to the tables of an evaluation."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from isdmae.atomic import write_text_atomic
from isdmae.errors import InputError

from .metrics import MaskScores, Summary, summarise

T = TypeVar("T")

METRICS = ("dice", "nsd", "hd95")
AUTHOR = "author-compatible Dice, not comparable"
"""Head of the column of `author_score`."""
Level = Literal["scan", "slice", "case"]
"""A whole CT; one picture; or all pictures of a case as one stack, which has no third spacing and
so a Dice alone."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One structure in one image; lengths in ``unit``."""

    patient: str
    image: str
    structure: str
    level: Level
    unit: Literal["mm", "px"]
    dice: float
    nsd: float | None
    hd95: float | None
    missed: bool
    invented: bool
    empty: bool
    """Neither the truth nor the prediction holds the structure."""


def make_score(
    patient: str, image: str, structure: str, level: Level, unit: Literal["mm", "px"],
    scores: MaskScores, *, empty: bool,
) -> Score:  # fmt: skip
    """Name the scores of a mask; of a whole case only the overlap counts."""
    surface = level != "case"
    return Score(
        patient=patient,
        image=image,
        structure=structure,
        level=level,
        unit=unit,
        dice=scores.dice,
        nsd=scores.nsd if surface else None,
        hd95=scores.hd95 if surface else None,
        missed=scores.missed,
        invented=scores.invented,
        empty=empty,
    )


@dataclass(frozen=True, kw_only=True)
class PatientScore:
    """One structure in all images of one patient: means and counts."""

    patient: str
    structure: str
    level: Level
    unit: str
    images: int
    dice: float
    nsd: float | None
    hd95: float | None
    missed: int
    invented: int
    empty: int


def by_patient(scores: Iterable[Score]) -> list[PatientScore]:
    """Average over the images of each patient, in the order of first appearance."""
    groups: dict[tuple[str, Level, str], list[Score]] = defaultdict(list)
    for score in scores:
        groups[score.structure, score.level, score.patient].append(score)
    return [_average(group) for group in groups.values()]


def _average(group: Sequence[Score]) -> PatientScore:
    first = group[0]
    means = {
        name: None
        if getattr(first, name) is None
        else float(np.mean([getattr(score, name) for score in group]))
        for name in METRICS
    }
    counts = {
        name: sum(getattr(score, name) for score in group)
        for name in ("missed", "invented", "empty")
    }
    return PatientScore(
        patient=first.patient,
        structure=first.structure,
        level=first.level,
        unit=first.unit,
        images=len(group),
        **means,
        **counts,
    )


def summarise_patients(patients: Iterable[PatientScore], seed: int) -> dict[str, dict[str, Any]]:
    """Return by structure and level the means over patients with their intervals, and the counts.

    Returns
    -------
    dict
        ``result["lesion"]["slice"]`` holds ``unit``, ``patients``, ``images``, ``missed``,
        ``invented``, ``empty`` (numbers of images), and for each metric that the level has the
        fields of `isdmae_train.metrics.Summary`.
    """
    groups: dict[str, dict[str, list[PatientScore]]] = defaultdict(lambda: defaultdict(list))
    for patient in patients:
        groups[patient.structure][patient.level].append(patient)
    return {
        structure: {level: _summary(group, seed) for level, group in levels.items()}
        for structure, levels in groups.items()
    }


def _summary(group: Sequence[PatientScore], seed: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"unit": group[0].unit, "patients": len(group)}
    for name in ("images", "missed", "invented", "empty"):
        facts[name] = sum(getattr(patient, name) for patient in group)
    for name in METRICS:
        values = [getattr(patient, name) for patient in group]
        if None not in values:
            facts[name] = asdict(
                summarise(values, seed=seed, smaller_is_better=name == "hd95"),
            )
    return facts


def write_csv(path: Path, rows: Sequence[Score] | Sequence[PatientScore]) -> None:
    """Write one row for each score, a column for each field; a metric that is absent is empty."""
    write_rows(path, [asdict(row) for row in rows])


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows of the same columns as CSV; None becomes an empty cell."""
    text = StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0] if rows else [])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    write_text_atomic(path, text.getvalue(), overwrite=True)


def read_patients(path: Path) -> list[PatientScore]:
    """Read what `write_csv` wrote of the scores of patients.

    Raises
    ------
    InputError
        ``bad-scores`` where the file is absent or damaged.
    """
    return read_rows(path, as_patient)


def read_rows(path: Path, make: Callable[[Mapping[str, str]], T]) -> list[T]:
    """Read a CSV of scores row by row; ``bad-scores`` where it is absent, empty or damaged."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [make(row) for row in csv.DictReader(file)]
        if not rows:
            raise ValueError("it holds no patient")
        return rows
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "bad-scores", f"{path} cannot be read: {error}.", "Remove its folder; it is made anew."
        ) from error


def as_patient(row: Mapping[str, str]) -> PatientScore:
    """Return the scores in a row that `write_csv` wrote."""
    return PatientScore(
        patient=row["patient"],
        structure=row["structure"],
        level=row["level"],  # type: ignore[arg-type]
        unit=row["unit"],
        images=int(row["images"]),
        dice=float(row["dice"]),
        nsd=float(row["nsd"]) if row["nsd"] else None,
        hd95=float(row["hd95"]) if row["hd95"] else None,
        missed=int(row["missed"]),
        invented=int(row["invented"]),
        empty=int(row["empty"]),
    )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def markdown(
    summary: Mapping[str, Mapping[str, Any]],
    tolerance: float,
    author: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """Lay out a summary of `summarise_patients` as a table.

    ``author``, what `author_score.AuthorScore.result` returns, becomes the last column.
    """
    lines = [
        f"| structure | of each | Dice | NSD at {tolerance:g} {units(summary)} | HD95 | missed | "
        f"invented | patients | images |{f' {AUTHOR} |' if author else ''}",
        "|---" * (10 if author else 9) + "|",
    ]
    for structure, levels in summary.items():
        for level, facts in levels.items():
            cells = [interval(facts.get(name), name, str(facts["unit"])) for name in METRICS]
            counts = [str(facts[n]) for n in ("missed", "invented", "patients", "images")]
            if author:
                counts.append(_author_cell(author.get(structure), level))
            lines.append(f"| {' | '.join([structure, level, *cells, *counts])} |")
    return "\n".join(lines) + "\n"


def _author_cell(facts: Mapping[str, float] | None, level: str) -> str:
    """Write the authors' score, which is of slices, not of a case's stack."""
    if facts is None or level == "case":
        return "-"
    return f"{facts['dice']:.3f} ({facts['slices']:.0f} slices, threshold {facts['threshold']:.2f})"


def units(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the unit of lengths: "mm" of scans, "px" of pictures, "mm or px" where there are both.

    Examples
    --------
    >>> units({"lesion": {"slice": {"unit": "px"}, "case": {"unit": "px"}}})
    'px'
    """
    return " or ".join(
        sorted({str(facts["unit"]) for levels in summary.values() for facts in levels.values()})
    )


def interval(values: Mapping[str, float] | Summary | None, metric: str, unit: str) -> str:
    """Write a mean and its interval; lengths with one digit and their unit.

    Examples
    --------
    >>> interval({"mean": 0.5, "low": 0.4, "high": 0.61}, "dice", "mm")
    '0.500 [0.400, 0.610]'
    """
    if values is None:
        return "-"
    facts = asdict(values) if isinstance(values, Summary) else values
    digits, tail = (1, f" {unit}") if metric == "hd95" else (3, "")
    mean, low, high = (f"{facts[name]:.{digits}f}" for name in ("mean", "low", "high"))
    return f"{mean}{tail}" if facts.get("count") == 1 else f"{mean} [{low}, {high}]{tail}"
