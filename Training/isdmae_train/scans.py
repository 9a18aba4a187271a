"""One CT, or many beside each other: read, put right, and stored with its truth."""

from __future__ import annotations

import multiprocessing
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from isdmae import io
from isdmae.checks import prepare_hu
from isdmae.errors import InputError, ResourceError
from isdmae.labels import CONSOLIDATION, GROUND_GLASS, LESION, LUNGS
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae.volume import Volume, to_lps_order

from .config.prepare import PrepareConfig, ScanSource
from .data import ManifestEntry
from .problems import NOT_USED, READING, Problem, problem_of
from .store import facts_of, read_entry, resample_slices, store_scan, write_entry
from .truth import label_file, label_names, read_truth

FIRST_PHANTOM_SEED = 1000
PICTURE_RANGE = 255
NOT_HU_REMEDY = (
    "Give a CT in Hounsfield units; of a file of 0..255 whose window is known, say in a recipe "
    "which HU they stand for (stored_hu)."
)


@dataclass(frozen=True, kw_only=True)
class PreparedScan:
    """What became of a scan: an entry of the manifest, or a problem."""

    entry: ManifestEntry | None = None
    problem: Problem | None = None


def prepare_scans(
    scans: Sequence[ScanSource], config: PrepareConfig
) -> Generator[PreparedScan, None, None]:
    """Yield what became of each scan, in order; ``config.workers`` processes do it.

    Raises
    ------
    ResourceError
        ``disk-full``, or ``out-of-memory`` where the system has ended a process.
    """
    work = partial(prepare_scan, config=config)
    if not config.workers:
        yield from map(work, scans)
        return
    # Not forked: PyTorch's threads do not survive it.
    pool = ProcessPoolExecutor(
        config.workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)
    )
    try:
        yield from pool.map(work, scans)
    except BrokenProcessPool as error:
        raise ResourceError(
            "out-of-memory",
            "A process that prepares scans was ended, most likely for its memory.",
            "Use fewer workers; what is prepared already is taken as it is.",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def prepare_scan(scan: ScanSource, config: PrepareConfig) -> PreparedScan:
    """Prepare one scan, or take what is prepared of it; see `isdmae_train.prepare.prepare`."""
    path = file = config.data / scan.image
    try:
        facts = facts_of(scan, config.data, config.preprocess)
        known = read_entry(config.out / scan.id, facts)
        if known is not None:
            return PreparedScan(entry=known)
        ct, notes, in_hu = _read_ct(scan, path)
        truth: Volume | None = None
        names: tuple[str, ...] = ()
        if scan.label is not None:
            file = config.data / (label_file(scan.label) or scan.image)
            names = label_names(scan.label)
            truth, mended = read_truth(ct, scan.label, config.data)
            notes += mended
            file = path
        image = resample_slices(to_lps_order(ct)[0], config.preprocess)
        entry = store_scan(
            scan, ct, image, truth, names, config.out, config.preprocess,
            source=path, notes=notes, keep_ct=not in_hu,
        )  # fmt: skip
        write_entry(config.out / scan.id, entry, facts)
        return PreparedScan(entry=entry)
    except READING as error:
        problem = problem_of(error, scan.id, file)
        if scan.label is not None and scan.label.or_not_used and problem.code == "empty-label":
            problem = replace(problem, effect=NOT_USED)
        return PreparedScan(problem=problem)


def _read_ct(scan: ScanSource, path: Path) -> tuple[Volume, tuple[str, ...], bool]:
    """Return a CT in HU, what was put right in it, and whether its file is in HU."""
    read = io.read(path)
    volume, notes = read.volume, [notice.message for notice in read.notices]
    lowest, highest = float(volume.array.min()), float(volume.array.max())
    in_hu = scan.stored_hu is None or lowest < 0 or highest > PICTURE_RANGE
    if scan.stored_hu is not None and not in_hu:
        air, bright = scan.stored_hu
        hu = volume.array * np.float32((bright - air) / PICTURE_RANGE) + np.float32(air)
        volume = volume.with_array(np.rint(hu).astype(np.int16))
        notes.append(f"Stored as 0..{PICTURE_RANGE}; brought back to {air:g}..{bright:g} HU.")
    try:
        volume, found = prepare_hu(volume)
    except InputError as error:
        if error.code != "not-hu":
            raise
        raise InputError("not-hu", error.message, NOT_HU_REMEDY) from error
    return volume, (*notes, *(notice.message for notice in found)), in_hu


def prepare_phantom(number: int, config: PrepareConfig) -> ManifestEntry:
    """Make the synthetic chest of this number, and store it with its truth."""
    phantom = make_phantom(PhantomConfig(seed=FIRST_PHANTOM_SEED + number))
    name = f"phantom-{FIRST_PHANTOM_SEED + number}"
    path = config.out / name / "ct.nrrd"
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_image_atomic(path, io.to_sitk(phantom.ct), overwrite=True)
    scan = ScanSource(
        id=name, patient=name, image=path, licence="none", weight=config.phantom_weight
    )
    truth, names = phantom.lungs, tuple(label.name for label in LUNGS)
    if config.phantom_lesions:
        kinds = (GROUND_GLASS.value, CONSOLIDATION.value)
        lesions = np.isin(phantom.lesions.array, kinds).astype(np.uint8)
        truth, names = phantom.ct.with_array(lesions), (LESION.name,)
    image = resample_slices(to_lps_order(phantom.ct)[0], config.preprocess)
    return store_scan(
        scan, phantom.ct, image, truth, names, config.out, config.preprocess, source=path
    )
