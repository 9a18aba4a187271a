"""NRRD files, checked before ITK sees them: it reads damaged gzip data as other voxels."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

from .errors import InputError
from .itk import damaged_file, unreadable_file

SUFFIXES = (".nrrd", ".seg.nrrd", ".nhdr")
BROKEN_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)
CHUNK_BYTES = 1 << 20
LONGEST_LINE = 1 << 20
MOST_LINES = 10_000
MOST_FILES = 10_000
SPELLINGS = {
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "spacedirections": "space directions",
    "spaceunits": "space units",
}
DIRECTION = re.compile(r"none|\([^)]*\)")
MILLIMETRES = ("", "mm", "millimeter", "millimeters", "millimetre", "millimetres")
# Name with one number in it, then first, last and step, and perhaps how many axes a file holds.
PATTERN = re.compile(r"([^%]*%0?\d{0,2}d[^%]*?) +(-?\d{1,9}) +(-?\d{1,9}) +(-?\d{1,9})(?: +\d+)?")
# The spaces that say where the patient lies; scanner-xyz and 3D-right-handed do not.
PATIENT_SPACES = ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior")


def is_in_patient(space: str) -> bool:
    """Tell whether a space, as ITK spells it, says where left and right are."""
    return space.lower().removesuffix("-time") in PATIENT_SPACES


def refuse_unmeasured(path: Path, axes: int) -> None:
    """Raise ``InputError`` where the size of voxels along so many axes is not given in mm.

    ITK takes 1 mm for what is missing, and whatever the unit is for millimetres.
    """
    fields, _, _ = _read_header(path)
    lengths = [*map(_length, DIRECTION.findall(fields.get("space directions", "")))]
    lengths = lengths or [*map(_length, fields.get("spacings", "").split())]
    if sum(math.isfinite(length) and length != 0 for length in lengths) < axes:
        raise InputError(
            "no-voxel-size",
            f"{path.name} does not say how large its voxels are.",
            "Add a line 'spacings' to its header (mm), or export it again.",
        )
    for unit in re.findall(r'"([^"]*)"', fields.get("space units", fields.get("units", "")))[:axes]:
        if unit.strip().lower() not in MILLIMETRES:
            raise InputError(
                "no-voxel-size",
                f"{path.name} gives the size of its voxels in '{unit}', not in mm.",
                "Give sizes, positions and the unit in its header in mm, or export it again.",
            )


def _length(text: str) -> float:
    """Return the length of a vector such as (1,0,0), or a number; NaN where it is none."""
    try:
        return math.hypot(*(float(part) for part in text.strip("()").split(",")))
    except ValueError:
        return math.nan


def refuse_damaged(path: Path, promised: int) -> None:
    """Raise ``InputError`` where gzip data is damaged or not of ``promised`` bytes.

    It is read to its end, so that gzip compares its checksum. ITK itself reports files that are
    missing.
    """
    fields, listed, start = _read_header(path)
    if fields.get("encoding", "").lower() not in ("gzip", "gz"):
        return
    try:
        places = [path.parent / name for name in _data_files(fields, listed)]
        lines, skipped = int(fields.get("line skip", "0")), int(fields.get("byte skip", "0"))
    except ValueError as error:
        raise unreadable_file(path, "NRRD") from error
    if not all(place.is_file() for place in places):
        return
    try:
        held = sum(_inflated_size(place, 0, lines) - skipped for place in places)
        held += 0 if places else _inflated_size(path, start, lines) - skipped
    except BROKEN_GZIP as error:
        raise damaged_file(path, "is compressed and damaged or cut short") from error
    if held != promised:
        raise damaged_file(path, f"holds {held} of {promised} bytes")


def _data_files(fields: dict[str, str], listed: list[str]) -> list[str]:
    """Return the names of the files that hold the voxels; none where the header's own does."""
    name = fields.get("data file", "")
    if name.split()[:1] == ["LIST"]:
        return listed
    pattern = PATTERN.fullmatch(name)
    if pattern is None:
        return [name] if name else []
    first, last, step = (int(number) for number in pattern.groups()[1:])
    # Backwards where the step is negative.
    numbers = range(first, last + (1 if step > 0 else -1), step)
    return [pattern[1] % number for number in numbers[:MOST_FILES]]


def _read_header(path: Path) -> tuple[dict[str, str], list[str], int]:
    """Return the fields in lower case, listed files, and the byte where attached voxels start."""
    fields: dict[str, str] = {}
    listed: list[str] = []
    with path.open("rb") as file:
        for _ in range(MOST_LINES):
            line = file.readline(LONGEST_LINE).decode("utf-8", "surrogateescape").rstrip("\r\n")
            if not line:
                break
            key, colon, value = line.partition(":")
            if fields.get("data file", "").startswith("LIST"):
                listed.append(line.strip())
            elif colon and not line.startswith("#") and not value.startswith("="):
                name = key.strip().lower()
                fields[SPELLINGS.get(name, name)] = value.strip()
        return fields, listed, file.tell()


def _inflated_size(path: Path, start: int, skipped_lines: int) -> int:
    held = 0
    with path.open("rb") as file:
        file.seek(start)
        for _ in range(skipped_lines):
            file.readline()
        with gzip.GzipFile(fileobj=file) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                held += len(chunk)
    return held
