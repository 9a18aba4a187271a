"""Checkpoints that survive a kill: atomic, two kept, no pickle.

One safetensors file holds the weights and the optimiser's tensors; its metadata holds the rest as
JSON. All chance in our loops is drawn from (seed, step), so a step number is the whole state of
every random generator.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from isdmae.atomic import atomic_path
from isdmae.errors import InputError

log = logging.getLogger(__name__)

KEPT = 2
PATTERN = re.compile(r"step-(\d{8})\.safetensors")


def save_checkpoint(
    folder: Path, step: int, network: nn.Module, optimizer: torch.optim.Optimizer, config: Any
) -> Path:
    """Write ``step-XXXXXXXX.safetensors`` after ``step`` finished steps; keep the newest two.

    ``config`` is plain data, compared on resume.
    """
    state = optimizer.state_dict()
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    for index, slots in state["state"].items():
        tensors |= {f"optimizer/{index}/{slot}": value for slot, value in slots.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {"step": step, "groups": state["param_groups"], "config": config}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.safetensors"
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_bytes(save(tensors, {"state": json.dumps(metadata)}))
    for old in list_checkpoints(folder)[KEPT:]:
        old.unlink()
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in ``folder``, newest first."""
    return sorted((p for p in folder.glob("*") if PATTERN.fullmatch(p.name)), reverse=True)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors by name and the metadata; InputError where the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["state"])
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, metadata
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            "bad-checkpoint", f"{path.name} is damaged: {error}.", "Use an older checkpoint."
        ) from error


def network_weights(folder: Path) -> dict[str, Tensor]:
    """Return the network's weights of the newest readable checkpoint of a run."""
    tensors, _ = _newest(folder / "checkpoints", required=True)
    head = "network/"
    return {name[len(head) :]: value for name, value in tensors.items() if name.startswith(head)}


def resume(folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer, config: Any) -> int:
    """Load the newest readable checkpoint and return the number of finished steps (0: none).

    Raises
    ------
    InputError
        ``other-run`` where the folder holds a run with another configuration.
    """
    tensors, metadata = _newest(folder, required=False)
    if not tensors:
        return 0
    if metadata["config"] != config:
        raise InputError(
            "other-run",
            f"{folder.parent} holds a run with another configuration.",
            "Choose another output folder, or remove that one.",
        )
    weights = {n[8:]: v for n, v in tensors.items() if n.startswith("network/")}
    network.load_state_dict(weights)
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, slot = name.split("/")
            slots.setdefault(int(index), {})[slot] = value
    groups = [{**group, "betas": tuple(group["betas"])} for group in metadata["groups"]]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
    return int(metadata["step"])


def _newest(folder: Path, *, required: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    for path in list_checkpoints(folder):
        try:
            return read_checkpoint(path)
        except InputError as error:
            log.warning("%s", error)
    if required:
        raise InputError(
            "no-checkpoint", f"{folder} holds no readable checkpoint.", "Train the model first."
        )
    return {}, {}
