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


def write_lungs_everywhere(folder: Path) -> Bundle:
    """Write a model that takes all of a CT for the left lung."""
    weights = {
        name: torch.zeros_like(value)
        for name, value in Segmenter(TINY_NETWORK, classes=3).state_dict().items()
    }
    weights["head.bias"][1] = 1.0
    return write_bundle(folder, tiny_info(name=folder.name), weights)


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
