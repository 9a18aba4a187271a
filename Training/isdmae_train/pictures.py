"""Sets of 8-bit pictures: which belong together, and their masks, for `prepare`."""

from __future__ import annotations

import csv
import io as text_io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from isdmae import io
from isdmae.errors import InputError
from isdmae.picture import FORMATS
from isdmae.volume import Array

from .config.prepare import PictureSet
from .patients import named_case
from .problems import READING, Problem, Seen, problem_of

WHOLE_RANGE = 255
NONE = np.zeros((0, 0, 0), np.uint8)


@dataclass(frozen=True, kw_only=True)
class PictureStack:
    """The pictures of one case of one patient, in order."""

    id: str
    patient: str
    images: tuple[Path, ...]
    masks: dict[str, tuple[Path, ...]]
    """For each label, a mask a picture."""
    licence: str = "none"
    weight: float = 1.0
    splits: tuple[str, ...] = ()
    """The parts of a given split that its pictures belong to; one at most, or it is refused."""
    upside_down: bool = False
    """Whether its pictures stand on their heads."""


@dataclass(frozen=True, kw_only=True)
class ReadStack:
    """The pictures that could be read, (n, H, W) uint8 with their labels, and what was wrong."""

    stack: PictureStack
    """With these pictures only."""
    images: Array
    labels: Array
    problems: list[Problem]


@dataclass(kw_only=True)
class _Case:
    patient: str
    images: list[Path] = field(default_factory=list)
    splits: set[str] = field(default_factory=set)


Cases: TypeAlias = dict[tuple[str, str], _Case]
"""By case and patient."""


def stacks_of(source: PictureSet, data: Path) -> tuple[list[PictureStack], list[Problem]]:
    """List the stacks of a set: one a case where the index or the names tell, else one a picture.

    Returns
    -------
    list of PictureStack
        By case.
    list of Problem
        Pictures that the index lacks, rows without a picture, pictures without a mask.

    Raises
    ------
    InputError
        Where there is no picture, or the index is not usable.
    """
    files = {path.name: path for path in _pictures(data / source.images)}
    if not files:
        raise InputError(
            "no-pictures", f"{source.images} holds no picture.", f"Known: {', '.join(FORMATS)}."
        )
    if source.index is not None:
        cases, problems = _indexed(source, data, files)
    else:
        cases, problems = _by_name(source, files), []
    masks = {name: _by_stem(data / folder) for name, folder in source.labels.items()}
    stacks = []
    for (case, _), found in sorted(cases.items()):
        kept, missing = _with_masks(found.images, masks, f"{source.id}-{case}")
        problems += missing
        if kept:
            stacks.append(_stack(source, case, replace(found, images=kept), masks))
    count = sum(len(stack.images) for stack in stacks)
    share = [source.weight * len(stack.images) / count for stack in stacks]
    return [replace(one, weight=part) for one, part in zip(stacks, share, strict=True)], problems


def _indexed(source: PictureSet, data: Path, files: dict[str, Path]) -> tuple[Cases, list[Problem]]:
    cases: Cases = {}
    problems = []
    rows = read_index(data / str(source.index))
    for row in rows:
        case = row.get("case") or row["patient"]
        if row["file"] not in files:
            error = InputError(
                "missing-file", f"{row['file']} does not exist.", "Check the path for a slip."
            )
            problems.append(
                problem_of(error, f"{source.id}-{case}", data / source.images / row["file"])
            )
            continue
        known = named_case(case) if source.patients == "named" else None
        patient = f"{source.id}-{row['patient']}" if known is None else known.patient
        one = cases.setdefault((case, patient), _Case(patient=patient))
        one.images.append(files[row["file"]])
        one.splits.add(row.get("split") or source.split)
    for name in sorted(files.keys() - {row["file"] for row in rows}):
        error = _bad_index(data / str(source.index), f"has no row for {name}")
        problems.append(problem_of(error, source.id, files[name]))
    return cases, problems


def _by_name(source: PictureSet, files: dict[str, Path]) -> Cases:
    cases: Cases = {}
    order: dict[Path, int] = {}
    for path in files.values():
        known = named_case(path.stem) if source.patients == "named" else None
        if known is None:
            patient = f"{source.id}-{path.stem}"
            cases[path.stem, patient] = _Case(patient=patient, images=[path])
        else:
            one = cases.setdefault((known.case, known.patient), _Case(patient=known.patient))
            one.images.append(path)
            order[path] = known.slice
    for case in cases.values():
        case.images.sort(key=lambda path: order.get(path, 0))
        case.splits.add(source.split)
    return cases


def _with_masks(
    images: list[Path], masks: dict[str, dict[str, Path]], name: str
) -> tuple[list[Path], list[Problem]]:
    kept, problems = [], []
    for path in images:
        missing = [label for label, found in masks.items() if path.stem not in found]
        if not missing:
            kept.append(path)
            continue
        error = InputError(
            "no-mask",
            f"{path.name} has no mask of {', '.join(missing)}.",
            "Give each picture a mask of the same name, or move it away.",
        )
        problems.append(problem_of(error, name, path))
    return kept, problems


