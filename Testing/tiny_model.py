"""A network so small that tests can train and run it in a moment."""

from __future__ import annotations

from typing import Any

from isdmae.labels import LUNGS
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
