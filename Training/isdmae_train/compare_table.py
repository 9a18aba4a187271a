"""The table of a comparison: means with intervals, misses, and paired differences."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from isdmae.atomic import write_text_atomic
from isdmae.schema import to_plain

from .config.compare import CompareConfig
from .metrics import paired_difference, summarise
from .score_table import METRICS, PatientScore, as_patient, interval, read_rows, write_rows

Row = dict[str, Any]
Key: TypeAlias = tuple[str, str | None, str, float, str]
"""Structure, set of pictures (None: all in one), level, share and recipe of a row."""


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """What one part scored on its held-out patients."""

    recipe: str
    fold: str
    seed: int
    share: float
    patients: tuple[PatientScore, ...]
    diverged: str = ""
    """What the loss did; such a part has no scores."""


def write_tables(config: CompareConfig, results: Sequence[PartResult], parts: int) -> None:
    """Write the tables of the parts that are done of ``parts``.

    ``comparison.json``, ``.csv`` and ``.md``, and ``patients.csv`` with the scores behind them.
    """
    rows = table_rows(results, config.baseline, config.seed, by_set=True)
    facts = {
        "budget": {config.budget: to_plain(config.budgets[config.budget])},
        "labels": list(config.labels),
        "baseline": config.baseline,
        "all_steps": sorted(
            {one.recipe for one in results if config.recipes[one.recipe].all_steps}
        ),
        "transductive": config.transductive,
        "tolerance": config.tolerance_mm,
        "parts": {"done": len(results), "all": parts},
        "diverged": [
            f"{one.recipe}, fold {one.fold}, seed {one.seed}, share {one.share:g}: {one.diverged}"
            for one in results
            if one.diverged
        ],
        "rows": rows,
    }
    text = json.dumps(facts, indent=2) + "\n"
    write_text_atomic(config.out / "comparison.json", text, overwrite=True)
    write_text_atomic(config.out / "comparison.csv", _csv(rows), overwrite=True)
    write_text_atomic(config.out / "comparison.md", _markdown(facts), overwrite=True)
    write_results(config.out / "patients.csv", results)


def write_results(path: Path, results: Sequence[PartResult]) -> None:
    """Write every patient of every part as a row of a CSV; `read_results` takes it back."""
    rows = [
        {"recipe": one.recipe, "fold": one.fold, "seed": one.seed, "share": one.share}
        | asdict(score)
        for one in results
        for score in one.patients
    ]
    write_rows(path, rows)


def read_results(path: Path) -> list[PartResult]:
    """Read what `write_results` wrote; diverged parts, which have no patient, are not in it.

    Raises
    ------
    InputError
        ``bad-scores`` where the file is absent or damaged.
    """
    parts: dict[tuple[str, str, int, float], list[PatientScore]] = defaultdict(list)

    def read(row: Mapping[str, str]) -> None:
        key = (row["recipe"], row["fold"], int(row["seed"]), float(row["share"]))
        parts[key].append(as_patient(row))

    read_rows(path, read)
    return [
        PartResult(recipe=recipe, fold=fold, seed=seed, share=share, patients=tuple(patients))
        for (recipe, fold, seed, share), patients in parts.items()
    ]


def picture_set(score: PatientScore) -> str:
    """Return the set of pictures that `prepare` names first in a patient's id; of a CT none.

    Examples
    --------
    >>> facts = {"structure": "lesion", "images": 1, "dice": 1.0, "nsd": 1.0, "hd95": 0.0}
    >>> facts |= {"missed": 0, "invented": 0, "empty": 0}
    >>> picture_set(PatientScore(patient="covid20-cc008", level="slice", unit="px", **facts))
    'covid20'
    >>> picture_set(PatientScore(patient="LIDC-IDRI-0001", level="scan", unit="mm", **facts))
    ''
    """
    name, hyphen, _ = score.patient.partition("-")
    return name if hyphen and score.unit == "px" else ""


def table_rows(
    results: Sequence[PartResult], baseline: str, seed: int, *, by_set: bool = False
) -> list[Row]:
    """Return one row for each structure, level, share and recipe.

    A patient's value is the mean over the seeds; the interval and the difference to the baseline
    of the same share are over patients. Misses and inventions are counted over images and seeds.

    Parameters
    ----------
    results : sequence of PartResult
        In any order; a recipe that has no result yet has no row.
    baseline : str
        A recipe. Its own rows have no difference.
    seed : int
        Of the bootstrap.
    by_set : bool
        Where there are pictures of several sets, each has rows of its own, with an entry ``set``: a
        patient with a hundred slices and a single picture have no mean in common.
    """
    sets = {picture_set(one) for result in results for one in result.patients if one.unit == "px"}
    several = by_set and len(sets) > 1
    groups: dict[Key, list[PatientScore]] = defaultdict(list)
    runs: dict[tuple[float, str], int] = defaultdict(int)
    for result in results:
        runs[result.share, result.recipe] += not result.diverged
        for score in result.patients:
            of_set = picture_set(score) if several else None
            key = (score.structure, of_set, score.level, result.share, result.recipe)
            groups[key].append(score)
    structures = list(dict.fromkeys(key[:3] for key in groups))
    keys = sorted(groups, key=lambda key: (structures.index(key[:3]), -key[3]))
    return [
        _row(key, groups[key], groups.get((*key[:4], baseline), []), runs[key[3:]], seed)
        for key in keys
    ]


def _row(
    key: Key,
    scores: Sequence[PatientScore],
    baseline: Sequence[PatientScore],
    runs: int,
    seed: int,
) -> Row:
    structure, of_set, level, share, recipe = key
    row: Row = {"structure": structure}
    if of_set is not None:
        row["set"] = of_set
    row |= {
        "level": level, "share": share, "recipe": recipe,
        "unit": scores[0].unit, "patients": len({score.patient for score in scores}),
        "runs": runs,
    }  # fmt: skip
    for name in ("images", "missed", "invented"):
        row[name] = sum(getattr(score, name) for score in scores)
    for metric in METRICS:
        values = _by_patient(scores, metric)
        if not values:
            continue
        row[metric] = asdict(
            summarise(list(values.values()), seed=seed, smaller_is_better=metric == "hd95")
        )
        others = _by_patient(baseline, metric)
        if baseline is not scores and values.keys() & others.keys():
            row[f"{metric}_difference"] = asdict(paired_difference(values, others, seed=seed))
    return row


def _by_patient(scores: Sequence[PatientScore], metric: str) -> dict[str, float]:
    """Average over the seeds; patients in order of name, so that no order of parts matters."""
    values: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        value = getattr(score, metric)
        if value is not None:
            values[score.patient].append(value)
    return {patient: float(np.mean(values[patient])) for patient in sorted(values)}


def _csv(rows: Sequence[Row]) -> str:
    """Lay out the rows with a column for each number: ``dice_mean``, ``dice_low``, ..."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    text = StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(row: Row) -> Row:
    result: Row = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            result |= {f"{name}_{part}": f"{number:.6g}" for part, number in value.items()}
        else:
            result[name] = value
    return result


