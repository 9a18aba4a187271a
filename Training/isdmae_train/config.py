"""Every choice of a run, typed and checked; recipes are YAML files of these."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from isdmae.errors import InputError
from isdmae.postprocess import PostprocessConfig
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
    """Labelmap on the scan's grid, or LIDC's XML of the readers' outlines; without any, the
    classical method of `lung_truth` makes it."""
    values: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """For each label name, the values in the file that mean it."""
    bits: int | None = None
    """Look only at these bits of the value (255 = the low byte)."""
    masks: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    """Instead of ``path``: for each label name, masks of its own; a later label lies above. Every
    value but 0 means it, or those that ``values`` gives."""
    complete: bool = False
    """The file holds nothing beside what is named here; another value is refused."""
    mend_sides: bool = False
    """Left and right lung change their names where they lie the other way round in the patient."""
    or_not_used: bool = False
    """A scan that shows none of it is not used, and that is no error."""


@dataclass(frozen=True, kw_only=True)
class ScanSource:
    """One CT in HU."""

    id: str
    patient: str
    image: Path
    licence: str
    label: LabelSource | None = None
    free_of: tuple[str, ...] = ()
    """Structures that the scan is known not to hold."""
    weight: float = 1.0
    """How often its slices are drawn, relative to the other scans."""
    stored_hu: tuple[float, float] | None = None
    """The HU that 0 and 255 stand for in a file of 0..255; a file of other values is in HU."""
    split: str = ""
    """The part of a given split that it belongs to, such as "train"."""


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """A set of 8-bit pictures with masks of the same names (whatever their file types)."""

    id: str
    images: Path
    """Folder of pictures, or an ``.npz`` of crops as `isdmae_train.crops` reads it."""
    licence: str
    labels: dict[str, Path] = field(default_factory=dict)
    """For each label name, the folder of its masks; above half of the range means structure."""
    index: Path | None = None
    """CSV with the columns file and patient, and perhaps case, order_in_case and split. Without
    one, every picture is a patient of its own, unless ``patients`` says more."""
    patients: Literal["own", "named"] = "own"
    """named: file names, or the cases of the index, tell the patient as several collections write
    them (see `isdmae_train.patients`)."""
    split: str = ""
    """The part of a given split that all of it belongs to."""
    upside_down: tuple[str, ...] = ()
    """How the names of cases begin whose pictures stand on their heads; the cache has them upright,
    the truth that models are evaluated on lies on the pictures as they are."""
    weight: float = 1.0
    """How often its pictures are drawn, all together, relative to one scan."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """`prepare`: scans in, training cache and manifest out."""

    data: Path
    """Folder that the paths of the scans start from. Where none are listed below, what lies in it
    is found."""
    set: str = ""
    """A public set by name (see `isdmae-train sets`); empty: the layout says what it is."""
    labels: tuple[str, ...] = ()
    """Of a public set, only these labels; empty: its usual ones."""
    out: Path = Path("runs/cache")
    scans: tuple[ScanSource, ...] = ()
    pictures: tuple[PictureSet, ...] = ()
    phantoms: int = 0
    """Synthetic chests to add, seeds 1000, 1001, ... (free of any licence)."""
    phantom_weight: float = 0.25
    phantom_lesions: bool = False
    """The phantoms' truth is "lesion" (ground glass and consolidation) instead of both lungs."""
    preprocess: PreprocessConfig = PreprocessConfig()
    workers: int = 0
    """Processes that prepare scans beside each other, each holding one; 0: this process alone."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"workers is 0 or more, not {self.workers}")
        if self.set and (self.scans or self.pictures):
            raise ValueError("a set by name has its own scans and pictures; list none beside it")
        if self.labels and not self.set:
            raise ValueError("labels chooses those of a set by name; name the set")


@dataclass(frozen=True, kw_only=True)
class SetsOptions:
    """`sets`: public sets that `prepare --set` knows."""

    name: str = ""
    """Tell all about one of them; empty: a list."""


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
    quarter_turn: float = 0.0
    """Share of pictures that are turned by 90 degrees, as arrays read without their axes are."""
    slab: int = 3
    """Up to this many neighbouring slices are averaged, as thick slices are."""
    lesions: float = 0.5
    """Share of CT slices whose lungs get synthetic lesions; truth where "lesion" is a label of the
    run, and part of the lung where it is not."""
    decoys: float = 0.0
    """Share of slices in which parts of the body beside the lungs look like sick lung."""
    islands: float = 0.0
    """Share of CT slices in which even soft tissue reaches into the lungs and is no lung."""
    unenhanced: float = 0.0
    """Share of CT slices that lose their contrast agent."""
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
        _check_share("a probability", self.quarter_turn, self.unenhanced, self.islands)
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
    parts: tuple[str, ...] = ()
    """Only scans of these parts of the set's given split, such as train; empty: all."""
    size: int = 256
    """Edge of the square training slices in pixels."""
    any_slice: float = 0.2
    """Share of slices drawn from the whole scan; the others show a labelled structure."""
    low_slice: float = 0.0
    """Share of slices drawn from about the lower end of the labelled span, where thin crescents of
    lung lie beside liver, stomach and bowel."""
    planes: tuple[Literal["axial", "coronal", "sagittal"], ...] = ("axial",)
    """2D: planes that CTs with thin slices are cut along, one drawn for each item; a model of
    several is averaged over them (see `isdmae.views`)."""
    foreground: float = 1 / 3
    """3D: share of cubes about a labelled voxel; the others lie anywhere."""
    label_share: float = 1.0
    """Learn from this share of the labels only, above 0. Of a 3D scan single slices have labels."""
    label_share_by: Literal["slice", "patient"] = "slice"
    """A share of every patient's slices, or all slices of a share of the patients."""
    label_seed: int = 0
    """Of that choice; a larger share of the same seed holds every smaller one."""
    augment: AugmentConfig = AugmentConfig()

    def __post_init__(self) -> None:
        _check_share("a share of slices", self.any_slice, self.low_slice)
        _check_share("any_slice + low_slice", self.any_slice + self.low_slice)
        _check_share("foreground", self.foreground)
        if not 0 < self.label_share <= 1:
            raise ValueError(f"label_share lies above 0 and up to 1, not {self.label_share}")
        if not self.planes or len(set(self.planes)) != len(self.planes):
            raise ValueError(f"planes are one or more different ones, not {self.planes}")
        if self.label_share < 1 and self.label_share_by == "slice" and self.planes != ("axial",):
            raise ValueError("a share of the axial slices has no labels in other planes")


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """The two masks (True = hidden), drawn anew for every image and step."""

    patch_size: int = 16
    spatial_ratio: float = 0.6
    bins: int = 8
    bins_hu: tuple[float, float] = (-1024.0, 400.0)
    """HU from the first bin's lower to the last bin's upper edge; a picture's 0..1 spans it."""
    tissue_bins: bool = False
    """Cut at the borders of tissues (`isdmae.masking.TISSUE_EDGES_HU`), not in equal `bins`."""
    intensity_ratio: float = 0.5
    fill: Literal["token", "noise", "zero"] = "token"
    """What hidden voxels show: a learnt token, uniform noise over `bins_hu`, or the colour of air
    (as published; for comparison only)."""
    as_published: bool = False
    """Draw each patch by itself, and bins with replacement, as the authors' code does (for
    comparison only): .5 of 8 bins becomes .414 on average, .75 becomes .551."""

    def __post_init__(self) -> None:
        _check_share("a mask ratio", self.spatial_ratio, self.intensity_ratio)
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


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """`pretrain`: the dual masked autoencoder on images without labels."""

    out: Path = Path("runs/pretrain")
    data: DataConfig = DataConfig(augment=AugmentConfig(lesions=0.0))
    masks: MaskConfig = MaskConfig()
    loop: LoopConfig = LoopConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    spatial_dims: Literal[2, 3] = 2
    encoder: Literal["residual", "bottleneck", "mit", "mednext"] = "residual"
    """`bottleneck` is ResNet-26, -50, -101 in size S, B, L; `mit` is MiT-B0, -B1, -B2."""
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
        if self.contrast_levels < 1:
            raise ValueError("contrast_levels is 1 or more; contrast_weight 0 turns it off")

    @property
    def contrasted(self) -> bool:
        """Whether the loss has a contrast."""
        return len(self.views) == 2 and self.contrast_weight > 0


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """`finetune`: the pre-trained network on slices with labels."""

    out: Path = Path("runs/finetune")
    start: Path | None = None
    """Folder of a pre-training run; without one the network starts from scratch."""
    data: DataConfig = DataConfig()
    loop: LoopConfig = LoopConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    spatial_dims: Literal[2, 3] = 2
    encoder: Literal["residual", "bottleneck", "mit", "mednext"] = "residual"
    """As in `PretrainConfig`; the same as that of ``start``."""
    size: Literal["S", "B", "L"] = "S"
    labels: tuple[str, ...] = ("left lung", "right lung")
    """What the network learns to find; class n is the n-th."""
    loss: Literal["dice-ce", "dice-focal", "tversky", "boundary"] = "dice-ce"
    """See `isdmae_train.segmentation_losses`."""

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) != len(self.labels) or not all(self.labels):
            raise ValueError(f"labels are different names, at least one, not {self.labels}")


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
class ExportConfig:
    """`export`: a fine-tuning run becomes a bundle."""

    run: Path = Path("runs/finetune")
    out: Path = Path("runs/bundle")
    card: Path
    """YAML with name, title, description, version, licence, training sets and results."""


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """`reconstruct`: what a pre-training makes of a scan, as a picture."""

    run: Path
    """Folder of a pre-training."""
    case: str
    """Id of a scan of the manifest."""
    out: Path
    """A .png."""
    manifest: Path | None = None
    """Without one, that of the run."""
    count: int = 4
    """Slices, or cubes."""
    seed: int = 0
    """Of places and masks."""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 64:
            raise ValueError(f"count lies in 1..64, not {self.count}")


