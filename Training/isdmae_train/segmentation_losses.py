"""Losses of segmentation, chosen by name: ``segmentation_loss("dice-ce")(logits, labels)``.

Each takes ``logits`` (B, classes, \\*S) of any float dtype and ``labels`` int64 (B, \\*S), class 0
being background, and returns a float32 scalar. Overlap is taken sample by sample, so that a slice
with a thin crescent of lung counts as much as one through the middle of the chest. ``smooth`` (in
voxels) keeps it gentle where a class is absent, and still makes an invented structure expensive.

Shapes: B batch, S spatial axes, F foreground classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

SegmentationLoss = Callable[[Tensor, Tensor], Tensor]


def segmentation_loss(name: str, *, smooth: float = 20.0) -> SegmentationLoss:
    """Return the loss of a name, its overlap smoothed by so many voxels.

    Raises
    ------
    ValueError
        With the names that exist.

    Examples
    --------
    >>> logits = torch.tensor([[[[9.0, -9.0]], [[-9.0, 9.0]]]])
    >>> round(segmentation_loss("dice-focal")(logits, torch.tensor([[[0, 1]]])).item(), 3)
    0.0
    """
    if name not in SEGMENTATION_LOSSES:
        raise ValueError(f"Unknown loss '{name}': one of {', '.join(SEGMENTATION_LOSSES)}.")
    return partial(SEGMENTATION_LOSSES[name], smooth=smooth)


@dataclass(frozen=True)
class SoftCounts:
    """Soft numbers of voxels, each (B, F): in both, predicted, and true."""

    overlap: Tensor
    predicted: Tensor
    truth: Tensor


def soft_counts(logits: Tensor, labels: Tensor) -> SoftCounts:
    """Count the foreground classes of each sample by their softmax probabilities."""
    probabilities = logits.float().softmax(dim=1)[:, 1:]
    truth = foreground(labels, logits.shape[1]).float()
    dims = list(range(2, logits.ndim))
    return SoftCounts(
        overlap=(probabilities * truth).sum(dims),
        predicted=probabilities.sum(dims),
        truth=truth.sum(dims),
    )


def foreground(labels: Tensor, classes: int) -> Tensor:
    """Turn labels (B, \\*S) into bool (B, classes - 1, \\*S)."""
    values = torch.arange(1, classes, device=labels.device)
    return labels[:, None] == values.reshape(1, -1, *[1] * (labels.ndim - 1))


def dice_loss(logits: Tensor, labels: Tensor, *, smooth: float = 20.0) -> Tensor:
    """1 - soft Dice, the mean over samples and foreground classes."""
    counts = soft_counts(logits, labels)
    dice = (2 * counts.overlap + smooth) / (counts.predicted + counts.truth + smooth)
    return (1 - dice).mean()


def dice_ce_loss(logits: Tensor, labels: Tensor, *, smooth: float = 20.0) -> Tensor:
    """Cross-entropy plus soft Dice."""
    return F.cross_entropy(logits.float(), labels) + dice_loss(logits, labels, smooth=smooth)


def dice_focal_loss(
    logits: Tensor, labels: Tensor, *, gamma: float = 2.0, smooth: float = 20.0
) -> Tensor:
    """Focal loss (Lin et al. 2017, arXiv 1708.02002, eq. 4) plus soft Dice.

    The cross-entropy of a voxel counts (1 - p) ** ``gamma`` times, p being the probability of its
    true class: what is already certain counts for little.
    """
    cross_entropy = F.cross_entropy(logits.float(), labels, reduction="none")
    # Just above 0 a certain voxel can come out negative by rounding, and a power of it as NaN.
    doubt = (1 - torch.exp(-cross_entropy)).clamp(min=0.0)
    return (doubt**gamma * cross_entropy).mean() + dice_loss(logits, labels, smooth=smooth)


def tversky_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    false_positive: float = 0.3,
    false_negative: float = 0.7,
    smooth: float = 20.0,
) -> Tensor:
    """1 - Tversky index (Salehi et al. 2017, arXiv 1706.05721), which weighs misses higher.

    With both weights 0.5 it is soft Dice.
    """
    counts = soft_counts(logits, labels)
    invented = counts.predicted - counts.overlap
    missed = counts.truth - counts.overlap
    wrong = false_positive * invented + false_negative * missed
    index = (counts.overlap + smooth / 2) / (counts.overlap + wrong + smooth / 2)
    return (1 - index).mean()


def boundary_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Surface loss by distance maps (Kervadec et al. 2019, arXiv 1812.07032, eq. 5).

    The mean over voxels and foreground classes of probability times the signed distance to the
    true surface in voxels, negative inside; so it is at its lowest, below zero, for the truth. A
    class that a sample does not hold has no surface and adds nothing.
    """
    probabilities = logits.float().softmax(dim=1)[:, 1:]
    truth = foreground(labels, logits.shape[1]).cpu().numpy()
    distance = np.stack([[signed_distance(one) for one in sample] for sample in truth])
    return (probabilities * torch.from_numpy(distance).to(logits.device)).mean()


def signed_distance(truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return the distance in voxels to the surface of ``truth``, negative inside.

    A voxel just outside has 1, one of the outermost inside 0, its inner neighbour -1. All zero
    where there is no truth, or nothing else.
    """
    if not truth.any() or truth.all():
        return np.zeros(truth.shape, np.float32)
    outside = ndimage.distance_transform_edt(~truth)
    inside = ndimage.distance_transform_edt(truth)
    result: npt.NDArray[np.float32] = np.where(truth, 1 - inside, outside).astype(np.float32)
    return result


def dice_ce_boundary_loss(
    logits: Tensor, labels: Tensor, *, weight: float = 0.01, smooth: float = 20.0
) -> Tensor:
    """Dice and cross-entropy plus ``weight`` times the boundary loss.

    A boundary loss alone has a trivial minimum in an empty prediction, so Kervadec et al. add it
    to a loss of overlap, at first with the weight 0.01.
    """
    return dice_ce_loss(logits, labels, smooth=smooth) + weight * boundary_loss(logits, labels)


SEGMENTATION_LOSSES: dict[str, Callable[..., Tensor]] = {
    "dice-ce": dice_ce_loss,
    "dice-focal": dice_focal_loss,
    "tversky": tversky_loss,
    "boundary": dice_ce_boundary_loss,
}
