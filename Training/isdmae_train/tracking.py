"""What a run leaves behind to look at: TensorBoard, a JSON-lines log, a bar with the time left."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from isdmae.schema import to_plain


class Tracker:
    """Record one run in ``folder``: ``config.json``, ``log.jsonl`` and TensorBoard events."""

    def __init__(self, folder: Path, config: Any, *, name: str, first: int, steps: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(
            json.dumps(to_plain(config), indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
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
