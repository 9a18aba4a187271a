"""What lies in a folder of scans: the layouts that `prepare` recognises by themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isdmae import image_file
from isdmae.atomic import suffix_of
from isdmae.errors import InputError
from isdmae.picture import FORMATS as PICTURES

from .config.prepare import LabelSource, PictureSet, ScanSource
from .problems import REMARK, Problem, problem_of

LICENCE = "for you to set"
DATASET = "dataset.json"
LABEL_FOLDERS = ("labels", "masks")
LABELS = "labels.json"
INDEX = "index.csv"
DEEPEST = 6
"""Levels of folders that are searched; PATIENT/STUDY/SERIES are three."""


@dataclass(frozen=True)
class Sources:
    """What was found, and the name of the layout."""

    layout: str
    scans: tuple[ScanSource, ...] = ()
    pictures: tuple[PictureSet, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Of files that belong to no scan, and scans that lack one."""


def find_sources(folder: Path) -> Sources:
    """Recognise the layout of ``folder``.

    ``dataset.json`` with ``imagesTr`` is nnU-Net's or the Medical Segmentation Decathlon's, also a
    folder deeper, as in ``nnUNet_raw``; ``images`` with ``labels`` or ``masks`` are pairs of one
    stem, CTs or 2D pictures; anything else is a folder of CTs without labels, files or DICOM
    series, up to six folders deep, or one series.

    Raises
    ------
    InputError
        ``bad-folder`` where there is no such folder; ``bad-layout`` where a description of it
        cannot be used; ``nothing-prepared`` where no scan is found.
    """
    if not folder.is_dir():
        raise InputError("bad-folder", f"{folder} is no folder.", "Name the folder of scans.")
    sets = [one for one in (folder, *sorted(folder.iterdir())) if _is_described(one)]
    if sets and sets[0] != folder and len(sets) > 1:
        names = ", ".join(one.name for one in sets)
        raise InputError("bad-layout", f"{folder} holds several sets: {names}.", "Name one.")
    if sets:
        found = _described(sets[0])
    elif (folder / "images").is_dir():
        found = _pairs(folder)
    else:
        found = Sources("folder of CTs", scans=tuple(_plain(folder)))
    if not found.scans and not found.pictures:
        known = ", ".join([*image_file.FORMATS, *PICTURES])
        raise InputError("nothing-prepared", f"{folder} holds no scan.", f"Known: {known}, DICOM.")
    return found


def _is_described(folder: Path) -> bool:
    return (folder / DATASET).is_file() and (folder / "imagesTr").is_dir()


def _described(folder: Path) -> Sources:
    """Read nnU-Net's or the Decathlon's ``dataset.json``; only labelled training scans have one."""
    facts = _read_json(folder / DATASET)
    values = label_values(facts.get("labels"))
    if isinstance(facts.get("training"), list):
        pairs = [(folder / one["image"], folder / one["label"]) for one in facts["training"]]
        return _labelled("Medical Segmentation Decathlon", pairs, values)
    images = [path for path in _files(folder / "imagesTr") if _stem(path).endswith("_0000")]
    if any(_stem(path).endswith("_0001") for path in _files(folder / "imagesTr")):
        raise _bad_layout(folder, "its scans have several channels; a CT has one")
    pairs = [
        (path, folder / "labelsTr" / f"{_stem(path).removesuffix('_0000')}{suffix_of(path)}")
        for path in images
    ]
    return _labelled("nnU-Net raw", pairs, values)


def label_values(named: Any) -> dict[str, tuple[int, ...]]:
    """Return the values of each label but the background, of either order in ``dataset.json``.

    Examples
    --------
    >>> label_values({"background": 0, "lesion": 1})
    {'lesion': (1,)}
    >>> label_values({"0": "background", "1": "cancer"})
    {'cancer': (1,)}
    """
    result = {}
    try:
        for left, right in named.items():
            name, value = (right, left) if str(left).isdigit() else (left, right)
            result[str(name)] = tuple(map(int, value if isinstance(value, list) else [value]))
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            "bad-layout", f"The labels {named!r} are no table of names and values.", "Mend it."
        ) from error
    result = {name: value for name, value in result.items() if value != (0,)}
    known: dict[int, str] = {}
    for name, values in result.items():
        for value in values:
            if known.setdefault(value, name) != name:
                raise InputError(
                    "bad-layout",
                    f"The labels {known[value]} and {name} share the value {value}: regions that "
                    "lie in one another cannot be learnt beside each other.",
                    "Give each value one name.",
                )
    return result


