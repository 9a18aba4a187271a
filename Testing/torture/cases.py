"""Volumes in every pose, shape, type and with every kind of value; pictures; false headers."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from isdmae.volume import Array, Volume

from . import chest, files
from .judge import Case

FORMATS = (".nii", ".nii.gz", ".nrrd", "-raw.nrrd", ".mha", "-raw.mha", ".mhd", ".nhdr")
TURNS = ((0.0, 0.0, 0.0), (0.4, 0.0, -0.6), (8.0, -5.0, 12.0), (20.0, 17.0, -24.0))


def _write(grid: Volume, hu: Array | None, suffix: str, folder: Path) -> Path:
    """Write ``hu`` on a grid; by default the chest, sampled only now, so that listing is quick."""
    array = chest.hu_on(grid) if hu is None else hu
    return files.write(folder / f"scan{suffix}", grid.with_array(array))


def _case(
    group: str, name: str, grid: Volume, hu: Array | None, suffix: str, **judged: object
) -> Case:
    judged = {"grid": grid, **judged}
    return Case(group=group, name=name, make=partial(_write, grid, hu, suffix), **judged)  # type: ignore[arg-type]


def poses() -> Iterator[Case]:
    """48 axis orders, upright and oblique, in each format; results in each format, too."""
    outputs = itertools.cycle((".nii.gz", ".nrrd", ".mha", ".seg.nrrd"))
    for (number, axes), (turn, suffix) in itertools.product(
        enumerate(chest.AXIS_ORDERS),
        zip(TURNS * 2, FORMATS, strict=True),
    ):
        grid = chest.frame(axes=axes, turned_deg=turn)
        name = f"axes {number}, turned by {turn}, {suffix}"
        yield _case(
            "orientations and oblique angles",
            name,
            grid,
            None,
            suffix,
            output=next(outputs),
        )


def sizes() -> Iterator[Case]:
    """Odd shapes over the whole chest, which makes odd spacings; and small pieces of it."""
    shapes = [
        (1, 40, 40),
        (2, 31, 17),
        (3, 9, 8),
        (7, 64, 11),
        (60, 9, 9),
        (13, 127, 33),
        (129, 16, 21),
        (33, 8, 97),
        (5, 200, 200),
        (400, 12, 12),
    ]
    for shape, suffix, turn in itertools.product(shapes, FORMATS, TURNS[::2]):
        grid = chest.frame(shape, turned_deg=turn)
        yield _case(
            "odd sizes and spacings",
            f"{shape} {suffix} {turn}",
            grid,
            None,
            suffix,
            force=True,
        )
    extents = [
        (30.0, 30.0, 30.0),
        (60.0, 20.0, 9.0),
        (4.0, 4.0, 4.0),
        (900.0, 900.0, 900.0),
        (380.0, 290.0, 2.0),
        (100.0, 290.0, 270.0),
    ]
    for extent, centre, suffix in itertools.product(
        extents, [(-70.0, 0.0, 20.0), (25.0, 10.0, 0.0)], FORMATS[::2]
    ):
        grid = chest.frame((11, 20, 23), extent_mm=extent, centre_mm=np.array(centre))
        yield _case(
            "cropped, tiny and huge fields of view",
            f"{extent} at {centre} {suffix}",
            grid,
            None,
            suffix,
            force=True,
        )
    for shape in [(1, 1, 1), (1, 7, 7), (5, 7, 30), (5, 30, 7), (30, 1, 30)]:
        grid = chest.frame(shape)
        for suffix in FORMATS:
            yield _case(
                "too small",
                f"{shape} {suffix}",
                grid,
                None,
                suffix,
                codes=("too-small",),
                may_pass=False,
            )


def dtypes() -> Iterator[Case]:
    """Each stored type; unsigned ones by NIfTI's slope and intercept."""
    for turn in TURNS[:3]:
        grid = chest.frame((17, 25, 27), turned_deg=turn)
        hu = chest.hu_on(grid)
        for kind, suffix in itertools.product(("i2", "i4", "f4", "f8"), FORMATS):
            yield _case(
                "stored types", f"{kind} {suffix} {turn}", grid, hu.astype(f"<{kind}"), suffix
            )
        for kind, slope, intercept in itertools.product(
            ("u1", "u2", "u4", "i2", "i4", "f4"), (1.0, 2.0, 16.0), (-1024.0, -1000.0, 0.0)
        ):
            stored = np.rint((hu - intercept) / slope)
            limits = np.iinfo(kind) if kind != "f4" else np.finfo(kind)
            if stored.min() < limits.min or stored.max() > limits.max:
                continue
            volume = grid.with_array(stored.astype(f"<{kind}"))
            for suffix in (".nii", ".nii.gz"):
                yield Case(
                    group="NIfTI slope and intercept",
                    name=f"{kind} {slope} {intercept} {suffix} {turn}",
                    make=partial(_scaled, volume, suffix, slope, intercept),
                    grid=grid,
                )
    for version, suffix, turn in itertools.product((2,), (".nii", ".nii.gz"), TURNS):
        grid = chest.frame(turned_deg=turn)
        volume = grid.with_array(chest.hu_on(grid))
        yield Case(
            group="NIfTI-2",
            name=f"{suffix} {turn}",
            grid=grid,
            make=partial(_nifti_2, volume, suffix, version),
        )


