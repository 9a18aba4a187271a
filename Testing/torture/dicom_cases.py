"""DICOM folders: poses, what scanners and archives do to series, transfer syntaxes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from isdmae.volume import Volume

from . import chest, files
from .judge import Case

SHAPE = (12, 26, 30)
CANONICAL = 0
"""The number of LPS among ``chest.AXIS_ORDERS``."""
OTHER = "1.2.826.0.1.3680043.8.498.78"


@cache
def _scan(number: int = CANONICAL, turned_deg: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Volume:
    grid = chest.frame(SHAPE, axes=chest.AXIS_ORDERS[number], turned_deg=turned_deg)
    return grid.with_array(chest.hu_on(grid))


def _ascending(volume: Volume) -> Volume:
    """The grid that stacking along the cross product of row and column direction gives."""
    if np.linalg.det(volume.direction) > 0:
        return volume
    last = (volume.affine @ [0, 0, volume.shape[0] - 1, 1])[:3]
    return Volume(
        array=volume.array[::-1],
        spacing_mm=volume.spacing_mm,
        origin_mm=tuple(last),
        direction=volume.direction * [1, 1, -1],
    )


def _save(
    volume: Volume, change: Callable[[list[Any]], Any], how: dict[str, Any], folder: Path
) -> Path:
    slices = files.slices_of(volume, **how)
    return files.save_slices(folder / "series", change(slices) or slices)


def _nothing(slices: list[Any]) -> None:
    pass


def _case(
    group: str,
    name: str,
    change: Callable[[list[Any]], Any] = _nothing,
    volume: Volume | None = None,
    how: dict[str, Any] | None = None,
    **judged: Any,
) -> Case:
    volume = _scan() if volume is None else volume
    if judged.get("may_pass", True):
        judged = {"grid": _ascending(volume), **judged}
    return Case(
        group=f"DICOM: {group}", name=name, make=partial(_save, volume, change, how or {}), **judged
    )


def poses() -> Iterator[Case]:
    turns = ((0.0, 0.0, 0.0), (9.0, -14.0, 22.0))
    for number, turn in itertools.product(range(len(chest.AXIS_ORDERS)), turns):
        volume = _scan(number, turn)
        yield _case("orientations and oblique angles", f"{number} {turn}", volume=volume)
    for position in ("HFS", "FFS", "HFP", "FFP", "HFDR", "HFDL", "FFDR", "FFDL"):
        for intercept, signed in ((-1024, False), (0, True), (-1000, True), (-2000, False)):
            how = {"PatientPosition": position, "intercept": intercept, "signed": signed}
            yield _case("patient position, intercept, sign", f"{how}", how=how)


def places() -> Iterator[Case]:
    """Tilted, missing, doubled, uneven, displaced."""
    for degrees in (0.1, 0.3, 0.8, 1, 2, 5, 10, 15, 20, 30):
        for sign in (1, -1):
            tilted = degrees > 0.5
            yield _case(
                "gantry tilt",
                f"{sign * degrees}",
                partial(_tilt, sign * degrees),
                codes=("gantry-tilt",) if tilted else (),
                may_pass=not tilted,
                **({} if tilted else {"grid": None}),
            )
    for index in range(SHAPE[0]):
        inner = 0 < index < SHAPE[0] - 1
        if inner:
            yield _case(
                "a slice is missing",
                f"{index}",
                partial(_drop, index),
                codes=("gap",),
                may_pass=False,
            )
            yield _case(
                "a gap that is allowed",
                f"{index}",
                partial(_drop, index),
                allow_gaps=True,
                notice="gap",
                expected=None,
            )
        yield _case(
            "a slice twice",
            f"{index}",
            partial(_double, index),
            codes=("duplicate-slices",),
            may_pass=False,
        )
        yield _case(
            "a slice unevenly placed",
            f"{index}",
            partial(_move, index, 0.2),
            notice="uneven-slices" if inner else "",
            grid=None,
        )
        yield _case(
            "a slice beside the others",
            f"{index}",
            partial(_shift, index),
            codes=("displaced-slices",),
            may_pass=False,
        )
    for factor in (1.5, 2, 3, 7):
        yield _case(
            "slices further apart in the lower half",
            f"{factor}",
            partial(_stretch, factor),
            codes=("gap", "slices-off-grid"),
            may_pass=False,
        )


def _position(made: Any) -> Any:
    return np.array([float(value) for value in made.ImagePositionPatient])


def _set(made: Any, place: Any) -> None:
    made.ImagePositionPatient = [f"{value:.9g}"[:16] for value in place]


def _tilt(degrees: float, slices: list[Any]) -> None:
    first = _position(slices[0])
    for made in slices:
        place = _position(made)
        lateral = (place - first)[2] * np.tan(np.radians(degrees))
        _set(made, place + np.array([0, lateral, 0]))


def _drop(index: int, slices: list[Any]) -> None:
    del slices[index]


def _double(index: int, slices: list[Any]) -> None:
    again = deepcopy(slices[index])
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    slices.append(again)


def _move(index: int, share: float, slices: list[Any]) -> None:
    step = _position(slices[1]) - _position(slices[0])
    _set(slices[index], _position(slices[index]) + share * step)


def _shift(index: int, slices: list[Any]) -> None:
    _set(slices[index], _position(slices[index]) + np.array([40, 0, 0]))


def _stretch(factor: float, slices: list[Any]) -> None:
    step = _position(slices[1]) - _position(slices[0])
    for index, made in enumerate(slices[:4]):
        _set(made, _position(made) - (factor - 1) * (4 - index) * step)


def series() -> Iterator[Case]:
    """Several series, scouts, other slices, fields that are missing, enhanced files."""
    for count in (4, 8, 12):
        yield _case(
            "two series",
            f"{count}",
            partial(_second, count),
            codes=("several-series",),
            may_pass=False,
        )
        yield _case(
            "one of two series by name",
            f"{count}",
            partial(_second, count),
            series_uid=files.SERIES,
        )
    yield _case(
        "a series that is not there",
        "",
        series_uid=OTHER,
        codes=("unknown-series",),
        may_pass=False,
    )
    for count in (1, 2, 3):
        yield _case(
            "scouts beside the series",
            f"{count}",
            partial(_scout, count, OTHER),
            notice="other-series",
        )
        yield _case(
            "scouts in the series",
            f"{count}",
            partial(_scout, count, files.SERIES),
            notice="other-slices",
        )
        yield _case(
            "slices of another size",
            f"{count}",
            partial(_smaller, count),
            notice="other-slices",
            grid=None,
        )
    for field in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        for index in (0, 5):
            yield _case(
                "fields missing",
                f"{field} {index}",
                partial(_without, field, index),
                codes=("no-position", "mixed-spacing", "gap"),
                grid=None,
                notice="other-slices",
            )
        yield _case(
            "fields missing",
            f"{field} everywhere",
            partial(_without, field, None),
            codes=("no-position",),
            may_pass=False,
        )
    for modality in ("MR", "PT", "SEG", ""):
        yield _case(
            "no CT", modality, how={"Modality": modality}, codes=("no-ct-series",), may_pass=False
        )
    for frames in (2, 12):
        yield _case(
            "enhanced multi-frame",
            f"{frames}",
            partial(_enhanced, frames),
            codes=("multi-frame",),
            may_pass=False,
        )


def _second(count: int, slices: list[Any]) -> list[Any]:
    others = [deepcopy(made) for made in slices[:count]]
    for made in others:
        made.SeriesInstanceUID = OTHER
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    return slices + others


def _scout(count: int, uid: str, slices: list[Any]) -> list[Any]:
    scouts = [deepcopy(made) for made in slices[:count]]
    for made in scouts:
        made.SeriesInstanceUID, made.ImageType = uid, ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        made.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    return slices + scouts


def _smaller(count: int, slices: list[Any]) -> None:
    for made in slices[-count:]:
        made.Rows -= 2
        made.PixelData = made.PixelData[: 2 * made.Rows * made.Columns]


def _without(field: str, index: int | None, slices: list[Any]) -> None:
    for made in slices if index is None else [slices[index]]:
        delattr(made, field)


def _enhanced(frames: int, slices: list[Any]) -> list[Any]:
    made = slices[0]
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    made.NumberOfFrames = frames
    made.PixelData = made.PixelData * frames
    return [made]


def syntaxes() -> Iterator[Case]:
    """Each transfer syntax that pydicom and ITK can write, signed and unsigned."""
    plain = (
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
    )
    volume = _scan(CANONICAL, (3.0, -4.0, 5.0))
    for syntax, (intercept, signed) in itertools.product(
        plain, ((-1024, False), (0, True), (-1000, True))
    ):
        yield Case(
            group="DICOM: transfer syntaxes",
            name=f"{syntax.name} {intercept} {signed}",
            make=partial(_recoded, volume, syntax, intercept, signed),
            grid=volume,
        )
    for packing, (intercept, signed) in itertools.product(
        ("JPEG2000", "JPEG"), ((-1024, False), (0, True), (-1000, True))
    ):
        yield Case(
            group="DICOM: transfer syntaxes",
            name=f"ITK {packing} {intercept} {signed}",
            make=partial(_packed, volume, packing, intercept, signed),
            grid=volume,
        )
    for uid in ("1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.201", "1.2.3.4"):
        yield Case(
            group="DICOM: unknown transfer syntaxes",
            name=uid,
            may_pass=False,
            make=partial(_renamed, volume, uid),
            codes=("undecodable-slice",),
        )


def _recoded(volume: Volume, syntax: Any, intercept: int, signed: bool, folder: Path) -> Path:
    target = folder / "series"
    target.mkdir()
    for number, made in enumerate(files.slices_of(volume, intercept=intercept, signed=signed)):
        if syntax == RLELossless:
            made.compress(RLELossless)
        else:
            if syntax == ExplicitVRBigEndian:
                made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
            made.file_meta.TransferSyntaxUID = syntax
        little = syntax != ExplicitVRBigEndian
        pydicom.dcmwrite(
            target / f"{number}.dcm",
            made,
            enforce_file_format=True,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=little,
        )
    return target


def _packed(volume: Volume, packing: str, intercept: int, signed: bool, folder: Path) -> Path:
    """Let ITK compress each slice, and give it back the fields that place it."""
    target, plain = folder / "series", folder / "plain"
    target.mkdir()
    slices = files.slices_of(volume, intercept=intercept, signed=signed)
    files.save_slices(plain, slices)
    for path in sorted(plain.iterdir()):
        original = pydicom.dcmread(path)
        pixels = np.frombuffer(original.PixelData, "<i2" if signed else "<u2").reshape(
            1, original.Rows, original.Columns
        )
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetUseCompression(True)
        writer.SetCompressor(packing)
        writer.SetFileName(str(target / path.name))
        writer.Execute(sitk.GetImageFromArray(pixels))
        packed = pydicom.dcmread(target / path.name)
        original.PixelData = packed.PixelData
        original["PixelData"].is_undefined_length = True
        original.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
        original.save_as(target / path.name, enforce_file_format=True)
    return target


def _renamed(volume: Volume, uid: str, folder: Path) -> Path:
    target = folder / "series"
    target.mkdir()
    for number, made in enumerate(files.slices_of(volume)):
        made.PixelData = pydicom.encaps.encapsulate([made.PixelData])
        made["PixelData"].is_undefined_length = True
        made.file_meta.TransferSyntaxUID = uid
        pydicom.dcmwrite(
            target / f"{number}.dcm",
            made,
            implicit_vr=False,
            little_endian=True,
            enforce_file_format=True,
        )
    return target


GROUPS: tuple[Callable[[], Iterator[Case]], ...] = (poses, places, series, syntaxes)
