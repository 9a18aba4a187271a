"""Fixtures of the integration tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isdmae import io
from isdmae.labels import LUNGS
from isdmae.phantom import Phantom, PhantomConfig, make_phantom


@pytest.fixture
def ct(tmp_path: Path, small_phantom: Phantom) -> Path:
    folder = tmp_path / "Ünï cödé 测试; rm -rf ~"
    folder.mkdir()
    path = folder / "ct.nrrd"
    io.write_image_atomic(path, io.to_sitk(small_phantom.ct))
    return path


@pytest.fixture
def restore_signals() -> Iterator[None]:
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.fixture
def tiny_networks(monkeypatch: pytest.MonkeyPatch, restore_signals: None) -> None:
    """Size S is a very small network here; signals are restored."""
    from isdmae.networks import unet
    from tiny_model import TINY_SIZE

    monkeypatch.setitem(unet.SIZES, "S", TINY_SIZE)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared cache of two phantoms and one scan that cannot be read."""
    # Here, not above: the matrix of versions runs command line and worker without training.
    import yaml

    from isdmae_train import cli

    data = tmp_path_factory.mktemp("data")
    scans: list[dict[str, Any]] = []
    for seed in (0, 1):
        phantom = make_phantom(
            PhantomConfig(shape=(24, 64, 72), spacing_mm=(5.0, 5.0, 12.0), seed=seed)
        )
        io.write_image_atomic(data / f"ct{seed}.nrrd", io.to_sitk(phantom.ct))
        io.write_labelmap(data / f"lungs{seed}.nrrd", phantom.lungs, LUNGS)
        label = {"path": f"lungs{seed}.nrrd", "values": {"left lung": [1], "right lung": [2]}}
        scans.append(
            {"id": f"p{seed}", "patient": f"p{seed}", "image": f"ct{seed}.nrrd",
             "licence": "none", "label": label}
        )  # fmt: skip
    (data / "broken.nii.gz").write_text("no image")
    scans.append({"id": "b", "patient": "b", "image": "broken.nii.gz", "licence": "none"})
    recipe = data / "prepare.yaml"
    recipe.write_text(
        yaml.safe_dump({"data": str(data), "out": str(data / "cache"), "scans": scans})
    )
    assert cli.main(["prepare", "--recipe", str(recipe)]) == 2, "one scan is broken"
    return data / "cache"
