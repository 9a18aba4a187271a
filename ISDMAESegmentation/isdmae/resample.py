"""Values between pixels: where the pixels of one grid lie in another, and what is there.

Shapes: B images, C channels, K slices of a scan, H W pixels, S spatial axes, n places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def largest(scores: Tensor) -> Tensor:
    """Return the class with the largest score: int64 (B, \\*S) of float (B, C, \\*S).

    The first of equals, as ``argmax`` would; on a CPU that takes ten times as long.
    """
    return scores.max(dim=1).indices


@dataclass(frozen=True)
class Between:
    """Places between pixels along one axis: the pixels on both sides and the share of the second.

    int64 (n,) each, and float (n,); beyond the last pixel, the last one.
    """

    before: Tensor
    after: Tensor
    share: Tensor

    @classmethod
    def of(cls, position: Tensor, values: Tensor, axis: int) -> Between:
        """Find places among the pixels of ``values`` along ``axis``, on their device.

        ``position`` is float64 on the CPU: a GPU by Apple has no such numbers.
        """
        before = position.long()
        share = (position - before).float().to(values.device)
        before = before.to(values.device)
        return cls(before, (before + 1).clamp(max=values.shape[axis] - 1), share)

    def at(self, index: Tensor) -> Between:
        """Return some of the places."""
        return Between(self.before[index], self.after[index], self.share[index])


def interpolate(values: Tensor, position: Tensor, axis: int) -> Tensor:
    """Return ``values`` at places along one axis, linearly; beyond the last one, the last one."""
    places = Between.of(position, values, axis)
    share = places.share.to(values).view(-1, *[1] * (values.ndim - axis - 1))
    before, after = (values.index_select(axis, side) for side in (places.before, places.after))
    return torch.lerp(before, after, share)


def meeting(classes: Tensor) -> Tensor:
    """Return where a pixel, the next one and the two below them differ: bool of (B, H, W)."""
    across = torch.zeros_like(classes, dtype=torch.bool)
    across[:, :, :-1] = classes[:, :, 1:] != classes[:, :, :-1]
    result = across.clone()
    result[:, :-1] |= across[:, 1:] | (classes[:, 1:] != classes[:, :-1])
    return result


def largest_between(scores: Tensor, image: Tensor, y: Between, x: Between) -> Tensor:
    """Return the class with the largest score at n places: int16 (n,).

    ``scores`` is float32 (B, C, H, W), ``image`` int64 (n,) says in which of B each place lies. The
    steps are those of `interpolate` along the columns, then along the rows.
    """
    height, width = scores.shape[2:]
    pixels = scores.movedim(1, -1).flatten(0, 2)

    def along(row: Tensor) -> Tensor:
        start = (image * height + row) * width
        before, after = (pixels.index_select(0, start + side) for side in (x.before, x.after))
        return torch.lerp(before, after, x.share[:, None])

    return largest(torch.lerp(along(y.before), along(y.after), y.share[:, None])).to(torch.int16)


def reach(used: Tensor, count: int, samples: int) -> slice:
    """Return which of ``samples`` pixels are made from any of the used ones of ``count``.

    Where these are far fewer, it may be none.
    """
    places = torch.nonzero(used)
    position = sample_positions(count, samples)
    near = (position > int(places[0]) - 1) & (position < int(places[-1]) + 1)
    inside = torch.nonzero(near)
    if not len(inside):
        return slice(0, 0)
    return slice(int(inside[0]), int(inside[-1]) + 1)


def sample_positions(count: int, samples: int) -> Tensor:
    """Return where the centres of ``samples`` pixels lie among ``count`` of the same extent.

    float64; the first and the last pixel reach to the edge.
    """
    return ((torch.arange(samples, dtype=torch.float64) + 0.5) * (count / samples) - 0.5).clamp(
        0, count - 1
    )


def resample_depth(slices: Tensor, depth: int) -> Tensor:
    """Resample float32 (K, H, W) to (``depth``, H, W); shrinking averages, enlarging is linear."""
    count, height, width = slices.shape
    if count == depth:
        return slices
    result = torch.empty((depth, height, width))
    for row in range(height):
        line = slices[:, row][None, None]
        result[:, row] = F.interpolate(
            line, size=(depth, width), mode="bilinear", align_corners=False, antialias=True
        )[0, 0]
    return result
