"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from isdmae.phantom import Phantom, PhantomConfig, make_phantom

if TYPE_CHECKING:
    from isdmae.bundle import Bundle
    from isdmae.inference import Predictor

# Continuous integration tries the same examples every time; at a desk they are drawn anew.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real CTs, named by ISDMAE_DATA; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("ISDMAE_DATA", DEFAULT_DATA))
    if not folder.is_dir():
        pytest.skip(f"no real CTs at {folder}; set ISDMAE_DATA")
    return folder


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Bundle:
    """A real bundle of a very small network with random weights (seed 0)."""
    # Here, not above: the matrix of versions runs what needs no PyTorch without it.
    import torch

    from isdmae.bundle import write_bundle
    from isdmae.networks.segmenter import Segmenter
    from tiny_model import TINY_NETWORK, tiny_info

    torch.manual_seed(0)
    network = Segmenter(TINY_NETWORK, classes=3)
    return write_bundle(tmp_path / "tiny", tiny_info(), network.state_dict())


@pytest.fixture
def predictor(tiny_bundle: Bundle) -> Predictor:
    """The tiny model, loaded."""
    from isdmae.inference import Predictor

    return Predictor(tiny_bundle.folder, device="cpu")


@pytest.fixture(scope="session")
def small_phantom() -> Phantom:
    """A coarse synthetic chest, quick to make and to segment."""
    return make_phantom(PhantomConfig(shape=(32, 88, 104), spacing_mm=(3.5, 3.5, 9.0)))
