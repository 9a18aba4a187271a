"""What can compute, as entries of a combo box; one that cannot says why."""

from __future__ import annotations

from slicer.i18n import tr as _

from .combo import Entry
from .environment_check import Environment

DEVICES = (
    ("auto", "Automatic"),
    ("cpu", "Processor"),
    ("cuda", "NVIDIA GPU"),
    ("mps", "Apple GPU"),
)
FOR_TRAINING = ("auto", "cpu", "cuda")


def device_entries(
    environment: Environment | None, names: tuple[str, ...] = ("auto", "cpu", "cuda", "mps")
) -> list[Entry]:
    """Return the entries of ``names``; before the worker's Python has answered, all of them."""
    facts = environment.facts if environment is not None else None
    offered = [(value, text) for value, text in DEVICES if value in names]
    if facts is None:
        return [Entry(value, _(text)) for value, text in offered]
    why = {"auto": "", **{device["name"]: device["reason"] for device in facts["devices"]}}
    return [Entry(value, _(text), why[value]) for value, text in offered if value in why]
