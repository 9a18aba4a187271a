"""The grids that networks work on, and the exact way there and back.

Shapes: B batch of slices, C channels, K slices of a scan, D H W voxels of a network's grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError
from .preprocess import AIR_HU, PreprocessConfig
from .resample import (
    Between,
    interpolate,
    largest,
    largest_between,
    meeting,
    reach,
    resample_depth,
    sample_positions,
)
from .volume import Array, Volume

MOST_PIXELS = 4096**2
MOST_VOXELS = 2**31 - 1
"""On a 3D network's grid; 8 GB as float32, and the largest index that every kernel can count to."""
CERTAIN = 100.0
"""A logit so much below another one has a probability of 0."""
MIXED = -1
"""In place of a class: several meet."""
AT_ONCE = 8
"""Slices that are resampled together."""


@dataclass(frozen=True, kw_only=True)
class SliceGrid:
    """The in-plane grid that a 2D network works on, and the way there and back.

    ``source`` is the (H, W) of the image's own slices, ``seen`` the part in the middle of them that
    the network sees (mostly all), ``target`` the resampled (H, W) over the same field of view,
    ``padded`` the target filled up to a multiple of the network's stride. Both ways sample pixel
    centres of one field of view, so nothing shifts.
    """

    source: tuple[int, int]
    seen: tuple[int, int]
    target: tuple[int, int]
    padded: tuple[int, int]

    @classmethod
    def of(
        cls, volume: Volume, config: PreprocessConfig, multiple: int, *, scale: float = 1.0
    ) -> SliceGrid:
        """Plan for a volume in LPS order (see ``isdmae.volume.to_lps_order``).

        ``scale`` enlarges pictures, and CTs as pictures (see `isdmae.lung_extent`).

        Raises
        ------
        InputError
            ``too-large`` where the spacing makes a slice of over 16 million pixels.
        """
        seen = source = volume.shape[1:]
        if volume.is_hu and not config.ct_as_picture:
            pixel = (volume.spacing_mm[1], volume.spacing_mm[0])
            factors = [size / config.in_plane_spacing_mm for size in pixel]
        else:
            if config.middle is not None:
                seen = (min(config.middle, source[0]), min(config.middle, source[1]))
            factors = [scale * config.picture_size / (config.middle or max(source))] * 2
        height, width = (
            max(1, round(length * factor)) for length, factor in zip(seen, factors, strict=True)
        )
        if height * width > MOST_PIXELS:
            raise InputError(
                "too-large",
                f"A slice would have {width} x {height} pixels at the network's resolution.",
                "Check the pixel spacing of the scan.",
            )
        padded = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
        return cls(source=source, seen=seen, target=(height, width), padded=padded)

    def forward(self, slices: Tensor, fill: float) -> Tensor:
        """Resample float32 (B, 1, H, W) slices from ``source`` to ``padded``.

        Shrinking averages (no aliasing of noise), enlarging is bilinear; the rim is ``fill``.
        """
        top, left = self._corner
        slices = slices[..., top : top + self.seen[0], left : left + self.seen[1]]
        if self.target != self.seen:
            slices = F.interpolate(
                slices, size=self.target, mode="bilinear", align_corners=False, antialias=True
            )
        bottom = self.padded[0] - self.target[0]
        right = self.padded[1] - self.target[1]
        return F.pad(slices, (0, right, 0, bottom), value=fill)

    def back(self, scores: Tensor) -> Tensor:
        """Resample float32 (B, C, H, W) scores from ``padded`` to ``source``, bilinearly.

        Where the network saw nothing is background for certain.
        """
        found = scores[..., : self.target[0], : self.target[1]]
        for axis in (1, 0):
            if self.target[axis] != self.seen[axis]:
                places = sample_positions(self.target[axis], self.seen[axis])
                found = interpolate(found, places, 2 + axis)
        if self.seen == self.source:
            return found
        top, left = self._corner
        bottom, right = self.source[0] - self.seen[0] - top, self.source[1] - self.seen[1] - left
        rim = (left, right, top, bottom)
        return torch.cat([F.pad(found[:, :1], rim, value=CERTAIN), F.pad(found[:, 1:], rim)], 1)

    def write_labels(self, scores: Tensor, slices: Iterable[Array]) -> None:
        """Write the class with the largest score after `back` to B slices, zeros of uint8 (H, W).

        Between pixels of the network of one class there is only that class: its score is the
        largest in any mean of theirs. So scores are resampled only where classes meet.
        """
        seen = largest(scores[..., : self.target[0], : self.target[1]]).to(torch.int16)
        shown = seen.amax(dim=0)
        if not shown.any():
            return
        rows, columns = (
            reach(shown.amax(dim=1 - axis), self.target[axis], self.seen[axis]) for axis in (0, 1)
        )
        if rows.stop == 0 or columns.stop == 0:
            return  # what was found lies between the pixels of the source
        along_y, along_x = (
            Between.of(sample_positions(self.target[axis], self.seen[axis])[box], seen, 1 + axis)
            for axis, box in enumerate((rows, columns))
        )
        seen[meeting(seen)] = MIXED
        first = int(along_y.before[0])
        near = seen[:, first : int(along_y.before[-1]) + 1].index_select(2, along_x.before)
        found = near.index_select(1, along_y.before - first)
        image, row, column = torch.nonzero(found == MIXED, as_tuple=True)
        found[image, row, column] = largest_between(
            scores, image, along_y.at(row), along_x.at(column)
        )
        top, left = self._corner
        for one, labels in zip(found.to(torch.uint8).cpu().numpy(), slices, strict=True):
            labels[
                top + rows.start : top + rows.stop, left + columns.start : left + columns.stop
            ] = one

    @property
    def _corner(self) -> tuple[int, int]:
        return (self.source[0] - self.seen[0]) // 2, (self.source[1] - self.seen[1]) // 2


