"""Every choice of a run, typed and checked; recipes are YAML files of these."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from isdmae.errors import InputError
from isdmae.labels import LUNGS
from isdmae.preprocess import PreprocessConfig
from isdmae.schema import from_plain

T = TypeVar("T")

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def _check_share(name: str, *values: float) -> None:
    if not all(0.0 <= value <= 1.0 for value in values):
        raise ValueError(f"{name} lies in 0..1, not {values}")


@dataclass(frozen=True, kw_only=True)
class LabelSource:
    """Where the truth of a scan comes from."""

    path: Path | None = None
    """Labelmap on the scan's grid; without one, the classical method of `lung_truth` makes it."""
    values: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """For each label name, the values in the file that mean it."""
    bits: int | None = None
    """Look only at these bits of the value (255 = the low byte)."""


@dataclass(frozen=True, kw_only=True)
class ScanSource:
    """One CT in HU."""

    id: str
    patient: str
    image: Path
    licence: str
    label: LabelSource | None = None
    weight: float = 1.0
    """How often its slices are drawn, relative to the other scans."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """`prepare`: scans in, training cache and manifest out."""

    data: Path
    """Folder that the paths of the scans start from."""
    out: Path = Path("runs/cache")
    scans: tuple[ScanSource, ...] = ()
    phantoms: int = 0
    """Synthetic chests to add, seeds 1000, 1001, ... (free of any licence)."""
    phantom_weight: float = 0.25
    preprocess: PreprocessConfig = PreprocessConfig()


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of a training slice; every probability lies in 0..1."""

    rotation_deg: float = 20.0
    scale: tuple[float, float] = (0.7, 1.45)
    shift: float = 0.12
    """Largest shift as a share of the image size."""
    mirror: float = 0.5
    """Left and right labels change places with the image."""
    upside_down: float = 0.4
    """Share of pictures that are flipped top to bottom, as some public sets are."""
    slab: int = 3
    """Up to this many neighbouring slices are averaged, as thick slices are."""
    lesions: float = 0.5
    decoys: float = 0.0
    """Share of slices in which parts of the body beside the lungs look like sick lung."""
    field_of_view: float = 0.25
    blur: float = 0.4
    noise: float = 0.7
    noise_hu: tuple[float, float] = (8.0, 160.0)
    picture: float = 0.5
    """Share of slices that are turned into 8-bit pictures."""
    equalise: float = 0.75
    """Share of pictures with local histogram equalisation (CLAHE)."""

    def __post_init__(self) -> None:
        _check_share("a probability", self.mirror, self.upside_down, self.lesions, self.decoys)
        _check_share("a probability", self.field_of_view, self.noise, self.picture, self.equalise)
        _check_share("a probability", self.blur)
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale {self.scale} is not an ascending pair above 0")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which slices a run sees."""

    manifest: Path = Path("runs/cache/manifest.jsonl")
    hold_out: tuple[str, ...] = ()
    """Scans never touched by this run, to be evaluated on later."""
    size: int = 256
    """Edge of the square training slices in pixels."""
    any_slice: float = 0.2
    """Share of slices drawn from the whole scan; the others show a labelled structure."""
    low_slice: float = 0.0
    """Share of slices drawn from about the lower end of the labelled span, where thin crescents of
    lung lie beside liver, stomach and bowel."""
    augment: AugmentConfig = AugmentConfig()

    def __post_init__(self) -> None:
        _check_share("a share of slices", self.any_slice, self.low_slice)
        _check_share("any_slice + low_slice", self.any_slice + self.low_slice)


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """The two masks (True = hidden), drawn anew for every image and step."""

    patch_size: int = 16
    spatial_ratio: float = 0.6
    bins: int = 8
    bins_hu: tuple[float, float] = (-1024.0, 400.0)
    """HU from the first bin's lower to the last bin's upper edge; a picture's 0..1 spans it."""
    intensity_ratio: float = 0.5

    def __post_init__(self) -> None:
        _check_share("a mask ratio", self.spatial_ratio, self.intensity_ratio)


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What every training loop needs."""

    steps: int = 1000
    batch: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warm_up: int = 50
    """Steps of linear warm-up; after it the rate falls to zero along a cosine."""
    clip: float = 1.0
    """Largest gradient norm."""
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    bf16: bool = True
    """Compute the network in bfloat16 where the processor or GPU has it; losses stay float32."""
    workers: int = 1
    checkpoint_minutes: float = 5.0
    log_every: int = 20

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.log_every) < 1 or self.learning_rate <= 0:
            raise ValueError("steps, batch, log_every and learning_rate must be positive")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """`pretrain`: the dual masked autoencoder on slices without labels."""

    out: Path = Path("runs/pretrain")
    data: DataConfig = DataConfig(augment=AugmentConfig(lesions=0.0))
    masks: MaskConfig = MaskConfig()
    loop: LoopConfig = LoopConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    size: Literal["S", "B", "L"] = "S"
    ssim_weight: float = 1.0
    l1_weight: float = 1.0
    contrast_weight: float = 0.05


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """`finetune`: the pre-trained network on slices with labels."""

    out: Path = Path("runs/finetune")
    start: Path | None = None
    """Folder of a pre-training run; without one the network starts from scratch."""
    data: DataConfig = DataConfig()
    loop: LoopConfig = LoopConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    size: Literal["S", "B", "L"] = "S"
    labels: tuple[str, ...] = ("left lung", "right lung")

    def __post_init__(self) -> None:
        known = tuple(label.name for label in LUNGS)
        if self.labels != known[: len(self.labels)] or not self.labels:
            raise ValueError(f"labels are {known} in this order, not {self.labels}")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """`export`: a fine-tuning run becomes a bundle."""

    run: Path = Path("runs/finetune")
    out: Path = Path("runs/bundle")
    card: Path
    """YAML with name, title, description, version, licence, training sets and results."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """`evaluate`: a bundle against truth, whole scans and whole sets of pictures."""

    model: str
    """Name or folder of a bundle."""
    manifest: Path | None = None
    """Scans of a prepared manifest that have truth, on their own grids."""
    only: tuple[str, ...] = ()
    """Of the manifest, only these scans."""
    pictures: Path | None = None
    """Folder of 2D pictures."""
    truth: Path | None = None
    """Folder of masks of the same names; above half of their range means structure."""
    index: Path | None = None
    """CSV with the columns file and patient."""
    out: Path = Path("runs/evaluation")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = 0
    """Of the bootstrap."""


def load_recipe(kind: type[T], path: Path) -> T:
    """Read a YAML recipe; InputError names what is wrong in it."""
    return from_plain(kind, read_yaml(path), path.name)


def read_yaml(path: Path) -> Any:
    """Parse a YAML file with the safe loader (no objects, no code)."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            "bad-recipe", f"{path.name} cannot be read as YAML: {error}.", "Check the file."
        ) from error
