"""Seeded random changes of one axial slice: geometry, lesions, field of view, noise, pictures.

Images are float32 (H, W) in HU, labels uint8 (H, W) whose meaning a `LabelRoles` gives. A mirrored
slice swaps left and right, one turned upside down does not: the lung on the viewer's right is
called the left one, which is true for every CT in LPS order and the best guess for a picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from isdmae.labels import LUNGS
from isdmae.preprocess import AIR_HU

from .config.data import AugmentConfig

Image = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Random = np.random.Generator

cv2.setNumThreads(1)


PAINTED = 255
"""Label value of a synthetic lesion."""
HILUM_PX = 12
"""Reach of the vessels of the hilum into the lungs, about 18 mm."""


@dataclass(frozen=True, kw_only=True)
class LabelRoles:
    """What the label values of one scan mean to a run; tables are uint8 (256,)."""

    mirrored: Labels
    """Each value's value after a mirror: left and right change places."""
    classes: Labels
    """Each value's class in the network, 0 for what the run does not look for."""
    lungs: tuple[int, ...] = ()
    """Values in which synthetic lesions may grow."""


def roles_of(names: tuple[str, ...], labels: tuple[str, ...]) -> LabelRoles:
    """Return the roles of a scan with the label names ``names`` in a run that learns ``labels``.

    Examples
    --------
    >>> roles = roles_of(("left lung", "right lung"), ("right lung",))
    >>> roles.mirrored[:3].tolist(), roles.classes[:3].tolist(), roles.lungs
    ([0, 2, 1], [0, 0, 1], (1, 2))
    """
    values = {name: value for value, name in enumerate(names, start=1)}
    mirrored, classes = np.arange(256, dtype=np.uint8), np.zeros(256, np.uint8)
    for name, value in values.items():
        twin = {"left": "right", "right": "left"}.get(name.partition(" ")[0], "")
        mirrored[value] = values.get(f"{twin} {name.partition(' ')[2]}", value)
        classes[value] = labels.index(name) + 1 if name in labels else 0
    classes[PAINTED] = labels.index("lesion") + 1 if "lesion" in labels else 0
    lungs = tuple(values[label.name] for label in LUNGS if label.name in values)
    return LabelRoles(mirrored=mirrored, classes=classes, lungs=lungs)


LUNG_ROLES = roles_of(tuple(label.name for label in LUNGS), tuple(label.name for label in LUNGS))


def augment_slice(
    image: Image,
    labels: Labels,
    size: int,
    config: AugmentConfig,
    random: Random,
    roles: LabelRoles = LUNG_ROLES,
) -> tuple[Image, Labels, bool]:
    """Change one slice at random.

    Returns
    -------
    Image
        float32 (size, size): HU, or grey values in 0..1 if it became a picture.
    Labels
        uint8 (size, size), still in the scan's own values; `PAINTED` where a synthetic lesion
        grew and the run looks for lesions.
    bool
        True where the image is still in HU.
    """
    picture = bool(random.random() < config.picture)
    upside_down = picture and bool(random.random() < config.upside_down)
    image, labels = warp(image, labels, size, config, random, roles, upside_down=upside_down)
    lung = np.isin(labels, roles.lungs)
    if random.random() < config.unenhanced:
        image = take_contrast_away(image, random)
    sick = np.zeros(labels.shape, bool)
    if random.random() < config.lesions:
        room = lung
        if config.clear_hilum and random.random() < config.clear_hilum:
            room = away_from_mediastinum(lung)
        image, sick = add_lesions(image, labels, room, random)
    if random.random() < config.decoys:
        image = add_decoys(image, lung, random)
    if roles.classes[PAINTED]:
        labels = np.where(sick, np.uint8(PAINTED), labels)
    if random.random() < config.islands:
        image, labels = add_islands(image, labels, lung, random)
    if random.random() < config.blur:
        image = degrade(image, random)
    if random.random() < config.noise:
        image = add_noise(image, config.noise_hu, random)
    if config.jitter:
        image = image * np.float32(random.uniform(0.93, 1.07)) + np.float32(random.normal(0, 15))
    if random.random() < config.field_of_view:
        image, labels = crop_field_of_view(image, labels, random)
    if picture:
        return to_picture(image, random, equalise=random.random() < config.equalise), labels, False
    return np.maximum(image, AIR_HU), labels, True


