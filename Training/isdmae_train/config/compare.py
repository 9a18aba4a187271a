"""Several recipes on the same splits, seeds and steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from isdmae.postprocess import PostprocessConfig

from .prepare import PrepareConfig


@dataclass(frozen=True, kw_only=True)
class CompareRecipe:
    """One way to train, in a comparison."""

    pretrain: str = ""
    """A published pre-training recipe by name (``pretrain/isd-mae``) or a YAML file; empty: the
    network starts from scratch."""
    pretrain_with: dict[str, Any] = field(default_factory=dict)
    """Entries of `PretrainConfig` for this recipe alone."""
    finetune_with: dict[str, Any] = field(default_factory=dict)
    """Entries of `FinetuneConfig` for this recipe alone. In the paths of ``start`` and ``teachers``
    {fold} and {seed} are those of the part, so that each fold goes on from models that have not
    seen its held-out patients: ``runs/cv/laptop/parts/none/fold{fold}-seed0-labels100/bundle``."""
    all_steps: bool = False
    """Without a pre-training: fine-tune for the steps of both. What a pre-training gains has to be
    more than its steps would gain so."""

    def __post_init__(self) -> None:
        if self.all_steps and self.pretrain:
            raise ValueError("all_steps are fine-tuning's; leave out pretrain")


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
    labels_by_seed: bool = False
    """Draw a share anew for each seed, so that the mean over the seeds hangs on no single draw and
    their spread shows it; else all seeds learn from the same labels."""
    recipes: tuple[str, ...] = ()
    """Run only these of the comparison's recipes; empty: all."""
    common: dict[str, Any] = field(default_factory=dict)
    """Entries of both `PretrainConfig` and `FinetuneConfig`, such as the batch size."""
    pretrain: dict[str, Any] = field(default_factory=dict)
    """Entries of `PretrainConfig`."""
    finetune: dict[str, Any] = field(default_factory=dict)
    """Entries of `FinetuneConfig`."""

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
    """What makes the cache, once; ``prepare.out`` holds it. ``recipe`` in it names a recipe of
    `prepare` (published, or a YAML file), which the other entries change."""
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
    """CSV with the columns patient and fold, also by its name beside the recipe; without one, even
    folds are drawn."""
    transductive: bool = False
    """Let the pre-training see the images of held-out patients, without their labels. Published
    tables often do; it raises the numbers, and no model meets its future patients beforehand."""
    postprocess: PostprocessConfig = PostprocessConfig(
        smallest_ml=0.0, smallest_share=0.0, fill_holes=False
    )
    """Of every model; nothing by default, so that the network alone is compared."""
    lung_model: str = ""
    """Of every model, as in `isdmae.bundle.BundleInfo`: it decides at what size lungs are seen."""
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
    """YAML of a `CompareConfig`, or a published one by name, such as compare-2d."""
    budget: str = ""
    """Another budget than the recipe's."""
    baseline: str = ""
    """Another recipe to compare the others with; what is done is not done again for it."""
    out: Path | None = None
    data: Path | None = None
    """Folder of the scans, where it is not the recipe's."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
