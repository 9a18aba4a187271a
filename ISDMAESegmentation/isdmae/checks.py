"""Every refusal and every warning on input, one function each.

A refusal raises ``InputError``; a warning is a ``Notice``. ``check_ct`` runs the checks of a CT
volume in their order, the reader runs those that need the file (frames, channels); the places of
DICOM slices are checked in ``slice_positions``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .volume import Array, Volume, to_lps_order

AIR_HU = -1024

# A chest CT holds 30 % and more below -500 HU and 20 % and more of soft tissue; the limits are far
# lower so that crops, contrast and low dose pass, and no picture, MR or normalised image does.
AIR_BELOW_HU = -500
LEAST_AIR_SHARE = 0.01
SOFT_TISSUE_HU = (-100, 150)
LEAST_SOFT_TISSUE_SHARE = 0.005
# Lung, fat rim and partial volume lie here. An image padded with -1024 has nothing in between.
BETWEEN_HU = (-950, -150)
LEAST_BETWEEN_SHARE = 0.0005
# 12-bit scanners end at 3071, metal with extended range near 31000.
METAL_HU = 3071
MOST_METAL_SHARE = 0.05
HIGHEST_HU = 32767
SAMPLE_VOXELS = 2_000_000

MOST_NONFINITE_SHARE = 0.001
LEAST_IN_PLANE_VOXELS = 8
SMALL_IN_PLANE_MM = 50.0
OBLIQUE_DEG = 1.0
THICK_SLICE_MM = 5.5


@dataclass(frozen=True)
class Notice:
    """A warning: a code in kebab-case, one sentence with measured values, one remedy."""

    code: str
    message: str
    remedy: str


def check_ct(volume: Volume, *, force: bool = False) -> tuple[Volume, list[Notice]]:
    """Check a CT volume and return it with finite values of a signed type.

    Values below -1024 HU stay, as a copy of a long scan takes half a gigabyte; what cuts slices out
    of it (`isdmae.grids.slice_batch`, `isdmae.points.cut_crops`) reads them as air.

    Parameters
    ----------
    volume : Volume
        Any real dtype, in HU.
    force : bool
        Skip the check that the values are HU; nothing else is skipped.

    Returns
    -------
    Volume
        Same grid; int16 where the values fit, else int32 for whole numbers, else float32.
    list of Notice
        Everything the user should know, in the order of the checks.

    Raises
    ------
    InputError
        Where the volume is too small, holds too many non-finite values, or is not in HU.
    """
    notices = check_extent(volume)
    volume, found = replace_nonfinite(volume)
    notices += found + check_padding(volume)
    if not force:
        check_hu(volume)
    volume = volume.with_array(narrow_dtype(volume.array), is_hu=True)
    notices += check_slice_count(volume) + check_slice_thickness(volume) + check_obliquity(volume)
    return volume, notices


def prepare_hu(volume: Volume, *, force: bool = False) -> tuple[Volume, list[Notice]]:
    """Do `check_ct`, and raise what lies below -1024 HU, such as padding of -3024, to that.

    Examples
    --------
    >>> import numpy as np
    >>> hu = np.linspace(-3000, 400, 20 * 60 * 60).reshape(20, 60, 60)
    >>> clean, notices = prepare_hu(Volume(array=hu))
    >>> float(clean.array.min()), [notice.code for notice in notices]
    (-1024.0, ['padding'])
    """
    volume, notices = check_ct(volume, force=force)
    if any(notice.code == "padding" for notice in notices):
        raised = np.maximum(volume.array, volume.array.dtype.type(AIR_HU))
        volume = volume.with_array(narrow_dtype(raised))
    return volume, notices


def refuse_time_series(frames: int, name: str) -> None:
    """Raise ``InputError`` where a file holds more than one image in time."""
    if frames > 1:
        raise InputError(
            "time-series",
            f"{name} is a time series of {frames} frames; one volume is needed.",
            "Choose one frame and save it as a 3D image.",
        )


def refuse_channels(channels: int, name: str) -> None:
    """Raise ``InputError`` where a voxel holds more than one value."""
    if channels in (3, 4):
        raise InputError(
            "colour-image",
            f"{name} is a colour image with {channels} channels, not CT.",
            "Give the CT itself, or a grey picture.",
        )
    if channels != 1:
        raise InputError(
            "vector-image",
            f"{name} holds {channels} values in each voxel, CT holds one.",
            "Give the CT itself, with one value in each voxel.",
        )


def refuse_tiny(volume: Volume) -> None:
    """Raise ``InputError`` where an axial slice has fewer than 8 voxels along an axis."""
    turned, _ = to_lps_order(volume)
    _, rows, columns = turned.shape
    if min(rows, columns) < LEAST_IN_PLANE_VOXELS:
        raise InputError(
            "too-small",
            f"An axial slice has only {columns} x {rows} voxels; at least "
            f"{LEAST_IN_PLANE_VOXELS} along each axis are needed.",
            "Give whole axial slices.",
        )


def check_extent(volume: Volume) -> list[Notice]:
    """Refuse fewer than 8 voxels along an axis of the axial slice; warn under 50 mm."""
    refuse_tiny(volume)
    turned, _ = to_lps_order(volume)
    width, height, _ = turned.size_mm
    if min(width, height) >= SMALL_IN_PLANE_MM:
        return []
    return [
        Notice(
            "small-extent",
            f"An axial slice covers only {width:.0f} x {height:.0f} mm; the networks know whole "
            "chests.",
            "Look at the result with care, or give the whole field of view.",
        )
    ]


def replace_nonfinite(volume: Volume) -> tuple[Volume, list[Notice]]:
    """Replace NaN and infinity by -1024 where they are under 0.1 % of the voxels, else refuse."""
    array = volume.array
    if array.dtype.kind != "f":
        return volume, []
    # A float64 beyond the range of float32 would become infinite inside the network.
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(array.astype(np.float32, copy=False))
    count = int(bad.sum())
    if count == 0:
        return volume, []
    share = count / array.size
    if share >= MOST_NONFINITE_SHARE:
        raise InputError(
            "not-finite",
            f"{count} voxels ({_percent(share)}) are NaN or infinite; up to "
            f"{_percent(MOST_NONFINITE_SHARE)} can be read as air.",
            "Export the CT again from its source.",
        )
    notice = Notice(
        "not-finite",
        f"{count} voxels ({_percent(share)}) are NaN or infinite; they are read as air, "
        f"{AIR_HU} HU.",
        "Check how the file was made if you did not expect this.",
    )
    return volume.with_array(np.where(bad, array.dtype.type(AIR_HU), array)), [notice]


def check_padding(volume: Volume) -> list[Notice]:
    """Say where values lie below -1024 HU, such as padding of -2000 or -3024."""
    array = volume.array
    lowest = float(array.min())
    if lowest >= AIR_HU:
        return []
    # Slice by slice, so that what is compared stays in the cache.
    share = sum(int(np.count_nonzero(one < AIR_HU)) for one in array) / array.size
    return [
        Notice(
            "padding",
            f"{_percent(share)} of the voxels lie below {AIR_HU} HU (lowest {lowest:.0f}); they "
            f"are read as air, {AIR_HU} HU.",
            "Nothing to do: scanners fill the corners of an image like this.",
        )
    ]


def check_hu(volume: Volume) -> None:
    """Raise ``InputError`` where the values cannot be Hounsfield units of a body in air.

    Run it after ``replace_nonfinite``. The shares are measured on an even
    sample of about two million voxels, minimum and maximum on all.
    """
    array = volume.array
    sample = _sample(array)
    if volume.is_hu and _shares_fit(sample) and _reaches_no_higher(array, HIGHEST_HU):
        return
    lowest, highest = max(float(array.min()), AIR_HU), float(array.max())
    measured = (
        f"they run from {lowest:g} to {highest:g}, {_percent(_share_air(sample))} lie below "
        f"{AIR_BELOW_HU} (air, lung) and {_percent(_share_between(sample, SOFT_TISSUE_HU))} in "
        f"{SOFT_TISSUE_HU[0]}..{SOFT_TISSUE_HU[1]} (soft tissue)"
    )
    remedy = "Give a CT in Hounsfield units, or skip this check with --force."
    if lowest >= 0 and highest <= HIGHEST_HU and _shares_fit(sample - 1024):
        remedy = (
            "It looks like a CT stored without its rescale intercept: subtract 1024, or skip this "
            "check with --force."
        )
    raise InputError("not-hu", f"The values are not Hounsfield units: {measured}.", remedy)


def check_slice_count(volume: Volume) -> list[Notice]:
    """Warn where the volume is a single slice."""
    if to_lps_order(volume)[0].shape[0] > 1:
        return []
    return [
        Notice(
            "single-slice",
            "The image is a single slice: the result is 2D and of low confidence.",
            "Give the whole CT where you have it.",
        )
    ]


def check_slice_thickness(volume: Volume) -> list[Notice]:
    """Warn where the slices lie more than 5.5 mm apart."""
    turned, _ = to_lps_order(volume)
    spacing = turned.spacing_mm[2]
    if turned.shape[0] == 1 or spacing <= THICK_SLICE_MM:
        return []
    return [
        Notice(
            "thick-slices",
            f"The slices lie {spacing:.1f} mm apart; small findings between them are missed.",
            "Use the thin reconstruction of the same scan where there is one.",
        )
    ]


def check_obliquity(volume: Volume) -> list[Notice]:
    """Warn where the grid is turned by more than 1 degree against the patient's axes."""
    angle = volume.obliquity_deg
    if angle <= OBLIQUE_DEG:
        return []
    return [
        Notice(
            "oblique",
            f"The image is turned by {angle:.1f} degrees against the patient's axes.",
            "Nothing to do: the result lies on the same turned grid.",
        )
    ]


