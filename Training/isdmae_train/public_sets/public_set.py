"""What is known of a public set, and what its readers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from isdmae import image_file
from isdmae.atomic import suffix_of
from isdmae.errors import InputError

from ..layouts import Sources
from ..problems import REMARK, Problem, problem_of


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """A public data set."""

    name: str
    title: str
    holds: str
    licence: str
    where: str
    citation: str
    layout: str
    """What its folder holds, in words."""
    traps: tuple[str, ...]
    """What goes wrong with it, and what is done about that here."""
    labels: tuple[str, ...]
    """That it offers; a later one lies above where two overlap."""
    usual: tuple[str, ...]
    """Those that are taken where none are named."""
    find: Callable[[PublicSet, Path, tuple[str, ...]], Sources]
    """Lists what a folder holds of the chosen labels."""


def volumes(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every image file below ``folder`` that is not hidden, and its name without suffix."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if suffix_of(path) in image_file.FORMATS and not any(part[0] == "." for part in inside):
            yield path, path.name[: -len(suffix_of(path))]


def without_labels(name: str, what: str, file: Path) -> Problem:
    """Say that a scan has no file of labels and is prepared for pre-training only."""
    error = InputError(
        "label-missing",
        f"There is no {what} of it.",
        "Get the rest of the set to learn from this scan's labels; pre-training does without.",
    )
    return problem_of(error, name, file, REMARK)


def without_image(file: Path) -> Problem:
    """Say that labels belong to no scan."""
    error = InputError(
        "image-missing",
        f"The labels {file.name} belong to no scan of the set.",
        "Get the rest of the set, or move the labels away.",
    )
    return problem_of(error, file.name, file)