def augment_picture(
    image: Image,
    labels: Labels,
    size: int,
    config: AugmentConfig,
    random: Random,
    roles: LabelRoles = LUNG_ROLES,
    *,
    middle: int | None = None,
) -> tuple[Image, Labels]:
    """Change one picture (float32 (H, W) in 0..1) at random.

    Its longer side fills ``size``, or so many pixels of its ``middle``.
    """
    upside_down = bool(random.random() < config.upside_down)
    fit = size / (middle or max(image.shape))
    if random.random() < config.quarter_turn:
        image, labels = np.rot90(image).copy(), np.rot90(labels).copy()
    image, labels = warp(
        image, labels, size, config, random, roles, upside_down=upside_down, fit=fit, fill=0.0
    )
    if random.random() < config.blur:
        image = degrade(image, random)
    if random.random() < config.noise:
        noise = random.standard_normal(image.shape, dtype=np.float32)
        image = image + noise * np.float32(random.uniform(0.005, 0.06))
    if random.random() < config.field_of_view:
        image, labels = crop_field_of_view(image, labels, random, padding=0.0)
    image = change_grey(image, random) if config.jitter else np.clip(image, 0, 1)
    if random.random() < 0.3 * config.equalise:
        image = equalise_tiles(image, random)
    return image.astype(np.float32), labels


def change_grey(image: Image, random: Random) -> Image:
    """Change contrast and brightness of pictures (float32 in 0..1, any shape), and gamma of some.

    Pictures of one array change alike.
    """
    gain, offset = random.uniform(0.8, 1.25), random.uniform(-0.1, 0.1)
    image = np.clip((image - 0.5) * np.float32(gain) + np.float32(0.5 + offset), 0, 1)
    return image ** np.float32(random.uniform(0.7, 1.4)) if random.random() < 0.4 else image


