"""One input through reading, checks and writing, and what is to be thought of the outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from isdmae import io
from isdmae.checks import Notice, prepare_hu
from isdmae.errors import IsdmaeError
from isdmae.labels import LUNGS
from isdmae.volume import Array, Volume, to_lps_order

from . import chest
from .files import TO_RAS

CORRECT, REFUSED, WRONG = "correct", "refused", "wrong"
LEAST_DICE = 0.98
PAGE = Path(__file__).parents[2] / "Resources" / "docs" / "troubleshooting.md"


@dataclass(frozen=True, kw_only=True)
class Case:
    """An input: ``make`` writes it into a folder and returns its path.

    ``codes`` are the refusals that are right; ``may_pass`` says that a right result is right, too.
    ``expected`` returns the true labels for the written mask's affine and shape; by default those
    of the anatomy, None where only reading counts. ``grid`` is the grid that must come back.
    """

    group: str
    name: str
    make: Callable[[Path], Path]
    codes: tuple[str, ...] = ()
    may_pass: bool = True
    expected: Callable[[Array, tuple[int, ...]], Array] | None = chest.labels_at
    grid: Volume | None = None
    output: str = ".nii.gz"
    force: bool = False
    allow_gaps: bool = False
    series_uid: str | None = None
    notice: str = ""
    """A notice that must be among those given."""


@dataclass(frozen=True)
class Outcome:
    """``kind`` is correct, refused or wrong; ``said`` the refusal's code, or what is wrong."""

    kind: str
    said: str
    seconds: float


def judge(case: Case, folder: Path) -> Outcome:
    """Make the input, run it and judge it."""
    path = case.make(folder)
    started = time.perf_counter()
    try:
        said = _run(case, path, folder)
        kind = WRONG if said else CORRECT
        if not said and not case.may_pass:
            kind, said = WRONG, f"read, but {' or '.join(case.codes)} was right"
    except IsdmaeError as error:
        kind, said = REFUSED, error.code
        told = error.message.strip() and error.remedy.strip() and f"`{error.code}`" in _known()
        if error.code not in case.codes or not told:
            kind, said = WRONG, f"{type(error).__name__} {error.code}: {error.message}"
    except Exception as error:  # noqa: BLE001  what escapes is a defect
        kind, said = WRONG, f"{type(error).__name__}: {error}"
    return Outcome(kind, said, time.perf_counter() - started)


def _run(case: Case, path: Path, folder: Path) -> str:
    """Return what is wrong, nothing where all is right."""
    scan = io.read(path, series_uid=case.series_uid, allow_gaps=case.allow_gaps)
    if case.expected is None:
        return ""
    labelmap, notices = _by_value(scan.volume, case.force)
    target = folder / f"labels{case.output}"
    io.write_labelmap(target, labelmap, LUNGS)
    if case.notice and case.notice not in {notice.code for notice in (*scan.notices, *notices)}:
        return f"no notice {case.notice}"
    affine, found = read_back(target)
    if case.grid is not None:
        wrong = _compare_grid(case.grid, affine, found.shape)
        if wrong:
            return wrong
    return _compare_labels(case.expected(affine, found.shape), found)


def _by_value(volume: Volume, force: bool) -> tuple[Volume, Sequence[Notice]]:
    """Label as the network would, on clean HU in LPS order."""
    clean, notices = prepare_hu(volume, force=force)
    turned, order = to_lps_order(clean)
    return clean.with_array(order.undo(chest.labels_by_value(turned.array))), notices


def read_back(path: Path) -> tuple[Array, Array]:
    """Return the affine from (i, j, k, 1) to LPS mm and the labels (k, j, i) of a written mask."""
    if path.name.endswith((".nii", ".nii.gz")):
        image = nibabel.load(path)
        return TO_RAS @ image.affine, np.asarray(image.dataobj).T
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine, sitk.GetArrayFromImage(image)


def sample(labels: Array, own: Array, affine: Array, shape: tuple[int, ...]) -> Array:
    """Return labels of the grid ``own`` on another grid, the nearest ones; 0 outside."""
    k, j, i = np.indices(shape).reshape(3, -1)
    places = np.linalg.inv(own) @ affine @ np.stack([i, j, k, np.ones_like(i)])
    index = np.rint(places[2::-1]).astype(int)
    inside = ((index >= 0) & (labels.shape > index.T).T).all(axis=0)
    found = np.zeros(len(i), np.uint8)
    found[inside] = labels[tuple(index[:, inside])]
    return found.reshape(shape)


def _compare_grid(grid: Volume, affine: Array, shape: tuple[int, ...]) -> str:
    if shape != grid.shape:
        return f"shape {shape}, not {grid.shape}"
    far = np.array(
        [[i, j, k, 1] for i in (0, shape[2]) for j in (0, shape[1]) for k in (0, shape[0])], float
    ).T
    off = float(np.abs((affine - grid.affine) @ far).max())
    return f"the grid lies {off:.3g} mm off" if off > 0.02 else ""


def _compare_labels(expected: Array, found: Array) -> str:
    for label in LUNGS:
        truth, mine = expected == label.value, found == label.value
        both = int(truth.sum()) + int(mine.sum())
        dice = 2 * int((truth & mine).sum()) / both if both else 1.0
        # At the border a coordinate rounded by the file may fall on the other side.
        if dice < LEAST_DICE and int((truth ^ mine).sum()) > 4:
            return f"{label.name}: Dice {dice:.3f}"
    return ""


def _known() -> str:
    return PAGE.read_text(encoding="utf-8")
