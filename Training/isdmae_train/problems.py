"""What is wrong with the data: gathered while the rest is prepared, told together at the end."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from isdmae.atomic import write_text_atomic
from isdmae.errors import Cancelled, InputError, IsdmaeError
from isdmae.schema import to_plain
from isdmae.volume import Array

log = logging.getLogger(__name__)

REPORT = "prepare-report"
Effect = Literal["left out", "prepared, with a remark", "not used"]
LEFT_OUT: Effect = "left out"
REMARK: Effect = "prepared, with a remark"
NOT_USED: Effect = "not used"
TABLE = ("| scan | file | what | remedy |", "|---|---|---|---|")
READING = (IsdmaeError, OSError, RuntimeError, ValueError)
"""What a damaged file may raise; one of a hundred must not end the others' preparation."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One file that could not be used as it is."""

    id: str
    """Of the scan, case or set."""
    file: str
    code: str
    message: str
    remedy: str
    effect: Effect = LEFT_OUT
    """What became of it."""

    def __str__(self) -> str:
        return f"{self.effect}: {self.id} ({Path(self.file).name}): {self.message} {self.remedy}"


def problem_of(error: Exception, name: str, file: Path | str, effect: Effect = LEFT_OUT) -> Problem:
    """Return an error about ``file`` of the scan ``name`` as a problem.

    Raises
    ------
    IsdmaeError
        ``error`` itself where it is not about the file: the disk is full, or the user stops.
    """
    if isinstance(error, Cancelled) or getattr(error, "code", "") == "disk-full":
        raise error
    if not isinstance(error, IsdmaeError):
        error = InputError(
            "not-readable",
            f"{Path(file).name} cannot be read: {type(error).__name__}: {error}.",
            "Get the file again from its source.",
        )
    return Problem(
        id=name,
        file=str(file),
        code=error.code,
        message=error.message,
        remedy=error.remedy,
        effect=effect,
    )


def split_problems(items: Iterable[tuple[str, str, Iterable[str], Path]]) -> list[Problem]:
    """Name every scan of a patient who is in two parts of a given split.

    Parameters
    ----------
    items : iterable of (id, patient, splits, file)
        No split, or an empty one, means that none is given.
    """
    items = list(items)
    splits: dict[str, set[str]] = defaultdict(set)
    for _, patient, given, _ in items:
        splits[patient] |= {*given} - {""}
    return [
        problem_of(_in_two_splits(patient, splits[patient]), name, file)
        for name, patient, _, file in items
        if len(splits[patient]) > 1
    ]


def _in_two_splits(patient: str, splits: set[str]) -> InputError:
    return InputError(
        "patient-in-two-splits",
        f"The patient {patient} is in {len(splits)} parts of the given split "
        f"({', '.join(sorted(splits))}).",
        "Put all scans of a patient in one part.",
    )


def digest(image: Array) -> str:
    """Return the SHA-256 of the values of an image, in hexadecimal."""
    return hashlib.sha256(image.tobytes()).hexdigest()


class Seen:
    """The images so far, so that none is prepared under two names."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, tuple[int, ...]], tuple[str, str]] = {}

    def add(self, image: Array, name: str, patient: str, *, same_patient: bool) -> None:
        """Remember an image; constant ones, such as empty slices, are not compared.

        Raises
        ------
        InputError
            ``duplicate-scan`` where it is known under another name; without ``same_patient`` only
            where that is another patient's.
        """
        if image.size and image.min() != image.max():
            self.add_digest(digest(image), image.shape, name, patient, same_patient=same_patient)

    def add_digest(
        self, sha256: str, shape: tuple[int, ...], name: str, patient: str, *, same_patient: bool
    ) -> None:
        """Do what `add` does, of an image with this `digest` and shape."""
        key = (sha256, shape)
        first, owner = self._first.setdefault(key, (name, patient))
        if (first, owner) == (name, patient) or (owner == patient and not same_patient):
            return
        other = "" if owner == patient else f", of another patient ({owner})"
        raise InputError(
            "duplicate-scan",
            f"{name} shows the same image as {first}{other}.",
            "Remove one of the two: it would be trained and tested on.",
        )


def write_report(
    folder: Path,
    scans: int,
    patients: int,
    notes: Mapping[str, Sequence[str]],
    problems: list[Problem],
) -> Path:
    """Log the problems and write ``prepare-report.json`` and ``.md``; returns the latter.

    Parameters
    ----------
    folder : Path
        That of the manifest.
    scans, patients : int
        How many were prepared.
    notes : dict of str to sequence of str
        For each scan's id, what was put right in it.
    problems : list of Problem
        Of all files.
    """
    unused = [problem for problem in problems if problem.effect == NOT_USED]
    for problem in problems:
        if problem.effect != NOT_USED:
            log.warning("%s", problem)
    if unused:
        log.info("%d scans show nothing of what is asked for and are not used", len(unused))
    facts = {
        "prepared": scans,
        "patients": patients,
        "left_out": sum(problem.effect == LEFT_OUT for problem in problems),
        "problems": [to_plain(problem) for problem in problems],
        "notes": {name: list(texts) for name, texts in notes.items() if texts},
    }
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    write_text_atomic(folder / f"{REPORT}.json", text, overwrite=True)
    path = folder / f"{REPORT}.md"
    write_text_atomic(path, _markdown(facts, problems), overwrite=True)
    return path


def _markdown(facts: dict[str, Any], problems: list[Problem]) -> str:
    lines = [
        "# What was prepared",
        "",
        f"{facts['prepared']} scans or cases of {facts['patients']} patients; "
        f"{facts['left_out']} files or cases left out.",
    ]
    for effect in get_args(Effect):
        chosen = [problem for problem in problems if problem.effect == effect]
        if chosen:
            lines += ["", f"## {effect.capitalize()}", "", *TABLE]
        for one in chosen:
            cells = (one.id, one.file, f"{one.message} (`{one.code}`)", one.remedy)
            lines.append(f"| {' | '.join(_cell(text) for text in cells)} |")
    if facts["notes"]:
        lines += ["", "## Put right, or to be known", ""]
        lines += [f"- {_cell(name)}: {' '.join(texts)}" for name, texts in facts["notes"].items()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
