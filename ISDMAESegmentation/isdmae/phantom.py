"""A synthetic chest CT with known truth, for the demonstration and for tests.

Lungs with vessels, airways and lesions, heart, aorta, spine, ribs, diaphragm, liver, stomach, skin,
fat and table, in plausible Hounsfield units with blur and noise. No patient's data is in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from . import phantom_anatomy as anatomy
from .labels import CONSOLIDATION, GROUND_GLASS, LEFT_LUNG, NODULE, RIGHT_LUNG
from .phantom_anatomy import Float, Grid, Mask, Patient
from .volume import Array, Volume

PSF_MM = 0.7
AIR, FAT, MUSCLE, BLOOD, LUNG = -1000, -100, 45, 42, -860


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """What to make.

    Parameters
    ----------
    shape : tuple of int
        Voxels (k, j, i).
    spacing_mm : tuple of float
        Voxel size along (i, j, k) in mm.
    seed : int
        Another seed is another patient.
    noise_hu : float
        Standard deviation of the noise in HU.
    nodules, ground_glass, consolidation : int
        How many lesions of each kind.
    oblique_deg : float
        Tilt of the grid in the patient, about two axes; the anatomy stays where it is.
    """

    shape: tuple[int, int, int] = (96, 192, 224)
    spacing_mm: tuple[float, float, float] = (1.6, 1.6, 3.2)
    seed: int = 0
    noise_hu: float = 18.0
    nodules: int = 3
    ground_glass: int = 1
    consolidation: int = 1
    oblique_deg: float = 0.0

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or min(self.spacing_mm) <= 0:
            raise ValueError("shape and spacing_mm must be positive")
        if min(self.nodules, self.ground_glass, self.consolidation) < 0 or self.noise_hu < 0:
            raise ValueError("counts of lesions and noise_hu must not be negative")
        if not -40 <= self.oblique_deg <= 40:
            raise ValueError("oblique_deg lies in -40..40")


@dataclass(frozen=True)
class Phantom:
    """``ct`` in int16 HU; ``lungs`` (1 left, 2 right) and ``lesions`` (values of `isdmae.labels`)
    in uint8 on the same grid. Lesions and vessels inside the lungs belong to the lungs."""

    ct: Volume
    lungs: Volume
    lesions: Volume


def make_phantom(config: PhantomConfig | None = None) -> Phantom:
    """Make a phantom; the same configuration gives the same voxels.

    Examples
    --------
    >>> phantom = make_phantom(PhantomConfig(shape=(8, 48, 56), spacing_mm=(6.4, 6.4, 36.0)))
    >>> phantom.ct.orientation, int(phantom.lungs.array.max())
    ('LPS', 2)
    """
    config = config or PhantomConfig()
    # Grain has a generator of its own: its draws depend on the grid, the anatomy must not.
    random, grain = (np.random.default_rng([config.seed, stream]) for stream in (0, 1))
    patient = Patient.of_seed(random)
    frame = _frame(config)
    grid = _grid(frame, patient)
    hu = np.full(config.shape, AIR, np.float32)
    _paint_body(hu, grid, patient)
    left, right = anatomy.lungs(grid, patient)
    lesions = _paint_lungs(hu, grid, left | right, config, random, grain)
    _finish(hu, config, grain)
    labels = np.zeros(config.shape, np.uint8)
    labels[left], labels[right] = LEFT_LUNG.value, RIGHT_LUNG.value
    _, airways = _large_airway_masks(grid)
    labels[airways] = 0
    return Phantom(
        ct=frame.with_array(np.clip(hu, -1024, 3071).round().astype(np.int16)),
        lungs=frame.with_array(labels),
        lesions=frame.with_array(lesions * (labels > 0)),
    )


def _frame(config: PhantomConfig) -> Volume:
    """Return an empty volume centred on the patient, tilted by ``oblique_deg``."""
    angle = np.radians(config.oblique_deg)
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    half = angle / 2
    about_z = np.array(
        [[np.cos(half), -np.sin(half), 0], [np.sin(half), np.cos(half), 0], [0, 0, 1]]
    )
    direction = about_z @ about_x
    centre = (np.array(config.shape[::-1]) - 1) / 2 * config.spacing_mm
    origin = np.array([0.0, 8.0, -10.0]) - direction @ centre
    return Volume(
        array=np.zeros(config.shape, np.int16),
        spacing_mm=config.spacing_mm,
        origin_mm=tuple(origin),
        direction=direction,
    )


def _grid(frame: Volume, patient: Patient) -> Grid:
    affine = np.diag([1 / patient.size] * 3 + [1.0]) @ frame.affine
    k, j, i = np.meshgrid(*map(np.arange, frame.shape), indexing="ij", sparse=True)
    x, y, z = (
        (row[0] * i + row[1] * j + row[2] * k + row[3]).astype(np.float32) for row in affine[:3]
    )
    return Grid(x, y, z, np.linalg.inv(affine))


def _paint_body(hu: Float, grid: Grid, patient: Patient) -> None:
    """Everything but the lungs."""
    table = (np.abs(grid.y - 134 - grid.x**2 / 1800) < 4) & (np.abs(grid.x) < 210)
    hu[table] = -90
    outer, inner = anatomy.body(grid, patient)
    hu[outer], hu[inner] = FAT, MUSCLE
    inside = anatomy.cavity(grid) & inner
    hu[inside] = -60
    hu[inside & (grid.z < -60)] = 40
    below = inner & (grid.z < -40) & (np.abs(grid.x) < 120) & (np.abs(grid.y - 4) < 84)
    hu[below & anatomy.inside_ellipsoid(grid, (-55, -4, -118), (82, 80, 92))] = 58
    hu[below & anatomy.inside_ellipsoid(grid, (82, 40, -120), (40, 38, 48))] = 48
    hu[below & anatomy.inside_ellipsoid(grid, (55, -25, -128), (42, 42, 48))] = 25
    hu[below & anatomy.inside_ellipsoid(grid, (55, -48, -118), (22, 12, 18))] = AIR
    _paint_mediastinum(hu, grid, patient)
    _paint_bones(hu, grid, inner)


def _paint_mediastinum(hu: Float, grid: Grid, patient: Patient) -> None:
    column = anatomy.mediastinum(grid, patient) & anatomy.cavity(grid)
    hu[column] = np.where(grid.y[column] < -20, -80, 10)
    hu[anatomy.heart(grid, patient, 3.0) & (grid.z > -95)] = -70
    hu[anatomy.heart(grid, patient)] = BLOOD
    hu[anatomy.paint_tubes(grid, anatomy.aorta())] = BLOOD
    cava = anatomy.chain([(-24, -8, 110), (-26, -4, -10)], [9, 10])
    pulmonary = anatomy.chain([(8, -20, 0), (10, -8, 28), (-30, 18, 22)], [13, 13, 9])
    pulmonary += anatomy.chain([(10, -8, 28), (36, 20, 24)], [13, 9])
    hu[anatomy.paint_tubes(grid, cava + pulmonary)] = BLOOD


def _paint_bones(hu: Float, grid: Grid, inner: Mask) -> None:
    ribs = anatomy.ribs()
    hu[anatomy.paint_tubes(grid, ribs) & inner] = 520
    hu[anatomy.paint_tubes(grid, ribs, wall=-2.4) & inner] = 180
    vertebrae, discs, canal = anatomy.spine(grid)
    hu[vertebrae], hu[discs], hu[canal] = 240, 90, 15
    sternum = (np.abs(grid.x) < 15) & (np.abs(grid.y + 91) < 5) & (grid.z > -30) & (grid.z < 95)
    hu[sternum & inner] = 260
    for side in (-1.0, 1.0):
        blade = anatomy.inside_ellipsoid(grid, (side * 96, 88, 70), (42, 6, 55))
        hu[blade & inner] = 320


def _large_airway_masks(grid: Grid) -> tuple[Mask, Mask]:
    """Return lumen, and lumen with wall, of trachea and main bronchi."""
    trachea, bronchi = anatomy.large_airways()
    tubes = [*trachea, *bronchi[-1.0], *bronchi[1.0]]
    return anatomy.paint_tubes(grid, tubes), anatomy.paint_tubes(grid, tubes, wall=1.6)


def _paint_lungs(
    hu: Float,
    grid: Grid,
    lung: Mask,
    config: PhantomConfig,
    random: np.random.Generator,
    grain: np.random.Generator,
) -> Array:
    """Fill the lungs, from parenchyma to lesions; returns the lesions' labels."""
    texture = ndimage.gaussian_filter(grain.standard_normal(lung.shape).astype(np.float32), 1.5)
    hu[lung] = LUNG + 0.28 * (grid.y[lung] + 80) + 120 * texture[lung]
    vessels = np.zeros(lung.shape, dtype=bool)
    lumen, wall = np.zeros_like(vessels), np.zeros_like(vessels)
    for side in (-1.0, 1.0):
        arteries = anatomy.lung_trees(random, side, radius=4.6, smallest=0.7, length=27)
        vessels |= anatomy.paint_tubes(grid, arteries)
        airways = anatomy.lung_trees(random, side, radius=3.6, smallest=1.1, length=24)
        lumen |= anatomy.paint_tubes(grid, airways)
        wall |= anatomy.paint_tubes(grid, airways, wall=1.0)
    lesions = _paint_lesions(hu, grid, lung, config, random, grain)
    hu[vessels & lung] = np.maximum(hu[vessels & lung], 38)
    hu[wall & lung] = np.maximum(hu[wall & lung], -150)
    hu[lumen & lung] = -960
    large_lumen, large_wall = _large_airway_masks(grid)
    hu[large_wall], hu[large_lumen] = 20, AIR
    return lesions


