"""What is trained, and how: masks, loops, pre-training, fine-tuning, and all of it in one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isdmae.networks.unet import EncoderName
from isdmae.preprocess import PreprocessConfig

from .data import AugmentConfig, DataConfig, check_share


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """The two masks (True = hidden), drawn anew for every image and step."""

    patch_size: int = 16
    spatial_ratio: float = 0.6
    bins: int = 8
    bins_hu: tuple[float, float] = (-1024.0, 400.0)
    """HU from the first bin's lower to the last bin's upper edge; a picture's 0..1 spans it."""
    tissue_bins: bool = False
    """Cut at the borders of tissues (`isdmae.masking.TISSUE_EDGES_HU`), not in equal `bins`. In
    pictures, whose grey is no HU, they are cuts at the same share of the range."""
    intensity_ratio: float = 0.5
    fill: Literal["token", "noise", "zero"] = "token"
    """What hidden voxels show: a learnt token, uniform noise over `bins_hu`, or the colour of air
    (as published; for comparison only)."""
    as_published: bool = False
    """Draw each patch by itself, and bins with replacement, as the authors' code does (for
    comparison only): .5 of 8 bins becomes .414 on average, .75 becomes .551."""

    def __post_init__(self) -> None:
        check_share("a mask ratio", self.spatial_ratio, self.intensity_ratio)
        if self.patch_size < 1 or self.bins < 1 or not self.bins_hu[0] < self.bins_hu[1]:
            raise ValueError("patch_size and bins are 1 or more, bins_hu an ascending pair")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What every training loop needs."""

    steps: int = 1000
    batch: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    accumulate: int = 1
    """A batch goes through the network in so many parts, for want of memory; what looks at a batch
    as a whole (batch norm, contrast, means over hidden voxels) sees one part at a time."""
    warm_up: int = 50
    """Steps of linear warm-up; after it the rate falls to zero along the `schedule`."""
    schedule: Literal["cosine", "poly"] = "cosine"
    """poly: (1 - share of the steps done) ** 0.9, as in nnU-Net."""
    ema: float = 0.0
    """Decay of a moving average of the weights, such as 0.999, that is exported in place of the
    newest ones; 0: none."""
    clip: float = 1.0
    """Largest gradient norm."""
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    bf16: bool = True
    """Compute the network in bfloat16 where the processor or GPU has it, in float16 with scaled
    losses on older GPUs; losses stay float32."""
    workers: int = 1
    checkpoint_minutes: float = 5.0
    log_every: int = 20

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.log_every) < 1 or self.learning_rate <= 0:
            raise ValueError("steps, batch, log_every and learning_rate must be positive")
        if self.accumulate < 1 or self.batch % self.accumulate:
            raise ValueError(f"a batch of {self.batch} has no {self.accumulate} equal parts")
        if not 0.0 <= self.ema < 1.0:
            raise ValueError(f"ema lies from 0 up to below 1, not {self.ema}")

    @property
    def part(self) -> int:
        """How many images go through the network at once, in all processes together."""
        return self.batch // self.accumulate


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """`pretrain`: the dual masked autoencoder on images without labels."""

    out: Path = Path("runs/pretrain")
    data: DataConfig = DataConfig(augment=AugmentConfig(lesions=0.0))
    masks: MaskConfig = MaskConfig()
    loop: LoopConfig = LoopConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    spatial_dims: Literal[2, 3] = 2
    encoder: EncoderName = "residual"
    """`plain` is a U-Net without shortcuts. In size S, B, L `bottleneck` is ResNet-26, -50, -101,
    `mit` is MiT-B0, -B1, -B2."""
    size: Literal["S", "B", "L"] = "S"
    views: tuple[Literal["spatial", "intensity", "original"], ...] = ("spatial", "intensity")
    """The copies of an image that go through the network: both masked ones (ISD-MAE), one of them
    alone, or one and the original (TCS-MAE)."""
    ssim_weight: float = 1.0
    ssim_window: int = 11
    l1_weight: float = 1.0
    l2_weight: float = 0.0
    visible_weight: float = 0.0
    """Of a visible voxel in the reconstruction losses, where a hidden one has 1."""
    contrast: Literal["infonce", "cosine"] = "infonce"
    contrast_weight: float = 0.05
    """Of the contrast between two views; there is none with one view."""
    contrast_levels: int = 1
    """Deepest levels of the encoder that are contrasted."""
    embedding: int = 128
    temperature: float = 0.07
    """Where the temperature of InfoNCE starts, or stays."""
    learn_temperature: bool = True

    def __post_init__(self) -> None:
        if not 1 <= len(self.views) <= 2 or len(set(self.views)) != len(self.views):
            raise ValueError(f"views are one or two different ones, not {self.views}")
        if self.views == ("original",):
            raise ValueError("the original alone hides nothing, so nothing can be learnt from it")
        weights = (self.ssim_weight, self.l1_weight, self.l2_weight)
        if min(*weights, self.contrast_weight, self.visible_weight) < 0 or not any(weights):
            raise ValueError("no weight is negative, and SSIM, L1 or L2 has one above 0")
        if self.ssim_window < 3 or self.ssim_window % 2 == 0:
            raise ValueError(f"ssim_window is odd and at least 3, not {self.ssim_window}")
        if self.contrast_levels < 1 or self.embedding < 1:
            raise ValueError(
                "contrast_levels and embedding are 1 or more; contrast_weight 0 turns it off"
            )
        if not 0.01 <= self.temperature <= 10.0:
            raise ValueError(f"temperature lies in 0.01..10, not {self.temperature}")
        if self.contrasted and self.contrast == "infonce" and self.loop.part < 2:
            raise ValueError(
                "InfoNCE tells the images of a part of the batch apart, so a part needs two; "
                "contrast_weight 0 goes without"
            )

    @property
    def contrasted(self) -> bool:
        """Whether the loss has a contrast."""
        return len(self.views) == 2 and self.contrast_weight > 0


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """`finetune`: the pre-trained network on slices with labels."""

    out: Path = Path("runs/finetune")
    start: Path | None = None
    """A run's folder, a model's folder, or a model's name, whose network is taken over; without one
    the network starts from scratch."""
    data: DataConfig = DataConfig()
    loop: LoopConfig = LoopConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    spatial_dims: Literal[2, 3] = 2
    encoder: EncoderName = "residual"
    """As in `PretrainConfig`; the same as that of ``start``."""
    size: Literal["S", "B", "L"] = "S"
    labels: tuple[str, ...] = ("left lung", "right lung")
    """What the network learns to find; class n is the n-th."""
    loss: Literal["dice-ce", "dice-focal", "tversky", "boundary"] = "dice-ce"
    """See `isdmae_train.segmentation_losses`."""
    smooth: float = 20.0
    """In voxels, of the overlap in that loss; less where the structures themselves are small."""
    coarse_steps: int = 0
    """2D: so many steps at the beginning see images and labels at half the resolution, a quarter of
    the time each."""
    teachers: tuple[Path, ...] = ()
    """Models of the same labels and preprocessing, such as those of several folds or seeds, whose
    mean probabilities are learnt beside the labels; see `isdmae_train.distill`. The coarse steps
    learn from the labels alone, since the teachers have seen full resolution only."""
    teacher_weight: float = 1.0
    """Of the cross-entropy to the teachers' probabilities; the loss to the labels has 1."""

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) != len(self.labels) or not all(self.labels):
            raise ValueError(f"labels are different names, at least one, not {self.labels}")
        if self.teacher_weight < 0:
            raise ValueError(f"teacher_weight is 0 or more, not {self.teacher_weight}")
        if self.coarse_steps < 0 or (self.coarse_steps and self.spatial_dims == 3):
            raise ValueError("coarse_steps is 0 or more, and 0 for a 3D network")
        if self.coarse_steps >= self.loop.steps:
            raise ValueError(
                f"of {self.loop.steps} steps fewer are coarse_steps, not {self.coarse_steps}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """`train`: a folder of scans in; a run out, and from fine-tuning a model to segment with."""

    data: Path
    """Folder of scans in any layout that `prepare` knows by itself, such as nnU-Net's."""
    task: Literal["pretrain", "finetune"]
    set: str = ""
    """A public set by name (see `isdmae-train sets`) that ``data`` holds."""
    out: Path
    """Folder of the run: cache, checkpoints, log. A run in it goes on where it was."""
    recipe: str = ""
    """A published recipe by name, or a YAML file of the task's configuration. The options below
    override it, as far as they are given."""
    labels: tuple[str, ...] = ()
    """What to learn in fine-tuning; empty: the recipe's, or what all labelled scans have."""
    start: Path | None = None
    """Fine-tuning: folder of a run or of a model whose network is taken over."""
    steps: int = 0
    """0: as many as the recipe says."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    patch_size: int | None = None
    spatial_ratio: float | None = None
    bins: int | None = None
    intensity_ratio: float | None = None
    models_folder: Path | None = None
    """Where the model goes after fine-tuning; without one it stays in the run's folder."""
    name: str = ""
    """Of the model; empty: that of the run's folder."""
    progress: Literal["bar", "json"] = "bar"
    """json: for a program, see `isdmae_train.reporter`."""

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps count from 1 (0: as the recipe says), not {self.steps}")


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """`import-encoder`: weights of another project become the start of a fine-tuning."""

    file: Path
    """A .safetensors."""
    out: Path
    """Folder of the run to write."""
    map: Path | None = None
    """YAML: regular expressions of the file's names to the names here."""
    spatial_dims: Literal[2, 3] = 2
    encoder: EncoderName = "residual"
    size: Literal["S", "B", "L"] = "S"
    preprocess: PreprocessConfig = PreprocessConfig()
    partial: bool = False
    """Take what fits, although tensors of the encoder are missing."""
