"""Splits and shares of a manifest by patient, drawn from a seed alone.

A patient is never in two folds, whatever number of scans or cases it has; a share of the labels is
nested: what 10 % may use is part of what 25 % may use.
"""

from __future__ import annotations

import csv
import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from isdmae.errors import InputError

if TYPE_CHECKING:
    from .data import ManifestEntry

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One way to hold patients out."""

    name: str
    patients: tuple[str, ...]
    """Held out, to be evaluated on."""
    entries: tuple[str, ...]
    """The ids of their scans and cases: the ``hold_out`` of a run."""


def make_folds(
    entries: Sequence[ManifestEntry],
    count: int,
    *,
    seed: int = 0,
    given: Mapping[str, str] | None = None,
) -> tuple[Fold, ...]:
    """Split the patients of ``entries`` into folds with about the same number of images.

    Parameters
    ----------
    entries : sequence of ManifestEntry
        Every slice counts as an image.
    count : int
        Number of folds, at least 2; not used where a split is given.
    seed : int
        Decides which of the splits that are about as even is taken.
    given : mapping of str to str, optional
        The fold of each patient, as `read_split` returns it. A patient named "train" is never held
        out.

    Returns
    -------
    tuple of Fold
        By name.

    Raises
    ------
    InputError
        ``too-few-patients`` where there are fewer patients than folds; ``split-incomplete`` where
        the given split lacks a patient, or leaves none to train on.

    Notes
    -----
    Patients in the order of their number of images, the largest first and ties drawn by the seed,
    each go to the fold that has the fewest images so far.
    """
    images = images_by_patient(entries)
    held = _given_folds(images, given) if given else _even_folds(images, count, seed)
    return tuple(_fold(name, patients, entries) for name, patients in sorted(held.items()))


def images_by_patient(entries: Iterable[ManifestEntry]) -> dict[str, int]:
    """Count the slices of each patient, over all of its scans or cases."""
    images: dict[str, int] = defaultdict(int)
    for entry in entries:
        images[entry.patient] += entry.shape[0]
    return dict(images)


def _even_folds(images: Mapping[str, int], count: int, seed: int) -> dict[str, list[str]]:
    if count < 2 or len(images) < count:
        raise InputError(
            "too-few-patients",
            f"{len(images)} patients cannot be split into {count} folds.",
            "Ask for 2 folds or more, and for no more folds than patients.",
        )
    order = np.random.default_rng(seed).permutation(sorted(images)).tolist()
    order.sort(key=lambda patient: -images[patient])
    width = len(str(count - 1))
    folds: dict[str, list[str]] = {f"{number:0{width}d}": [] for number in range(count)}
    sizes = dict.fromkeys(folds, 0)
    for patient in order:
        smallest = min(folds, key=lambda name: (sizes[name], len(folds[name]), name))
        folds[smallest].append(patient)
        sizes[smallest] += images[patient]
    return folds


def _given_folds(images: Mapping[str, int], split: Mapping[str, str]) -> dict[str, list[str]]:
    missing = sorted(images.keys() - split.keys())
    if missing:
        raise _incomplete(f"has no fold for {len(missing)} patients, the first is {missing[0]}")
    folds: dict[str, list[str]] = defaultdict(list)
    for patient in images:
        folds[split[patient]].append(patient)
    always = folds.pop("train", [])
    if not folds or (not always and len(folds) == 1):
        raise _incomplete("leaves no patient to train on, or none to hold out")
    return dict(folds)


def _incomplete(message: str) -> InputError:
    return InputError(
        "split-incomplete",
        f"The given split {message}.",
        "Give every patient a fold; 'train' is never held out.",
    )


def _fold(name: str, patients: Iterable[str], entries: Iterable[ManifestEntry]) -> Fold:
    held = set(patients)
    ids = tuple(sorted(entry.id for entry in entries if entry.patient in held))
    return Fold(name=name, patients=tuple(sorted(held)), entries=ids)


def read_split(path: Path) -> dict[str, str]:
    """Read the fold of each patient from a CSV with the columns patient and fold.

    Raises
    ------
    InputError
        ``bad-split`` where it cannot be read, ``patient-in-two-folds`` where a patient has two.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or ()
    except (OSError, ValueError, csv.Error) as error:
        raise _bad_split(path, f"cannot be read: {error}") from error
    if not {"patient", "fold"} <= set(columns):
        raise _bad_split(path, f"has the columns {', '.join(columns) or 'none'}")
    split: dict[str, str] = {}
    for row in rows:
        patient, fold = row["patient"], row["fold"]
        if not patient or not fold:
            raise _bad_split(path, "has a row without patient or fold")
        if split.setdefault(patient, fold) != fold:
            raise InputError(
                "patient-in-two-folds",
                f"{path.name} puts {patient} into the folds {split[patient]} and {fold}.",
                "Give a patient one fold; all of its scans go with it.",
            )
    return split


def _bad_split(path: Path, message: str) -> InputError:
    return InputError(
        "bad-split",
        f"The split {path.name} {message}.",
        "Give a CSV with the columns patient and fold and a row for each patient.",
    )


def usable_slices(
    entries: Sequence[ManifestEntry],
    share: float,
    *,
    seed: int = 0,
    by: Literal["slice", "patient"] = "slice",
) -> dict[str, Indices]:
    """Choose which slices' labels a run with a share of the labels may use.

    Parameters
    ----------
    entries : sequence of ManifestEntry
        Those that the run trains on.
    share : float
        Above 0, up to 1.
    seed : int
        Of the choice.
    by : {"slice", "patient"}
        "slice" keeps every patient and takes this share of the slices of each (one at least);
        "patient" takes all slices of this share of the patients (one at least).

    Returns
    -------
    dict of str to numpy.ndarray
        For each entry's id the slice indices k that may be used, ascending; perhaps none.

    Notes
    -----
    A larger share with the same seed holds every smaller one. By slice, what a patient gives
    depends on that patient alone, so it is the same in every fold.

    Examples
    --------
    >>> from isdmae_train.data import ManifestEntry
    >>> entry = ManifestEntry(
    ...     id="a", patient="a", licence="none", sources=("a.nrrd",), image="a.npy", label=None,
    ...     truth=None, shape=(20, 8, 8), spacing_mm=(1.0, 1.0, 1.0), sha256="", weight=1.0,
    ... )
    >>> len(usable_slices([entry], 0.25)["a"])
    5
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"A share of the labels lies above 0 and up to 1, not {share}.")
    if by == "patient":
        patients = sorted({entry.patient for entry in entries})
        order = np.random.default_rng(seed).permutation(patients).tolist()
        kept = set(order[: _part(share, len(order))])
        return {
            entry.id: np.arange(entry.shape[0] if entry.patient in kept else 0, dtype=np.int64)
            for entry in entries
        }
    chosen: dict[str, list[int]] = {entry.id: [] for entry in entries}
    slices: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.id):
        slices[entry.patient] += [(entry.id, k) for k in range(entry.shape[0])]
    for patient, places in slices.items():
        random = np.random.default_rng([seed, zlib.crc32(patient.encode())])
        for place in random.permutation(len(places))[: _part(share, len(places))]:
            name, k = places[place]
            chosen[name].append(k)
    return {name: np.array(sorted(indices), dtype=np.int64) for name, indices in chosen.items()}


def _part(share: float, count: int) -> int:
    """Return how many of ``count`` a share is: rounded up, so at least one of any."""
    return min(count, math.ceil(share * count - 1e-9))