@dataclass(frozen=True, kw_only=True)
class ArchiveConfig:
    """`archive`: a model on every scan of an archive."""

    manifest: Path
    """A path a line, or JSON with id and image; relative to it."""
    out: Path
    """Folder of the results, seen by all machines."""
    model: str = "lungs"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cpus: int = 2
    """Processors of a worker; with GPUs a worker has one of them."""
    retries: int = 2
    """How often a scan is tried again whose worker died."""
    address: str = ""
    """Of a Ray cluster, or ``auto``; empty: this machine alone."""

    def __post_init__(self) -> None:
        if self.cpus < 1 or self.retries < 0:
            raise ValueError("cpus is 1 or more, retries 0 or more")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """`report`: the page of a run."""

    run: Path


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
    encoder: Literal["residual", "bottleneck", "mit", "mednext"] = "residual"
    size: Literal["S", "B", "L"] = "S"
    preprocess: PreprocessConfig = PreprocessConfig()
    partial: bool = False
    """Take what fits, although tensors of the encoder are missing."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """`evaluate`: a bundle against truth, whole scans and whole sets of pictures."""

    model: str
    """Name or folder of a bundle."""
    manifest: Path | None = None
    """Scans of a prepared manifest that have truth, on their own grids."""
    only: tuple[str, ...] = ()
    """Of the manifest, only these scans."""
    patients: tuple[str, ...] = ()
    """Only these patients."""
    parts: tuple[str, ...] = ()
    """Only scans of these parts of the set's given split, such as test."""
    pictures: Path | None = None
    """Folder of 2D pictures."""
    truth: Path | None = None
    """Folder of masks of the same names; above half of their range means structure."""
    truth_label: str = ""
    """The structure of the masks; without it they are compared with all that the model finds."""
    index: Path | None = None
    """CSV with the columns file and patient."""
    out: Path = Path("runs/evaluation")
    tolerance_mm: float = 2.0
    """Largest distance that the normalised surface Dice takes for a match; pixels for pictures."""
    worst: int = 6
    """How many of the worst results are drawn."""
    author_compatible: bool = False
    """Add the score as the method's authors computed it; not comparable with the others."""
    calibration: bool = False
    """Add how far the probabilities of a 2D model can be believed, and draw it."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = 0
    """Of the bootstrap."""


@dataclass(frozen=True, kw_only=True)
class CompareRecipe:
    """One way to train, in a comparison."""

    pretrain: str = ""
    """A published pre-training recipe by name (``pretrain/isd-mae``) or a YAML file; empty: the
    network starts from scratch."""
    pretrain_with: dict[str, Any] = field(default_factory=dict)
    """Entries of `PretrainConfig` for this recipe alone."""
    finetune_with: dict[str, Any] = field(default_factory=dict)
    """Entries of `FinetuneConfig` for this recipe alone."""


@dataclass(frozen=True, kw_only=True)
class CompareBudget:
    """How much a comparison may cost; the same for all of its recipes."""

    pretrain_steps: int
    finetune_steps: int
    folds: int = 5
    """Parts that the patients are split into; not used where a split is given."""
    run_folds: int = 0
    """Run only the first so many folds; 0: all."""
    seeds: tuple[int, ...] = (0,)
    """Of fine-tuning. A pre-training is shared by all seeds of its fold."""
    shares: tuple[float, ...] = (1.0,)
    """Shares of the labels to fine-tune with."""
    recipes: tuple[str, ...] = ()
    """Run only these of the comparison's recipes; empty: all."""
    common: dict[str, Any] = field(default_factory=dict)
    """Entries of both `PretrainConfig` and `FinetuneConfig`, such as the batch size."""

    def __post_init__(self) -> None:
        if min(self.pretrain_steps, self.finetune_steps) < 1 or self.run_folds < 0:
            raise ValueError("steps are 1 or more, run_folds is 0 or more")
        if not self.seeds or not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise ValueError("seeds and shares name one at least, and shares lie in 0..1, above 0")


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """`compare`: several recipes on the same splits, seeds and budget of steps."""

    out: Path = Path("runs/compare")
    prepare: PrepareConfig
    """What makes the cache, once; ``prepare.out`` holds it."""
    labels: tuple[str, ...]
    """What every recipe learns to find."""
    recipes: dict[str, CompareRecipe]
    baseline: str
    """The recipe that the others are compared with, patient by patient."""
    budget: str
    """Which of ``budgets`` to spend."""
    budgets: dict[str, CompareBudget]
    common: dict[str, Any] = field(default_factory=dict)
    """Entries of both `PretrainConfig` and `FinetuneConfig` for all recipes."""
    pretrain: dict[str, Any] = field(default_factory=dict)
    """Entries of `PretrainConfig` for all recipes."""
    finetune: dict[str, Any] = field(default_factory=dict)
    """Entries of `FinetuneConfig` for all recipes."""
    split: Path | None = None
    """CSV with the columns patient and fold; without one, even folds are drawn."""
    transductive: bool = False
    """Let the pre-training see the images of held-out patients, without their labels. Published
    tables often do; it raises the numbers, and no model meets its future patients beforehand."""
    postprocess: PostprocessConfig = PostprocessConfig(
        smallest_ml=0.0, smallest_share=0.0, fill_holes=False
    )
    """Of every model; nothing by default, so that the network alone is compared."""
    tolerance_mm: float = 2.0
    """As in `EvaluateConfig`."""
    worst: int = 2
    """Pictures of the worst results of each part."""
    seed: int = 0
    """Of the folds, of pre-training and of the bootstrap."""

    def __post_init__(self) -> None:
        if self.budget not in self.budgets:
            raise ValueError(f"the budgets are {', '.join(self.budgets)}, not '{self.budget}'")
        chosen = [name for one in self.budgets.values() for name in one.recipes]
        for name in (self.baseline, *chosen):
            if name not in self.recipes:
                raise ValueError(f"the recipes are {', '.join(self.recipes)}, not '{name}'")
        if not self.labels:
            raise ValueError("labels names one at least")
        for name in self.recipes:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"a recipe's name is letters, digits, - and _, not '{name}'")


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """`compare`: a recipe, and what may differ from machine to machine."""

    recipe: Path
    """YAML of a `CompareConfig`."""
    budget: str = ""
    """Another budget than the recipe's."""
    out: Path | None = None
    data: Path | None = None
    """Folder of the scans, where it is not the recipe's."""
    device: Literal["auto", "cpu", "cuda"] = "auto"


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
