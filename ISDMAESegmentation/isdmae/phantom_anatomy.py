"""The shapes of the synthetic chest, in patient millimetres.

The patient's own axes: x to the left, y to posterior, z to superior; zero lies in the middle of
the chest. Everything is analytic, so any grid samples the same patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Point = npt.NDArray[np.float64]

APEX_Z = 125.0
CARINA = np.array([0.0, 22.0, 45.0])


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What differs from patient to patient; lengths in mm, ``size`` scales everything."""

    size: float
    fat: float
    heart: float
    diaphragm: float
    lean: float

    @classmethod
    def of_seed(cls, random: np.random.Generator) -> Patient:
        """Draw a patient."""
        return cls(
            size=float(random.uniform(0.92, 1.06)),
            fat=float(random.uniform(9, 20)),
            heart=float(random.uniform(0.9, 1.12)),
            diaphragm=float(random.uniform(-12, 12)),
            lean=float(random.uniform(-6, 6)),
        )


@dataclass(frozen=True)
class Tube:
    """A straight piece of a vessel, airway or rib, tapering from ``radii[0]`` to ``radii[1]``."""

    start: Point
    end: Point
    radii: tuple[float, float]


@dataclass(frozen=True)
class Grid:
    """Patient coordinates (x, y, z) of every voxel, and how to find the voxels near a point."""

    x: Float
    y: Float
    z: Float
    to_index: npt.NDArray[np.float64]
    """4 x 4 from patient millimetres to (i, j, k)."""

    def box(self, low: Point, high: Point) -> tuple[slice, slice, slice] | None:
        """Return the (k, j, i) slices that hold a box of patient space, None where outside."""
        corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1)
        indices = self.to_index[:3, :3] @ corners + self.to_index[:3, 3:]
        spans = []
        for axis, length in zip((2, 1, 0), self.x.shape, strict=True):
            first = max(0, int(np.floor(indices[axis].min())))
            last = min(length, int(np.ceil(indices[axis].max())) + 1)
            if first >= last:
                return None
            spans.append(slice(first, last))
        return spans[0], spans[1], spans[2]


def inside_ellipsoid(grid: Grid, centre: tuple[float, ...], radii: tuple[float, ...]) -> Mask:
    """Return the voxels inside an ellipsoid."""
    x, y, z = (
        (axis - c) / r for axis, c, r in zip((grid.x, grid.y, grid.z), centre, radii, strict=True)
    )
    result: Mask = x**2 + y**2 + z**2 < 1
    return result


def tube_distances(
    grid: Grid, tubes: list[Tube], margin: float = 0.0
) -> Iterator[tuple[tuple[slice, slice, slice], Float]]:
    """Yield for each tube a box and, in it, the distance to the surface (negative inside)."""
    for tube in tubes:
        reach = max(tube.radii) + margin
        box = grid.box(np.minimum(tube.start, tube.end) - reach,
                       np.maximum(tube.start, tube.end) + reach)  # fmt: skip
        if box is None:
            continue
        axis = tube.end - tube.start
        length2 = max(float(axis @ axis), 1e-9)
        offset = [
            p[box] - np.float32(s)
            for p, s in zip((grid.x, grid.y, grid.z), tube.start, strict=True)
        ]
        along = sum(o * np.float32(a) for o, a in zip(offset, axis, strict=True)) / np.float32(
            length2
        )
        along = np.clip(along, 0, 1)
        off = sum((o - along * np.float32(a)) ** 2 for o, a in zip(offset, axis, strict=True))
        radius = tube.radii[0] + along * np.float32(tube.radii[1] - tube.radii[0])
        yield box, np.sqrt(off) - radius


def paint_tubes(grid: Grid, tubes: list[Tube], *, wall: float = 0.0) -> Mask:
    """Return the voxels inside any tube grown by ``wall`` mm."""
    mask = np.zeros(grid.x.shape, dtype=bool)
    for box, distance in tube_distances(grid, tubes, margin=wall):
        mask[box] |= distance < wall
    return mask


