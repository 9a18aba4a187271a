"""`export`: a fine-tuning run becomes a bundle that the command line and the panel load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isdmae.bundle import Bundle, write_bundle
from isdmae.errors import InputError
from isdmae.labels import make_label
from isdmae.schema import from_plain, to_plain

from .checkpoint import trained_network
from .config.recipes import read_yaml
from .config.results import ExportConfig
from .config.runs import FinetuneConfig
from .shapes import network_shape


def export(config: ExportConfig) -> Bundle:
    """Write the newest checkpoint of ``config.run`` as a bundle to ``config.out``.

    The card gives what a network cannot know: title, description, licence, training sets,
    results. Shape, preprocessing and labels come from the run itself.

    Raises
    ------
    InputError
        Where the run has no checkpoint or the card is incomplete.
    """
    weights, metadata = trained_network(config.run)
    run = from_plain(FinetuneConfig, metadata["config"], "checkpoint")
    card: dict[str, Any] = read_yaml(config.card)
    if not isinstance(card, dict):
        raise InputError(
            "bad-recipe",
            f"{config.card.name} is no table of entries.",
            "Write 'name: value' lines.",
        )
    info = {
        "takes": ["ct", "picture"],
        "labels": [to_plain(make_label(name, n)) for n, name in enumerate(run.labels, start=1)],
        "network": to_plain(network_shape(run)),
        "preprocess": to_plain(run.preprocess),
        "views": list(run.data.planes) if run.spatial_dims == 2 else ["axial"],
        "postprocess": {},
        **card,
    }
    return write_bundle(Path(config.out), info, weights)
