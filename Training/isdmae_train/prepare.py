"""`prepare`: scans and their truth in, a cache of training volumes and a manifest out."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from isdmae import io
from isdmae.atomic import write_text_atomic
from isdmae.checks import prepare_hu
from isdmae.errors import InputError, IsdmaeError
from isdmae.grids import SliceGrid, slice_batch
from isdmae.labels import CONSOLIDATION, GROUND_GLASS, LESION, LUNGS, make_label
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae.preprocess import AIR_HU, PreprocessConfig
from isdmae.schema import to_plain
from isdmae.volume import Array, Volume, to_lps_order

from .cache import save_array
from .config import LabelSource, PictureSet, PrepareConfig, ScanSource
from .crops import unpacked
from .data import ManifestEntry
from .layouts import find_sources
from .lung_truth import lung_truth
from .pictures import PictureStack, read_stack, stacks_of
from .reporter import counted

log = logging.getLogger(__name__)

FIRST_PHANTOM_SEED = 1000


def prepare(config: PrepareConfig) -> Path:
    """Fill the cache and write ``manifest.jsonl``.

    A scan that cannot be used is named at the end, and the others are prepared all the same.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    InputError
        ``same-id`` before anything is done; ``nothing-prepared`` where no scan could be prepared;
        ``scans-skipped`` where some could not, after the manifest of the others was written.
    """
    if not (config.scans or config.pictures or config.phantoms):
        found = find_sources(config.data)
        log.info("%s: %s", config.data, found.layout)
        scans = tuple(_absolute(scan) for scan in found.scans)
        config = replace(config, scans=scans, pictures=found.pictures)
    config.out.mkdir(parents=True, exist_ok=True)
    names = [scan.id for scan in config.scans]
    if len(set(names)) != len(names):
        raise InputError("same-id", "Two scans have one id.", "Give each scan its own id.")
    entries: list[ManifestEntry] = []
    skipped: list[str] = []
    for scan in counted(config.scans, "prepare", "scan"):
        try:
            entries.append(_prepare_scan(scan, config))
        except IsdmaeError as error:
            skipped.append(f"{scan.id}: {error}")
    for source in config.pictures:
        made, refused = _prepare_pictures(source, config)
        entries += made
        skipped += refused
    entries += [_prepare_phantom(number, config) for number in range(config.phantoms)]
    for line in skipped:
        log.warning("skipped %s", line)
    if not entries:
        raise InputError("nothing-prepared", "No scan could be prepared.", " ".join(skipped))
    manifest = config.out / "manifest.jsonl"
    lines = [json.dumps(to_plain(entry), sort_keys=True) for entry in entries]
    write_text_atomic(manifest, "\n".join(lines) + "\n", overwrite=True)
    if skipped:
        raise InputError(
            "scans-skipped",
            f"{len(skipped)} of {len(skipped) + len(entries)} scans were left out of {manifest}.",
            "They are named above; mend or remove them.",
        )
    return manifest


def _absolute(scan: ScanSource) -> ScanSource:
    """Name the files of a scan so that the folder of data does not come before them again."""
    label = scan.label
    if label is not None and label.path is not None:
        label = replace(label, path=label.path.resolve())
    return replace(scan, image=scan.image.resolve(), label=label)


def _prepare_scan(scan: ScanSource, config: PrepareConfig) -> ManifestEntry:
    path = config.data / scan.image
    ct, _ = prepare_hu(io.read(path).volume)
    names = () if scan.label is None else label_names(scan.label)
    truth = None if scan.label is None else read_truth(ct, scan.label, config.data)
    return _store(ct, truth, names, config, scan, path)


def _prepare_pictures(
    source: PictureSet, config: PrepareConfig
) -> tuple[list[ManifestEntry], list[str]]:
    """Prepare every stack of a set; returns the entries, and in words what was left out."""
    if source.images.suffix == ".npz":
        source = unpacked(source, config.data, config.out)
    stacks = stacks_of(source, config.data)
    pictures = sum(len(stack.images) for stack in stacks)
    entries, skipped = [], []
    for stack in counted(stacks, source.id, "case"):
        weight = source.weight * len(stack.images) / pictures
        try:
            entries.append(_store_pictures(stack, source.licence, weight, config))
        except IsdmaeError as error:
            skipped.append(f"{stack.id}: {error}")
    return entries, skipped


def _store_pictures(
    stack: PictureStack, licence: str, weight: float, config: PrepareConfig
) -> ManifestEntry:
    images, labels = read_stack(stack)
    folder = config.out / stack.id
    folder.mkdir(parents=True, exist_ok=True)
    save_array(folder / "image.b2nd", images)
    names = tuple(stack.masks)
    if names:
        save_array(folder / "label.b2nd", labels)
        _write_truth(folder / "truth.nrrd", Volume(array=labels, is_hu=False), names)
    return ManifestEntry(
        id=stack.id,
        patient=stack.patient,
        licence=licence,
        sources=tuple(str(path.resolve()) for path in stack.images),
        is_hu=False,
        image=f"{stack.id}/image.b2nd",
        label=f"{stack.id}/label.b2nd" if names else None,
        labels=names,
        truth=f"{stack.id}/truth.nrrd" if names else None,
        shape=images.shape,
        spacing_mm=(1.0, 1.0, 1.0),
        sha256=hashlib.sha256(images.tobytes()).hexdigest(),
        weight=weight,
    )


def _prepare_phantom(number: int, config: PrepareConfig) -> ManifestEntry:
    phantom = make_phantom(PhantomConfig(seed=FIRST_PHANTOM_SEED + number))
    name = f"phantom-{FIRST_PHANTOM_SEED + number}"
    path = config.out / name / "ct.nrrd"
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_image_atomic(path, io.to_sitk(phantom.ct), overwrite=True)
    scan = ScanSource(
        id=name, patient=name, image=path, licence="none", weight=config.phantom_weight
    )
    if not config.phantom_lesions:
        names = tuple(label.name for label in LUNGS)
        return _store(phantom.ct, phantom.lungs, names, config, scan, path)
    kinds = (GROUND_GLASS.value, CONSOLIDATION.value)
    lesions = np.isin(phantom.lesions.array, kinds).astype(np.uint8)
    return _store(phantom.ct, phantom.ct.with_array(lesions), (LESION.name,), config, scan, path)


def label_names(source: LabelSource) -> tuple[str, ...]:
    """Return the names of the cached label values 1, 2, ...; the classical method finds lungs."""
    lungs = tuple(label.name for label in LUNGS)
    if source.path is None or set(source.values) <= set(lungs):
        return lungs
    return tuple(source.values)


def read_truth(ct: Volume, source: LabelSource, data: Path) -> Volume:
    """Return the truth of ``ct`` on its own grid, uint8: value n is the n-th of `label_names`."""
    if source.path is None:
        return lung_truth(ct)
    file = io.read(data / source.path).volume
    if not ct.same_grid(file, tolerance=1e-3):
        raise InputError(
            "grid-differs",
            f"The labels {source.path.name} do not lie on the scan's grid.",
            "Resample them onto the scan.",
        )
    values = file.array.astype(np.int64)
    if source.bits is not None:
        values &= source.bits
    truth = np.zeros(ct.shape, np.uint8)
    for number, name in enumerate(label_names(source), start=1):
        truth[np.isin(values, source.values.get(name, ()))] = number
    if not truth.any():
        raise InputError(
            "empty-label", f"{source.path.name} holds none of the labels.", "Check its values."
        )
    return ct.with_array(truth)


def _store(
    ct: Volume,
    truth: Volume | None,
    names: tuple[str, ...],
    config: PrepareConfig,
    scan: ScanSource,
    source: Path,
) -> ManifestEntry:
    folder = config.out / scan.id
    folder.mkdir(parents=True, exist_ok=True)
    turned, order = to_lps_order(ct)
    image = resample_slices(turned, config.preprocess)
    save_array(folder / "image.b2nd", image)
    if truth is not None:
        labels = resample_labels(turned.with_array(order.apply(truth.array)), config.preprocess)
        save_array(folder / "label.b2nd", labels)
        _write_truth(folder / "truth.nrrd", truth, names)
    return ManifestEntry(
        id=scan.id,
        patient=scan.patient,
        licence=scan.licence,
        sources=(str(source.resolve()),),
        image=f"{scan.id}/image.b2nd",
        label=None if truth is None else f"{scan.id}/label.b2nd",
        labels=names,
        free_of=scan.free_of,
        truth=None if truth is None else f"{scan.id}/truth.nrrd",
        shape=image.shape,
        spacing_mm=turned.spacing_mm,
        sha256=hashlib.sha256(image.tobytes()).hexdigest(),
        weight=scan.weight,
        in_plane_spacing_mm=config.preprocess.in_plane_spacing_mm,
    )


def _write_truth(path: Path, truth: Volume, names: tuple[str, ...]) -> None:
    labels = [make_label(name, number) for number, name in enumerate(names, start=1)]
    io.write_labelmap(path, truth, labels, overwrite=True)


def resample_slices(ct: Volume, config: PreprocessConfig) -> Array:
    """Bring an LPS-ordered CT to the network's pixel size: int16 HU (K, H, W)."""
    grid = SliceGrid.of(ct, config, multiple=1)
    slices = [
        grid.forward(slice_batch(ct, k, k + 1), AIR_HU)[0, 0].round() for k in range(len(ct.array))
    ]
    return torch.stack(slices).clamp(-32768, 32767).to(torch.int16).numpy()


def resample_labels(labels: Volume, config: PreprocessConfig) -> Array:
    """Bring LPS-ordered labels to the same grid: the value with the largest share of a pixel."""
    grid = SliceGrid.of(labels, config, multiple=1)
    values = range(int(labels.array.max()) + 1)
    result = []
    for k in range(len(labels.array)):
        one_hot = [(slice_batch(labels, k, k + 1) == value).float() for value in values]
        shares = torch.cat([grid.forward(one, 0.0) for one in one_hot], dim=1)
        result.append(shares[0].argmax(dim=0).to(torch.uint8))
    return torch.stack(result).numpy()
