"""Words for numbers and stages, and what else all sections show alike."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

# The second click of a double click must not cancel what the first one began.
DOUBLE_CLICK_S = 0.4


def stage_in_words(stage: str) -> str:
    """Return the worker's stage as the panel shows it."""
    # Each text stands in _() itself: that is where the translators' tool looks.
    words = {
        "load model": _("Loading the model"),
        "read": _("Reading the CT"),
        "segment": _("Finding structures"),
        "search": _("Looking for candidates"),
        "clean": _("Cleaning the result"),
        "trachea": _("Following the trachea"),
        "write": _("Handing the result over"),
        "done": _("Handing the result over"),
    }
    return words.get(stage, stage)


def failure_style() -> str:
    """Return the style sheet of a failure: a red that can be read on light and on dark styles."""
    dark = slicer.app.palette().color(qt.QPalette.Window).lightness() < 128
    return f"color: {'#ff8a80' if dark else '#b3261e'};"


def time_left(seconds: float | None) -> str:
    """Return the time left in rounded words.

    Examples
    --------
    >>> time_left(None), time_left(3.2), time_left(100), time_left(4000)
    ('', '4 s left', '1 min 40 s left', '1 h 7 min left')
    """
    if seconds is None:
        return ""
    whole = max(1, int(seconds + 0.999))
    if whole < 60:
        return _("{seconds} s left").format(seconds=whole)
    if whole < 3600:
        return _("{minutes} min {seconds} s left").format(minutes=whole // 60, seconds=whole % 60)
    minutes = round(whole / 60)
    return _("{hours} h {minutes} min left").format(hours=minutes // 60, minutes=minutes % 60)
