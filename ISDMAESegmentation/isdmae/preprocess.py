"""From resampled images to the channels that a network sees.

Source of the channels: arXiv 2411.13198, section 3 (lung window, mediastinal window, edge image);
the edges are signed float Sobel derivatives, one for each spatial axis.

Shapes: B batch, C channels, N a slice and its neighbours, S spatial axes ((H, W) or (D, H, W)).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .equalise import equalise_slices

AIR_HU = -1024.0
BRIGHTEST_HU = 1500.0
CLIP_LIMIT = 7.0


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
    middle : int, optional
        2D: of a picture the network sees only so many pixels in the middle, over ``picture_size``,
        and labels nothing outside them: for what lies in the middle of a crop.
    windows_hu : tuple of (level, width)
        One channel each, clipped to 0..1.
    edges : bool
        Add one signed Sobel derivative of the first window for each spatial axis.
    ct_as_picture : bool
        Bring the slices of a CT to ``picture_size`` and to equalised grey values, as the 8-bit
        pictures are that the network learnt from (see `hu_to_pictures`).
    neighbours : int
        A 2D network also sees this many slices above and below, in every window (2.5D).
    slice_spacing_mm : float, optional
        3D: the slices of a CT are resampled to about this distance; 2D: about this distance lies
        between neighbours. Without one, and for pictures, slices stay as they are.
    roi_size : tuple of int
        3D: voxels (D, H, W) of the cubes that the network learns from and works on.
    """

    in_plane_spacing_mm: float = 1.5
    picture_size: int = 256
    middle: int | None = None
    windows_hu: tuple[tuple[float, float], ...] = ((-500.0, 1200.0), (30.0, 300.0))
    edges: bool = True
    ct_as_picture: bool = False
    neighbours: int = 0
    slice_spacing_mm: float | None = None
    roi_size: tuple[int, int, int] = (32, 128, 128)

    def __post_init__(self) -> None:
        if not 0.1 <= self.in_plane_spacing_mm <= 20.0:
            raise ValueError(f"A pixel size of {self.in_plane_spacing_mm} mm is not plausible.")
        if not 16 <= self.picture_size <= 4096:
            raise ValueError(f"A picture size of {self.picture_size} pixels is not plausible.")
        if self.middle is not None and not 8 <= self.middle <= 4096:
            raise ValueError(f"A middle of {self.middle} pixels is not plausible.")
        if not self.windows_hu or any(width <= 0 for _, width in self.windows_hu):
            raise ValueError("At least one window is needed, each with a positive width.")
        if not 0 <= self.neighbours <= 8:
            raise ValueError(f"{self.neighbours} neighbours a side are not plausible.")
        if self.slice_spacing_mm is not None and not 0.1 <= self.slice_spacing_mm <= 20.0:
            raise ValueError(f"A slice distance of {self.slice_spacing_mm} mm is not plausible.")
        if not all(8 <= size <= 1024 for size in self.roi_size):
            raise ValueError(f"Cubes of {self.roi_size} voxels are not plausible.")

    def channel_count(self, spatial_dims: int) -> int:
        """Return the input channels of a network; see `to_channels`."""
        slices = 1 + 2 * self.neighbours if spatial_dims == 2 else 1
        return slices * len(self.windows_hu) + (spatial_dims if self.edges else 0)


def check_cubes(config: PreprocessConfig, stride: int) -> None:
    """Raise ValueError where a 3D network of that stride cannot halve the cubes as it must."""
    if any(size % stride for size in config.roi_size):
        raise ValueError(f"roi_size {config.roi_size} must be multiples of {stride}.")


def to_channels(image: Tensor, is_hu: Tensor | bool, config: PreprocessConfig) -> Tensor:
    """Compute the input channels of a network.

    Parameters
    ----------
    image : Tensor
        float32 (B, 1, \\*S): HU where ``is_hu``, else grey values in 0..1. With neighbours
        (B, N, H, W), N odd, a slice between those below and above it.
    is_hu : bool or Tensor
        One for all, or bool (B,). A picture's grey value stands for every window.
    config : PreprocessConfig
        Windows and edges.

    Returns
    -------
    Tensor
        float32 (B, C, \\*S), C = ``config.channel_count``: windows in 0..1 (each with all
        slices), then the edges of the middle slice along each spatial axis in -0.5..0.5 a pixel.
    """
    in_hu = torch.as_tensor(is_hu, device=image.device).reshape(-1, *[1] * (image.ndim - 1))
    windows = [
        torch.where(in_hu, (image - (level - width / 2)) / width, image).clamp(0.0, 1.0)
        for level, width in config.windows_hu
    ]
    if config.edges:
        windows.append(signed_edges(middle_slice(windows[0])))
    return torch.cat(windows, dim=1)


def middle_slice(image: Tensor) -> Tensor:
    """Return (B, 1, \\*S) of (B, N, \\*S): the slice itself, without its neighbours."""
    middle = image.shape[1] // 2
    return image[:, middle : middle + 1]


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


def hu_to_pictures(slices: Tensor) -> Tensor:
    """Turn CT slices into the pictures that public 2D sets of chest CT are made of.

    Each slice by itself is scaled from its own range (of at most -1024..1500 HU, so that metal does
    not darken the rest) to 8 bits and equalised on 8 x 8 tiles. Source: the recipe by which the
    COVID-19 CT data (Ma et al. 2021, doi:10.1002/mp.14676) were published as 2D slices.

    Parameters
    ----------
    slices : Tensor
        float32 (B, N, \\*S) in HU; the last two axes are a slice.

    Returns
    -------
    Tensor
        float32 of the same shape in 0..1, on the same device.
    """
    clipped = slices.clamp(AIR_HU, BRIGHTEST_HU)
    low, high = clipped.amin((-2, -1), keepdim=True), clipped.amax((-2, -1), keepdim=True)
    grey = ((clipped - low) * (255.0 / (high - low).clamp(min=1.0))).round().to(torch.uint8)
    equal = equalise_slices(grey.flatten(0, -3), clip_limit=CLIP_LIMIT)
    return equal.view(slices.shape).float() / 255.0
