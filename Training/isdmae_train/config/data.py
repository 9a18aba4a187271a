"""What a run sees of its data, and how that is changed at random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


def check_share(name: str, *values: float) -> None:
    """Raise ValueError where one of ``values`` lies outside 0..1."""
    if not all(0.0 <= value <= 1.0 for value in values):
        raise ValueError(f"{name} lies in 0..1, not {values}")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of a training slice; every probability lies in 0..1."""

    rotation_deg: float = 20.0
    scale: tuple[float, float] = (0.7, 1.45)
    jitter: bool = True
    """Stretch each axis a little by itself; change gain and offset, and gamma of pictures."""
    label_edges: Literal["nearest", "linear"] = "nearest"
    """Of turned and scaled axial slices. Nearest moves an edge by up to half a pixel, which small
    structures do not bear; linear takes the label with the largest share of a pixel."""
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
    clear_hilum: float = 0.0
    """Share of the slices with synthetic lesions in which these keep away from the mediastinum, so
    that what is dense there is vessel."""
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
    on_device: bool = False
    """Blur, noise, field of view, windows and equalisation of a whole batch at once on the run's
    device (see `isdmae_train.augment_batch`): where a GPU waits for its loaders."""

    def __post_init__(self) -> None:
        check_share("a probability", self.mirror, self.upside_down, self.lesions, self.decoys)
        check_share("a probability", self.quarter_turn, self.unenhanced, self.islands)
        check_share("a probability", self.clear_hilum)
        check_share("a probability", self.field_of_view, self.noise, self.picture, self.equalise)
        check_share("a probability", self.blur)
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
        check_share("a share of slices", self.any_slice, self.low_slice)
        check_share("any_slice + low_slice", self.any_slice + self.low_slice)
        check_share("foreground", self.foreground)
        if not 0 < self.label_share <= 1:
            raise ValueError(f"label_share lies above 0 and up to 1, not {self.label_share}")
        if not self.planes or len(set(self.planes)) != len(self.planes):
            raise ValueError(f"planes are one or more different ones, not {self.planes}")
        if self.label_share < 1 and self.label_share_by == "slice" and self.planes != ("axial",):
            raise ValueError("a share of the axial slices has no labels in other planes")
