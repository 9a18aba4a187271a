"""Pytest fixtures: use them with ``from slicer_harness.fixtures import slicer_app``."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from . import harness
from .missing import reason_to_skip


@pytest.fixture
def slicer_app() -> Iterator[ModuleType]:
    """The booted harness with an empty scene; exceptions in slots fail the test.

    A test that expects an exception in a slot empties ``harness.slot_errors`` itself.
    """
    reason = reason_to_skip()
    if reason:
        pytest.skip(reason)
    harness.boot()
    harness.reset()
    yield harness
    try:
        fail_on_slot_errors()
    finally:
        harness.reset()


def fail_on_slot_errors() -> None:
    """Fail the test if any slot, observer, timer or event handler raised an exception."""
    errors = [str(error) for error in harness.slot_errors]
    if errors:
        pytest.fail("exceptions in slots:\n" + "\n".join(errors), pytrace=False)
