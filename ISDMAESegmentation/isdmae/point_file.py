"""Points as people write them: on the command line, or in a file of 3D Slicer or a table.

Everything is returned as LPS millimetres.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .errors import InputError
from .points import Point

LARGEST_BYTES = 10_000_000
AXES = {"lps": ("l", "p", "s"), "ras": ("r", "a", "s"), "xyz": ("x", "y", "z")}
FCSV_SYSTEMS = {"LPS": "LPS", "1": "LPS", "RAS": "RAS", "0": "RAS"}
"""Old files of 3D Slicer write a number."""
FCSV_DEFINED = "2"
"""New ones write the state of a point after the columns that the heading names."""


def parse_points(text: str) -> tuple[Point, ...]:
    """Read ``x,y,z`` in LPS millimetres; several are separated by semicolons.

    Raises
    ------
    InputError
        ``bad-points``.

    Examples
    --------
    >>> parse_points("-12.5, 30, -110; 4,5,6")
    ((-12.5, 30.0, -110.0), (4.0, 5.0, 6.0))
    """
    pieces = [piece for piece in text.split(";") if piece.strip()]
    if not pieces:
        raise _bad("there is no point")
    try:
        return tuple(_point(piece.split(","), f"'{piece.strip()[:80]}'") for piece in pieces)
    except ValueError as error:
        raise _bad(str(error)) from error


def read_points(path: Path) -> tuple[Point, ...]:
    """Read a point list of 3D Slicer (.mrk.json, .fcsv) or a table (.csv).

    A table has a heading with the columns l, p, s (as 3D Slicer exports them), r, a, s, or x, y, z
    (LPS), or three numbers (LPS) in each row. Points that were never placed are left out.

    Raises
    ------
    InputError
        ``missing-file``, ``unreadable-file``, or ``bad-points`` where there is no point in it.
    """
    text = _text(path)
    try:
        if path.name.lower().endswith(".json"):
            points = _markups(json.loads(text))
        elif path.name.lower().endswith(".fcsv"):
            points = _fcsv(text.splitlines())
        else:
            points = _table(list(csv.reader(text.splitlines())))
    except ValueError as error:
        raise _bad(f"{path.name}: {error}") from error
    except (KeyError, IndexError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise _bad(f"{path.name} is no list of points") from error
    if not points:
        raise _bad(f"there is no point in {path.name}")
    return points


def _text(path: Path) -> str:
    if not path.is_file():
        raise InputError("missing-file", f"There is no file {path}.", "Check the name.")
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise _bad(f"{path.name} is larger than any list of points")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "unreadable-file", f"{path.name} cannot be read: {error}.", "Write the points again."
        ) from error


def _markups(data: Any) -> tuple[Point, ...]:
    points = []
    for markup in data["markups"]:
        system = str(markup.get("coordinateSystem", "LPS")).upper()
        for point in markup["controlPoints"]:
            if point.get("positionStatus", "defined") == "defined":
                points.append(_to_lps(_point(point["position"], "a point"), system))
    return tuple(points)


def _fcsv(lines: Iterable[str]) -> tuple[Point, ...]:
    system, columns, state = "RAS", ["id", "x", "y", "z"], slice(0)
    rows = []
    for line in lines:
        if not line.startswith("#"):
            rows.append(line)
            continue
        name, _, value = line.lstrip("# ").partition("=")
        if name.strip() == "CoordinateSystem":
            system = FCSV_SYSTEMS.get(value.strip().upper(), value.strip())
        elif name.strip() == "columns":
            columns = [column.strip() for column in value.split(",")]
            state = slice(len(columns), len(columns) + 1)
    places = [columns.index(axis) for axis in "xyz"]
    return tuple(
        _to_lps(_point([row[place] for place in places], f"line '{','.join(row)[:80]}'"), system)
        for row in csv.reader(rows)
        if row and row[state] in ([], [""], [FCSV_DEFINED])
    )


def _table(rows: Sequence[Sequence[str]]) -> tuple[Point, ...]:
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    heading = [cell.strip().lower() for cell in rows[0]] if rows else []
    for system, axes in AXES.items():
        if set(axes) <= set(heading):
            places = [heading.index(axis) for axis in axes]
            defined = heading.index("defined") if "defined" in heading else None
            return tuple(
                _to_lps(_point([row[n] for n in places], f"row {number}"), system.upper())
                for number, row in enumerate(rows[1:], start=2)
                if defined is None or row[defined].strip() != "0"
            )
    return tuple(_point(row, f"row {number}") for number, row in enumerate(rows, start=1))


def _to_lps(point: Point, system: str) -> Point:
    if system in ("LPS", "XYZ"):
        return point
    if system != "RAS":
        raise ValueError(f"the coordinate system '{system[:20]}' is neither LPS nor RAS")
    return -point[0], -point[1], point[2]


def _point(cells: Sequence[Any], where: str) -> Point:
    try:
        numbers = [float(cell) for cell in cells]
    except (TypeError, ValueError):
        numbers = []
    if isinstance(cells, str) or len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{where} is not three numbers")
    return numbers[0], numbers[1], numbers[2]


def _bad(message: str) -> InputError:
    return InputError(
        "bad-points",
        f"The points cannot be used: {message}.",
        "Give x,y,z in millimetres (LPS), or a point list of 3D Slicer.",
    )
