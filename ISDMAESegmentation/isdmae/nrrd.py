"""NRRD files, checked before ITK sees them: it reads damaged gzip data as other voxels."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

from .itk import damaged_file, unreadable_file

SUFFIXES = (".nrrd", ".seg.nrrd", ".nhdr")
BROKEN_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)
CHUNK_BYTES = 1 << 20
LONGEST_LINE = 1 << 20
MOST_LINES = 10_000
MOST_FILES = 10_000
SPELLINGS = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}
# Name with one number in it, then first, last and step, and perhaps how many axes a file holds.
PATTERN = re.compile(r"([^%]*%0?\d{0,2}d[^%]*?) +(-?\d{1,9}) +(-?\d{1,9}) +(-?\d{1,9})(?: +\d+)?")
# The spaces that say where the patient lies; scanner-xyz and 3D-right-handed do not.
PATIENT_SPACES = ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior")


def is_in_patient(space: str) -> bool:
    """Tell whether a space, as ITK spells it, says where left and right are."""
    return space.lower().removesuffix("-time") in PATIENT_SPACES


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
