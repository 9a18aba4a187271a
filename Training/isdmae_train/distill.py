"""One network learns what several give together: their accuracy at the cost of one.

Source: Bucila et al. 2006 (Model compression), Hinton et al. 2015 (arXiv 1503.02531).

Shapes: B batch, C classes, S spatial axes ((H, W) or (D, H, W)).
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from isdmae.bundle import Bundle, find_bundle
from isdmae.compute import MEMORY_FORMAT
from isdmae.errors import InputError
from isdmae.networks.blocks import fuse_for_prediction

from .config.runs import FinetuneConfig

log = logging.getLogger(__name__)


class Teachers:
    """Models that find the same structures in the same channels, and what they say on average.

    Parameters
    ----------
    config : FinetuneConfig
        Names the models, and the labels and preprocessing that they must have.
    device : torch.device
        Where the student learns.
    dtype : torch.dtype
        What the student is computed in, and so they are.

    Raises
    ------
    InputError
        ``teacher-differs`` where a model has other labels or another preprocessing; whatever
        `find_bundle` raises where there is none.
    """

    def __init__(self, config: FinetuneConfig, device: torch.device, dtype: torch.dtype) -> None:
        bundles = [find_bundle(folder) for folder in config.teachers]
        for bundle in bundles:
            _refuse_other(bundle, config)
        self._networks = [
            fuse_for_prediction(bundle.load_network()).to(  # type: ignore[call-overload]
                device, dtype, memory_format=MEMORY_FORMAT[config.spatial_dims]
            )
            for bundle in bundles
        ]
        self._dtype = dtype
        if bundles:
            log.info("taught by %s", ", ".join(str(bundle.folder) for bundle in bundles))

    def __bool__(self) -> bool:
        return bool(self._networks)

    @torch.no_grad()
    def probabilities(self, channels: Tensor) -> Tensor:
        r"""Return the mean of their probabilities, float32 (B, C, \*S), for (B, channels, \*S)."""
        image = channels.to(self._dtype)
        found = [network(image).float().softmax(dim=1) for network in self._networks]
        return torch.stack(found).mean(dim=0)


def soft_cross_entropy(logits: Tensor, chances: Tensor) -> Tensor:
    r"""Return the cross-entropy to probabilities, the mean over voxels, float32.

    Parameters
    ----------
    logits : Tensor
        (B, C, \*S) of any float dtype.
    chances : Tensor
        float32 (B, C, \*S), adding up to 1 over the classes.

    Examples
    --------
    >>> chances = torch.tensor([[[0.25], [0.75]]])
    >>> float(soft_cross_entropy(chances.log(), chances)) < float(
    ...     soft_cross_entropy(torch.zeros(1, 2, 1), chances)
    ... )
    True
    """
    return -(chances * logits.float().log_softmax(dim=1)).sum(dim=1).mean()


def _refuse_other(bundle: Bundle, config: FinetuneConfig) -> None:
    info = bundle.info
    names = tuple(label.name for label in info.labels)
    if names != config.labels:
        why = f"finds {', '.join(names)} and not {', '.join(config.labels)}"
    elif info.preprocess != config.preprocess or info.network.spatial_dims != config.spatial_dims:
        why = "has another preprocessing"
    else:
        return
    raise InputError(
        "teacher-differs",
        f"The teacher {bundle.folder.name} {why}.",
        "Choose models that were trained with the same labels and preprocessing.",
    )
