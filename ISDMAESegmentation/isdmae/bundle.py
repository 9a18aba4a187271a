"""A model as a folder: ``model.safetensors`` (weights) and ``model.json`` (all the rest).

Nothing in a bundle is executed. ``model.json`` is read against the strict schema of `BundleInfo`,
the weights are checked against their SHA-256 and against the exact tensor names, shapes and types
of the network that ``model.json`` describes.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .errors import InputError
from .labels import Label, check_unique
from .networks.unet import UNetConfig
from .postprocess import PostprocessConfig
from .preprocess import PreprocessConfig, check_cubes
from .schema import from_plain, to_plain

if TYPE_CHECKING:
    from torch import Tensor

    from .networks.segmenter import Segmenter

INFO_NAME = "model.json"
WEIGHTS_NAME = "model.safetensors"
LARGEST_INFO_BYTES = 1_000_000
LARGEST_WEIGHTS_BYTES = 4_000_000_000
SPARE_BYTES = 8_000_000
"""What reading weights takes beyond three times their size."""
MODELS_VARIABLE = "ISDMAE_MODELS"


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """A data set that the weights learnt from."""

    name: str
    licence: str
    citation: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """A measured result: on what, which metric, its value and what was counted."""

    data: str
    metric: str
    value: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Size and SHA-256 of ``model.safetensors``."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class BundleInfo:
    """The content of ``model.json``."""

    format_version: Literal[1] = 1
    name: str
    title: str
    description: str
    """One sentence on what the model finds."""
    version: str
    licence: str
    non_commercial: bool
    takes: tuple[Literal["ct", "picture"], ...]
    labels: tuple[Label, ...]
    network: UNetConfig
    preprocess: PreprocessConfig
    postprocess: PostprocessConfig
    views: tuple[Literal["axial", "coronal", "sagittal"], ...] = ("axial",)
    """2D: the views that are averaged unless the user says otherwise."""
    within: str = ""
    """In a CT, label nothing outside what the model of this name finds (lesions within lungs)."""
    crop_edge: int | None = None
    """Of a model of points: a CT is cut into crops of so many pixels round each given point, and
    a picture is such a crop. Without it the model looks at whole scans."""
    search_within: str = ""
    """Of a model of points, for a search for candidates: what the model of this name finds is
    searched, and nothing is cut by it."""
    lung_model: str = ""
    """2D, pictures and CTs as pictures: the model that finds the lungs. The box round them, not the
    whole slice, then decides at what size the slice is seen; see ``lung_extent``."""
    lung_extent: float = 0.85
    """Share of the picture size that the longer side of that box is to have, within the limits of
    `isdmae.lung_extent.scale_for`."""
    smallest_body_cm2: float = 0.0
    """2D, whole scans: a CT's body of a smaller area (axial) is seen as if it were as large."""
    training_sets: tuple[TrainingSet, ...]
    results: tuple[Result, ...] = ()
    command: str = ""
    """The command that trained it."""
    weights: WeightsFile

    def __post_init__(self) -> None:
        check_unique(self.labels)
        if [label.value for label in self.labels] != list(range(1, len(self.labels) + 1)):
            raise ValueError("label values must count 1, 2, 3, ... in the order of the classes")
        if self.name.strip(".") == "" or any(mark in self.name for mark in "/\\"):
            raise ValueError(f"'{self.name}' is no name for a model")
        if not self.takes:
            raise ValueError("the model takes neither a CT nor a picture")
        if not all(text.isprintable() for text in (self.name, self.title, self.description)):
            raise ValueError("name, title or description holds control characters")
        if self.network.in_channels != self.preprocess.channel_count(self.network.spatial_dims):
            raise ValueError("the network's input channels differ from the preprocessing's")
        self._check_first()
        if not self.views or len(set(self.views)) != len(self.views):
            raise ValueError(f"views are one or more different ones, not {self.views}")
        if self.search_within and self.crop_edge is None:
            raise ValueError("only a model of points searches within another one")
        if self.crop_edge is not None:
            self._check_points(self.crop_edge)
        if not 0 <= self.smallest_body_cm2 <= 2000:
            raise ValueError(f"a body of {self.smallest_body_cm2} cm² is not plausible")
        if self.network.spatial_dims == 3:
            check_cubes(self.preprocess, self.network.stride)

    @property
    def looks_first(self) -> str:
        """The model whose result this one needs first, empty where there is none."""
        return self.within or self.lung_model

    def _check_first(self) -> None:
        if self.name in (self.within, self.lung_model):
            raise ValueError("a model cannot look at its own result first")
        if not 0.2 <= self.lung_extent <= 2.0:
            raise ValueError(f"lungs of {self.lung_extent} of the picture size are not plausible")
        if not self.lung_model:
            return
        if self.within not in ("", self.lung_model):
            raise ValueError("the size of the lungs comes from the model that this one lies within")
        if self.network.spatial_dims == 3 or self.crop_edge is not None:
            raise ValueError("only a 2D model of whole slices looks at the size of the lungs")

    def _check_points(self, crop_edge: int) -> None:
        if not 16 <= crop_edge <= 1024:
            raise ValueError(f"crops of {crop_edge} pixels are not plausible")
        if self.network.spatial_dims == 3 or self.views != ("axial",):
            raise ValueError("a model of points sees axial crops: 2D, one view")
        if len(self.labels) != 1:
            raise ValueError("a model of points has one label, for what lies at a point")


