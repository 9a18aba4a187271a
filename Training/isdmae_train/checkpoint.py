"""Checkpoints that survive a kill: atomic, two kept, no pickle.

One safetensors file holds the weights and the optimiser's tensors; its metadata holds the rest as
JSON. All chance in our loops is drawn from (seed, step), so a step number is the whole state of
every random generator.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from isdmae.atomic import atomic_path
from isdmae.bundle import INFO_NAME, find_bundle
from isdmae.errors import InputError

log = logging.getLogger(__name__)

KEPT = 2
PATTERN = re.compile(r"step-(\d{8})\.safetensors")
HARMLESS = frozenset(
    {"out", "loop.workers", "loop.log_every", "loop.checkpoint_minutes", "loop.device"}
)
MOST_NAMED = 5
"""Scans that an error names."""
PATHS = frozenset({"start", "teachers", "data.manifest"})
"""Named by one path or several; another working directory gives the same file another one."""


def save_checkpoint(
    folder: Path,
    step: int,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: Any,
    *,
    data: Mapping[str, str] | None = None,
    average: Mapping[str, Tensor] | None = None,
    scaler: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``step-XXXXXXXX.safetensors`` after ``step`` finished steps; keep the newest two.

    ``config`` is plain data, and ``data`` the fingerprint of each scan by its id, in order; both
    are compared on resume. ``average`` is the moving average of the network's tensors, ``scaler``
    the state of the scaling of losses.
    """
    state = optimizer.state_dict()
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in (average or {}).items()}
    for index, slots in state["state"].items():
        tensors |= {f"optimizer/{index}/{slot}": value for slot, value in slots.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {
        "step": step,
        "groups": state["param_groups"],
        "config": with_absolute_paths(config),
        "data": dict(data or {}),
        "scaler": dict(scaler or {}),
        "sha256": digest(tensors),
    }
    gone = InputError(
        "no-folder",
        f"The folder {folder.parent} is gone.",
        "Check that the disk or network share is there; the same command goes on.",
    )
    if not folder.parent.is_dir():  # to make it anew might fill the place where a share was
        raise gone
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{step:08d}.safetensors"
    try:
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_bytes(save(tensors, {"state": json.dumps(metadata)}))
    except InputError as error:
        if error.code == gone.code:  # it went in this very moment
            raise gone from error
        raise
    _keep_two(folder, path)
    return path


def _keep_two(folder: Path, newest: Path) -> None:
    """Remove older files, and those of later steps: a run at an earlier step found them damaged."""
    found = list_checkpoints(folder)
    kept = [path for path in found if path.name <= newest.name][:KEPT]
    for path in set(found) - set(kept):
        path.unlink()


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in ``folder``, newest first."""
    return sorted((p for p in folder.glob("*") if PATTERN.fullmatch(p.name)), reverse=True)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors by name and the metadata; InputError where the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("sha256", "") not in ("", digest(tensors)):  # older ones have none
            raise ValueError("its tensors do not match their SHA-256")
        return tensors, metadata
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            "bad-checkpoint", f"{path.name} is damaged: {error}.", "Use an older checkpoint."
        ) from error


def digest(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 over names and values, in the order of the names."""
    result = hashlib.sha256()
    for name in sorted(tensors):
        result.update(name.encode())
        result.update(tensors[name].numpy().tobytes())
    return result.hexdigest()


def trained_network(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights and metadata of one file: a run's newest readable checkpoint, or a model's.

    ``folder`` may be the bare name of a model, as `isdmae.bundle.find_bundle` takes it.
    A run that has not come to its end is named in a warning. A model (a bundle) has no
    configuration: its metadata is empty.

    Raises
    ------
    InputError
        ``no-checkpoint`` where no checkpoint can be read.
    """
    if (folder / INFO_NAME).is_file() or _is_model(folder):
        return find_bundle(folder).load_network().state_dict(), {}
    tensors, metadata = _newest(folder / "checkpoints", required=True)
    steps = metadata["config"].get("loop", {}).get("steps", metadata["step"])
    if metadata["step"] < steps:
        log.warning("%s stopped at step %d of %d", folder, metadata["step"], steps)
    return _part(tensors, "average") or _part(tensors, "network"), metadata


def _is_model(name: Path) -> bool:
    """Whether this is the bare name of a model, and nothing of that name lies here."""
    if name.name != str(name) or name.exists():
        return False
    try:
        return bool(find_bundle(str(name)))
    except InputError:
        return False


def _part(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    head = f"{kind}/"
    return {name[len(head) :]: value for name, value in tensors.items() if name.startswith(head)}


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> list[str]:
    """Say in what two configurations compute something else.

    The folder, the number of loader processes, the device and the intervals of log and checkpoint
    change nothing in the weights; one file may be named by different paths. What an older version
    did not know yet has its value among ``defaults``.
    """
    old, new = _essential(_missing(before, defaults or {})), _essential(now)
    return [
        f"{name} was {old.get(name)!r} and is {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _missing(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``config`` with what it lacks, at any depth, from ``defaults``."""
    filled = dict(config)
    for name, value in defaults.items():
        if name not in filled:
            filled[name] = value
        elif isinstance(value, Mapping) and isinstance(filled[name], Mapping):
            filled[name] = _missing(filled[name], value)
    return filled


def _essential(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return what decides the weights, by dotted name; paths are absolute."""
    result: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            result |= _essential(value, f"{key}.")
        elif key in PATHS and value is not None:
            result[key] = _absolute(value)
        elif key not in HARMLESS:
            result[key] = value
    return result


def _absolute(value: Any) -> Any:
    """Return a path, or each of several; the bare name of a model has no place to start from."""
    if not isinstance(value, str):
        return [_absolute(one) for one in value]
    bare = Path(value).name == value and not Path(value).exists()
    return value if bare else str(Path(value).resolve())


def with_absolute_paths(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return ``config`` with absolute `PATHS`, which the next working directory can compare."""
    result: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            result[name] = with_absolute_paths(value, f"{key}.")
        else:
            result[name] = _absolute(value) if key in PATHS and value is not None else value
    return result


def resume(
    folder: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: Any,
    *,
    defaults: Mapping[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
    average: dict[str, Tensor] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Load the newest readable checkpoint.

    Parameters
    ----------
    folder : Path
        Of the checkpoints.
    network, optimizer
        Filled in place, as is ``average``.
    config, defaults : plain data
        The run's configuration, and what an older version did not write, see `differences`.
    data : dict of str, optional
        As `save_checkpoint` takes it; not compared with a checkpoint that has none.
    average : dict, optional
        Moving average of the network's tensors.

    Returns
    -------
    int
        The number of finished steps; 0 where there is no checkpoint.
    dict
        The state of the scaling of losses, empty where nothing was scaled.

    Raises
    ------
    InputError
        ``other-run`` where the folder holds a run with another configuration, ``data-changed``
        where its scans are not those of now.
    """
    tensors, metadata = _newest(folder, required=False)
    if not tensors:
        return 0, {}
    different = differences(metadata["config"], config, defaults)
    if different:
        raise InputError(
            "other-run",
            f"{folder.parent} holds a run with another configuration: {'; '.join(different)}.",
            "Choose another output folder, or remove that one.",
        )
    _refuse_other_data(folder.parent, metadata.get("data", {}), data or {})
    network.load_state_dict(_part(tensors, "network"))
    if average is not None:
        for name, value in _part(tensors, "average").items():
            average[name].copy_(value)
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, slot = name.split("/")
            slots.setdefault(int(index), {})[slot] = value
    groups = [{**group, "betas": tuple(group["betas"])} for group in metadata["groups"]]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
    return int(metadata["step"]), metadata.get("scaler", {})


def _refuse_other_data(run: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    if not before or not now or list(before.items()) == list(now.items()):
        return
    changed = [name for name in before if name in now and now[name] != before[name]]
    found = {
        "added": [name for name in now if name not in before],
        "gone": [name for name in before if name not in now],
        "changed": changed,
    }
    told = "; ".join(f"{what}: {_listed(names)}" for what, names in found.items() if names)
    raise InputError(
        "data-changed",
        f"The scans are not those that the run in {run} began with ({told or 'in another order'}).",
        "Train on them under another name (--out), where a fine-tuning may start from this run or "
        "its model; or put the scans back as they were to go on here.",
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _newest(folder: Path, *, required: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    found = list_checkpoints(folder)
    for path in found:
        try:
            return read_checkpoint(path)
        except InputError as error:
            log.warning("%s", error)
    if required or found:
        raise InputError(
            "no-checkpoint", f"{folder} holds no readable checkpoint.", "Train the model first."
        )
    return {}, {}