def notice_unknown_orientation() -> Notice:
    """Return the warning for a file that does not say where left and right are.

    It enters the report, so it leaves out the name of the file, which may name the patient.
    """
    return Notice(
        "unknown-orientation",
        "The file does not say how it lies in the patient; left and right may be swapped.",
        "Check the sides in the result, or convert the CT again from DICOM.",
    )


def narrow_dtype(array: Array) -> Array:
    """Return whole numbers as int16 (or int32, float32 where they do not fit), others as float32.

    Unsigned types never stay: ``uint16 - 1024`` wraps round.
    """
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype == np.int16:
        return array
    lowest, highest = int(array.min()), int(array.max())
    for dtype in (np.int16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= lowest and highest <= limits.max:
            return array.astype(dtype)
    return array.astype(np.float32)


def _reaches_no_higher(array: Array, highest: int) -> bool:
    """Tell whether no value lies above; of a type that cannot hold more, without a look."""
    fits = array.dtype.kind in "iu" and np.iinfo(array.dtype).max <= highest
    return fits or float(array.max()) <= highest


def _shares_fit(sample: Array) -> bool:
    return (
        _share_air(sample) >= LEAST_AIR_SHARE
        and _share_between(sample, SOFT_TISSUE_HU) >= LEAST_SOFT_TISSUE_SHARE
        and _share_between(sample, BETWEEN_HU) >= LEAST_BETWEEN_SHARE
        and float(np.mean(sample > METAL_HU)) <= MOST_METAL_SHARE
    )


def _share_air(sample: Array) -> float:
    return float(np.mean(sample < AIR_BELOW_HU))


def _share_between(sample: Array, bounds: tuple[int, int]) -> float:
    return float(np.mean((sample >= bounds[0]) & (sample <= bounds[1])))


def _sample(array: Array) -> Array:
    """Return about two million voxels, evenly spread, as float32."""
    step = max(1, round((array.size / SAMPLE_VOXELS) ** (1 / 3)))
    return array[::step, ::step, ::step].astype(np.float32)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share == 0 or share >= 0.0005 else "under 0.1 %"
