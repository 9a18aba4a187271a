"""What is fuzzed: a function for each kind of input, and sound inputs to begin with.

A target returns where the input is read or refused by an `IsdmaeError`; all that is raised besides
is a defect.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save

from isdmae import io
from isdmae.bundle import INFO_NAME, WEIGHTS_NAME, Bundle, WeightsFile, read_bundle, write_bundle
from isdmae.checks import prepare_hu
from isdmae.errors import IsdmaeError
from isdmae.networks.segmenter import Segmenter
from isdmae.schema import to_plain
from isdmae.worker import parse_request
from isdmae_train.data import ManifestEntry, read_manifest
from tiny_model import TINY_NETWORK, tiny_info
from torture import chest, files

REGRESSIONS = Path(__file__).parent / "regressions"
"""A folder for each target, with what once was a defect."""
IMAGES = {"NIfTI": ".nii", "NRRD": ".nrrd", "MetaImage": ".mha", "DICOM": ".dcm"}
CONVERSATION = (
    {"command": "load", "id": 1, "model": "lungs", "device": "auto"},
    {"command": "predict", "id": 2, "job": {"input": "a.nii", "outputs": ["b.nrrd"]}},
    {"command": "cancel", "id": 2},
    {"command": "quit"},
)


@cache
def _folder() -> Path:
    """Return a folder in memory where there is one: the fuzzer writes thousands of files."""
    memory = Path("/dev/shm")
    home = memory if os.access(memory, os.W_OK) else None
    keep = tempfile.TemporaryDirectory(prefix="fuzz-", dir=home)
    _KEPT.append(keep)
    return Path(keep.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@contextmanager
def _as_file(data: bytes, name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield path


@cache
def _tiny() -> Bundle:
    torch.manual_seed(0)
    return write_bundle(
        _folder() / "tiny", tiny_info(), Segmenter(TINY_NETWORK, classes=3).state_dict()
    )


def read_message(data: bytes) -> None:
    """A line to the worker."""
    parse_request(data)


def read_model(data: bytes) -> None:
    """A model.json; where it is sound, the network that it describes is built, too."""
    with _as_file(data, INFO_NAME) as path:
        bundle = read_bundle(path.parent)
        bundle.load_network()


def read_weights(data: bytes) -> None:
    """Weights whose size and checksum are right, as an attacker would make them."""
    weights = WeightsFile(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    with _as_file(data, WEIGHTS_NAME) as path:
        info = dataclasses.replace(_tiny().info, weights=weights)
        Bundle(path.parent, info).load_network()


def read_lines(data: bytes) -> None:
    """A manifest of the training cache."""
    with _as_file(data, "manifest.jsonl") as path:
        read_manifest(path)


def _read_image(suffix: str) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        with _as_file(data, f"scan{suffix}") as path:
            prepare_hu(io.read(path).volume, force=True)

    return read


TARGETS: dict[str, Callable[[bytes], None]] = {
    "worker message": read_message,
    "model.json": read_model,
    "weights": read_weights,
    "manifest": read_lines,
    **{name: _read_image(suffix) for name, suffix in IMAGES.items()},
}


def attempt(target: str, data: bytes) -> None:
    """Run one input; raises where it is neither read nor refused."""
    with suppress(IsdmaeError):
        TARGETS[target](data)


def seeds(target: str) -> list[bytes]:
    """Return sound inputs of a target, and its regressions."""
    old = sorted((REGRESSIONS / target).glob("*"))
    return [*_sound(target), *(path.read_bytes() for path in old)]


def _sound(target: str) -> list[bytes]:
    if target == "worker message":
        return [json.dumps(message).encode() for message in CONVERSATION]
    if target == "model.json":
        return [(_tiny().folder / INFO_NAME).read_bytes()]
    if target == "weights":
        small = save({"head.bias": torch.zeros(3)})
        return [(_tiny().folder / WEIGHTS_NAME).read_bytes(), small]
    if target == "manifest":
        entry = ManifestEntry(
            id="a", patient="a", licence="none", sources=("a.nii",), image="a.b2nd", label=None,
            truth=None, shape=(2, 3, 4), spacing_mm=(1.0, 1.0, 2.0), sha256="", weight=1.0,
        )  # fmt: skip
        return [json.dumps(to_plain(entry)).encode() + b"\n"]
    return _images(IMAGES[target])


def _images(suffix: str) -> list[bytes]:
    grid = chest.frame((3, 9, 10), turned_deg=(5.0, 0.0, -7.0))
    volume = grid.with_array(chest.hu_on(grid))
    with tempfile.TemporaryDirectory(dir=_folder()) as name:
        folder = Path(name)
        if suffix == ".dcm":
            series = files.save_slices(folder / "series", files.slices_of(volume)[:1])
            return [path.read_bytes() for path in series.iterdir()]
        return [
            files.write(folder / f"{kind}{suffix}", volume).read_bytes() for kind in ("a", "b-raw")
        ]
