"""What an evaluation looks at: images with truth, from a manifest or from folders of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from isdmae import io
from isdmae.errors import InputError
from isdmae.picture import FORMATS
from isdmae.volume import Array

from .config.results import EvaluateConfig
from .data import ManifestEntry, read_manifest
from .metrics import Mask
from .pictures import read_index

TOGETHER = "all together"
"""Every structure that model and truth have in common, as one."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A CT, or the pictures of one case, with truth."""

    name: str
    patient: str
    paths: tuple[str, ...]
    is_hu: bool
    known: tuple[str, ...]
    """Structures of which the truth says where they are and where not; `TOGETHER` where it does
    not tell them apart."""
    truth: Callable[[], dict[str, Mask]]
    """Reads for each of ``known`` a mask (K, H, W) on the image's own grid."""
    in_stack: bool = True
    """The pictures are a case's, so that their stack is scored, too."""


def cases_of(config: EvaluateConfig) -> list[Case]:
    """List what is to be scored; all checks that need no image come before the work.

    Raises
    ------
    InputError
        Where neither a manifest nor pictures are given, or the choice of them is wrong.
    """
    if config.manifest is not None and config.pictures is None:
        entries = _choose(read_manifest(config.manifest), config)
        return [_of_entry(entry, config.manifest.parent) for entry in entries]
    if config.pictures is not None and config.truth is not None and config.manifest is None:
        return _of_folder(config, config.pictures, config.truth)
    raise InputError("bad-usage", "Give a manifest, or pictures and their truth.", "See --help.")


def _choose(entries: list[ManifestEntry], config: EvaluateConfig) -> list[ManifestEntry]:
    _refuse_unknown(config.only, [entry.id for entry in entries])
    _refuse_unknown(config.patients, sorted({entry.patient for entry in entries}))
    _refuse_unknown(config.parts, sorted({entry.split for entry in entries}))
    chosen = [
        entry
        for entry in entries
        if (not config.only or entry.id in config.only)
        and (not config.patients or entry.patient in config.patients)
        and (not config.parts or entry.split in config.parts)
    ]
    without = [entry.id for entry in chosen if not _has_truth(entry)]
    if len(without) == len(chosen) or (config.only and without):
        raise InputError(
            "no-truth",
            f"There is no truth for {', '.join(without) or 'this choice'}.",
            "Check --only, --patients and --parts.",
        )
    return [entry for entry in chosen if _has_truth(entry)]


def _refuse_unknown(names: tuple[str, ...], known: list[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InputError(
            "unknown-scan",
            f"The manifest does not list {', '.join(unknown)}.",
            f"It lists {', '.join(known)}.",
        )


def _has_truth(entry: ManifestEntry) -> bool:
    return bool(entry.free_of or (entry.truth and entry.labels))


def _of_entry(entry: ManifestEntry, folder: Path) -> Case:
    return Case(
        name=entry.id,
        patient=entry.patient,
        paths=entry.sources,
        is_hu=entry.is_hu,
        known=(*entry.labels, *entry.free_of) if entry.truth else entry.free_of,
        truth=partial(_entry_truth, entry, folder),
    )


def _entry_truth(entry: ManifestEntry, folder: Path) -> dict[str, Mask]:
    if entry.truth is None:
        # Nothing is there, so the image's own size is the truth's.
        size = [io.read(path).volume.shape for path in entry.sources]
        labelmap = np.zeros((sum(shape[0] for shape in size), *size[0][1:]), np.uint8)
    else:
        labelmap = io.read(folder / entry.truth).volume.array
    masks = {name: labelmap == value for value, name in enumerate(entry.labels, start=1)}
    return masks | {name: np.zeros(labelmap.shape, bool) for name in entry.free_of}


def _of_folder(config: EvaluateConfig, pictures: Path, truth: Path) -> list[Case]:
    paths = _pictures(pictures)
    if not paths:
        raise InputError("no-pictures", f"{pictures} holds no picture.", "Check the folder.")
    patients = _patients(config.index, [path.name for path in paths])
    masks = {path.stem: path for path in _pictures(truth)}
    structure = config.truth_label or TOGETHER
    cases = [
        Case(
            name=path.name,
            patient=patients[path.name],
            paths=(str(path),),
            is_hu=False,
            known=(structure,),
            truth=partial(_mask, masks.get(path.stem, truth / path.name), structure),
            in_stack=False,
        )
        for path in paths
        if not config.patients or patients[path.name] in config.patients
    ]
    _refuse_unknown(config.patients, sorted(set(patients.values())))
    return cases


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in FORMATS)


def _mask(path: Path, structure: str) -> dict[str, Mask]:
    values: Array = io.read(path).volume.array
    # A mask of one value is empty where that is 0, and full where it is not.
    return {structure: values > values.max() / 2}


def _patients(index: Path | None, names: list[str]) -> dict[str, str]:
    """Return the patient of each picture; without an index every picture is one of its own."""
    if index is None:
        return {name: name for name in names}
    patients = {row["file"]: row["patient"] for row in read_index(index)}
    missing = [name for name in names if not patients.get(name)]
    if missing:
        raise InputError(
            "bad-index",
            f"The index {index.name} has no patient for {len(missing)} pictures, "
            f"first {missing[0]}.",
            "Give a CSV with the columns file and patient and a row for each picture.",
        )
    return patients
