"""DICOM folders: which series is the CT, and which of its files belong to it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .checks import Notice, refuse_channels
from .dicom_header import SliceHeader, file_meta, read_header, undecodable
from .dicom_stack import stack
from .errors import InputError
from .itk import quiet_itk
from .volume import Volume

FEW_SLICES = 4
DISC = "DICOMDIR"
"""The table of contents of a standard disc; its images lie some folders below (PS3.10, 8)."""
# CT, enhanced CT, and legacy converted enhanced CT image storage (PS3.4, annex B.5).
CT_IMAGE_STORAGE = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
)
# Headers print direction cosines with few digits, so slices of one stack differ a little.
SAME_ORIENTATION = 0.01


@dataclass(frozen=True, kw_only=True)
class SeriesInfo:
    """One series of a folder: ``files`` counts its files, ``rows`` and ``columns`` are pixels.

    What it prints is what one needs to choose; a ``description`` may name a person, so it is left
    out there.
    """

    uid: str
    description: str
    kernel: str
    modality: str
    files: int
    rows: int
    columns: int
    thickness_mm: float
    is_localizer: bool

    def __str__(self) -> str:
        return f"{self.uid} ({self.unnamed})"

    @property
    def unnamed(self) -> str:
        """What it is, without its UID, which identifies the patient."""
        parts = [f"{self.modality}, {self.files} slices of {self.columns} x {self.rows}"]
        parts += [f"{self.thickness_mm:g} mm"] if self.thickness_mm else []
        parts += [f"kernel {self.kernel}"] if self.kernel else []
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class DicomSeries:
    """A series as a volume, the warnings met on the way, and what it is."""

    volume: Volume
    notices: tuple[Notice, ...]
    info: SeriesInfo


def is_dicom(path: Path) -> bool:
    """Tell whether a file starts as DICOM files do."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def series_of(path: Path) -> str | None:
    """Return the series UID of one DICOM image file, None of a disc's table of contents.

    Raises
    ------
    InputError
        Where it is neither.
    """
    if path.name.upper() == DISC:
        return None
    header = read_header(path)
    if header is None:
        raise undecodable(path) if is_dicom(path) else _no_dicom(path.name)
    return header.series_uid


def list_series(folder: str | os.PathLike[str]) -> list[SeriesInfo]:
    """List the image series of a folder, or of its sub-folders where it holds none itself.

    Those of a standard disc, which has a file DICOMDIR, are found however deep they lie.

    Returns
    -------
    list of SeriesInfo
        The largest first; empty where there is no DICOM image.
    """
    headers, _ = _scan(Path(folder))
    return [_describe(slices) for slices in _by_series(headers)]


def read_series(
    folder: str | os.PathLike[str], series_uid: str | None = None, *, allow_gaps: bool = False
) -> DicomSeries:
    """Read the one CT series of a folder, or the one named.

    Parameters
    ----------
    folder : path
        Holds the files, with or without the extension .dcm, as `list_series` finds them; other
        files are ignored, and so are those whose names are not valid Unicode unless they are CT
        slices.
    series_uid : str, optional
        The series to read; without it there must be exactly one CT series that is no localizer.
    allow_gaps : bool
        Interpolate missing slices linearly instead of refusing them.

    Returns
    -------
    DicomSeries
        HU as int16 where they fit; slices in ascending order along their normal, which is the
        cross product of row and column direction.

    Raises
    ------
    InputError
        Where there is no series or several, slices are damaged, doubled, missing or displaced, the
        gantry was tilted, or the pixels cannot be decoded.
    ResourceError
        Where there is not enough memory for it.
    """
    folder = Path(folder)
    headers, damaged = _scan(folder)
    if damaged:
        raise undecodable(damaged[0])
    if not headers:
        raise _no_dicom(folder.name)
    slices, notices = _choose(_by_series(headers), series_uid, folder.name)
    info = _describe(slices)
    slices, found = _drop_strangers(slices)
    notices += found
    _refuse_unusable(slices)
    with quiet_itk():
        volume, found = stack(slices, allow_gaps)
    return DicomSeries(volume=volume, notices=tuple(notices + found), info=info)


def _scan(folder: Path) -> tuple[list[SliceHeader], list[Path]]:
    """Return the headers of all images in a folder, and the CT slices that are damaged."""
    for places in _places(folder):
        headers, damaged = [], []
        for path in sorted(file for place in places for file in place.iterdir() if file.is_file()):
            header = read_header(path)
            if header is not None:
                headers.append(header)
            elif file_meta(path).get("sop_class") in CT_IMAGE_STORAGE:
                damaged.append(path)
        if headers or damaged:
            return headers, damaged
    return [], []


def _places(folder: Path) -> Iterator[list[Path]]:
    """Yield the folders in which images are looked for: those of a level together, the first first.

    Below the second level only of a standard disc: elsewhere it could be a whole archive.
    """
    yield [folder]
    yield sorted(place for place in folder.iterdir() if place.is_dir())
    if any(file.name.upper() == DISC for file in folder.iterdir()):
        yield sorted(place for place in folder.rglob("*") if place.is_dir())


