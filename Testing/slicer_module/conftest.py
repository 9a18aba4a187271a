"""Fixtures of the module tests: the panel on the harness, CTs in the scene, a real worker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from isdmae.bundle import Bundle
from isdmae.phantom import Phantom, PhantomConfig, make_phantom
from isdmae.volume import Volume
from panel_under_test import PanelUnderTest, add_ct
from slicer_harness import harness
from slicer_harness.fixtures import DEMO, slicer_app  # noqa: F401 - a fixture


@pytest.fixture
def panel(slicer_app: Any, tiny_bundle: Bundle) -> Iterator[PanelUnderTest]:  # noqa: F811
    """The panel with this Python as the worker's, and the tiny model beside the default one."""
    import qt

    qt.QSettings().setValue("ISDMAESegmentation/WorkerPython", sys.executable)
    qt.QSettings().setValue("ISDMAESegmentation/ModelsFolder", str(tiny_bundle.folder.parent))
    under_test = PanelUnderTest(slicer_app)
    yield under_test
    under_test.panel.logic.stop()
    slicer_app.unload(under_test.widget)


@pytest.fixture
def ct(panel: PanelUnderTest, small_phantom: Phantom) -> Any:
    return add_ct(small_phantom.ct)


@pytest.fixture
def long_ct(panel: PanelUnderTest, small_phantom: Phantom) -> Any:
    """A CT that keeps the worker busy for a while."""
    array = np.concatenate([small_phantom.ct.array] * 40)
    return add_ct(Volume(array=array, spacing_mm=(2.5, 2.5, 1.0)), "long")


@pytest.fixture(scope="session")
def oblique_phantom() -> Phantom:
    return make_phantom(
        PhantomConfig(shape=(28, 80, 96), spacing_mm=(3.8, 3.8, 10.0), oblique_deg=9)
    )


@pytest.fixture
def demo():
    """The demo module's panel, entered."""
    _, widget, _ = harness.load_module(DEMO)
    harness.enter(widget)
    return widget
