"""Between ``Volume`` and SimpleITK: the only conversions, and a quiet ITK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .errors import InputError, ResourceError
from .shear import straight_grid
from .volume import Volume

LEAST_SMOOTHED = 4
"""ITK's recursive Gaussian takes no image of fewer voxels along an axis."""


def to_sitk(volume: Volume) -> sitk.Image:
    """Return a 3D SimpleITK image with the same voxels and grid.

    bool becomes uint8 and float16 becomes float32, which ITK does not know.
    """
    array = volume.array
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    image = sitk.GetImageFromArray(native)
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin(volume.origin_mm)
    image.SetDirection(volume.direction.ravel().tolist())
    return image


def from_sitk(image: sitk.Image, *, is_hu: bool = True) -> Volume:
    """Return a volume with the same voxels and grid.

    A 2D image becomes one slice, shape (1, j, i), 1 mm thick. Axes up to 0.1 degrees off right
    angles become the nearest rotation; `isdmae.shear.notices_of_shear` says so.

    Raises
    ------
    InputError
        Where the axes are not at right angles, or a spacing is not positive.
    """
    array = sitk.GetArrayFromImage(image)
    spacing, origin = image.GetSpacing(), image.GetOrigin()
    direction = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)
    if image.GetDimension() == 2:
        array = array[np.newaxis]
        spacing, origin = (*spacing, 1.0), (*origin, 0.0)
        flat, direction = direction, np.eye(3)
        direction[:2, :2] = flat
    straight_mm, direction = straight_grid(np.array(spacing), direction, "the image")
    i_mm, j_mm, k_mm = straight_mm.tolist()
    try:
        return Volume(
            array=array,
            spacing_mm=(i_mm, j_mm, k_mm),
            origin_mm=origin,
            direction=direction,
            is_hu=is_hu,
        )
    except ValueError as error:
        raise InputError(
            "bad-grid", str(error), "Export the image again from its source."
        ) from error


def not_enough_memory(name: str) -> ResourceError:
    """Return the error for an image that does not fit into memory."""
    return ResourceError(
        "out-of-memory",
        f"There is not enough memory to read {name}.",
        "Close other programs, or crop the image first.",
    )


def damaged_file(path: Path, how: str) -> InputError:
    """Return the error for a file that ``how`` says to be damaged or cut short."""
    return InputError(
        "damaged-file",
        f"{path.name} ({path.stat().st_size} bytes) {how}.",
        "Copy or download it again.",
    )


def unreadable_file(path: Path, name: str) -> InputError:
    """Return the error for a file that is none of the format that its suffix names."""
    return InputError(
        "unreadable-file",
        f"{path.name} cannot be read as {name}: it is damaged, cut short, or another kind of file.",
        "Copy or download it again, or give it the suffix of its true format.",
    )


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's own warnings off stderr: we say what matters in our own words."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