def _by_series(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    groups: dict[str, list[SliceHeader]] = {}
    for header in headers:
        groups.setdefault(header.series_uid, []).append(header)
    return sorted(groups.values(), key=len, reverse=True)


def _describe(slices: Sequence[SliceHeader]) -> SeriesInfo:
    first = slices[0]
    return SeriesInfo(
        uid=first.series_uid,
        description=first.description,
        kernel=first.kernel,
        modality=first.modality,
        files=len(slices),
        rows=first.rows,
        columns=first.columns,
        thickness_mm=first.thickness_mm,
        is_localizer=2 * sum(header.is_localizer for header in slices) > len(slices),
    )


def _choose(
    groups: list[list[SliceHeader]], series_uid: str | None, name: str
) -> tuple[list[SliceHeader], list[Notice]]:
    if series_uid is not None:
        return _find(groups, series_uid, name), []
    plausible = [slices for slices in groups if _is_ct(_describe(slices))]
    if len(plausible[0] if plausible else []) >= FEW_SLICES:
        plausible = [slices for slices in plausible if len(slices) >= FEW_SLICES]
    if not plausible:
        found = "; ".join(str(_describe(slices)) for slices in groups)
        raise InputError(
            "no-ct-series",
            f"{name} holds no CT series, but {found}.",
            "Give the folder of the CT, or name a series with --series-uid.",
        )
    if len(plausible) > 1:
        found = "; ".join(str(_describe(slices)) for slices in plausible)
        raise InputError(
            "several-series",
            f"{name} holds {len(plausible)} CT series: {found}.",
            "Name the one to read with --series-uid.",
        )
    others = "; ".join(_describe(one).unnamed for one in groups if one is not plausible[0])
    if not others:
        return plausible[0], []
    notice = Notice(
        "other-series",
        f"Read the series of {_describe(plausible[0]).unnamed}; left out {others}.",
        "Name another one with --series-uid if this was not meant; a wrong UID lists them.",
    )
    return plausible[0], [notice]


def _find(groups: list[list[SliceHeader]], series_uid: str, name: str) -> list[SliceHeader]:
    for slices in groups:
        if slices[0].series_uid == series_uid:
            return slices
    found = "; ".join(str(_describe(slices)) for slices in groups)
    raise InputError(
        "unknown-series", f"{name} holds no series {series_uid}.", f"It holds {found}."
    )


def _is_ct(info: SeriesInfo) -> bool:
    return info.modality == "CT" and not info.is_localizer


def _drop_strangers(slices: list[SliceHeader]) -> tuple[list[SliceHeader], list[Notice]]:
    """Leave out localizers, and slices of another size or orientation than most of the series."""
    images = [header for header in slices if not header.is_localizer] or slices
    usual = Counter((image.rows, image.columns, image.orientation) for image in images)
    rows, columns, orientation = usual.most_common(1)[0][0]
    kept = [
        image
        for image in images
        if (image.rows, image.columns) == (rows, columns)
        and len(image.orientation) == len(orientation)
        and np.allclose(image.orientation, orientation, rtol=0, atol=SAME_ORIENTATION)
    ]
    paths = {image.path for image in kept}
    strangers = sum(header.path not in paths for header in slices)
    if not strangers:
        return kept, []
    # File names may name the patient, and a notice enters the report.
    notice = Notice(
        "other-slices",
        f"{strangers} of {len(slices)} files of the series are localizers or lie otherwise and "
        "were left out.",
        "Check that no slice of the CT is among them.",
    )
    return kept, [notice]


def _refuse_unusable(slices: Sequence[SliceHeader]) -> None:
    for header in slices:
        name = header.path.name
        refuse_channels(header.samples, name)
        if header.frames > 1:
            raise InputError(
                "multi-frame",
                f"{name} is an enhanced DICOM file with {header.frames} frames, which is not read.",
                "Convert it to NIfTI with dcm2niix.",
            )
        if header.is_cut:
            raise InputError(
                "damaged-file",
                f"{name} is cut short: it holds fewer bytes than its pixels need.",
                "Copy or export the series again.",
            )
        if header.is_inverted:
            raise InputError(
                "inverted-slices",
                f"{name} is stored as a negative (MONOCHROME1), so that its values are no HU.",
                "Export the series again as original CT images, which are MONOCHROME2.",
            )
        if not (header.position and header.orientation and header.pixel_spacing_mm):
            raise InputError(
                "no-position",
                f"{name} does not say where it lies (position, orientation or pixel spacing).",
                "Export the series again as original CT images.",
            )
    spacings = {header.pixel_spacing_mm for header in slices}
    if len(spacings) > 1:
        raise InputError(
            "mixed-spacing",
            f"The slices of the series have {len(spacings)} pixel sizes: "
            f"{'; '.join(f'{a:g} x {b:g} mm' for a, b in sorted(spacings))}.",
            "Give one reconstruction.",
        )


def _no_dicom(name: str) -> InputError:
    return InputError(
        "no-dicom", f"{name} holds no DICOM image.", "Give the folder that holds the slices."
    )
