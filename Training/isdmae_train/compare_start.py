"""The models that a part of a comparison starts or learns from, known by digests of their weights.

A path says where they lie, not that nobody has trained them anew between two parts.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from isdmae.atomic import write_text_atomic
from isdmae.bundle import find_bundle
from isdmae.errors import InputError

from .checkpoint import list_checkpoints
from .config.runs import FinetuneConfig

RECORD = "weights.json"


def note_weights(folder: Path, run: FinetuneConfig) -> None:
    """Write what ``run``, the fine-tuning of the part in ``folder``, begins with, unless known."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / RECORD).is_file():
        text = json.dumps(used_weights(run), indent=2) + "\n"
        write_text_atomic(folder / RECORD, text, overwrite=True)


def refuse_other_weights(folder: Path, run: FinetuneConfig) -> None:
    """Raise InputError ``other-run`` where the part in ``folder`` began with other weights.

    What is not known is accepted: a part of an older version, a start that has been removed since.
    """
    try:
        before = dict(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return
    now = used_weights(run)
    different = sorted(path for path in before.keys() & now.keys() if before[path] != now[path])
    if different:
        raise InputError(
            "other-run",
            f"{folder} began with other weights of {', '.join(different)}: they were trained anew "
            "or replaced.",
            "Choose another output folder, or remove the parts that were made with them.",
        )


def used_weights(run: FinetuneConfig) -> dict[str, str]:
    """Return the digest of the weights of start and teachers by their paths, where they exist."""
    paths = [path for path in (run.start, *run.teachers) if path is not None]
    digests = {str(path): weights_digest(path) for path in paths}
    return {path: digest for path, digest in digests.items() if digest}


def weights_digest(folder: Path) -> str:
    """Return the digest of a run's newest weights, or of a model's; empty where there are none."""
    checkpoints = list_checkpoints(folder / "checkpoints")
    try:
        if not checkpoints:
            return find_bundle(folder).info.weights.sha256
        with safe_open(checkpoints[0], framework="pt") as file:
            return str(json.loads(file.metadata()["state"]).get("sha256", ""))
    except (OSError, SafetensorError, InputError, KeyError, TypeError, ValueError):
        return ""
