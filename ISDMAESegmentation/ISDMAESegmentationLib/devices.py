"""What can compute, as entries of a combo box; one that cannot says why."""

from __future__ import annotations

from slicer.i18n import tr as _

from .combo import Entry
from .environment_check import Environment

FOR_TRAINING = ("auto", "cpu", "cuda")


def device_entries(
    environment: Environment | None, names: tuple[str, ...] = ("auto", "cpu", "cuda", "mps")
) -> list[Entry]:
    """Return the entries of ``names``; before the worker's Python has answered, all of them."""
    facts = environment.facts if environment is not None else None
    words = {
        "auto": _("Automatic"),
        "cpu": _("Processor"),
        "cuda": _("NVIDIA GPU"),
        "mps": _("Apple GPU"),
    }
    if facts is None:
        return [Entry(name, words[name]) for name in names]
    why = {"auto": "", **{device["name"]: device["reason"] for device in facts["devices"]}}
    return [Entry(name, words[name], why[name]) for name in names if name in why]
