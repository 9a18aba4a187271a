"""From a volume to what a network sees, and the exact way back.

Source of the channels: arXiv 2411.13198, section 3 (lung window, mediastinal window, edge image);
the edges are signed float Sobel derivatives, one for each spatial axis.

Shapes: B batch of slices, C channels, H W voxels; S the spatial axes in general.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .equalise import equalise_slices
from .errors import InputError
from .volume import Volume

AIR_HU = -1024.0
BRIGHTEST_HU = 1500.0
CLIP_LIMIT = 7.0
MOST_PIXELS = 4096**2


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """Everything needed to repeat the preprocessing; stored in a model's ``model.json``.

    Parameters
    ----------
    in_plane_spacing_mm : float
        Axial slices of a CT are resampled to about this pixel size (exactly: to a whole number of
        pixels over the same field of view).
    picture_size : int
        A picture has no pixel size; its longer side is resampled to this many pixels.
    windows_hu : tuple of (level, width)
        One channel each, clipped to 0..1.
    edges : bool
        Add one signed Sobel derivative of the first window for each spatial axis.
    ct_as_picture : bool
        Bring the slices of a CT to ``picture_size`` and to equalised grey values, as the 8-bit
        pictures are that the network learnt from (see `hu_to_pictures`).
    """

    in_plane_spacing_mm: float = 1.5
    picture_size: int = 256
    windows_hu: tuple[tuple[float, float], ...] = ((-500.0, 1200.0), (30.0, 300.0))
    edges: bool = True
    ct_as_picture: bool = False

    def __post_init__(self) -> None:
        if not 0.1 <= self.in_plane_spacing_mm <= 20.0:
            raise ValueError(f"A pixel size of {self.in_plane_spacing_mm} mm is not plausible.")
        if not 16 <= self.picture_size <= 4096:
            raise ValueError(f"A picture size of {self.picture_size} pixels is not plausible.")
        if not self.windows_hu or any(width <= 0 for _, width in self.windows_hu):
            raise ValueError("At least one window is needed, each with a positive width.")

    def channel_count(self, spatial_dims: int) -> int:
        return len(self.windows_hu) + (spatial_dims if self.edges else 0)


def to_channels(image: Tensor, is_hu: Tensor | bool, config: PreprocessConfig) -> Tensor:
    """Compute the input channels of a network.

    Parameters
    ----------
    image : Tensor
        float32 (B, 1, \\*S): HU where ``is_hu``, else grey values in 0..1.
    is_hu : bool or Tensor
        One for all, or bool (B,). A picture's grey value stands for every window.
    config : PreprocessConfig
        Windows and edges.

    Returns
    -------
    Tensor
        float32 (B, C, \\*S), C = ``config.channel_count``: windows in 0..1, then the edges along
        each spatial axis in -0.5..0.5 a pixel.
    """
    in_hu = torch.as_tensor(is_hu, device=image.device).reshape(-1, *[1] * (image.ndim - 1))
    windows = [
        torch.where(in_hu, (image - (level - width / 2)) / width, image).clamp(0.0, 1.0)
        for level, width in config.windows_hu
    ]
    if config.edges:
        windows.append(signed_edges(windows[0]))
    return torch.cat(windows, dim=1)


def signed_edges(image: Tensor) -> Tensor:
    """Return the Sobel derivative along each spatial axis, signed, per pixel.

    ``image`` is float (B, 1, \\*S), the result (B, len(S), \\*S); the border is continued by its
    edge value. On a ramp of slope 1 a pixel the result is 1 inside.
    """
    dims = image.ndim - 2
    padded = F.pad(image, [1] * (2 * dims), mode="replicate")
    return torch.cat([_sobel(padded, axis) for axis in range(2, 2 + dims)], dim=1)


def _sobel(padded: Tensor, derivative_axis: int) -> Tensor:
    result = padded
    for axis in range(2, padded.ndim):
        length = result.shape[axis] - 2
        before, here, after = (result.narrow(axis, start, length) for start in range(3))
        if axis == derivative_axis:
            result = (after - before) / 2
        else:
            result = (before + 2 * here + after) / 4
    return result


@dataclass(frozen=True, kw_only=True)
class SliceGrid:
    """The in-plane grid that a 2D network works on, and the way there and back.

    ``source`` is the (H, W) of the image's own slices, ``target`` the resampled (H, W) over the
    same field of view, ``padded`` the target filled up to a multiple of the network's stride.
    Both ways sample pixel centres of one field of view, so nothing shifts.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    padded: tuple[int, int]

    @classmethod
    def of(cls, volume: Volume, config: PreprocessConfig, multiple: int) -> SliceGrid:
        """Plan for a volume in LPS order (see ``isdmae.volume.to_lps_order``).

        Raises
        ------
        InputError
            ``too-large`` where the spacing makes a slice of over 16 million pixels.
        """
        source = volume.shape[1:]
        if volume.is_hu and not config.ct_as_picture:
            pixel = (volume.spacing_mm[1], volume.spacing_mm[0])
            factors = [size / config.in_plane_spacing_mm for size in pixel]
        else:
            factors = [config.picture_size / max(source)] * 2
        height, width = (
            max(1, round(length * factor)) for length, factor in zip(source, factors, strict=True)
        )
        if height * width > MOST_PIXELS:
            raise InputError(
                "too-large",
                f"A slice would have {width} x {height} pixels at the network's resolution.",
                "Check the pixel spacing of the scan.",
            )
        padded = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
        return cls(source=source, target=(height, width), padded=padded)

    def forward(self, slices: Tensor, fill: float) -> Tensor:
        """Resample float32 (B, 1, H, W) slices from ``source`` to ``padded``.

        Shrinking averages (no aliasing of noise), enlarging is bilinear; the rim is ``fill``.
        """
        if self.target != self.source:
            slices = F.interpolate(
                slices, size=self.target, mode="bilinear", align_corners=False, antialias=True
            )
        bottom = self.padded[0] - self.target[0]
        right = self.padded[1] - self.target[1]
        return F.pad(slices, (0, right, 0, bottom), value=fill)

    def back(self, logits: Tensor) -> Tensor:
        """Resample float32 (B, C, H, W) logits from ``padded`` to ``source``, bilinearly."""
        cropped = logits[..., : self.target[0], : self.target[1]]
        if self.target == self.source:
            return cropped
        return F.interpolate(cropped, size=self.source, mode="bilinear", align_corners=False)


