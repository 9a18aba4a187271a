"""What is made of a run or a model: scores, bundles, pictures, pages, segmentations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


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
    """Add a column: the score as the method's authors computed it; not comparable with the rest."""
    calibration: bool = False
    """Add how far the probabilities of a 2D model can be believed in axial slices, and draw it;
    with ``mirror`` those that are averaged with the mirror image's."""
    mirror: bool = False
    """Segment with the mirror image, too, as `isdmae predict --mirror` does."""
    views: tuple[Literal["axial", "coronal", "sagittal"], ...] = ()
    """Of CTs by a 2D model, average these; empty: what the model says."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = 0
    """Of the bootstrap."""


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
class ReportOptions:
    """`report`: the page of a run."""

    run: Path


@dataclass(frozen=True, kw_only=True)
class ArchiveConfig:
    """`archive`: a model on every scan of an archive."""

    manifest: Path
    """A path a line, or JSON with id and image; relative to it."""
    out: Path
    """Folder of the results, seen by all machines."""
    model: str = "lungs"
    trachea: bool = False
    """Add trachea and main bronchi, as `isdmae predict --trachea` does."""
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
