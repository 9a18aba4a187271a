"""The cache that `prepare` made: its manifest, its scans opened for a run, and batches."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from isdmae.errors import InputError, IsdmaeError
from isdmae.preprocess import PreprocessConfig
from isdmae.schema import from_plain, to_plain
from isdmae.volume import Array

from .augment import roles_of
from .cache import CachedArray, open_array
from .config.data import DataConfig
from .config.runs import LoopConfig
from .distributed import share_of
from .folds import Indices, usable_slices


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
    """(K, H, W), see `isdmae_train.cache`: int16 HU in LPS order at the network's pixel size, or
    uint8 pictures."""
    label: str | None
    """uint8 on the same grid."""
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
    split: str = ""
    """The part of a given split, such as "train"; no patient is in two."""
    notes: tuple[str, ...] = ()
    """What was put right in it, and what its reader warned of."""
    sources_sha256: str = ""
    """Of the files it was read from, one after the other; ``sha256`` is the cached image's."""
    label_sha256: str = ""
    """Of the cached labels; empty where there are none, and in caches of older versions."""
    own_shape: tuple[int, int, int] | None = None
    """(K, H, W) of the scan in LPS order; ``spacing_mm``, origin and direction are its own, too."""
    origin_mm: tuple[float, float, float] | None = None
    direction: tuple[float, ...] | None = None
    """3 x 3, row by row, as in `isdmae.volume.Volume`."""


Item: TypeAlias = dict[str, object] | IsdmaeError

LEARNT_FROM = (
    "patient", "is_hu", "labels", "free_of", "shape", "spacing_mm", "sha256", "label_sha256",
    "weight",
)  # fmt: skip
"""Fields of an entry that decide what is learnt from it."""


class _Batch(TypedDict):
    image: Tensor
    """float32 (B, 1, \\*S), or (B, N, H, W) of a slice between its neighbours."""
    is_hu: Tensor
    """bool (B,)."""
    label: Tensor
    """int64 (B, \\*S)."""
    case: list[str]


class Batch(_Batch, total=False):
    """What a loop gets; S is (H, W) or (D, H, W)."""

    known: Tensor
    """Cubes: bool (B, D), the slices whose labels may be used."""


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


class Scans:
    """The scans that a run may use, open: slices and cubes are cut from them.

    Parameters
    ----------
    config : DataConfig
        Which scans, and which share of their labels.
    preprocess : PreprocessConfig
        What the cache must have been made for.
    labels : tuple of str
        Only scans with truth for all of them (all scans where there are none).

    Raises
    ------
    InputError
        ``no-training-data`` where no scan is left, ``cache-differs`` where one has other pixels,
        ``patient-on-both-sides`` where only some scans of a patient are held out.
    """

    def __init__(
        self, config: DataConfig, preprocess: PreprocessConfig, labels: tuple[str, ...]
    ) -> None:
        folder = config.manifest.parent
        listed = read_manifest(config.manifest)
        _refuse_split_patients(listed, config.hold_out)
        entries = [
            entry
            for entry in listed
            if entry.id not in config.hold_out
            and (not config.parts or entry.split in config.parts)
            and has_truth(entry, labels)
        ]
        self.fingerprints = {entry.id: fingerprint(entry) for entry in entries}
        """Of every scan that this run may use, in order; see `fingerprint`."""
        slices: dict[str, Indices] = {}
        if labels and entries and config.label_share < 1:
            slices = usable_slices(
                entries, config.label_share, seed=config.label_seed, by=config.label_share_by
            )
            entries = [entry for entry in entries if len(slices[entry.id])]
        if not entries:
            raise InputError(
                "no-training-data",
                f"{config.manifest} lists no scan that this run may use.",
                f"Check hold_out, parts, and that the scans have the labels ({', '.join(labels)}).",
            )
        _check_pixel_size(entries, preprocess.in_plane_spacing_mm)
        self.entries = entries
        self.images = [open_array(folder / entry.image) for entry in entries]
        self.truths = [
            open_array(folder / entry.label) if entry.label else None for entry in entries
        ]
        self.usable = [slices.get(entry.id) for entry in entries]
        """Slices of each scan whose labels may be used; None: all."""
        self.roles = [roles_of(entry.labels, labels) for entry in entries]
        weights = np.array([entry.weight for entry in entries])
        self.shares = weights / weights.sum()

    def draw(self, random: np.random.Generator) -> int:
        """Draw the number of a scan, by weight."""
        return int(random.choice(len(self.entries), p=self.shares))

    def opened(
        self, scan: int
    ) -> tuple[ManifestEntry, Array | CachedArray, Array | CachedArray | None]:
        """Return entry, image (K, H, W) and labels of a scan; only what is indexed is read."""
        return self.entries[scan], self.images[scan], self.truths[scan]