def warp(
    image: Image,
    labels: Labels,
    size: int,
    config: AugmentConfig,
    random: Random,
    roles: LabelRoles = LUNG_ROLES,
    *,
    upside_down: bool,
    fit: float = 1.0,
    fill: float = float(AIR_HU),
) -> tuple[Image, Labels]:
    """Rotate, scale (each axis a little by itself), shift and flip into a (size, size) frame.

    ``fit`` is the scale before chance changes it, ``fill`` the value beside the image.
    """
    angle = np.radians(random.uniform(-config.rotation_deg, config.rotation_deg))
    log_low, log_high = np.log(config.scale)
    common = random.uniform(log_low, log_high)
    scale = fit * np.exp(
        common + (random.normal(0, 0.06, size=2) if config.jitter else np.zeros(2))
    )
    mirrored = random.random() < config.mirror
    signs = (-1 if mirrored else 1, -1 if upside_down else 1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag(scale * signs)
    centre = (np.array(image.shape[::-1]) - 1) / 2
    target = (size - 1) / 2 + random.uniform(-config.shift, config.shift, size=2) * size
    affine = np.hstack([matrix, (target - matrix @ centre)[:, None]])
    frame = (size, size)
    warped = cv2.warpAffine(image, affine, frame, flags=cv2.INTER_LINEAR, borderValue=fill)
    moved = _warp_labels(labels, affine, frame, linear=config.label_edges == "linear")
    return warped.astype(np.float32), roles.mirrored[moved] if mirrored else moved


def _warp_labels(
    labels: Labels, affine: npt.NDArray[np.float64], frame: tuple[int, int], *, linear: bool
) -> Labels:
    if not linear:
        nearest = cv2.warpAffine(labels, affine, frame, flags=cv2.INTER_NEAREST, borderValue=0)
        return nearest.astype(np.uint8)
    values = np.unique(np.append(labels, np.uint8(0)))
    shares = [
        cv2.warpAffine((labels == value).astype(np.float32), affine, frame,
                       flags=cv2.INTER_LINEAR, borderValue=float(value == 0))
        for value in values
    ]  # fmt: skip
    result: Labels = values[np.argmax(shares, axis=0)]
    return result


def smooth_field(shape: tuple[int, int], cells: int, random: Random) -> Image:
    """Return a smooth random field (H, W) with mean near 0 and unit deviation."""
    coarse = random.standard_normal((cells, cells)).astype(np.float32)
    field = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return ((field - field.mean()) / max(float(field.std()), 1e-6)).astype(np.float32)


def add_lesions(
    image: Image, labels: Labels, lung: npt.NDArray[np.bool_], random: Random
) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Fill a random part of the lungs with ground glass or consolidation.

    Dependent parts are hit more often, the edge is soft or sharp, now and then one lung is hit
    alone. Returns the image and where it is now more than half lesion.
    """
    if lung.sum() < 50:
        return image, np.zeros(labels.shape, bool)
    field = smooth_field(image.shape, int(random.integers(4, 24)), random)
    height = np.linspace(-1, 1, image.shape[0], dtype=np.float32)[:, None]
    field = field + height * np.float32(random.uniform(-0.5, 1.5))
    if random.random() < 0.1:
        side = random.choice(np.unique(labels[lung]))
        field = np.where(labels == side, field + 3, field)
    # Mostly a part of the lung, now and then nearly all of it, as at the bases of the very ill.
    share = random.beta(1.2, 4.0) if random.random() < 0.88 else random.uniform(0.5, 0.97)
    threshold = np.quantile(field[lung], 1 - share)
    softness = np.float32(random.uniform(0.03, 0.5))
    alpha = np.clip((field - threshold) / softness, 0, 1) * lung
    texture = smooth_field(image.shape, int(random.integers(32, 96)), random)
    if random.random() < 0.5:
        solid = np.float32(random.uniform(-150, 70)) + texture * np.float32(random.uniform(5, 60))
        filled = np.maximum(image, solid)
        strength = np.float32(random.uniform(0.7, 1.0))
    else:
        filled = image + np.float32(random.uniform(120, 500)) + texture * np.float32(40)
        filled = np.minimum(filled, np.maximum(image, 60))
        strength = np.float32(1.0)
    blended: Image = image + (filled - image) * alpha.astype(np.float32) * strength
    return blended, alpha > 0.5


def away_from_mediastinum(lung: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Leave out the lung within `HILUM_PX` of what the two lungs have between them.

    That is the hull of both without the lungs, thin slivers apart. Vessels of the hilum are as
    dense as consolidation: a network that has seen much of the one there takes the other for it.

    Examples
    --------
    >>> lung = np.zeros((64, 96), bool)
    >>> lung[8:56, 4:36] = lung[8:56, 60:92] = True
    >>> away_from_mediastinum(lung)[30, [5, 20, 30]].tolist()
    [True, True, False]
    """
    points = np.argwhere(lung)[:, ::-1].astype(np.int32)
    if len(points) < 50:
        return lung
    hull = np.zeros(lung.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    between = cv2.morphologyEx(hull & ~lung, cv2.MORPH_OPEN, np.ones((7, 7), np.uint8))
    if not between.any():
        return lung
    return lung & (cv2.distanceTransform(1 - between, cv2.DIST_L2, 3) > HILUM_PX)


def add_decoys(image: Image, lung: npt.NDArray[np.bool_], random: Random) -> Image:
    """Fill blobs of the body outside the lungs with fat, fluid, bowel content or gas.

    Without them a network that has learnt lesions by `add_lesions` takes every grey, smooth region
    beside the lungs for a sick lung: a full stomach, or fat under the diaphragm.
    """
    body = (image > -400) & ~lung
    if body.sum() < 200:
        return image
    field = smooth_field(image.shape, int(random.integers(4, 12)), random)
    threshold = np.quantile(field[body], 1 - random.uniform(0.03, 0.35))
    softness = np.float32(random.uniform(0.02, 0.3))
    alpha = np.clip((field - threshold) / softness, 0, 1) * body
    level = random.uniform(-160, 80) if random.random() < 0.85 else random.uniform(-1000, -500)
    texture = smooth_field(image.shape, int(random.integers(24, 96)), random)
    filling = np.float32(level) + texture * np.float32(random.uniform(3, 90))
    blended: Image = image + (filling - image) * alpha.astype(np.float32)
    return blended


def add_islands(
    image: Image, labels: Labels, lung: npt.NDArray[np.bool_], random: Random
) -> tuple[Image, Labels]:
    """Let one to three ellipses of even soft tissue reach into the lungs, and be no lung.

    Aorta, heart and the dome of the diaphragm look so where there is no contrast agent. Small ones
    lie at the border of a lung, as a lump inside it would be a tumour; large ones anywhere.
    """
    if lung.sum() < 200:
        return image, labels
    border = np.argwhere(lung & ~cv2.erode(lung.astype(np.uint8), None).astype(bool))
    inside = np.argwhere(lung)
    centre = inside.mean(axis=0)
    alpha = np.zeros(image.shape, np.float32)
    for _ in range(int(random.integers(1, 4))):
        radius = np.exp(random.uniform(np.log(7), np.log(34)))
        if radius > 16 and random.random() < 0.5:
            place = random.choice(inside)
        else:  # rather towards the middle of the chest than at its wall, where tumours sit
            places = random.choice(border, size=4)
            place = places[np.linalg.norm(places - centre, axis=1).argmin()]
        y, x = place + random.uniform(-0.6, 0.6, size=2) * radius
        axes = (round(radius), max(4, round(radius * random.uniform(0.6, 1.0))))
        shape = np.zeros(image.shape, np.uint8)
        angle = random.uniform(0, 180)
        cv2.ellipse(shape, (round(x), round(y)), axes, angle, 0, 360, 1, thickness=-1)
        edge = random.uniform(0.6, 1.2) if random.random() < 0.7 else random.uniform(2, 6)
        alpha = np.maximum(alpha, cv2.GaussianBlur(shape.astype(np.float32), (0, 0), edge))
    texture = smooth_field(image.shape, int(random.integers(24, 96)), random)
    tissue = np.float32(random.uniform(10, 75)) + texture * np.float32(random.uniform(2, 18))
    dense = image > -300  # what is dense already, such as bone, stays
    alpha = np.where(dense & ~lung, 0, alpha)
    result: Image = image + (np.maximum(tissue, image) - image) * alpha
    return result.astype(np.float32), np.where(alpha > 0.5, 0, labels).astype(np.uint8)


def take_contrast_away(image: Image, random: Random) -> Image:
    """Squeeze what is denser than soft tissue: blood with contrast agent becomes grey as muscle.

    Bones fade with it. A network that knows vessels and diaphragm by contrast agent alone takes
    an aorta without it for consolidated lung.
    """
    level, strength = random.uniform(20, 70), random.uniform(0.0, 0.25)
    squeezed = np.float32(level) + (image - np.float32(level)) * np.float32(strength)
    return np.where(image > level, squeezed, image).astype(np.float32)


def degrade(image: Image, random: Random) -> Image:
    """Lose resolution: a smooth kernel, or a detour over a coarser grid."""
    if random.random() < 0.5:
        sigma = random.uniform(0.4, 1.6)
        return cv2.GaussianBlur(image, (0, 0), sigma).astype(np.float32)
    height, width = image.shape
    factor = random.uniform(1.3, 3.2)
    small = (max(8, round(width / factor)), max(8, round(height / factor)))
    coarse = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    kind = cv2.INTER_LINEAR if random.random() < 0.7 else cv2.INTER_CUBIC
    return cv2.resize(coarse, (width, height), interpolation=kind).astype(np.float32)


def add_noise(image: Image, sigma_hu: tuple[float, float], random: Random) -> Image:
    """Add noise of a log-uniform deviation in HU, white or with the grain of a smooth kernel."""
    sigma = np.exp(random.uniform(*np.log(sigma_hu)))
    noise = random.standard_normal(image.shape, dtype=np.float32)
    if random.random() < 0.6:
        noise = cv2.GaussianBlur(noise, (0, 0), random.uniform(0.4, 1.1))
    result: Image = image + noise * np.float32(sigma / max(float(noise.std()), 1e-6))
    return result


def crop_field_of_view(
    image: Image, labels: Labels, random: Random, *, padding: float | None = None
) -> tuple[Image, Labels]:
    """Blank all outside a random circle or rectangle; what is not imaged is not labelled.

    Outside lies ``padding``; in a CT without one, air or what scanners write there.
    """
    height, width = image.shape
    inside = np.zeros(image.shape, dtype=np.uint8)
    centre = (random.uniform(0.3, 0.7, size=2) * (width, height)).astype(int)
    if random.random() < 0.5:
        radius = int(random.uniform(0.3, 0.55) * width)
        cv2.circle(inside, (int(centre[0]), int(centre[1])), radius, 1, thickness=-1)
    else:
        half = (random.uniform(0.2, 0.5, size=2) * (width, height)).astype(int)
        (left, top), (right, bottom) = np.maximum(centre - half, 0), centre + half
        inside[top:bottom, left:right] = 1
    if padding is None:
        padding = AIR_HU if random.random() < 0.6 else random.uniform(-3024, -1024)
    seen = inside.astype(bool)
    return (
        np.where(seen, image, np.float32(padding)).astype(np.float32),
        np.where(seen, labels, 0).astype(np.uint8),
    )


def to_picture(image: Image, random: Random, *, equalise: bool) -> Image:
    """Turn HU into the grey values in 0..1 of an 8-bit picture.

    As published 2D sets were made: a window (or the slice's own range) scaled to 8 bits, then
    mostly local histogram equalisation on 8 x 8 tiles.
    """
    kind = random.random()
    if kind < 0.45:
        low, high = float(image.min()), float(image.max())
        if random.random() < 0.5:
            high = min(high, random.uniform(300, 1500))
    elif kind < 0.75:
        low, high = random.uniform(-1400, -1000), random.uniform(150, 450)
    else:
        level, width = random.uniform(-750, -350), random.uniform(1000, 1900)
        low, high = level - width / 2, level + width / 2
    low = max(low, -3024.0)
    grey = np.clip((image - low) / max(high - low, 1.0), 0, 1)
    low, high = float(grey.min()), float(grey.max())
    grey = (grey - low) / max(high - low, 1e-6)
    if random.random() < 0.3:
        grey = grey ** np.float32(random.uniform(0.7, 1.4))
    if equalise:
        return equalise_tiles(grey, random)
    return (np.round(grey * 255) / np.float32(255)).astype(np.float32)


def equalise_tiles(grey: Image, random: Random) -> Image:
    """Equalise histograms on 8 x 8 tiles (CLAHE, Pizer et al. 1987), grey values in 0..1."""
    limit = float(random.uniform(2.0, 9.0))
    bytes_ = np.round(grey * 255).astype(np.uint8)
    equal = cv2.createCLAHE(clipLimit=limit, tileGridSize=(8, 8)).apply(bytes_)
    return (equal / np.float32(255)).astype(np.float32)