def _scaled(volume: Volume, suffix: str, slope: float, intercept: float, folder: Path) -> Path:
    return files.write_nifti(folder / f"scan{suffix}", volume, slope=slope, intercept=intercept)


def _nifti_2(volume: Volume, suffix: str, version: int, folder: Path) -> Path:
    return files.write_nifti(folder / f"scan{suffix}", volume, version=version)


def values() -> Iterator[Case]:
    """Padding, NaN, metal, a lung that is missing, and what is no HU."""
    grid = chest.frame(turned_deg=TURNS[1])
    hu = chest.hu_on(grid)
    _, j, i = np.indices(grid.shape)
    corner = np.hypot(j - 14.5, i - 16.5) > 17
    for suffix in FORMATS:
        for padding in (-1025, -2000, -3024, -32768):
            yield _case(
                "padding",
                f"{padding} {suffix}",
                grid,
                np.where(corner, padding, hu).astype("<i2"),
                suffix,
                notice="padding",
            )
        for bad, count in itertools.product((np.nan, np.inf, -np.inf), (1, 20, 400, hu.size)):
            some = hu.astype("<f4")
            some.reshape(-1)[:: hu.size // count][:count] = bad
            few = count < hu.size / 1000
            yield _case(
                "NaN and infinity",
                f"{bad} x {count} {suffix}",
                grid,
                some,
                suffix,
                codes=() if few else ("not-finite",),
                may_pass=few,
                notice="not-finite" if few else "",
            )
        yield _case("metal", suffix, grid, chest.hu_on(grid, metal=True), suffix)
        for label in chest.LUNG_HU:
            yield _case(
                "one lung missing",
                f"{label} {suffix}",
                grid,
                chest.hu_on(grid, missing=label),
                suffix,
                expected=partial(_without, label),
            )
        for name, wrong in _no_hu(hu).items():
            yield _case(
                "not HU", f"{name} {suffix}", grid, wrong, suffix, codes=("not-hu",), may_pass=False
            )


def _without(label: int, affine: Array, shape: tuple[int, ...]) -> Array:
    labels = chest.labels_at(affine, shape)
    labels[labels == label] = 0
    return labels


def _no_hu(hu: Array) -> dict[str, Array]:
    share = (hu + 1000.0) / 4000
    return {
        "0..1": share.astype("<f4"),
        "-1..1": (2 * share - 1).astype("<f4"),
        "0..255": np.clip((hu + 1000) / 6, 0, 255).astype("<u1"),
        "z-scores": ((hu - hu.mean()) / hu.std()).astype("<f4"),
        "no intercept": (hu + 1024).astype("<u2"),
        "MR-like": np.abs(hu + 1000.0).astype("<f4"),
        "all zero": np.zeros_like(hu),
        "all air": np.full_like(hu, -1024),
        "all bone": np.full_like(hu, 900),
        "inverted": (-hu).astype("<i2"),
        "too large": hu.astype("<i4") * 100,
        "noise": np.random.default_rng(0).integers(-32768, 32767, hu.shape).astype("<i2"),
    }


def sides() -> Iterator[Case]:
    """Prone, feet first, decubitus, and turned by any angle: the sides stay the patient's own."""
    random = np.random.default_rng(7)
    for suffix, number in itertools.product(FORMATS, range(12)):
        turn = tuple(random.uniform(-180, 180, 3).tolist())
        grid = chest.frame((28, 30, 32), turned_deg=turn, extent_mm=(330.0,) * 3)
        yield _case(
            "rotated, prone, feet first",
            f"{number} {turn} {suffix}",
            grid,
            None,
            suffix,
        )


def pictures() -> Iterator[Case]:
    """PNG: grey in 8 and 16 bit, in colour, with opacity, tiny."""
    random = np.random.default_rng(0)
    for kind, shape in itertools.product(("u1", "u2"), [(64, 64), (9, 200), (512, 33), (8, 8)]):
        pixels = random.integers(0, np.iinfo(kind).max, shape).astype(kind)
        yield _picture("PNG", f"grey {kind} {shape}", pixels)
        yield _picture("PNG", f"equal channels {kind} {shape}", np.stack([pixels] * 3, -1))
        colours = random.integers(0, 255, (*shape, 3)).astype(kind)
        yield _picture("PNG", f"colour {kind} {shape}", colours, "colour-image")
        alpha = random.integers(0, 255, (*shape, 1)).astype(kind)
        yield _picture(
            "PNG",
            f"opacity {kind} {shape}",
            np.concatenate([np.stack([pixels] * 3, -1), alpha], -1),
            "transparent-picture",
        )
    for shape in [(1, 1), (7, 100), (100, 7)]:
        yield _picture("PNG", f"{shape}", np.zeros(shape, np.uint8), "too-small")


def _picture(group: str, name: str, pixels: Array, *codes: str) -> Case:
    return Case(
        group=group,
        name=name,
        make=partial(_png, pixels),
        codes=codes,
        may_pass=not codes,
        expected=None,
    )


def _png(pixels: Array, folder: Path) -> Path:
    path = folder / "picture.png"
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3), str(path))
    return path


