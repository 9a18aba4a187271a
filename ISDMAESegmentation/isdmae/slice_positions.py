"""Where DICOM slices lie: even, complete, one behind the other, else refused or noted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .checks import Notice
from .errors import InputError
from .volume import Array

TILT_DEG = 0.5
UNEVEN_SHARE = 0.01
GAP_FACTOR = 1.5
DUPLICATE_SHARE = 0.01
MOST_LATERAL_MM = 1.0
MOST_LATERAL_SHARE = 0.01
MOST_OFF_GRID = 0.5
"""Of a spacing: a slice that lies farther off is nearer to the even place of another one."""
INTERPOLATED = ("gap", "slices-off-grid")
"""Notices of slices that do not lie on an even grid, and have to be put onto one."""


def check_gantry_tilt(normal: Sequence[float], stacking: Sequence[float]) -> None:
    """Raise ``InputError`` where slices are stacked more than 0.5 degrees off their normal.

    Parameters
    ----------
    normal : sequence of 3 float
        Normal of the slice plane, any length.
    stacking : sequence of 3 float
        Vector in mm from the first slice's position to the last's, not zero.
    """
    lengths = float(np.linalg.norm(normal) * np.linalg.norm(stacking))
    # The cross product stays exact near zero degrees, where the cosine does not.
    sine = float(np.linalg.norm(np.cross(normal, stacking))) / lengths
    angle = float(np.degrees(np.arcsin(min(1.0, sine))))
    if angle > TILT_DEG:
        raise InputError(
            "gantry-tilt",
            f"The slices are sheared: the gantry was tilted by {angle:.1f} degrees.",
            "Correct the tilt first, for example with dcm2niix, and give the corrected file.",
        )


def check_lateral_positions(
    positions_mm: Array, normal: Array, extent_mm: float, names: Sequence[str]
) -> None:
    """Raise ``InputError`` where slices lie beside the straight line of the others.

    Parameters
    ----------
    positions_mm : numpy.ndarray
        LPS positions of the slices, shape (k, 3), ascending along the normal.
    normal : numpy.ndarray
        Unit normal of the slices.
    extent_mm : float
        Shorter side of a slice; more than 1 % of it, or more than 1 mm, is too far.
    names : sequence of str
        A name for each slice (its file name), for the message.
    """
    if len(positions_mm) < 3:
        return
    off = _lateral_offsets(positions_mm, normal)
    limit = min(MOST_LATERAL_MM, MOST_LATERAL_SHARE * extent_mm)
    far = np.flatnonzero(off > limit)
    if far.size:
        worst = int(off.argmax())
        raise InputError(
            "displaced-slices",
            f"Slice {_numbers(far + 1)} of {len(off)} lies beside the others, by up to "
            f"{off[worst]:.3g} mm ({names[worst]}); at most {limit:.2g} mm are allowed.",
            "Export the series again from its source; slices of another scan may be among them.",
        )


def _lateral_offsets(positions_mm: Array, normal: Array) -> Array:
    """Return each slice's distance in mm, within its plane, from the line fitted through all.

    The slope is the median over pairs half a stack apart, so that no displaced slice bends it,
    not even the first or last one (Theil and Sen's estimator on every slice once or twice).
    """
    heights = positions_mm @ normal
    lateral = positions_mm - np.outer(heights, normal)
    half = (len(heights) + 1) // 2
    rises = (lateral[half:] - lateral[:-half]) / (heights[half:] - heights[:-half])[:, None]
    straight = lateral - np.outer(heights, np.median(rises, axis=0))
    off: Array = np.linalg.norm(straight - np.median(straight, axis=0), axis=1)
    return off


def check_slice_positions(
    positions_mm: Sequence[float], names: Sequence[str], *, allow_gaps: bool = False
) -> list[Notice]:
    """Check the distances between neighbouring slices.

    Parameters
    ----------
    positions_mm : sequence of float
        Places of the slices along their normal in mm, ascending.
    names : sequence of str
        A name for each slice (its file name), for the messages.
    allow_gaps : bool
        Warn of missing slices, and of slices at several distances, where they would be refused.

    Returns
    -------
    list of Notice
        ``uneven-slices`` where distances differ by more than 1 %; where that is allowed, one of
        `INTERPOLATED` in its place.

    Raises
    ------
    InputError
        Where two slices lie at one place, a distance is 1.5 times the usual one or more, or a
        slice lies more than half a spacing from its place on an even grid.
    """
    places = np.asarray(positions_mm, dtype=np.float64)
    distances = np.diff(places)
    if distances.size == 0:
        return []
    usual = float(np.median(distances))
    _refuse_duplicates(distances, usual, names)
    interpolated = _check_gaps(distances, usual, names, allow_gaps) or _check_grid(
        places, usual, names, allow_gaps
    )
    uneven = np.abs(distances / usual - 1) > UNEVEN_SHARE
    if interpolated or not uneven.any():
        return interpolated
    worst = distances[uneven][np.abs(distances[uneven] - usual).argmax()]
    return [
        Notice(
            "uneven-slices",
            f"The slices are not evenly spaced: usual {usual:.3g} mm, but up to {worst:.3g} mm "
            f"after slice {_numbers(np.flatnonzero(uneven) + 1)}.",
            "Volumes in mL may be off by this share; an even reconstruction has none of it.",
        )
    ]


def _refuse_duplicates(distances: Array, usual: float, names: Sequence[str]) -> None:
    same = np.flatnonzero(distances <= max(DUPLICATE_SHARE * usual, 1e-4))
    if same.size:
        first = int(same[0])
        raise InputError(
            "duplicate-slices",
            f"{same.size} slice positions occur twice, first in {names[first]} and "
            f"{names[first + 1]}.",
            "Keep one acquisition in the folder, or remove the doubled files.",
        )


def _check_gaps(
    distances: Array, usual: float, names: Sequence[str], allow_gaps: bool
) -> list[Notice]:
    gaps = np.flatnonzero(distances >= GAP_FACTOR * usual)
    if not gaps.size:
        return []
    first = int(gaps[0])
    count = int(np.round(distances[gaps] / usual - 1).clip(min=1).sum())
    missing = f"About {count} slices are missing: {distances[first]:.3g} mm between slices"
    pair, rest = f"{first + 1} and {first + 2}", f"usual are {usual:.3g} mm."
    if not allow_gaps:
        raise InputError(
            "gap",
            f"{missing} {pair} ({names[first]}, {names[first + 1]}), {rest}",
            "Give the complete series, or let them be interpolated: --allow-gaps.",
        )
    # The notice enters the report, so it leaves out file names, which may name the patient.
    remedy = "They are interpolated; do not trust findings there."
    return [Notice("gap", f"{missing} {pair}, {rest}", remedy)]


def _check_grid(
    places: Array, usual: float, names: Sequence[str], allow_gaps: bool
) -> list[Notice]:
    """Refuse or note slices whose index does not say where they lie, as where two series meet."""
    even, spacing = np.linspace(places[0], places[-1], len(places), retstep=True)
    off = np.abs(places - even)
    worst = int(off.argmax())
    if off[worst] <= MOST_OFF_GRID * spacing:
        return []
    distances = np.diff(places)
    apart = f"The slices are {distances.min():.3g} to {distances.max():.3g} mm apart"
    far = f"lies {off[worst]:.3g} mm from its place on an even grid."
    if not allow_gaps:
        raise InputError(
            "slices-off-grid",
            f"{apart}: slice {worst + 1} of {len(places)} ({names[worst]}) {far}",
            "Give one reconstruction of one slice distance, or let the slices be interpolated: "
            "--allow-gaps.",
        )
    remedy = f"They are interpolated every {usual:.3g} mm; small findings may be lost."
    return [Notice("slices-off-grid", f"{apart}: slice {worst + 1} of {len(places)} {far}", remedy)]


def _numbers(values: Array) -> str:
    shown = ", ".join(str(value) for value in values[:5])
    return shown if len(values) <= 5 else f"{shown} and {len(values) - 5} more"
