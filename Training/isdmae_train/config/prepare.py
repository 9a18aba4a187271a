"""What becomes training data: scans, pictures, labels, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from isdmae.preprocess import PreprocessConfig


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
