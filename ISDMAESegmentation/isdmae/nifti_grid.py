"""The grid that a NIfTI header gives, in LPS, and what in it contradicts itself.

ITK takes the voxel size from pixdim and only the rotation from the sform, prefers the qform in
some cases, and mirrors an axis whose pixdim is negative, all without a word.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .checks import Notice
from .errors import InputError
from .shear import notices_of_shear, straighten
from .volume import Array

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# xyzt_units, its lowest three bits -> millimetres
UNITS_MM = {1: 1000.0, 3: 0.001}
MOST_SPACING_SHARE = 0.01
MOST_CORNER_MM = 0.1
MOST_TURN_DEG = 0.1
# Beyond what float32 rounds off, the length of an sform axis says more than pixdim.
ROUNDING = 1e-6
REMEDY = "Convert the CT again from DICOM, for example with dcm2niix."


@dataclass(frozen=True, kw_only=True)
class NiftiGeometry:
    """Fields of the header as they are stored, in its own units.

    ``size`` counts the voxels along (i, j, k), 1 along axes that the file lacks; ``rank`` is at
    most 3. ``quaternion`` holds b, c, d and the offsets x, y, z; ``srow`` the 3 x 4 sform.
    """

    rank: int
    size: tuple[int, int, int]
    pixdim: tuple[float, ...]
    units: int
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    srow: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Spacing in mm along (i, j, k), origin in LPS mm, and orthonormal direction."""

    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: Array


def read_grid(header: NiftiGeometry, name: str) -> tuple[Grid | None, list[Notice]]:
    """Return the grid by the sform where there is one, else by the qform.

    None without both, and for a 2D image, whose place across its plane nobody needs.

    Parameters
    ----------
    header : NiftiGeometry
        The fields that decide.
    name : str
        Names the file in errors.

    Raises
    ------
    InputError
        Where the axes are sheared, a voxel size is not positive, or sform and pixdim differ.
    """
    size = _pixdim_mm(header)
    if header.sform_code <= 0:
        _refuse_no_size(header, size, name)
        has_grid = header.qform_code > 0 and header.rank == 3
        return (_grid(_qform(header), size, name) if has_grid else None), []
    affine = _sform(header)
    axes = affine[:3, : header.rank]
    straighten(axes, name)
    notices = notices_of_shear(axes) + _compare_sizes(header, axes, name)
    if header.rank < 3:
        return None, notices
    if header.qform_code > 0 and (size > 0).all():
        notices += _compare_forms(header, affine, _qform(header))
    return _grid(affine, size, name), notices


def _pixdim_mm(header: NiftiGeometry) -> Array:
    """Return the voxel size; 1 along axes that the file lacks."""
    size = np.array(header.pixdim[1:4], dtype=np.float64)
    size[header.rank :] = np.where(size[header.rank :] > 0, size[header.rank :], 1.0)
    return size * UNITS_MM.get(header.units, 1.0)


def _sform(header: NiftiGeometry) -> Array:
    affine = np.vstack([np.reshape(header.srow, (3, 4)), [0, 0, 0, 1]]).astype(np.float64)
    affine[:3] *= UNITS_MM.get(header.units, 1.0)
    matrix: Array = TO_LPS @ affine
    return matrix


def _qform(header: NiftiGeometry) -> Array:
    """Return the affine of quaternion, pixdim and offset, by method 2 of nifti1.h."""
    b, c, d = header.quaternion[:3]
    rest = 1.0 - (b * b + c * c + d * d)
    if rest < 1e-7:
        b, c, d = np.array([b, c, d]) / np.sqrt(b * b + c * c + d * d)
        rest = 0.0
    a = np.sqrt(rest)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    hand = -1.0 if header.pixdim[0] < 0 else 1.0
    affine[:3, :3] = rotation * _pixdim_mm(header) * [1.0, 1.0, hand]
    affine[:3, 3] = np.array(header.quaternion[3:]) * UNITS_MM.get(header.units, 1.0)
    matrix: Array = TO_LPS @ affine
    return matrix


def _grid(affine: Array, size: Array, name: str) -> Grid:
    lengths, direction = straighten(affine[:3, :3], name)
    spacing = np.where(np.abs(lengths - size) <= ROUNDING * lengths, size, lengths)
    return Grid(
        spacing_mm=tuple(spacing.tolist()),
        origin_mm=tuple(affine[:3, 3].tolist()),
        direction=direction,
    )


def _refuse_no_size(header: NiftiGeometry, size: Array, name: str) -> None:
    used = size[: header.rank]
    if (used <= 0).any():
        raise InputError(
            "bad-grid",
            f"The header of {name} gives voxels of {_listed(used)}; each must be positive.",
            REMEDY,
        )


def _compare_sizes(header: NiftiGeometry, axes: Array, name: str) -> list[Notice]:
    """Refuse a pixdim more than 1 % off the sform; warn of one that is not positive."""
    size = _pixdim_mm(header)[: header.rank]
    lengths = np.linalg.norm(axes, axis=0)
    wrong = (size > 0) & (np.abs(size / lengths - 1) > MOST_SPACING_SHARE)
    if wrong.any():
        off = float(np.abs(size - lengths)[wrong].max())
        raise InputError(
            "geometry-contradicts",
            f"The header of {name} gives voxels of {_listed(size)} by pixdim, but of "
            f"{_listed(lengths)} by its sform: {off:.3g} mm apart.",
            REMEDY,
        )
    if (size > 0).all():
        return []
    message = (
        f"The header gives voxels of {_listed(size)} by pixdim, which must be positive; the "
        f"sform was taken, with {_listed(lengths)}."
    )
    return [Notice("geometry-contradicts", message, f"Check the sides. {REMEDY}")]


def _compare_forms(header: NiftiGeometry, sform: Array, qform: Array) -> list[Notice]:
    last = [length - 1 for length in header.size]
    corners = np.array([(*c, 1) for c in itertools.product(*((0, end) for end in last))]).T
    apart = float(np.linalg.norm(((sform - qform) @ corners)[:3], axis=0).max())
    turn = _turn_deg(sform[:3, :3], qform[:3, :3])
    if apart <= MOST_CORNER_MM and turn <= MOST_TURN_DEG:
        return []
    message = (
        f"The header says twice where the image lies, {apart:.3g} mm and {turn:.3g} degrees "
        "apart; the sform was taken, not the qform."
    )
    return [Notice("geometry-contradicts", message, f"Check place and sides. {REMEDY}")]


def _turn_deg(first: Array, second: Array) -> float:
    """Return the largest angle between the axes of two grids; 180 where one is mirrored."""
    a, b = first / np.linalg.norm(first, axis=0), second / np.linalg.norm(second, axis=0)
    # The distance of unit vectors stays exact near zero degrees, where the cosine does not.
    half = np.linalg.norm(a - b, axis=0).max() / 2
    return float(np.degrees(2 * np.arcsin(min(1.0, half))))


def _listed(values: Array) -> str:
    return " x ".join(f"{value:.4g}" for value in values) + " mm"
