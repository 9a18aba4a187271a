"""How far axes are from right angles, and the rotation nearest to them."""

from __future__ import annotations

import numpy as np

from .checks import Notice
from .errors import InputError
from .volume import Array

# Over a chest of 400 mm, 0.1 degrees move the far corner by 0.35 mm on each of two axes.
MOST_SHEAR_DEG = 0.1
# Headers that print six digits stay below it: 0.001 degrees are 0.007 mm over 400 mm.
SILENT_SHEAR_DEG = 0.001
LENGTH_SHARE = 1e-3
EXACT = 1e-9


def shear_deg(axes: Array) -> float:
    """Return the largest deviation from a right angle between two columns, in degrees.

    Examples
    --------
    >>> axes = np.array([[1.0, 0.001, 0], [0, 1, 0], [0, 0, 2.5]])
    >>> round(shear_deg(axes), 4)
    0.0573
    """
    unit = axes / np.linalg.norm(axes, axis=0)
    cosines = unit.T @ unit - np.eye(axes.shape[1])
    return float(np.degrees(np.arcsin(np.abs(cosines).clip(max=1.0))).max())


def straighten(axes: Array, name: str) -> tuple[Array, Array]:
    """Return the lengths of the columns, and the rotation or reflection nearest to them.

    Columns that are at right angles already keep every bit of their direction.

    Raises
    ------
    InputError
        Where a column is zero, or two are more than 0.1 degrees off a right angle.
    """
    lengths = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise InputError(
            "bad-grid",
            f"An axis of {name} has no length in its header.",
            "Export the image again from its source.",
        )
    shear = shear_deg(axes)
    if not shear <= MOST_SHEAR_DEG:
        raise not_orthonormal(name, shear)
    unit = axes / lengths
    if np.abs(unit.T @ unit - np.eye(axes.shape[1])).max() <= EXACT:
        return lengths, unit
    left, _, right = np.linalg.svd(unit, full_matrices=False)
    return lengths, left @ right


def straight_grid(spacing_mm: Array, direction: Array, name: str) -> tuple[Array, Array]:
    """Return spacing and direction of a grid with its axes at right angles; errors as above.

    A direction that is exact stays as it is, bit for bit.
    """
    if np.abs(direction.T @ direction - np.eye(len(direction))).max() <= EXACT:
        return spacing_mm, direction
    lengths, straight = straighten(direction, name)
    if np.abs(lengths - 1).max() > LENGTH_SHARE:
        raise InputError(
            "not-orthonormal",
            f"The direction vectors of {name} are of length {_listed(lengths)}, not 1.",
            "Export the image again from its source.",
        )
    return spacing_mm * lengths, straight


def notices_of_shear(axes: Array) -> list[Notice]:
    """Return the warning for axes that are read as if they were at right angles."""
    shear = shear_deg(axes)
    if not SILENT_SHEAR_DEG < shear <= MOST_SHEAR_DEG:
        return []
    return [
        Notice(
            "slightly-sheared",
            f"The axes are {shear:.3f} degrees off right angles; the nearest upright grid is used.",
            "Nothing to do, unless you need places to better than half a millimetre.",
        )
    ]


def not_orthonormal(name: str, off_deg: float | None = None) -> InputError:
    """Return the error for axes that are not at right angles, ``off_deg`` off at most."""
    amount = "" if off_deg is None else f" (off by {off_deg:.2g} degrees)"
    return InputError(
        "not-orthonormal",
        f"The axes of {name} are not at right angles{amount}.",
        "Resample it to a straight grid, or convert it again from DICOM with dcm2niix.",
    )


def _listed(values: Array) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
