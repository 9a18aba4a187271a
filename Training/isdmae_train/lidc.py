"""LIDC-IDRI's own annotations: the XML of each scan, with the outlines of up to four readers.

Source: LIDC XML documentation, and Armato et al., Med Phys 38:915, 2011. An outline runs through
the first pixels outside of a nodule, so that it is no part of it; an outline with ``inclusion``
FALSE is a hole; a nodule under 3 mm has a single point, and no extent.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import numpy.typing as npt

from isdmae.errors import InputError
from isdmae.volume import Volume

from .crops import READERS

LEAST_POINTS = 3
"""Of an outline that surrounds something."""


def is_lidc(path: Path) -> bool:
    """Tell whether an XML file holds readings of a CT (those of plain films have another root)."""
    with path.open("rb") as file:
        return b"LidcReadMessage" in file.read(4096)


def nodules_of(ct: Volume, path: Path, readers: int = READERS) -> npt.NDArray[np.bool_]:
    """Return the voxels that at least ``readers`` readers hold for nodules of 3 mm and more.

    Parameters
    ----------
    ct : Volume
        Axial, as its DICOM series has it: rows and columns are the outlines' y and x.
    path : Path
        The XML.

    Returns
    -------
    numpy.ndarray of bool, (k, j, i)

    Raises
    ------
    InputError
        ``bad-annotation`` where the XML is none of LIDC's, or an outline lies in no slice.
    """
    counts = np.zeros(ct.shape, np.uint8)
    for session in _sessions(path):
        counts += _reading(ct, session, path)
    return counts >= readers


def _sessions(path: Path) -> list[ElementTree.Element]:
    text = path.read_bytes()
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise _bad(path, "defines entities, which no file of LIDC does")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - entities are refused above
    except ElementTree.ParseError as error:
        raise _bad(path, f"cannot be read: {error}") from error
    return root.findall("{*}readingSession")


def _reading(ct: Volume, session: ElementTree.Element, path: Path) -> npt.NDArray[np.uint8]:
    """Return 1 where one reader saw a nodule, of whichever number."""
    found = np.zeros(ct.shape, np.uint8)
    for nodule in session.findall("{*}unblindedReadNodule"):
        outlines: dict[bool, list[tuple[int, npt.NDArray[np.int32]]]] = defaultdict(list)
        for roi in nodule.findall("{*}roi"):
            points = _points(roi, path)
            if len(points) >= LEAST_POINTS:
                inside = (roi.findtext("{*}inclusion") or "TRUE").strip().upper() == "TRUE"
                outlines[inside].append((_slice(ct, roi, path), points))
        one = np.zeros(ct.shape, np.uint8) if outlines else found
        for k, points in outlines[True]:
            one[k] |= _inside(points, one[k].shape)
        for k, points in outlines[False]:
            hole = _inside(points, one[k].shape)
            cv2.polylines(hole, [points], isClosed=True, color=1)
            one[k][hole > 0] = 0
        found |= one
    return found


def _inside(points: npt.NDArray[np.int32], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return uint8 (j, i): 1 within an outline and not on it."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [points], color=1)
    cv2.polylines(mask, [points], isClosed=True, color=0)
    return mask


def _points(roi: ElementTree.Element, path: Path) -> npt.NDArray[np.int32]:
    try:
        pairs = [
            (int(edge.findtext("{*}xCoord") or ""), int(edge.findtext("{*}yCoord") or ""))
            for edge in roi.findall("{*}edgeMap")
        ]
    except ValueError as error:
        raise _bad(path, f"has an outline without places: {error}") from error
    return np.array(pairs, np.int32).reshape(-1, 2)


def _slice(ct: Volume, roi: ElementTree.Element, path: Path) -> int:
    """Return the slice of the outline's ``imageZposition`` (mm, patient)."""
    try:
        z = float(roi.findtext("{*}imageZposition") or "")
    except ValueError as error:
        raise _bad(path, "has an outline without a slice") from error
    k = (z - ct.origin_mm[2]) / (ct.spacing_mm[2] * ct.direction[2, 2])
    if not -0.5 <= k < len(ct.array) - 0.5 or abs(k - round(k)) > 0.25:
        raise _bad(path, f"has an outline at {z} mm, where the scan has no slice")
    return round(k)


def _bad(path: Path, message: str) -> InputError:
    return InputError(
        "bad-annotation",
        f"The readings {path.name} of LIDC cannot be used: it {message}.",
        "Get it again from its source, and keep it beside its own series.",
    )
