"""Random changes of the values of a whole batch, on the device where it is computed.

Geometry, and what is painted into lungs and body, stays with the loaders: they read no more of a
scan than a pose needs, and the painting follows the labels. Blur, noise, field of view, windows and
histogram equalisation cost a loader as much again; here a batch costs a few kernels. What is drawn
for a sample depends on the seed and its index alone, as it does in the loaders, whose distributions
these are; of the two ways to lose resolution there is the smooth kernel alone.

Shapes: B batch, M slices of a sample (neighbours, or those of a cube), H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from isdmae.equalise import equalise_slices
from isdmae.preprocess import AIR_HU

from .config.data import AugmentConfig, DataConfig
from .data import Batch

STREAM = 2
"""Of the chance of these changes; a loader's own is (seed, index), that of masks has others."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is drawn for each sample, float32 (B,) each; 0 leaves out what it is the size of."""

    upside_down: Tensor
    """1 turns a CT that becomes a picture."""
    blur: Tensor
    """Deviation of a Gaussian in pixels."""
    noise: Tensor
    """Deviation in HU, or in grey values."""
    grain: Tensor
    """Deviation in pixels of the Gaussian that the noise is smoothed with."""
    shape: Tensor
    """Of the field of view: 1 a circle, 2 a rectangle."""
    centre_x: Tensor
    centre_y: Tensor
    """In shares of width and height."""
    half_x: Tensor
    half_y: Tensor
    """Radius, or half an edge, in shares of the width, and of the height."""
    outside: Tensor
    """The value beside the field of view."""
    picture: Tensor
    """1 makes a picture of a CT."""
    low: Tensor
    high: Tensor
    """Its window in HU, as far as the image reaches."""
    gamma: Tensor
    """1 leaves it as it is."""
    limit: Tensor
    """Clip limit of the equalisation."""


def loader_config(config: DataConfig) -> DataConfig:
    """Return what is left to the loaders where the device changes the values."""
    if not config.augment.on_device:
        return config
    left = replace(
        config.augment, blur=0.0, noise=0.0, field_of_view=0.0, picture=0.0, equalise=0.0
    )
    return replace(config, augment=left)


