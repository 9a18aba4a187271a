"""Pytest fixtures: use them with ``from slicer_harness.fixtures import slicer_app``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from . import harness
from .missing import reason_to_skip

DEMO = Path(harness.__file__).parent / "demo" / "HarnessDemo.py"


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


def add_volume(name="CT"):
    """An ellipsoid of 40 HU in air, 30 x 40 x 40 voxels."""
    import slicer

    k, j, i = np.mgrid[-1:1:30j, -1:1:40j, -1:1:40j]
    values = np.where((i / 0.8) ** 2 + (j / 0.6) ** 2 + (k / 0.7) ** 2 < 1, 40, -1000)
    volume = slicer.util.addVolumeFromArray(
        values.astype(np.int16), ijkToRAS=np.diag([-4.0, -4.0, 8.0, 1.0]), name=name
    )
    volume.CreateDefaultDisplayNodes()
    return volume