def body(grid: Grid, patient: Patient) -> tuple[Mask, Mask]:
    """Return the body, and the muscle compartment under skin and fat."""
    shoulders = 1 + 0.18 * np.clip((grid.z - 95) / 70, 0, 1) ** 2

    def shell(depth: float) -> Mask:
        half = ((168 - depth) * shoulders, 118 - depth)
        inner: Mask = (np.abs(grid.x) / half[0]) ** 2.6 + (np.abs(grid.y - 8) / half[1]) ** 2.4 < 1
        return inner

    return shell(0.0), shell(patient.fat)


def cavity(grid: Grid) -> Mask:
    """Return the inside of the rib cage above the diaphragm's lowest recess."""
    height = np.clip((grid.z + 25) / (APEX_Z + 25), 0, 1)
    width = 126 * np.sqrt(np.clip(1 - height**2.6, 0, 1)) ** 0.75
    depth = 88 * np.sqrt(np.clip(1 - height**2.8, 0, 1)) ** 0.75
    inner: Mask = (np.abs(grid.x) / np.maximum(width, 1)) ** 2.3 + (
        np.abs(grid.y - 4) / np.maximum(depth, 1)
    ) ** 2.2 < 1
    return inner


def lungs(grid: Grid, patient: Patient) -> tuple[Mask, Mask]:
    """Return (left, right) inside the pleura, without the mediastinum."""
    inner = cavity(grid) & ~mediastinum(grid, patient)
    result = []
    for side, dome_drop in ((1.0, 14.0), (-1.0, 0.0)):
        x, y = side * grid.x, grid.y
        fall = 0.0085 * (x - 62) ** 2 + 0.0075 * (y + 12) ** 2 + 0.16 * np.maximum(y, 0)
        dome = -42 + patient.diaphragm - dome_drop - fall
        dome = np.maximum(dome, np.float32(-150))
        result.append(inner & (x > 8) & (grid.z > dome))
    return result[0], result[1]


def mediastinum(grid: Grid, patient: Patient) -> Mask:
    """Return heart, great vessels and the tissue between the lungs."""
    width = 20 + 9 * np.exp(-(((grid.z - 10) / 45) ** 2)) + 10 * np.clip((grid.y - 30) / 40, 0, 1)
    column = (np.abs(grid.x - patient.lean / 2) < width) & (grid.y > -95)
    narrow = (grid.y < -25) & (grid.z > 5)
    column &= ~(narrow & (np.abs(grid.x) > 9))
    spine = ((grid.x / 27) ** 2 + ((grid.y - 70) / 33) ** 2) < 1
    result: Mask = column | spine | heart(grid, patient, 3.0)
    result |= paint_tubes(grid, aorta(), wall=2.0)
    return result


def heart(grid: Grid, patient: Patient, wall: float = 0.0) -> Mask:
    """Return the heart, leaning to the left and forward."""
    h = patient.heart
    turned = Grid(
        0.82 * (grid.x - 24) - 0.57 * (grid.y + 22),
        0.57 * (grid.x - 24) + 0.82 * (grid.y + 22),
        grid.z,
        grid.to_index,
    )
    radii = (44 * h + wall, 56 * h + wall, 54 * h + wall)
    return inside_ellipsoid(turned, (0.0, 0.0, -28.0), radii)


def aorta() -> list[Tube]:
    """Return ascending aorta, arch and descending aorta."""
    points = [
        (-12, -20, -5),
        (-14, -22, 35),
        (-6, -10, 62),
        (10, 18, 70),
        (22, 42, 58),
        (24, 50, 30),
    ]
    points.append((18, 52, -170))
    radii = [16, 15.5, 14, 13.5, 13, 12.5, 11]
    return chain(points, radii)


def chain(points: Sequence[tuple[float, ...]], radii: Sequence[float]) -> list[Tube]:
    """Join points by tubes."""
    return [
        Tube(np.array(a, float), np.array(b, float), (r, s))
        for a, b, r, s in zip(points, points[1:], radii, radii[1:], strict=False)
    ]