@dataclass(frozen=True)
class Bundle:
    """A checked bundle in ``folder``."""

    folder: Path
    info: BundleInfo

    def load_network(self) -> Segmenter:
        """Build the network and fill it with the verified weights, on the CPU in float32."""
        import torch

        from .networks.segmenter import Segmenter

        # On the meta device a network takes no memory, however large model.json says it is.
        with torch.device("meta"):
            network = Segmenter(self.info.network, classes=len(self.info.labels) + 1)
        network.load_state_dict(_read_weights(self, network.state_dict()), assign=True)
        return network.eval()


def models_folders() -> list[Path]:
    """Return the folders searched for bundles by name, first match wins.

    ``ISDMAE_MODELS`` (several, separated as in PATH), then the models that came with the package:
    beside it in the Slicer module, or installed as ``isdmae_models``.
    """
    named = [Path(part) for part in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if part]
    home = Path(__file__).resolve().parents[1]
    return [*named, home / "Resources" / "Models", home / "isdmae_models"]


def list_bundles() -> list[Bundle]:
    """Return every readable bundle of the search folders, by name, each name once."""
    found: dict[str, Bundle] = {}
    for folder in models_folders():
        for info in sorted(folder.glob(f"*/{INFO_NAME}")):
            try:
                found.setdefault(info.parent.name, read_bundle(info.parent))
            except InputError:
                continue
    return [found[name] for name in sorted(found)]


def find_bundle(model: str | Path) -> Bundle:
    """Return the bundle of a name or a folder.

    Raises
    ------
    InputError
        ``no-model`` with the names that exist, or what is wrong with the bundle.
    """
    # A bare name is a model's: a folder of that name in the working directory does not hide it.
    candidates = [Path(model)]
    if Path(str(model)).name == str(model):
        candidates = [*(folder / str(model) for folder in models_folders()), *candidates]
    for folder in candidates:
        if _holds_bundle(folder):
            return read_bundle(folder)
    names = ", ".join(bundle.folder.name for bundle in list_bundles()) or "none"
    raise InputError(
        "no-model",
        f"There is no model '{model}' (found: {names}).",
        f"Give one of these names, the folder of a model, or set {MODELS_VARIABLE}.",
    )


def _holds_bundle(folder: Path) -> bool:
    """Tell whether ``folder`` looks like a bundle; a name that no folder can have does not."""
    try:
        return (folder / INFO_NAME).exists()
    except (OSError, ValueError):
        return False