def moved(
    batch: Batch, device: torch.device, config: AugmentConfig, *, seed: int, first: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Bring a batch, whose first sample has the index ``first``, to the device; change it there.

    Returns
    -------
    tuple of Tensor
        Image (B, N, \\*S), is_hu (B,) and label (B, \\*S), as `isdmae_train.data.Batch` has them.
    """
    image, is_hu = batch["image"].to(device), batch["is_hu"].to(device)
    labels = batch["label"].to(device)
    if not config.on_device:
        return image, is_hu, labels
    change = draw_change(config, batch["is_hu"], seed=seed, first=first)
    noise = [
        torch.Generator(device).manual_seed(_number(seed, first + sample))
        for sample in range(len(image))
    ]
    return apply_change(image, is_hu, labels, change, noise)


def _number(seed: int, index: int) -> int:
    return int(np.random.SeedSequence([seed, STREAM, index]).generate_state(1)[0])


def draw_change(config: AugmentConfig, is_hu: Tensor, *, seed: int, first: int) -> Change:
    """Draw the changes of the samples ``first``, ``first + 1``, ... of a run.

    ``is_hu`` is bool (B,): CTs and pictures are changed differently.
    """
    drawn = [
        _draw(config, bool(ct), np.random.default_rng([seed, STREAM, first + sample]))
        for sample, ct in enumerate(is_hu)
    ]
    return Change(**{name: torch.tensor([one[name] for one in drawn]).float() for name in drawn[0]})


def _draw(config: AugmentConfig, is_hu: bool, random: np.random.Generator) -> dict[str, float]:
    values = {one.name: 0.0 for one in fields(Change)} | {"gamma": 1.0, "high": 1.0}
    picture = is_hu and random.random() < config.picture
    if picture:
        values["picture"] = 1.0
        values["upside_down"] = float(random.random() < config.upside_down)
    if random.random() < config.blur:
        values["blur"] = random.uniform(0.4, 1.4)
    if random.random() < config.noise:
        low, high = np.log(config.noise_hu)
        values["noise"] = (
            np.exp(random.uniform(low, high)) if is_hu else random.uniform(0.005, 0.06)
        )
        values["grain"] = random.uniform(0.4, 1.1) if is_hu and random.random() < 0.6 else 0.0
    if random.random() < config.field_of_view:
        values |= _draw_field_of_view(random, is_hu=is_hu)
    if picture:
        values["low"], values["high"] = _draw_window(random)
        values["gamma"] = random.uniform(0.7, 1.4) if random.random() < 0.3 else 1.0
    if random.random() < (config.equalise if picture else 0.3 * config.equalise * (not is_hu)):
        values["limit"] = random.uniform(2.0, 9.0)
    return values


def _draw_field_of_view(random: np.random.Generator, *, is_hu: bool) -> dict[str, float]:
    """Draw as `isdmae_train.augment.crop_field_of_view` does."""
    x, y = random.uniform(0.3, 0.7, size=2)
    circle = random.random() < 0.5
    half_x, half_y = [random.uniform(0.3, 0.55)] * 2 if circle else random.uniform(0.2, 0.5, 2)
    outside = float(AIR_HU) if random.random() < 0.6 else random.uniform(-3024, -1024)
    return {
        "shape": 1.0 if circle else 2.0, "centre_x": x, "centre_y": y, "half_x": half_x,
        "half_y": half_y, "outside": outside if is_hu else 0.0,
    }  # fmt: skip


def _draw_window(random: np.random.Generator) -> tuple[float, float]:
    """Draw as `isdmae_train.augment.to_picture` does; an open end is that of the image."""
    kind = random.random()
    if kind < 0.45:
        return -np.inf, random.uniform(300, 1500) if random.random() < 0.5 else np.inf
    if kind < 0.75:
        return random.uniform(-1400, -1000), random.uniform(150, 450)
    level, width = random.uniform(-750, -350), random.uniform(1000, 1900)
    return level - width / 2, level + width / 2


def apply_change(
    image: Tensor, is_hu: Tensor, labels: Tensor, change: Change, noise: list[torch.Generator]
) -> tuple[Tensor, Tensor, Tensor]:
    """Change a batch; tensors and generators are on one device, ``change`` may be on another.

    Parameters
    ----------
    image : Tensor
        float32 (B, N, H, W) or (B, 1, D, H, W), HU or grey values in 0..1 as ``is_hu`` (B,) says.
    labels : Tensor
        int64 (B, H, W) or (B, D, H, W).
    change : Change
        See `draw_change`; what decides a size stays there, so that no GPU is waited for.
    noise : list of torch.Generator
        One for each sample.

    Returns
    -------
    tuple of Tensor
        Image, is_hu and labels of the same shapes.
    """
    height, width = image.shape[-2:]
    stack = image.reshape(len(image), -1, height, width)
    found = labels.reshape(len(image), -1, height, width)
    own = {one.name: getattr(change, one.name).to(image.device) for one in fields(Change)}
    c = Change(**own)
    turned = _each(c.upside_down) > 0
    stack = torch.where(turned, stack.flip(-2), stack)
    found = torch.where(turned, found.flip(-2), found)
    stack = blurred(stack, change.blur)
    stack = stack + _each(c.noise) * _grain(stack, change.grain, noise)
    seen = field_of_view(height, width, c)
    stack = torch.where(seen, stack, _each(c.outside))
    found = torch.where(seen, found, 0)
    grey = to_pictures(stack, c)
    bottom = torch.where(is_hu, AIR_HU, 0.0)
    stack = torch.where(_each(c.picture) > 0, grey, torch.maximum(stack, _each(bottom)))
    is_hu = is_hu & (c.picture == 0)
    stack = torch.where(_each(is_hu), stack, stack.clamp(max=1.0))
    stack = _equalised(stack, change.limit)
    return stack.reshape(image.shape), is_hu, found.reshape(labels.shape)


def _each(values: Tensor) -> Tensor:
    """Shape (B,) so that it goes with (B, M, H, W)."""
    return values.view(-1, 1, 1, 1)


def blurred(stack: Tensor, sigma: Tensor) -> Tensor:
    """Smooth every (H, W) of (B, M, H, W) with the Gaussian of its sample, as OpenCV does.

    ``sigma`` is (B,) in pixels; 0 changes nothing.
    """
    reach = ((sigma * 8 + 1).round().int() | 1) // 2
    most = int(reach.max())
    if most == 0:
        return stack
    place = torch.arange(-most, most + 1, device=sigma.device)
    kernel = torch.exp(-0.5 * (place / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = kernel * (place.abs() <= reach[:, None])
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).to(stack)
    kernel = kernel.repeat_interleave(stack.shape[1], dim=0)
    flat = F.pad(stack.flatten(0, 1)[None], [most] * 4, mode="reflect")
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=len(kernel))
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel))
    return flat[0].view(stack.shape)


def _grain(stack: Tensor, grain: Tensor, chance: list[torch.Generator]) -> Tensor:
    """Return noise of deviation 1 in every slice, smoothed by ``grain`` (B,) unless that is 0."""
    white = torch.stack(
        [torch.randn(stack.shape[1:], generator=one, device=stack.device) for one in chance]
    )
    noise = blurred(white, grain)
    return noise / noise.std((-2, -1), keepdim=True).clamp(min=1e-6)


def field_of_view(height: int, width: int, change: Change) -> Tensor:
    """Return bool (B, 1, H, W): True where something is imaged."""
    device = change.shape.device
    y = (torch.arange(height, device=device) + 0.5)[:, None] / height
    x = (torch.arange(width, device=device) + 0.5)[None, :] / width
    across = (x - change.centre_x.view(-1, 1, 1)) / change.half_x.clamp(min=1e-3).view(-1, 1, 1)
    down = (y - change.centre_y.view(-1, 1, 1)) * (height / width)  # a circle is round
    tall = change.half_y.clamp(min=1e-3).view(-1, 1, 1)
    round_ = across**2 + (down / tall) ** 2 <= 1
    square = (across.abs() <= 1) & ((y - change.centre_y.view(-1, 1, 1)).abs() <= tall)
    kind = change.shape.view(-1, 1, 1)
    return ((kind == 0) | ((kind == 1) & round_) | ((kind == 2) & square))[:, None]


def to_pictures(stack: Tensor, change: Change) -> Tensor:
    """Turn HU into 8-bit grey values in 0..1: a window, the range that is left, a gamma."""
    dims = (1, 2, 3)
    low = torch.maximum(_each(change.low), stack.amin(dims, keepdim=True)).clamp(min=-3024.0)
    high = torch.minimum(_each(change.high), stack.amax(dims, keepdim=True))
    grey = ((stack - low) / (high - low).clamp(min=1.0)).clamp(0, 1)
    low, high = grey.amin(dims, keepdim=True), grey.amax(dims, keepdim=True)
    grey = ((grey - low) / (high - low).clamp(min=1e-6)) ** _each(change.gamma)
    return (grey * 255).round() / 255


def _equalised(stack: Tensor, limit: Tensor) -> Tensor:
    chosen = limit > 0
    if not chosen.any():
        return stack
    bytes_ = (stack[chosen].flatten(0, 1) * 255).round().byte()
    limits = limit[chosen].to(stack.device).repeat_interleave(stack.shape[1])
    equal = equalise_slices(bytes_, clip_limit=limits).float() / 255
    result = stack.clone()
    result[chosen] = equal.view(-1, *stack.shape[1:])
    return result
