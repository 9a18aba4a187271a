"""MetaImage headers (.mha, .mhd), checked before ITK sees them.

ITK's parser writes outside its memory where a header contradicts itself, and reads a damaged
compressed file as other values.
"""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path

from .errors import InputError
from .itk import damaged_file, unreadable_file

SUFFIXES = (".mha", ".mhd")
CHUNK_BYTES = 1 << 20
LONGEST_LINE = 4096
MOST_LINES = 200
KEY = re.compile(r"[A-Za-z0-9_\[\]]+ *")
# field -> how many numbers it holds, as a power of the number of dimensions
NUMBERS = {
    "DimSize": 1,
    "Offset": 1,
    "Position": 1,
    "Origin": 1,
    "ElementSpacing": 1,
    "ElementSize": 1,
    "CenterOfRotation": 1,
    "TransformMatrix": 2,
    "Orientation": 2,
    "Rotation": 2,
}
# A file for each slice: ITK hands the name to C's printf, which must meet one whole number only.
NAME_PATTERN = re.compile(r"[^%]*%0?\d{0,2}d[^%]*")
TYPES = re.compile(r"MET_(U?(CHAR|SHORT|INT|LONG|LONG_LONG)|FLOAT|DOUBLE)(_ARRAY)?")


def check_header(path: Path) -> None:
    """Raise ``InputError`` where the header is no consistent one of a 2D, 3D or 4D image."""
    fields, _ = _read_header(path)
    if not _is_consistent(fields):
        raise unreadable_file(path, "MetaImage")
    if not {"ElementSpacing", "ElementSize"} & fields.keys():
        # ITK would take 1 mm, and every volume in mL would be wrong.
        raise InputError(
            "no-voxel-size",
            f"{path.name} does not say how large its voxels are.",
            "Add a line ElementSpacing to its header, or export it again.",
        )


def has_orientation(path: Path) -> bool:
    """Tell whether the header says how the axes lie in the patient; ITK takes LPS where not."""
    fields, _ = _read_header(path)
    return not fields.keys().isdisjoint(("TransformMatrix", "Orientation", "Rotation"))


def refuse_cut(path: Path, promised: int) -> None:
    """Raise ``InputError`` where the file, or the one it names, cannot hold ``promised`` bytes."""
    fields, start = _read_header(path)
    place = fields["ElementDataFile"]
    local = place.upper() == "LOCAL"
    data = path if local else path.parent / place
    if place.upper().startswith("LIST") or "%" in place:
        return  # One file for each slice; ITK itself reports those that are missing or short.
    if not data.is_file():
        raise InputError(
            "missing-file",
            f"{path.name} names {place} as the file of its voxels, which is not there.",
            "Put both files into one folder.",
        )
    start = start if local else 0
    if fields.get("CompressedData", "").lower() == "true":
        packed = fields.get("CompressedDataSize", "0" if local else None)
        try:
            held = _inflated_size(data, start, packed)
        except (EOFError, zlib.error) as error:
            raise damaged_file(path, "is compressed and damaged or cut short") from error
        # ITK inflates into a buffer of the promised size and leaves it as it is when that fails.
        wrong = held != promised
    else:
        held = data.stat().st_size - start
        wrong = held < promised
    if wrong:
        raise damaged_file(path, f"holds {held} of {promised} bytes")


def _read_header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields, and the byte at which local voxels start."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for _ in range(MOST_LINES):
            line = file.readline(LONGEST_LINE)
            key, equals, value = line.decode("latin-1").strip().partition("=")
            if not equals or not KEY.fullmatch(key) or not value.isprintable():
                break
            fields[key.strip()] = value.strip()
            if "ElementDataFile" in fields:
                break
        return fields, file.tell()


def _is_consistent(fields: dict[str, str]) -> bool:
    dimensions = fields.get("NDims", "")
    place = fields.get("ElementDataFile", "")
    if dimensions not in ("2", "3", "4") or not place:
        return False
    if "%" in place and not NAME_PATTERN.fullmatch(place):
        return False
    if not TYPES.fullmatch(fields.get("ElementType", "")) or "DimSize" not in fields:
        return False
    lengths = fields["DimSize"].split()
    if not all(length.isdecimal() and int(length) > 0 for length in lengths):
        return False
    names = list(fields)
    return all(
        _count_numbers(fields[name]) == int(dimensions) ** power
        and names.index(name) > names.index("NDims")
        for name, power in NUMBERS.items()
        if name in fields
    )


def _count_numbers(text: str) -> int:
    """Return how many finite numbers a field holds, -1 where something else is among them."""
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError:
        return -1
    return len(numbers) if all(map(math.isfinite, numbers)) else -1


def _inflated_size(path: Path, start: int, packed: str | None) -> int:
    """Inflate a zlib or gzip stream to its end, which checks its checksum; return its size.

    EOFError where it is not ``packed`` bytes long, if that is given: ITK takes it on trust.
    """
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    held = 0
    with path.open("rb") as file:
        file.seek(start)
        while not stream.eof:
            chunk = file.read(CHUNK_BYTES)
            if not chunk:
                raise EOFError
            while chunk:
                held += len(stream.decompress(chunk, CHUNK_BYTES))
                chunk = stream.unconsumed_tail
        used = file.tell() - start - len(stream.unused_data)
    if packed is not None and packed != str(used):
        raise EOFError
    return held
