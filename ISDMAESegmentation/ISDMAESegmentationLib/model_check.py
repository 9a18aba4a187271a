"""Whether a model is whole: asked of ``-m isdmae verify``, without blocking."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .one_shot import Answer, OneShot
from .worker_command import WorkerCommand


class ModelCheck:
    """Verifies hash, schema and tensors of one model at a time."""

    def __init__(self, command: Callable[[], WorkerCommand]) -> None:
        self._one_shot = OneShot(command)

    def start(self, folder: Path, told: Callable[[str], None]) -> None:
        """Check the model in ``folder``; ``told`` hears the result in words, once."""

        def heard(answer: Answer) -> None:
            words = answer.output if answer.code == 0 else answer.errors
            told(words.strip())

        self._one_shot.start(["-m", "isdmae", "verify", str(folder)], heard)

    def stop(self) -> None:
        """Forget the check in progress."""
        self._one_shot.stop()
