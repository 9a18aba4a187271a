"""Seeded random changes of a stack of slices: one geometry and one scanner for all of them.

Cubes for 3D networks and slices with their neighbours go through here. The geometry is drawn first
(`draw_pose`), so that only what a cube needs is read from a scan; it is a turn about the body axis,
a scale, mirror images and a place, hence each slice is warped in its plane and slices are mixed
along the body. Synthetic lesions and decoys (`isdmae_train.augment`) are not painted here.

Shapes: K slices of a scan, n of them in use, D H W voxels of the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from isdmae.preprocess import AIR_HU

from .augment import LabelRoles, add_noise, change_grey, crop_field_of_view, to_picture
from .config.data import AugmentConfig

Stack = npt.NDArray[np.float32]
LabelStack = npt.NDArray[np.uint8]
Random = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Pose:
    """How a result lies in a scan: lengths of the scan's voxels over those of the result."""

    plane: npt.NDArray[np.float64]
    """(2, 2) from the scan's (x, y) to the result's, about the centre."""
    depth: float
    """Results' slices for each slice of the scan; negative where they run the other way."""
    mirrored: bool

    def affine(self, centre: tuple[float, float], size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Return (2, 3), which brings the scan's ``centre`` (y, x) to that of a (H, W) result."""
        target = (np.array(size[::-1]) - 1) / 2
        move = target - self.plane @ np.array(centre[::-1])
        return np.hstack([self.plane, move[:, None]])


def draw_pose(
    config: AugmentConfig,
    random: Random,
    *,
    picture: bool,
    fit: float = 1.0,
    fit_depth: float = 1.0,
) -> Pose:
    """Draw turn, scale (each axis a little by itself) and mirror images.

    ``fit`` and ``fit_depth`` are the scales before chance changes them. Pictures may stand on
    their heads, lie on their sides, and run from head to foot or back: nothing in them says.
    """
    angle = np.radians(random.uniform(-config.rotation_deg, config.rotation_deg))
    low, high = np.log(config.scale)
    common = random.uniform(low, high)
    scale = np.exp(common + (random.normal(0, 0.06, size=3) if config.jitter else np.zeros(3)))
    mirrored = bool(random.random() < config.mirror)
    upside_down = picture and bool(random.random() < config.upside_down)
    if picture and random.random() < config.quarter_turn:
        angle += np.pi / 2
    backwards = picture and bool(random.random() < 0.5)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    signs = (-1 if mirrored else 1, -1 if upside_down else 1)
    return Pose(
        plane=turn @ np.diag(fit * scale[:2] * signs),
        depth=float(fit_depth * scale[2]) * (-1 if backwards else 1),
        mirrored=mirrored,
    )


def cut_image(
    scan: npt.NDArray[np.generic],
    pose: Pose,
    centre: tuple[float, float, float],
    size: tuple[int, int, int],
    fill: float,
) -> Stack:
    """Read what lies about ``centre`` (k, y, x) of a (K, H, W) scan: float32 of ``size``.

    Along the body slices are interpolated, or averaged where they are finer than the result's;
    beside the scan lies ``fill``.
    """
    position = slice_positions(pose, centre[0], size[0])
    reach = max(1.0, 1 / abs(pose.depth))
    first = int(np.floor(position.min() - reach))
    numbers = np.arange(first, int(np.ceil(position.max() + reach)) + 1)
    weights = np.maximum(0, 1 - np.abs(position[:, None] - numbers) / reach)
    weights /= weights.sum(axis=1, keepdims=True)
    inside = (numbers >= 0) & (numbers < len(scan))
    beside = fill * weights[:, ~inside].sum(axis=1)
    warped = warp_slices(scan[numbers[inside]], pose, centre[1:], size[1:], fill)
    mixed = np.tensordot(weights[:, inside].astype(np.float32), warped, axes=1)
    return mixed + beside.astype(np.float32)[:, None, None]


def cut_labels(
    scan: LabelStack,
    pose: Pose,
    centre: tuple[float, float, float],
    size: tuple[int, int, int],
    roles: LabelRoles,
) -> LabelStack:
    """Read the labels that go with `cut_image`: of the nearest voxel, sides changed in a mirror."""
    nearest = nearest_slices(pose, centre[0], size[0])
    inside = (nearest >= 0) & (nearest < len(scan))
    result = np.zeros(size, np.uint8)
    result[inside] = warp_labels(scan[nearest[inside]], pose, centre[1:], size[1:], roles)
    return result


def slice_positions(pose: Pose, k: float, count: int) -> npt.NDArray[np.float64]:
    """Return where in the scan the slices of a result about slice ``k`` lie."""
    return k + (np.arange(count) - (count - 1) / 2) / pose.depth


def nearest_slices(pose: Pose, k: float, count: int) -> npt.NDArray[np.int64]:
    """Return the scan's slice that is nearest to each of the result's; some may lie beside it."""
    return np.rint(slice_positions(pose, k, count)).astype(np.int64)


def warp_slices(
    slices: npt.NDArray[np.generic],
    pose: Pose,
    centre: tuple[float, float],
    size: tuple[int, int],
    fill: float,
) -> Stack:
    """Warp int16 or uint8 (n, H, W) in their planes: float32 (n, \\*size)."""
    scale = float(np.sqrt(abs(np.linalg.det(pose.plane))))
    affine = pose.affine(centre, size)
    shrink = min(1.0, scale / 0.75)  # far smaller pictures are averaged first
    result = np.empty((len(slices), *size), np.float32)
    for n, image in enumerate(slices):
        source = np.asarray(image)
        matrix = affine
        if shrink < 1:
            height, width = source.shape
            small = (max(8, round(width * shrink)), max(8, round(height * shrink)))
            source = cv2.resize(source, small, interpolation=cv2.INTER_AREA)
            matrix = affine @ _from_small((width, height), small)
        result[n] = cv2.warpAffine(
            source, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=fill
        )
    return result


def _from_small(full: tuple[int, int], small: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return (3, 3) from (x, y) in a shrunk image to the full one, pixel edges on pixel edges."""
    factor = np.array(full) / np.array(small)
    matrix = np.diag([*factor, 1.0])
    matrix[:2, 2] = (factor - 1) / 2
    return matrix


def warp_labels(
    slices: LabelStack,
    pose: Pose,
    centre: tuple[float, float],
    size: tuple[int, int],
    roles: LabelRoles,
) -> LabelStack:
    """Warp uint8 (n, H, W) labels, sides changed in a mirror image."""
    affine = pose.affine(centre, size)
    result = np.empty((len(slices), *size), np.uint8)
    for n, labels in enumerate(slices):
        result[n] = cv2.warpAffine(
            np.asarray(labels), affine, size[::-1], flags=cv2.INTER_NEAREST, borderValue=0
        )
    return roles.mirrored[result] if pose.mirrored else result


def change_values(
    stack: Stack, labels: LabelStack, config: AugmentConfig, random: Random, *, is_hu: bool
) -> tuple[Stack, LabelStack, bool]:
    """Blur, noise, field of view, gain; a CT may become pictures.

    ``stack`` is in HU, or of pictures in 0..1; so is the result, of which the flag says whether it
    is in HU. What the field of view cuts off is not labelled.
    """
    if random.random() < config.blur:
        sigma = random.uniform(0.4, 1.4)
        stack = np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in stack])
    if random.random() < config.noise:
        stack = _with_noise(stack, config, random, is_hu=is_hu)
    if random.random() < config.field_of_view:
        stack, labels = _cut_field_of_view(stack, labels, random, is_hu=is_hu)
    if not is_hu:
        return _change_pictures(stack, config, random), labels, False
    if config.jitter:
        gain, offset = random.uniform(0.93, 1.07), random.normal(0, 15)
        stack = stack * np.float32(gain) + np.float32(offset)
    if random.random() < config.picture:
        grey = to_picture(stack, random, equalise=False)
        if random.random() < config.equalise:
            grey = equalise_each(grey, random)
        return grey, labels, False
    return np.maximum(stack, np.float32(AIR_HU)), labels, True


def _with_noise(stack: Stack, config: AugmentConfig, random: Random, *, is_hu: bool) -> Stack:
    """Add noise of one deviation to all slices, grainy or white."""
    if not is_hu:
        noise = random.standard_normal(stack.shape, dtype=np.float32)
        return stack + noise * np.float32(random.uniform(0.005, 0.06))
    one = float(np.exp(random.uniform(*np.log(config.noise_hu))))
    return np.stack([add_noise(image, (one, one), random) for image in stack])


def _cut_field_of_view(
    stack: Stack, labels: LabelStack, random: Random, *, is_hu: bool
) -> tuple[Stack, LabelStack]:
    frame = np.ones(stack.shape[1:], np.float32)
    seen = crop_field_of_view(frame, frame.astype(np.uint8), random, padding=0.0)[0] > 0
    outside = np.float32(AIR_HU if is_hu else 0.0)
    return np.where(seen, stack, outside), np.where(seen, labels, np.uint8(0))


def _change_pictures(stack: Stack, config: AugmentConfig, random: Random) -> Stack:
    """Change brightness, contrast, gamma and equalisation, the same for all pictures."""
    stack = change_grey(stack, random) if config.jitter else np.clip(stack, 0, 1)
    if random.random() < 0.3 * config.equalise:
        stack = equalise_each(stack, random)
    return stack.astype(np.float32)


def equalise_each(stack: Stack, random: Random) -> Stack:
    """Equalise the histograms of every picture (0..1) on 8 x 8 tiles, with one limit for all."""
    tool = cv2.createCLAHE(clipLimit=float(random.uniform(2.0, 9.0)), tileGridSize=(8, 8))
    grey = np.round(np.clip(stack, 0, 1) * 255).astype(np.uint8)
    return np.stack([tool.apply(image) for image in grey]).astype(np.float32) / np.float32(255)
