"""What to train, as one command line of ``isdmae_train``, and where that package lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from .failure import refuse
from .worker_command import MODULE_FOLDER

PRETRAIN, FINETUNE = "pretrain", "finetune"


def training_folder() -> Path:
    """Return the folder that holds ``isdmae_train``: this module's, or that of the source tree.

    Raises
    ------
    SegmentationError
        ``no-training-package`` where it is in neither.
    """
    for folder in (MODULE_FOLDER, MODULE_FOLDER.parent / "Training"):
        if (folder / "isdmae_train" / "train.py").is_file():
            return folder
    raise refuse(
        "no-training-package",
        _("This installation has no isdmae_train."),
        _("Install the extension again, or use the source tree."),
    )


def published_recipes(task: str) -> list[str]:
    """Return the names of the recipes for ``task`` that came with the extension."""
    try:
        folder = training_folder() / "recipes"
    except RuntimeError:
        return []
    paths = [*sorted(folder.glob(f"{task}/*.yaml")), *sorted(folder.glob(f"*-{task}.yaml"))]
    return [path.relative_to(folder).with_suffix("").as_posix() for path in paths]


@dataclass(frozen=True)
class TrainingRequest:
    """One run: where its data are and where it goes; empty texts and None mean the recipe's."""

    task: str
    data: Path
    out: Path
    name: str
    models_folder: Path
    recipe: str = ""
    labels: tuple[str, ...] = ()
    start: str = ""
    steps: int = 0
    device: str = "auto"
    patch_size: int = 16
    spatial_ratio: float = 0.6
    bins: int = 8
    intensity_ratio: float = 0.5

    def arguments(self) -> list[str]:
        """Return what follows the interpreter."""
        words = ["-u", "-m", "isdmae_train", "train", "--progress", "json", "--task", self.task]
        words += ["--data", str(self.data), "--out", str(self.out), "--device", self.device]
        words += ["--recipe", self.recipe] if self.recipe else []
        words += ["--steps", str(self.steps)] if self.steps else []
        if self.task == PRETRAIN:
            words += ["--patch-size", str(self.patch_size), "--bins", str(self.bins)]
            words += ["--spatial-ratio", f"{self.spatial_ratio:.4g}"]
            return [*words, "--intensity-ratio", f"{self.intensity_ratio:.4g}"]
        words += ["--start", self.start] if self.start else []
        words += ["--models-folder", str(self.models_folder), "--name", self.name]
        return [*words, "--labels", *self.labels] if self.labels else words
