"""One scan, or the pictures of one case, into the cache: arrays, truth and the entry of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from isdmae import io
from isdmae.atomic import write_text_atomic
from isdmae.errors import InputError
from isdmae.grids import SliceGrid, slice_batch
from isdmae.labels import make_label
from isdmae.preprocess import AIR_HU, PreprocessConfig
from isdmae.schema import from_plain, to_plain
from isdmae.volume import Array, Volume, to_lps_order

from .cache import save_array
from .config.prepare import LabelSource, ScanSource
from .data import ManifestEntry
from .pictures import PictureStack
from .problems import digest

ENTRY = "entry.json"
"""Written last, and removed first, beside the arrays of a scan."""
TURNED_OVER = "The pictures stand on their heads; the cache has them upright."
VERSION = 1
"""Of what is stored for the same facts; a higher one makes all scans anew."""


def store_pictures(stack: PictureStack, images: Array, labels: Array, out: Path) -> ManifestEntry:
    """Write pictures and labels, both uint8 (n, H, W), below ``out``; return their entry."""
    folder = out / stack.id
    folder.mkdir(parents=True, exist_ok=True)
    rows = slice(None, None, -1 if stack.upside_down else 1)
    save_array(folder / "image.b2nd", images[:, rows])
    names = tuple(stack.masks)
    if names:
        save_array(folder / "label.b2nd", labels[:, rows])
        _write_truth(folder / "truth.nrrd", Volume(array=labels, is_hu=False), names)
    return ManifestEntry(
        id=stack.id,
        patient=stack.patient,
        licence=stack.licence,
        sources=tuple(str(path.resolve()) for path in stack.images),
        is_hu=False,
        image=f"{stack.id}/image.b2nd",
        label=f"{stack.id}/label.b2nd" if names else None,
        labels=names,
        truth=f"{stack.id}/truth.nrrd" if names else None,
        shape=images.shape,
        spacing_mm=(1.0, 1.0, 1.0),
        sha256=digest(images),
        notes=(TURNED_OVER,) if stack.upside_down else (),
        weight=stack.weight,
        split="".join(stack.splits),
        sources_sha256=_digest_of(stack.images),
        label_sha256=digest(labels) if names else "",
        own_shape=images.shape,
    )


def facts_of(scan: ScanSource, data: Path, preprocess: PreprocessConfig) -> dict[str, Any]:
    """Return all that decides what is stored of a scan: its description, pixels, and files."""
    label = LabelSource() if scan.label is None else scan.label
    masks = [path for paths in label.masks.values() for path in paths]
    named = [data / path for path in (scan.image, label.path, *masks) if path is not None]
    files = []
    for path in sorted(set(named)):
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.is_file():
                status = file.stat()
                files.append([str(file.resolve()), status.st_size, status.st_mtime_ns])
    facts = {"scan": scan, "preprocess": preprocess, "files": files, "version": VERSION}
    plain: dict[str, Any] = to_plain(facts)
    return plain


def write_entry(folder: Path, entry: ManifestEntry, facts: dict[str, Any]) -> None:
    """Record beside the arrays of a scan that they are whole, and what they were made from."""
    text = json.dumps({"entry": to_plain(entry), "made_from": facts}) + "\n"
    write_text_atomic(folder / ENTRY, text, overwrite=True)


def read_entry(folder: Path, facts: dict[str, Any]) -> ManifestEntry | None:
    """Return the entry of a scan that was made from ``facts`` and is whole; else None."""
    try:
        record = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        if record["made_from"] != facts:
            return None
        entry = from_plain(ManifestEntry, record["entry"], ENTRY)
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None
    files = [name for name in (entry.image, entry.label, entry.truth) if name]
    return entry if all((folder.parent / name).is_file() for name in files) else None


def _digest_of(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of files one after the other; of a folder, of all files in it."""
    result = hashlib.sha256()
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in inside:
            if file.is_file():
                result.update(file.read_bytes())
    return result.hexdigest()