def _check_pixel_size(entries: Sequence[ManifestEntry], in_plane_spacing_mm: float) -> None:
    for entry in entries:
        if entry.in_plane_spacing_mm not in (None, in_plane_spacing_mm):
            raise InputError(
                "cache-differs",
                f"The cached scan {entry.id} has pixels of {entry.in_plane_spacing_mm} mm, the "
                f"run wants {in_plane_spacing_mm} mm.",
                "Run `isdmae-train prepare` with the same preprocessing.",
            )


def _refuse_split_patients(entries: Sequence[ManifestEntry], hold_out: Sequence[str]) -> None:
    held = {entry.patient for entry in entries if entry.id in hold_out}
    for entry in entries:
        if entry.patient in held and entry.id not in hold_out:
            raise InputError(
                "patient-on-both-sides",
                f"The patient {entry.patient} is held out, but {entry.id} of the same patient is "
                "not.",
                "Hold out all scans of a patient, or none.",
            )


def fingerprint(entry: ManifestEntry) -> str:
    """Return a SHA-256 of all that what is learnt from a scan depends on, not of where it lies."""
    facts = {name: getattr(entry, name) for name in LEARNT_FROM}
    return hashlib.sha256(json.dumps(to_plain(facts), sort_keys=True).encode()).hexdigest()


def has_truth(entry: ManifestEntry, labels: tuple[str, ...]) -> bool:
    """Tell whether ``entry`` says of every pixel which of ``labels`` it is."""
    return set(labels) <= {*entry.labels, *entry.free_of}


def batches(
    dataset: Dataset[dict[str, object]], loop: LoopConfig, *, first_step: int
) -> Iterator[Batch]:
    """Yield this process's shares of the batches of steps ``first_step`` to ``loop.steps - 1``.

    Raises
    ------
    InputError
        ``batch-not-shared`` where the processes cannot share a batch evenly.
    IsdmaeError
        That of an item, from another process, too.
    """
    first, count = share_of(loop.part)
    order = [
        part * loop.part + sample
        for part in range(first_step * loop.accumulate, loop.steps * loop.accumulate)
        for sample in range(first, first + count)
    ]
    loader: DataLoader[Item] = DataLoader(
        _ItemsOrErrors(dataset),
        batch_size=count * loop.accumulate,
        sampler=order,
        num_workers=loop.workers,
        prefetch_factor=4 if loop.workers else None,
        worker_init_fn=_one_thread,
        collate_fn=_collated,
    )
    for batch in loader:
        if isinstance(batch, IsdmaeError):
            raise batch
        yield batch


class _ItemsOrErrors(Dataset[Item]):
    """Items, or the error in place of one: raised in a loader, PyTorch makes another of it."""

    def __init__(self, dataset: Dataset[dict[str, object]]) -> None:
        self._dataset = dataset

    def __getitem__(self, index: int) -> Item:
        try:
            return self._dataset[index]
        except IsdmaeError as error:
            return error


def _collated(items: list[Item]) -> Any:
    """Return the batch of some items, or the first error among them."""
    errors = [item for item in items if isinstance(item, IsdmaeError)]
    return errors[0] if errors else default_collate(items)


def _one_thread(_worker: int) -> None:
    """Compute with one thread, and leave signals to the loop, which ends with a checkpoint."""
    torch.set_num_threads(1)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
