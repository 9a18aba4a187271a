"""A network so small that tests can train and run it in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from isdmae.bundle import Bundle, write_bundle
from isdmae.labels import LUNGS, make_label
from isdmae.networks.segmenter import Segmenter
from isdmae.networks.unet import UNetConfig
from isdmae.schema import to_plain

# Not smaller: PyTorch 2.13 on some processors crashes in the backward pass of a 1 x 1 convolution
# of stride 2 with fewer than 16 channels in float32, channels last.
TINY_SIZE = ((16, 16, 16), (0, 1, 1))
TINY_NETWORK = UNetConfig(in_channels=4, widths=(4, 8, 8), blocks=(0, 1, 1))


def tiny_info(**changes: Any) -> dict[str, Any]:
    """The plain content of a valid model.json without its weights entry."""
    info = {
        "name": "tiny",
        "title": "Tiny",
        "description": "Random weights for tests.",
        "version": "0",
        "licence": "Apache-2.0",
        "non_commercial": False,
        "takes": ["ct", "picture"],
        "labels": to_plain(list(LUNGS)),
        "network": to_plain(TINY_NETWORK),
        "preprocess": {},
        "postprocess": {},
        "training_sets": [],
    }
    return {**info, **changes}


MIDDLE = 8
"""Of a crop the model of points below sees, and labels, so many pixels."""


def write_lungs_everywhere(folder: Path, **changes: Any) -> Bundle:
    """Write a model that takes all of a CT for the left lung."""
    weights = {
        name: torch.zeros_like(value)
        for name, value in Segmenter(TINY_NETWORK, classes=3).state_dict().items()
    }
    weights["head.bias"][1] = 1.0
    return write_bundle(folder, tiny_info(name=folder.name, **changes), weights)


def write_point_bundle(folder: Path, *, finds: bool = True, **changes: Any) -> Bundle:
    """Write a model of points that takes all of its crops' middle for a nodule (or nothing)."""
    weights = {
        name: torch.zeros_like(value)
        for name, value in Segmenter(TINY_NETWORK, classes=2).state_dict().items()
    }
    weights["head.bias"][1] = 1.0 if finds else -1.0
    info = tiny_info(
        name=folder.name,
        title="Nodules round points",
        labels=[to_plain(make_label("nodule", 1))],
        preprocess={"picture_size": 16, "middle": MIDDLE},
        crop_edge=32,
    )
    return write_bundle(folder, {**info, **changes}, weights)


def lung_like(channels: torch.Tensor) -> torch.Tensor:
    """Class 1 where the first window shows something brighter than a soft tissue."""
    return torch.cat([0.9 - channels[:, :1], channels[:, :1] - 0.9, channels[:, :1] * 0 - 9], dim=1)


def bundle_within(folder: Path, within: str, **changes: object) -> Bundle:
    """Write a bundle named as its folder whose random network looks within another model."""
    torch.manual_seed(1)
    weights = Segmenter(TINY_NETWORK, classes=3).state_dict()
    return write_bundle(folder, tiny_info(name=folder.name, within=within, **changes), weights)


def options(cache: Path, out: Path, steps: int) -> list[str]:
    return [
        "--out", str(out), "--data.manifest", str(cache / "manifest.jsonl"), "--data.size", "64",
        "--loop.steps", str(steps), "--loop.batch", "2", "--loop.workers", "0",
        "--loop.log-every", "2", "--loop.warm-up", "2", "--loop.no-bf16",
        "--loop.checkpoint-minutes", "1000",
    ]  # fmt: skip