def promises() -> Iterator[Case]:
    """Headers that promise other sizes than the file holds; empty and foreign files."""
    grid = chest.frame((3, 20, 20))
    volume = grid.with_array(chest.hu_on(grid))
    codes = ("damaged-file", "unreadable-file", "out-of-memory", "too-small")
    for suffix, size in itertools.product(
        FORMATS,
        [(20, 20, 5000), (20, 20, 0), (20, 20, -3), (20, 20, 4), (30000, 30000, 30000), (0, 0, 0)],
    ):
        yield Case(
            group="headers that promise other sizes",
            name=f"{size} {suffix}",
            make=partial(_promising, volume, suffix, size),
            codes=codes,
            may_pass=False,
        )
    for suffix in (*FORMATS, ".png", ".dcm"):
        for name, content in {
            "empty": b"",
            "one byte": b"\0",
            "zeros": bytes(5000),
            "text": b"no image\n" * 50,
            "random": np.random.default_rng(1).bytes(9000),
        }.items():
            yield Case(
                group="empty and foreign files",
                name=f"{name} {suffix}",
                make=partial(_foreign, suffix, content),
                may_pass=False,
                codes=(*codes, "no-dicom", "undecodable-slice", "unknown-format"),
            )


def _promising(volume: Volume, suffix: str, size: tuple[int, ...], folder: Path) -> Path:
    path = _write(volume, volume.array, suffix, folder)
    data = path.read_bytes()
    if ".nii" in suffix:
        plain = bytearray(gzip.decompress(data) if suffix == ".nii.gz" else data)
        plain[42:48] = np.array(np.clip(size, -32768, 32767), "<i2").tobytes()
        path.write_bytes(gzip.compress(plain) if suffix == ".nii.gz" else plain)
        return path
    key = b"sizes: " if path.suffix in (".nrrd", ".nhdr") else b"DimSize = "
    text = " ".join(map(str, size)).encode()
    path.write_bytes(data.replace(key + b"20 20 3\n", key + text + b"\n"))
    return path


def _foreign(suffix: str, content: bytes, folder: Path) -> Path:
    path = folder / f"scan{suffix}"
    path.write_bytes(content)
    return path


GROUPS: tuple[Callable[[], Iterator[Case]], ...] = (
    poses,
    sizes,
    dtypes,
    values,
    sides,
    pictures,
    promises,
)