def _paint_lesions(
    hu: Float,
    grid: Grid,
    lung: Mask,
    config: PhantomConfig,
    random: np.random.Generator,
    grain: np.random.Generator,
) -> Array:
    lesions = np.zeros(lung.shape, np.uint8)
    wobble = ndimage.gaussian_filter(grain.standard_normal(lung.shape).astype(np.float32), 3)
    wobble /= max(float(wobble.std()), 1e-6)
    for _ in range(config.ground_glass):
        side = random.choice((-1.0, 1.0))
        centre = (side * random.uniform(70, 85), random.uniform(-20, 40), random.uniform(0, 50))
        spot = _blob(grid, centre, float(random.uniform(22, 30)), wobble) & lung
        hu[spot] += np.float32(random.uniform(220, 320)) + 25 * wobble[spot]
        lesions[spot] = GROUND_GLASS.value
    for _ in range(config.consolidation):
        side = random.choice((-1.0, 1.0))
        centre = (side * random.uniform(65, 85), random.uniform(60, 72), random.uniform(-50, -25))
        spot = _blob(grid, centre, float(random.uniform(24, 34)), wobble) & lung
        hu[spot] = 22 + 8 * wobble[spot]
        lesions[spot] = CONSOLIDATION.value
    for _ in range(config.nodules):
        side = random.choice((-1.0, 1.0))
        centre = (side * random.uniform(60, 95), random.uniform(-35, 35), random.uniform(-25, 70))
        radius = float(random.uniform(3.5, 8.0))
        spot = anatomy.inside_ellipsoid(grid, centre, (radius,) * 3) & lung
        hu[spot] = np.maximum(hu[spot], np.float32(random.uniform(20, 60)))
        lesions[spot] = NODULE.value
    return lesions


def _blob(grid: Grid, centre: tuple[float, float, float], radius: float, wobble: Float) -> Mask:
    squares = sum(
        ((axis - c) / radius) ** 2 for axis, c in zip((grid.x, grid.y, grid.z), centre, strict=True)
    )
    result: Mask = np.sqrt(squares) + 0.12 * wobble < 1
    return result


def _finish(hu: Float, config: PhantomConfig, grain: np.random.Generator) -> None:
    """Blur as a scanner does and add noise with the grain of a reconstruction kernel, in place."""
    sigma = [PSF_MM / size for size in reversed(config.spacing_mm)]
    ndimage.gaussian_filter(hu, sigma, output=hu)
    noise = grain.standard_normal(hu.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (0, 0.6, 0.6))
    hu += noise * np.float32(config.noise_hu / max(float(noise.std()), 1e-6))
