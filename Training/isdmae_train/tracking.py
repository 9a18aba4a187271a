"""What a run leaves behind to look at: TensorBoard, a JSON-lines log, a bar with the time left."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import SimpleITK as sitk
import torch
from torch import Tensor
from tqdm import tqdm

from isdmae import __version__
from isdmae.atomic import write_text_atomic
from isdmae.io import write_image_atomic
from isdmae.schema import to_plain

from . import distributed
from .claim import claimed
from .report import PREVIEW_NAME, write_report
from .reporter import current

log = logging.getLogger(__name__)


def track_run(folder: Path, config: Any, *, name: str, first: int) -> Tracker | NoTracker:
    """Return what records a run of ``config.loop.steps`` steps; only the first process writes."""
    if distributed.rank():
        return NoTracker()
    return Tracker(folder, config, name=name, first=first, steps=config.loop.steps)


class NoTracker:
    """What the other processes of a group do in the place of a `Tracker`: nothing."""

    def __enter__(self) -> NoTracker:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def advance(self) -> None:
        """See `Tracker`."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """See `Tracker`."""


class Tracker:
    """Record one run in ``folder``: ``config.json``, ``log.jsonl``, ``preview.png``, TensorBoard.

    At the end it writes ``report.html``.

    Whoever listens to the run (see `isdmae_train.reporter`) hears of every step. As long as it is
    open, no other process trains in the folder (see `isdmae_train.claim`).
    """

    def __init__(self, folder: Path, config: Any, *, name: str, first: int, steps: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._claim = ExitStack()
        self._claim.enter_context(claimed(folder))
        write_text_atomic(folder / "config.json", describe_run(config), overwrite=True)
        forget_after(folder / "log.jsonl", first)
        self._folder, self._step, self._steps = folder, first, steps
        self._reporter = current()
        self._left = StepsLeft(steps)
        self._board = _summary_writer(folder / "tensorboard", first)
        self._log = (folder / "log.jsonl").open("a", encoding="utf-8")
        self._bar = tqdm(
            desc=name,
            initial=first,
            total=steps,
            unit="step",
            dynamic_ncols=True,
            disable=self._reporter.is_program,
        )
        self._reporter.step(first, steps, None, {})

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
        self._claim.close()
        if self._board is not None:
            self._board.close()
        if error is None:
            write_report(self._folder)

    def advance(self) -> None:
        """Move on by one step; a pause that was asked for is spent here."""
        self._step += 1
        self._bar.update()
        self._report({})
        self._reporter.control.wait()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers at ``step``."""
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        record = {"step": step, "time": round(time.time(), 1), **values}
        self._log.write(json.dumps(record) + "\n")
        self._log.flush()
        self._bar.set_postfix({name: f"{value:.4f}" for name, value in values.items()})
        self._report(values)

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """Record a grey picture, float (1, H, W) in 0..1; the newest lies in ``preview.png``."""
        grey = image.clamp(0, 1)
        if self._board is not None:
            self._board.add_image(name, grey, step)
        pixels = (grey[0] * 255).round().to(torch.uint8).cpu().numpy()
        path = self._folder / PREVIEW_NAME
        write_image_atomic(path, sitk.GetImageFromArray(pixels), overwrite=True)
        self._reporter.picture(path, step)

    def _report(self, values: Mapping[str, float]) -> None:
        paused = self._reporter.control.paused_seconds
        self._reporter.step(self._step, self._steps, self._left(self._step, paused), values)


class StepsLeft:
    """Seconds left from the steps that this process has done; the first one says nothing."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._begun: tuple[int, float] | None = None

    def __call__(self, step: int, paused_seconds: float) -> float | None:
        """Return the estimate after ``step`` steps, of which pauses do not count."""
        now = time.monotonic() - paused_seconds
        if self._begun is None:
            self._begun = step, now
        first, begun = self._begun
        return None if step == first else (now - begun) / (step - first) * (self._steps - step)


def _summary_writer(folder: Path, first: int) -> Any:
    """Return TensorBoard's writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("TensorBoard is not installed; log.jsonl has the numbers")
        return None
    return SummaryWriter(str(folder), purge_step=first)


def describe_run(config: Any) -> str:
    """Return as JSON the configuration, its seed, and the versions that compute it."""
    versions = {
        "isdmae": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    machine = f"{platform.platform()}, {torch.get_num_threads()} threads"
    if config.loop.device != "cpu" and torch.cuda.is_available():
        machine += f", {torch.cuda.get_device_name()}"
    facts = {
        "config": to_plain(config),
        "seed": config.loop.seed,
        "machine": machine,
        "versions": versions,
    }
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
