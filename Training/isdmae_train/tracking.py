"""What a run leaves behind to look at: TensorBoard, a JSON-lines log, a bar with the time left."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from isdmae import __version__
from isdmae.atomic import write_text_atomic
from isdmae.schema import to_plain


class Tracker:
    """Record one run in ``folder``: ``config.json``, ``log.jsonl`` and TensorBoard events."""

    def __init__(self, folder: Path, config: Any, *, name: str, first: int, steps: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(folder / "config.json", describe_run(config), overwrite=True)
        forget_after(folder / "log.jsonl", first)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first)
        self._log = (folder / "log.jsonl").open("a", encoding="utf-8")
        self._bar = tqdm(desc=name, initial=first, total=steps, unit="step", dynamic_ncols=True)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._log.close()
        self._board.close()

    def advance(self) -> None:
        """Move the bar on by one step."""
        self._bar.update()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers at ``step``."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        record = {"step": step, "time": round(time.time(), 1), **values}
        self._log.write(json.dumps(record) + "\n")
        self._log.flush()
        self._bar.set_postfix({name: f"{value:.4f}" for name, value in values.items()})

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """Record a grey picture, float (1, H, W) in 0..1."""
        self._board.add_image(name, image.clamp(0, 1), step)


def describe_run(config: Any) -> str:
    """Return as JSON the configuration, its seed, and the versions that compute it."""
    versions = {
        "isdmae": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    facts = {"config": to_plain(config), "seed": config.loop.seed, "versions": versions}
    return json.dumps(facts, indent=2, sort_keys=True) + "\n"


def forget_after(path: Path, step: int) -> None:
    """Drop the records of a log that lie after ``step``, or that a kill cut short."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = "".join(f"{line}\n" for line in lines if _step(line) <= step)
        write_text_atomic(path, kept, overwrite=True)


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
