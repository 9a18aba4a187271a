"""`import-encoder`: weights of another project become the start of a fine-tuning.

The file is safetensors, which holds numbers alone: nothing in it can run. A YAML map says what its
tensors are called here, as regular expressions from the start to the end of a name::

    'backbone\\.layer(\\d)\\.(.*)': 'encoder.levels.\\1.\\2'

Names that already agree need no line.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from isdmae.errors import InputError
from isdmae.networks.segmenter import Segmenter
from isdmae.schema import to_plain

from .checkpoint import save_checkpoint
from .config.recipes import read_yaml
from .config.runs import FinetuneConfig, ImportConfig
from .loop import make_optimizer
from .shapes import network_shape

log = logging.getLogger(__name__)


def import_encoder(config: ImportConfig) -> Path:
    """Write a run whose encoder holds the tensors of ``config.file``; the rest is new.

    Returns
    -------
    Path
        ``config.out``, to be the ``start`` of a fine-tuning with the same shape of network.

    Raises
    ------
    InputError
        ``bad-weights`` where the file or the map cannot be used, or nothing fits; every tensor of
        the encoder that is not in the file, and every one of the file that fits nowhere, is named.
    """
    try:
        found = load_file(str(config.file))
    except (OSError, SafetensorError) as error:
        raise InputError(
            "bad-weights",
            f"{config.file.name} is no readable safetensors file: {error}.",
            "Convert the weights to safetensors first.",
        ) from error
    rules = read_yaml(config.map) if config.map is not None else {}
    named = rename(found, rules)
    shape = FinetuneConfig(
        spatial_dims=config.spatial_dims,
        encoder=config.encoder,
        size=config.size,
        preprocess=config.preprocess,
    )
    torch.manual_seed(0)
    network = Segmenter(network_shape(shape), classes=len(shape.labels) + 1)
    own = {n: value for n, value in network.state_dict().items() if n.startswith("encoder.")}
    fits = {n: v for n, v in named.items() if n in own and own[n].shape == v.shape}
    wrong = sorted(n for n in named.keys() & own.keys() if own[n].shape != named[n].shape)
    foreign = sorted(named.keys() - own.keys())
    missing = sorted(own.keys() - fits.keys())
    if not fits or (wrong and not config.partial) or (missing and not config.partial):
        raise InputError(
            "bad-weights",
            f"Of {len(own)} tensors of the encoder {len(fits)} are in {config.file.name}. "
            f"Missing or of another shape: {_first(missing)}. In the file, of no use: "
            f"{_first(foreign)}.",
            "Mend the map, choose the encoder's shape, or take what fits with --partial.",
        )
    network.load_state_dict({n: v.to(own[n].dtype) for n, v in fits.items()}, strict=False)
    log.info("%d tensors taken", len(fits))
    log.info("new: %s; of no use: %s", _first(missing), _first(foreign))
    optimizer = make_optimizer(network, shape.loop)
    plain = {**to_plain(shape), "loop": {"steps": 0}}
    config.out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(config.out / "checkpoints", 0, network, optimizer, plain)
    return config.out


def rename(tensors: dict[str, Tensor], rules: object) -> dict[str, Tensor]:
    """Give tensors the names that ``rules`` (pattern to name) say; the first that fits counts.

    Raises
    ------
    InputError
        ``bad-weights`` where a rule is no regular expression, or two tensors get one name.

    Examples
    --------
    >>> tensors = {"net.stem.weight": torch.zeros(1)}
    >>> list(rename(tensors, {r"net\\.(.*)": r"encoder.\\1"}))
    ['encoder.stem.weight']
    """
    pairs = rules.items() if isinstance(rules, dict) else [(None, None)]
    if not all(isinstance(name, str) for pair in pairs for name in pair):
        raise InputError("bad-weights", "The map is no table of names.", "Write 'name': 'name'.")
    result: dict[str, Tensor] = {}
    for name, value in tensors.items():
        new = name
        for pattern, target in pairs:
            try:
                if match := re.fullmatch(pattern, name):
                    new = match.expand(target)
                    break
            except (re.error, IndexError) as error:
                raise InputError(
                    "bad-weights", f"'{pattern}' cannot be used: {error}.", "Mend the map."
                ) from error
        if new in result:
            raise InputError("bad-weights", f"Two tensors would be called {new}.", "Mend the map.")
        result[new] = value
    return result


def _first(names: list[str]) -> str:
    shown = ", ".join(names[:4]) or "none"
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown
