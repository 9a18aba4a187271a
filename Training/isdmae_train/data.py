"""Training slices from the cache that `prepare` made."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from isdmae.errors import InputError
from isdmae.schema import from_plain

from .augment import augment_picture, augment_slice, roles_of
from .config import DataConfig, LoopConfig


@dataclass(frozen=True, kw_only=True)
class ManifestEntry:
    """One scan, or the pictures of one case, in the cache; files are relative to the manifest."""

    id: str
    patient: str
    licence: str
    sources: tuple[str, ...]
    """What it was read from, for evaluation on its own grid: one CT, or the pictures in order."""
    is_hu: bool = True
    """False for pictures."""
    image: str
    """(K, H, W) as .npy: int16 HU in LPS order at the network's pixel size, or uint8 pictures."""
    label: str | None
    """uint8 on the same grid, as .npy."""
    labels: tuple[str, ...] = ()
    """Names of the label values 1, 2, ..."""
    free_of: tuple[str, ...] = ()
    """Structures that the scan is known not to hold."""
    truth: str | None
    """Labelmap on the scan's own grid, or of the pictures, as .nrrd."""
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    sha256: str
    weight: float
    in_plane_spacing_mm: float | None = None
    """Pixel size that the cache was made for; None in caches of older versions."""


class Batch(TypedDict):
    """``image`` float32 (B, 1, H, W), ``is_hu`` bool (B,), ``label`` int64 (B, H, W)."""

    image: Tensor
    is_hu: Tensor
    label: Tensor
    case: list[str]


def read_manifest(path: Path) -> list[ManifestEntry]:
    """Read a manifest; InputError where it is absent or damaged."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(
            "bad-manifest", f"{path} cannot be read: {error}.", "Run `isdmae-train prepare` first."
        ) from error
    return [from_plain(ManifestEntry, record, path.name) for record in records]


class SliceDataset(Dataset[dict[str, object]]):
    """Endless augmented slices: item ``index`` depends on the seed and the index alone.

    So a run that resumes at step n sees what it would have seen, whatever the workers did.
    """

    def __init__(self, config: DataConfig, *, seed: int, labels: tuple[str, ...] = ()) -> None:
        """Choose the entries that hold truth for all ``labels`` (all entries where there are none).

        Raises
        ------
        InputError
            ``no-training-data`` where none is left.
        """
        folder = config.manifest.parent
        entries = [
            entry
            for entry in read_manifest(config.manifest)
            if entry.id not in config.hold_out and has_truth(entry, labels)
        ]
        if not entries:
            raise InputError(
                "no-training-data",
                f"{config.manifest} lists no scan that this run may use.",
                f"Check hold_out, and that the scans have the labels ({', '.join(labels)}).",
            )
        self.config, self.seed, self.entries = config, seed, entries
        self.images = [np.load(folder / entry.image, mmap_mode="r") for entry in entries]
        self.labels = [
            np.load(folder / entry.label, mmap_mode="r") if entry.label else None
            for entry in entries
        ]
        self.spans = [_labelled_span(truth) for truth in self.labels]
        self.roles = [roles_of(entry.labels, labels) for entry in entries]
        weights = np.array([entry.weight for entry in entries])
        self.shares = weights / weights.sum()

    def check_pixel_size(self, in_plane_spacing_mm: float) -> None:
        """Raise InputError where the cache was made for another pixel size than the run's."""
        for entry in self.entries:
            if entry.in_plane_spacing_mm not in (None, in_plane_spacing_mm):
                raise InputError(
                    "cache-differs",
                    f"The cached scan {entry.id} has pixels of {entry.in_plane_spacing_mm} mm, the "
                    f"run wants {in_plane_spacing_mm} mm.",
                    "Run `isdmae-train prepare` with the same preprocessing.",
                )

    def __getitem__(self, index: int) -> dict[str, object]:
        random = np.random.default_rng([self.seed, index])
        scan = int(random.choice(len(self.entries), p=self.shares))
        volume, truth = self.images[scan], self.labels[scan]
        k = int(random.integers(*self._span(scan, random)))
        roles, size, change = self.roles[scan], self.config.size, self.config.augment
        labels = np.zeros(volume.shape[1:], np.uint8) if truth is None else np.array(truth[k])
        if self.entries[scan].is_hu:
            thickness = int(random.integers(1, change.slab + 1))
            start = max(0, k - thickness // 2)
            slab = volume[start : start + thickness].astype(np.float32).mean(axis=0)
            image, labels, is_hu = augment_slice(slab, labels, size, change, random, roles)
        else:
            picture = volume[k].astype(np.float32) / np.float32(255)
            image, labels = augment_picture(picture, labels, size, change, random, roles)
            is_hu = False
        labels = roles.classes[labels]
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image))[None],
            "is_hu": is_hu,
            "label": torch.from_numpy(labels.astype(np.int64)),
            "case": f"{self.entries[scan].id}[{k}]",
        }

    def _span(self, scan: int, random: np.random.Generator) -> tuple[int, int]:
        """Return the slices to draw from: labelled ones, all, or those about the lower end."""
        count, span = len(self.images[scan]), self.spans[scan]
        place = random.random()
        if span is None or place < self.config.any_slice:
            return 0, count
        if place < self.config.any_slice + self.config.low_slice:
            return _lower_end(span, count)
        return span


def has_truth(entry: ManifestEntry, labels: tuple[str, ...]) -> bool:
    """Tell whether ``entry`` says of every pixel which of ``labels`` it is."""
    return set(labels) <= {*entry.labels, *entry.free_of}


def _labelled_span(labels: npt.NDArray[np.uint8] | None) -> tuple[int, int] | None:
    """Return first and one past last slice that holds a label, None without any."""
    if labels is None or not labels.any():
        return None
    used = np.flatnonzero(labels.any(axis=(1, 2)))
    return int(used[0]), int(used[-1]) + 1


def _lower_end(span: tuple[int, int], count: int) -> tuple[int, int]:
    """Return the lowest 30 % of ``span`` (k grows to superior) and half as much below it."""
    length = span[1] - span[0]
    return max(0, span[0] - round(0.15 * length)), min(count, span[0] + max(1, round(0.3 * length)))


def batches(dataset: SliceDataset, loop: LoopConfig, *, first_step: int) -> Iterator[Batch]:
    """Yield the batches of steps ``first_step`` to ``loop.steps - 1``."""
    order = range(first_step * loop.batch, loop.steps * loop.batch)
    loader: DataLoader[dict[str, object]] = DataLoader(
        dataset,
        batch_size=loop.batch,
        sampler=order,
        num_workers=loop.workers,
        prefetch_factor=4 if loop.workers else None,
        worker_init_fn=_one_thread,
    )
    yield from loader


def _one_thread(_worker: int) -> None:
    """Compute with one thread, and leave signals to the loop, which ends with a checkpoint."""
    torch.set_num_threads(1)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