@dataclass(frozen=True, kw_only=True)
class VolumeGrid:
    """The grid that a 3D network works on, and the way there and back.

    ``source`` is the (K, H, W) of the scan, ``target`` the resampled (D, H, W) over the same field
    of view, ``padded`` the target filled up to whole strides, and to one cube at least.
    """

    source: tuple[int, int, int]
    target: tuple[int, int, int]
    padded: tuple[int, int, int]

    @classmethod
    def of(
        cls,
        volume: Volume,
        config: PreprocessConfig,
        multiple: int,
        *,
        least: tuple[int, int, int] = (1, 1, 1),
    ) -> VolumeGrid:
        """Plan for a volume in LPS order, with ``padded`` no smaller than ``least``.

        Raises
        ------
        InputError
            ``too-large`` where the spacing makes more voxels than can be worked on.
        """
        plane = SliceGrid.of(volume, replace(config, middle=None), multiple)
        depth = volume.shape[0]
        as_ct = volume.is_hu and not config.ct_as_picture
        if as_ct and config.slice_spacing_mm is not None:
            depth = max(1, round(depth * volume.spacing_mm[2] / config.slice_spacing_mm))
        target = (depth, *plane.target)
        d, h, w = (
            max(low, -(-size // multiple) * multiple)
            for size, low in zip(target, least, strict=True)
        )
        if d * h * w > MOST_VOXELS:
            raise InputError(
                "too-large",
                f"The scan would have {w} x {h} x {d} voxels at the network's resolution.",
                "Check the spacing of the scan, or segment a part of it.",
            )
        return cls(source=volume.shape, target=target, padded=(d, h, w))

    @property
    def plane(self) -> SliceGrid:
        """The grid of each slice."""
        source, target, padded = self.source[1:], self.target[1:], self.padded[1:]
        return SliceGrid(source=source, seen=source, target=target, padded=padded)

    def forward(self, volume: Volume) -> Tensor:
        """Resample to ``padded``: float32 (D, H, W), HU, or grey values in 0..1 of pictures.

        Shrinking averages, enlarging is linear; the rim is air.
        """
        fill = AIR_HU if volume.is_hu else 0.0
        within = replace(self.plane, padded=self.target[1:])
        slices = torch.empty((self.source[0], *self.target[1:]))
        for k in range(0, self.source[0], AT_ONCE):
            some = slice_batch(volume, slice(k, k + AT_ONCE))
            slices[k : k + AT_ONCE] = within.forward(some, fill)[:, 0]
        d, h, w = (big - small for big, small in zip(self.padded, self.target, strict=True))
        return F.pad(resample_depth(slices, self.target[0]), (0, w, 0, h, 0, d), value=fill)

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """Return which slices of the target the scan's slices ``start:stop`` are made from."""
        position = sample_positions(self.target[0], self.source[0])
        return int(position[start]), min(int(position[stop - 1]) + 2, self.target[0])

    def back(self, scores: Tensor, first: int, start: int, stop: int) -> Tensor:
        """Resample scores to the scan's slices ``start:stop``, linearly along each axis.

        Parameters
        ----------
        scores : Tensor
            float32 (C, n, H, W), the slices ``first``, ``first + 1``, ... of ``padded``; at least
            those that `needed` names.
        first, start, stop : int
            See there.

        Returns
        -------
        Tensor
            float32 (stop - start, C, H, W) on the source's pixels.
        """
        return self.plane.back(self._between(scores, first, start, stop))

    def write_labels(self, scores: Tensor, first: int, start: int, labels: Array) -> None:
        """Write the class with the largest score after `back` to zeros of uint8 (n, H, W).

        They are the slices ``start``, ``start + 1``, ... of the scan.
        """
        stop = start + len(labels)
        self.plane.write_labels(self._between(scores, first, start, stop), labels)

    def _between(self, scores: Tensor, first: int, start: int, stop: int) -> Tensor:
        places = sample_positions(self.target[0], self.source[0])[start:stop]
        return interpolate(scores, places - first, 1).movedim(1, 0)


def neighbour_indices(
    k: int, count: int, config: PreprocessConfig, spacing_mm: float | None
) -> list[int]:
    """Return slice ``k`` between its neighbours, all within ``count`` slices of ``spacing_mm``.

    Pictures have no distance: None.

    Examples
    --------
    >>> neighbour_indices(1, 9, PreprocessConfig(neighbours=2), 2.5)
    [0, 0, 1, 2, 3]
    >>> neighbour_indices(4, 9, PreprocessConfig(neighbours=1, slice_spacing_mm=5.0), 2.5)
    [2, 4, 6]
    """
    step = 1
    if spacing_mm is not None and config.slice_spacing_mm is not None:
        step = max(1, round(config.slice_spacing_mm / spacing_mm))
    around = range(-config.neighbours, config.neighbours + 1)
    return [min(max(k + step * n, 0), count - 1) for n in around]


def slice_batch(volume: Volume, indices: Sequence[int] | slice) -> Tensor:
    """Return axial slices of an LPS-ordered volume as float32 (B, 1, H, W).

    HU stay HU, with air below -1024; a picture's grey values are brought to 0..1 by its own
    minimum and maximum, also in a stack.
    """
    slices = torch.from_numpy(volume.array[indices].astype("float32"))[:, None]
    if volume.is_hu:
        return slices.clamp_(min=AIR_HU)
    low, high = slices.amin((1, 2, 3), keepdim=True), slices.amax((1, 2, 3), keepdim=True)
    return (slices - low) / (high - low).clamp(min=1e-6)