def hu_to_pictures(slices: Tensor) -> Tensor:
    """Turn CT slices into the pictures that public 2D sets of chest CT are made of.

    Each slice by itself is scaled from its own range (of at most -1024..1500 HU, so that metal does
    not darken the rest) to 8 bits and equalised on 8 x 8 tiles. Source: the recipe by which the
    COVID-19 CT data (Ma et al. 2021, doi:10.1002/mp.14676) were published as 2D slices.

    Parameters
    ----------
    slices : Tensor
        float32 (B, 1, H, W) in HU.

    Returns
    -------
    Tensor
        float32 (B, 1, H, W) in 0..1, on the same device.
    """
    clipped = slices.clamp(AIR_HU, BRIGHTEST_HU)
    low, high = clipped.amin((1, 2, 3), keepdim=True), clipped.amax((1, 2, 3), keepdim=True)
    grey = ((clipped - low) * (255.0 / (high - low).clamp(min=1.0))).round().to(torch.uint8)
    equal = equalise_slices(grey[:, 0].cpu().numpy(), clip_limit=CLIP_LIMIT)
    return torch.from_numpy(equal)[:, None].to(slices.device).float() / 255.0


def slice_batch(volume: Volume, start: int, stop: int) -> Tensor:
    """Return axial slices ``start:stop`` of an LPS-ordered volume as float32 (B, 1, H, W).

    HU stay HU; a picture's grey values are brought to 0..1 by its own minimum and maximum.
    """
    slices = torch.from_numpy(volume.array[start:stop].astype("float32"))[:, None]
    if volume.is_hu:
        return slices
    low, high = float(volume.array.min()), float(volume.array.max())
    return (slices - low) / max(high - low, 1e-6)