def _labelled(
    layout: str, pairs: list[tuple[Path, Path]], values: Mapping[str, tuple[int, ...]]
) -> Sources:
    """Return the scans of pairs; one without its file of labels is one for pre-training."""
    scans, problems = [], []
    for image, label in pairs:
        name = _stem(image).removesuffix("_0000")
        source = None
        if values and label.exists():
            source = LabelSource(path=label, values=dict(values), complete=True)
        elif values:
            error = InputError(
                "label-missing",
                f"The file of labels {label.name} does not exist.",
                "Add it to learn from this scan's labels; pre-training does without.",
            )
            problems.append(problem_of(error, name, label, REMARK))
        scans.append(ScanSource(id=name, patient=name, image=image, licence=LICENCE, label=source))
    if values:
        problems += _orphans(pairs)
    return Sources(layout, tuple(scans), problems=tuple(problems))


def _orphans(pairs: list[tuple[Path, Path]]) -> Iterator[Problem]:
    """Yield the files of labels that belong to no scan."""
    folders = {label.parent for _, label in pairs}
    known = {label.resolve() for _, label in pairs}
    for path in sorted(path for folder in folders for path in _files(folder)):
        if suffix_of(path) in image_file.FORMATS and path.resolve() not in known:
            error = InputError(
                "image-missing",
                f"The labels {path.name} belong to no scan of the set.",
                "Add the scan, or move the labels away.",
            )
            yield problem_of(error, _stem(path), path)


def _pairs(folder: Path) -> Sources:
    """Read ``images`` with ``labels`` or ``masks``; ``labels.json`` names the values of CTs'."""
    images = _files(folder / "images")
    masks = next((folder / name for name in LABEL_FOLDERS if (folder / name).is_dir()), None)
    if images and all(suffix_of(path) in PICTURES for path in images):
        index = Path(INDEX) if (folder / INDEX).is_file() else None
        labels = {} if masks is None else _picture_labels(masks)
        one = PictureSet(
            id=folder.resolve().name,
            images=Path("images"),
            labels=labels,
            index=index,
            licence=LICENCE,
        )
        return Sources("2D pictures", pictures=(one,))
    if masks is None:
        return Sources("folder of CTs", scans=tuple(_plain(folder / "images")))
    if not (folder / LABELS).is_file():
        raise _bad_layout(folder, f"it lacks {LABELS}, which names the label values")
    values = label_values(_read_json(folder / LABELS))
    by_stem = {_stem(path): path for path in _files(masks)}
    pairs = [(path, by_stem.get(_stem(path), masks / path.name)) for path in images]
    return _labelled("pairs of scans and labels", pairs, values)


def _picture_labels(masks: Path) -> dict[str, Path]:
    """Return the folder of masks of each label: sub-folders by name, or one unnamed structure."""
    folders = sorted(path for path in masks.iterdir() if path.is_dir())
    if folders:
        return {path.name: path.relative_to(masks.parent) for path in folders}
    return {"structure": Path(masks.name)}


def _plain(folder: Path, depth: int = 0, patient: str = "") -> Iterator[ScanSource]:
    """Yield CTs of ``folder`` and below: files of volumes, and folders that hold DICOM slices."""
    files = [path for path in _files(folder) if suffix_of(path) in image_file.FORMATS]
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."]
    for path in files:
        name = f"{patient}-{_stem(path)}" if patient else _stem(path)
        yield ScanSource(id=name, patient=patient or name, image=path, licence=LICENCE)
    if not files and _holds_slices(folder, alone=bool(depth) and not folders):
        name = "-".join(folder.resolve().parts[-max(1, depth) :])
        yield ScanSource(id=name, patient=patient or name, image=folder, licence=LICENCE)
    if depth < DEEPEST:
        for path in folders:
            yield from _plain(path, depth + 1, patient or path.name)


def _holds_slices(folder: Path, *, alone: bool) -> bool:
    """Tell whether a folder is a series; one below the top with nothing but files is taken for one.

    What is wrong with such a folder then is said when it is read.
    """
    files = _files(folder)
    return bool(files) if alone else any(_is_dicom(path) for path in files)


def _is_dicom(path: Path) -> bool:
    """Tell whether a file begins as DICOM, Part 10, section 7.1 says.

    So does one that cannot be read, so that it is named with the folder when that is.
    """
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return True


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_file() and path.name[0] != ".")


def _stem(path: Path) -> str:
    return path.name.removesuffix(suffix_of(path)) if suffix_of(path) else path.name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _bad_layout(path.parent, f"{path.name} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise _bad_layout(path.parent, f"{path.name} is no table")
    return content


def _bad_layout(folder: Path, message: str) -> InputError:
    return InputError(
        "bad-layout",
        f"The folder {folder.name} cannot be used: {message}.",
        "Mend it, or list the scans in a recipe.",
    )