def large_airways() -> tuple[list[Tube], dict[float, list[Tube]]]:
    """Return the trachea, and by side (+1 left, -1 right) the main bronchus."""
    trachea = [Tube(np.array([0.0, 12.0, 175.0]), CARINA, (8.5, 8.5))]
    bronchi = {
        -1.0: [Tube(CARINA, np.array([-36.0, 26.0, 20.0]), (7.0, 6.0))],
        1.0: [Tube(CARINA, np.array([42.0, 30.0, 14.0]), (6.5, 5.5))],
    }
    return trachea, bronchi


def tree(
    random: np.random.Generator,
    start: Point,
    direction: Point,
    *,
    length: float,
    radius: float,
    smallest: float,
) -> list[Tube]:
    """Grow a branching tree: each piece is thinner and shorter, children turn away from it."""
    if radius < smallest:
        return []
    direction = direction / np.linalg.norm(direction)
    end = start + direction * length
    tubes = [Tube(start, end, (radius, 0.86 * radius))]
    across = np.cross(direction, random.standard_normal(3))
    across /= np.linalg.norm(across)
    for side in (1.0, -1.0):
        angle = np.radians(random.uniform(22, 48)) * side
        turned = np.cos(angle) * direction + np.sin(angle) * across
        tubes += tree(
            random,
            end,
            turned,
            length=length * random.uniform(0.72, 0.94),
            radius=radius * random.uniform(0.7, 0.82),
            smallest=smallest,
        )
    return tubes


def hilum(side: float) -> Point:
    """Return where vessels and airways enter a lung (+1 left, -1 right)."""
    return np.array([side * 38.0, 24.0, 14.0])


def lung_trees(
    random: np.random.Generator, side: float, *, radius: float, smallest: float, length: float
) -> list[Tube]:
    """Return a tree from the hilum to the upper, middle and lower lung."""
    tubes = []
    for up, back in ((1.0, 0.1), (0.35, -0.8), (-0.5, -0.5), (-1.0, 0.45), (0.2, 0.7)):
        direction = np.array([side * random.uniform(0.6, 1.0), back, up])
        tubes += tree(
            random, hilum(side), direction, length=length, radius=radius, smallest=smallest
        )
    return tubes


def ribs() -> list[Tube]:
    """Return twelve pairs of ribs, falling from the spine to the front."""
    tubes = []
    for number in range(12):
        top = 122 - 22 * number
        height = np.clip((top - 10 + 25) / (APEX_Z + 25), 0, 1)
        shrink = max(0.42, float(np.sqrt(1 - height**2.6)) ** 0.75)
        angles = np.radians(np.linspace(18, 158 if number < 10 else 95, 16))
        for side in (1.0, -1.0):
            points = [
                (
                    side * (132 * shrink) * np.sin(a),
                    4 + (94 * max(shrink, 0.6)) * np.cos(a),
                    top - 48 * (1 - np.cos(a)) / 2,
                )
                for a in angles
            ]
            tubes += chain(points, [5.0] * len(points))
    return tubes


def spine(grid: Grid) -> tuple[Mask, Mask, Mask]:
    """Return (vertebrae, discs, canal)."""
    column = (grid.x / 19) ** 2 + ((grid.y - 66) / 16) ** 2 < 1
    phase = np.mod(grid.z + 13, 26)
    disc = column & (phase < 5)
    canal = (grid.x / 10) ** 2 + ((grid.y - 90) / 9) ** 2 < 1
    arch = ((grid.x / 16) ** 2 + ((grid.y - 92) / 15) ** 2 < 1) & (phase > 7)
    process = (np.abs(grid.x) < 4) & (grid.y > 95) & (grid.y < 120) & (phase > 9) & (phase < 20)
    return ((column & ~disc) | arch | process) & ~canal, disc, canal