def read_bundle(folder: Path) -> Bundle:
    """Read and check ``model.json``; the weights are checked when they are loaded."""
    path = folder / INFO_NAME
    try:
        if not path.is_file():
            raise _bad_bundle(folder, f"{INFO_NAME} is missing or no file")
        if path.stat().st_size > LARGEST_INFO_BYTES:
            raise _bad_bundle(folder, f"{INFO_NAME} is larger than {LARGEST_INFO_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
        data = json.loads(text, object_pairs_hook=_unique_entries)
    except (OSError, ValueError, RecursionError) as error:
        raise _bad_bundle(folder, f"{INFO_NAME} cannot be read ({error})") from error
    return Bundle(folder, from_plain(BundleInfo, data, INFO_NAME))


def _unique_entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("an entry stands twice")
    return dict(pairs)


def verify(bundle: Bundle) -> None:
    """Check hash, tensor names, shapes, types and values; InputError says what differs."""
    bundle.load_network()


def write_bundle(folder: Path, info: dict[str, Any], weights: dict[str, Tensor]) -> Bundle:
    """Write a bundle; ``info`` is the plain content of ``model.json`` without ``weights``.

    Raises
    ------
    InputError
        Where ``info`` breaks the schema or the weights do not fit the network.
    """
    from safetensors.torch import save

    from .atomic import atomic_path

    data = save({name: value.detach().cpu().contiguous() for name, value in weights.items()})
    size = WeightsFile(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    checked = from_plain(BundleInfo, {**info, "weights": to_plain(size)}, INFO_NAME)
    folder.mkdir(parents=True, exist_ok=True)
    # Without its description it is no bundle: nobody meets an old one with new weights.
    (folder / INFO_NAME).unlink(missing_ok=True)
    with atomic_path(folder / WEIGHTS_NAME, overwrite=True) as temporary:
        temporary.write_bytes(data)
    text = json.dumps(to_plain(checked), indent=2, ensure_ascii=False) + "\n"
    with atomic_path(folder / INFO_NAME, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")
    bundle = Bundle(folder, checked)
    verify(bundle)
    return bundle


def _bad_bundle(folder: Path, message: str) -> InputError:
    return InputError(
        "bad-bundle",
        f"The model in '{folder.name}' cannot be used: {message}.",
        "Copy or export the model again.",
    )


def _read_weights(bundle: Bundle, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = bundle.folder / WEIGHTS_NAME
    if path.is_symlink() or not path.is_file():
        raise _bad_bundle(bundle.folder, f"{WEIGHTS_NAME} is missing or a link")
    if path.stat().st_size != bundle.info.weights.bytes:
        raise _bad_bundle(bundle.folder, f"{WEIGHTS_NAME} has another size than {INFO_NAME} says")
    if bundle.info.weights.bytes > LARGEST_WEIGHTS_BYTES:
        raise _bad_bundle(bundle.folder, f"{WEIGHTS_NAME} is larger than any model of ours")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != bundle.info.weights.sha256:
        raise _bad_bundle(bundle.folder, f"{WEIGHTS_NAME} does not match its SHA-256")
    # Asked for beforehand: where memory is short, safetensors' Rust panics, and may lock itself up
    # while it writes why.
    np.empty(3 * len(data) + SPARE_BYTES, np.uint8)
    try:
        tensors: dict[str, Tensor] = load(data)
    except SafetensorError as error:
        raise _bad_bundle(bundle.folder, f"{WEIGHTS_NAME} is damaged ({error})") from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of Rust, where memory is short: no Exception
            raise MemoryError("no place for the weights") from error
        raise
    _check_tensors(bundle.folder, tensors, expected)
    return tensors


def _check_tensors(folder: Path, found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    if set(found) != set(expected):
        odd = sorted(set(found) ^ set(expected))[0]
        raise _bad_bundle(folder, f"the tensor '{odd[:80]}' is missing or unknown")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            raise _bad_bundle(folder, f"the tensor '{name}' has another shape or type")
        if not bool(found[name].isfinite().all()):
            raise _bad_bundle(folder, f"the tensor '{name}' holds NaN or infinite values")