def _stack(
    source: PictureSet, case: str, found: _Case, masks: dict[str, dict[str, Path]]
) -> PictureStack:
    return PictureStack(
        id=f"{source.id}-{case}",
        patient=found.patient,
        images=tuple(found.images),
        masks={
            name: tuple(by_stem[path.stem] for path in found.images)
            for name, by_stem in masks.items()
        },
        licence=source.licence,
        splits=tuple(sorted(found.splits - {""})),
        upside_down=any(case.startswith(start) for start in source.upside_down),
    )


def read_index(path: Path) -> list[dict[str, str]]:
    """Read a CSV with the columns file and patient, sorted by order_in_case where it has that.

    Raises
    ------
    InputError
        ``bad-index`` where it cannot be read or lacks a column.
    """
    try:
        reader = csv.DictReader(text_io.StringIO(path.read_text(encoding="utf-8-sig")))
        rows = list(reader)
        order = {id(row): int(row.get("order_in_case") or 0) for row in rows}
    except (OSError, ValueError, csv.Error) as error:
        raise _bad_index(path, f"cannot be read: {error}") from error
    columns = reader.fieldnames or ()
    if not {"file", "patient"} <= set(columns):
        raise _bad_index(path, f"has the columns {', '.join(columns) or 'none'}")
    return sorted(rows, key=lambda row: order[id(row)])


def _bad_index(index: Path, message: str) -> InputError:
    return InputError(
        "bad-index",
        f"The index {index.name} {message}.",
        "Give a CSV with the columns file and patient and a row for each picture.",
    )


def _pictures(folder: Path) -> Iterator[Path]:
    """Yield the pictures of a folder in the order of their numbers, else of their names."""
    paths = [path for path in folder.glob("*") if path.suffix.lower() in FORMATS]
    paths = [path for path in paths if path.name[0] != "."]
    yield from sorted(paths, key=lambda p: (int(p.stem) if p.stem.isdigit() else -1, p.name))


def _by_stem(folder: Path) -> dict[str, Path]:
    """Return pictures by their names; a mask may be called mask_NAME or NAME_mask."""
    paths = list(_pictures(folder))
    plain = {path.stem.removeprefix("mask_").removesuffix("_mask"): path for path in paths}
    return plain | {path.stem: path for path in paths}


def read_grey(path: Path) -> Array:
    """Read a picture as uint8 (H, W); 16 bits are scaled by the picture's own range."""
    array = io.read(path).volume.array[0]
    if array.dtype == np.uint8:
        return array
    low, high = float(array.min()), float(array.max())
    scaled: Array = np.round((array - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    return scaled


def read_mask(path: Path) -> Array:
    """Read a mask as bool (H, W): above half of the range, or 1 in a mask of 0 and 1.

    Raises
    ------
    InputError
        ``unknown-labels`` where its values are neither, as several classes in one picture are.
    """
    array = io.read(path).volume.array[0]
    if array.dtype != np.uint8:
        array = read_grey(path)
    highest = int(array.max())
    if highest <= 1:
        return array > 0
    if highest <= WHOLE_RANGE // 2:
        raise InputError(
            "unknown-labels",
            f"The mask {path.name} has values up to {highest}, which are neither 0 and 1 nor 0 and "
            "255.",
            "Give each structure a mask of its own.",
        )
    return array > WHOLE_RANGE // 2


def read_stack(stack: PictureStack, seen: Seen | None = None) -> ReadStack:
    """Read pictures and labels; of two labels the later one wins.

    A picture that is damaged, shows the same as another patient's, or has another size than most of
    its case or than its mask is left out and named.

    Returns
    -------
    ReadStack
        Without any picture where none could be read.
    """
    read: dict[int, tuple[Array, Array]] = {}
    problems: list[Problem] = []
    for number, path in enumerate(stack.images):
        try:
            pair = _read_pair(stack, number)
            if seen is not None:
                seen.add(pair[0], path.name, stack.patient, same_patient=False)
            read[number] = pair
        except READING as error:
            problems.append(problem_of(error, stack.id, path))
    if not read:
        return ReadStack(
            stack=replace(stack, images=(), masks={}), images=NONE, labels=NONE, problems=problems
        )
    usual = Counter(image.shape for image, _ in read.values()).most_common(1)[0][0]
    for number, (image, _) in list(read.items()):
        if image.shape != usual:
            differs = _size_differs(image, usual, stack.images[number])
            problems.append(problem_of(differs, stack.id, stack.images[number]))
            del read[number]
    masks = {name: tuple(paths[number] for number in read) for name, paths in stack.masks.items()}
    return ReadStack(
        stack=replace(stack, images=tuple(stack.images[number] for number in read), masks=masks),
        images=np.stack([image for image, _ in read.values()]),
        labels=np.stack([label for _, label in read.values()]),
        problems=problems,
    )


def _read_pair(stack: PictureStack, number: int) -> tuple[Array, Array]:
    image = read_grey(stack.images[number])
    label = np.zeros(image.shape, np.uint8)
    for value, paths in enumerate(stack.masks.values(), start=1):
        mask = read_mask(paths[number])
        if mask.shape != label.shape:
            raise _size_differs(mask, label.shape, paths[number])
        label[mask] = value
    return image, label


def _size_differs(array: Array, expected: tuple[int, ...], path: Path) -> InputError:
    return InputError(
        "size-differs",
        f"{path.name} has {array.shape[1]} x {array.shape[0]} pixels, "
        f"not {expected[1]} x {expected[0]}.",
        "Give each mask the size of its picture, and the pictures of a case one size.",
    )