def store_scan(
    scan: ScanSource,
    ct: Volume,
    image: Array,
    truth: Volume | None,
    names: tuple[str, ...],
    out: Path,
    preprocess: PreprocessConfig,
    *,
    source: Path,
    notes: tuple[str, ...] = (),
    keep_ct: bool = False,
) -> ManifestEntry:
    """Write a scan below ``out`` and return its entry.

    Parameters
    ----------
    scan : ScanSource
        What is known of it.
    ct : Volume
        In HU, on its own grid.
    image : numpy.ndarray of int16
        The same as `resample_slices` returns it.
    truth : Volume or None
        uint8 on the grid of ``ct``; value n is the n-th of ``names``.
    names : tuple of str
        Of the label values.
    out : Path
        The folder of the cache.
    preprocess : PreprocessConfig
        As for ``image``.
    source : Path
        Where the scan was read from.
    notes : tuple of str
        What was put right in it.
    keep_ct : bool
        Store ``ct``, too, as what models are evaluated on, because ``source`` is not in HU.
    """
    folder = out / scan.id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ENTRY).unlink(missing_ok=True)
    if keep_ct:
        io.write_image_atomic(folder / "ct.nrrd", io.to_sitk(ct), overwrite=True)
    turned, order = to_lps_order(ct)
    save_array(folder / "image.b2nd", image)
    label_sha256 = ""
    if truth is not None:
        labels = resample_labels(turned.with_array(order.apply(truth.array)), preprocess)
        save_array(folder / "label.b2nd", labels)
        label_sha256 = digest(labels)
        _write_truth(folder / "truth.nrrd", truth, names)
    return ManifestEntry(
        id=scan.id,
        patient=scan.patient,
        licence=scan.licence,
        sources=(str(((folder / "ct.nrrd") if keep_ct else source).resolve()),),
        image=f"{scan.id}/image.b2nd",
        label=None if truth is None else f"{scan.id}/label.b2nd",
        labels=names,
        free_of=scan.free_of,
        truth=None if truth is None else f"{scan.id}/truth.nrrd",
        shape=image.shape,
        spacing_mm=turned.spacing_mm,
        sha256=digest(image),
        weight=scan.weight,
        in_plane_spacing_mm=preprocess.in_plane_spacing_mm,
        split=scan.split,
        notes=notes,
        sources_sha256=_digest_of((source,)),
        label_sha256=label_sha256,
        own_shape=turned.shape,
        origin_mm=turned.origin_mm,
        direction=tuple(float(one) for one in turned.direction.ravel()),
    )


def _write_truth(path: Path, truth: Volume, names: tuple[str, ...]) -> None:
    labels = [make_label(name, number) for number, name in enumerate(names, start=1)]
    io.write_labelmap(path, truth, labels, overwrite=True)


def resample_slices(ct: Volume, config: PreprocessConfig) -> Array:
    """Bring an LPS-ordered CT to the network's pixel size: int16 HU (K, H, W)."""
    grid = SliceGrid.of(ct, config, multiple=1)
    slices = [
        grid.forward(slice_batch(ct, [k]), AIR_HU)[0, 0].round() for k in range(len(ct.array))
    ]
    return torch.stack(slices).clamp(-32768, 32767).to(torch.int16).numpy()


def resample_labels(labels: Volume, config: PreprocessConfig) -> Array:
    """Bring LPS-ordered labels to the same grid: the value with the largest share of a pixel.

    Returns
    -------
    Array
        uint8 (K, H, W), the shape of the resampled image.
    """
    grid = SliceGrid.of(labels, config, multiple=1)
    values = range(int(labels.array.max()) + 1)
    result = []
    for k in range(len(labels.array)):
        one_hot = [(slice_batch(labels, [k]) == value).float() for value in values]
        shares = torch.cat([grid.forward(one, 0.0) for one in one_hot], dim=1)
        result.append(shares[0].argmax(dim=0).to(torch.uint8))
    return torch.stack(result).numpy()
