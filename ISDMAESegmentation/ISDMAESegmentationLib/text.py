"""Words for numbers."""

from __future__ import annotations

from slicer.i18n import tr as _

STAGES = {
    "load model": "Loading the model",
    "read": "Reading the CT",
    "segment": "Finding structures",
    "clean": "Cleaning the result",
    "write": "Handing the result over",
    "done": "Handing the result over",
}


def stage_in_words(stage: str) -> str:
    """Return the worker's stage as the panel shows it."""
    return _(STAGES.get(stage, stage))


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
