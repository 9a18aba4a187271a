"""What was shown to the user, and what the user answers: nothing ever waits for a click."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field


@dataclass
class Shown:
    """One dialog that a module asked for."""

    kind: str
    text: str
    details: dict = field(default_factory=dict)


shown: list[Shown] = []
"""Every dialog since the test began, in order."""

answers: deque = deque()
"""What the next dialogs return, first in first out. Empty: as with Slicer's --testing."""


def show(kind: str, text: object, default: object, **details: object) -> object:
    """Record a dialog and return the queued answer, or the default."""
    shown.append(Shown(kind, str(text), details))
    logging.getLogger("slicer_harness").info("%s: %s", kind, text)
    return answers.popleft() if answers else default


def reset() -> None:
    """Forget what was shown and what was to be answered."""
    shown.clear()
    answers.clear()