def _markdown(facts: Mapping[str, Any]) -> str:
    done, parts = facts["parts"]["done"], facts["parts"]["all"]
    name, budget = next(iter(facts["budget"].items()))
    units = " or ".join(sorted({row["unit"] for row in facts["rows"]}))
    lines = [
        f"Budget {name}: {budget['pretrain_steps']} steps of pre-training, "
        f"{budget['finetune_steps']} of fine-tuning, seeds "
        f"{', '.join(map(str, budget['seeds']))}; {done} of {parts} parts done. "
        f"Mean over patients [95 % bootstrap interval]; NSD at a tolerance of "
        f"{facts['tolerance']:g} {units}; differences to {facts['baseline']} are paired by "
        "patient. Missed and invented: numbers of images, over all seeds.",
        "",
        *markdown_table(facts["rows"]),
    ]
    if facts["all_steps"]:
        steps = budget["pretrain_steps"] + budget["finetune_steps"]
        names = ", ".join(facts["all_steps"])
        lines += ["", f"Without pre-training, {steps} steps of fine-tuning: {names}."]
    if facts["transductive"]:
        lines += ["", "Pre-training saw the images (not the labels) of held-out patients."]
    lines += [f"\nDiverged: {text}" for text in facts["diverged"]]
    return "\n".join(lines) + "\n"


def markdown_table(rows: Sequence[Row]) -> list[str]:
    """Lay out what `table_rows` returns as the lines of a Markdown table."""
    several = any("set" in row for row in rows)
    return [
        f"| structure |{' set |' if several else ''} of each | labels | recipe | Dice | "
        "difference | NSD | HD95 | missed | invented | images | patients | runs |",
        "|---" * (14 if several else 13) + "|",
        *(_line(row) for row in rows),
    ]


def _line(row: Row) -> str:
    metrics = {name: interval(row.get(name), name, row["unit"]) for name in METRICS}
    of_set = [row["set"] or "-"] if "set" in row else []
    cells = [
        row["structure"], *of_set, row["level"], f"{100 * row['share']:g} %", row["recipe"],
        metrics["dice"], _difference(row.get("dice_difference")), metrics["nsd"], metrics["hd95"],
        *(str(row[name]) for name in ("missed", "invented", "images", "patients", "runs")),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _difference(values: Mapping[str, float] | None) -> str:
    if values is None:
        return "-"
    mean, low, high = (f"{values[name]:+.3f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
