"""`prepare`: scans and their truth in, a cache of training volumes and a manifest out."""

from __future__ import annotations

import json
import logging
import os
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from isdmae.atomic import write_text_atomic
from isdmae.errors import InputError
from isdmae.schema import to_plain

from .claim import claimed
from .config.prepare import PrepareConfig, ScanSource
from .crops import unpacked
from .data import ManifestEntry
from .layouts import find_sources
from .pictures import PictureStack, read_stack, stacks_of
from .problems import (
    LEFT_OUT,
    READING,
    REMARK,
    Problem,
    Seen,
    problem_of,
    split_problems,
    write_report,
)
from .public_sets import find_set
from .reporter import counted
from .scans import PreparedScan, prepare_phantom, prepare_scans
from .store import store_pictures

log = logging.getLogger(__name__)

LONGEST_NAME = 255
"""Bytes of a file's name that the usual file systems allow."""


def prepare(config: PrepareConfig) -> Path:
    """Fill the cache and write ``manifest.jsonl`` and a report of what was wrong beside it.

    A scan that cannot be used is named at the end, and the others are prepared all the same. A scan
    that has been prepared in the same way from the same files is taken as it is.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    InputError
        ``nothing-prepared`` where no scan could be prepared; ``scans-skipped`` where some could
        not, after the manifest of the others was written; ``in-use`` where another process
        prepares or trains there.
    ResourceError
        ``disk-full``, at once.
    """
    config, problems = _with_sources(config)
    config.out.mkdir(parents=True, exist_ok=True)
    with claimed(config.out):
        return _prepare(config, problems)


def _prepare(config: PrepareConfig, problems: list[Problem]) -> Path:
    stacks = _list_stacks(config, problems)
    scans, stacks = _without_conflicts(config, stacks, problems)
    seen = Seen()
    entries: list[ManifestEntry] = []
    sources: list[ScanSource | PictureStack] = [*scans, *stacks]
    with closing(prepare_scans(scans, config)) as results:
        for one in counted(sources, "prepare", "scan"):
            if isinstance(one, ScanSource):
                entries += _accepted(one, next(results), config, seen, problems)
            else:
                entries += _prepare_stack(one, config, seen, problems)
    entries += [prepare_phantom(number, config) for number in range(config.phantoms)]
    notes = {entry.id: entry.notes for entry in entries}
    patients = len({entry.patient for entry in entries})
    report = write_report(config.out, len(entries), patients, notes, problems)
    if not entries:
        first = f" First: {problems[0]}" if problems else ""
        raise InputError(
            "nothing-prepared", f"No scan could be prepared.{first}", f"All of it: {report}."
        )
    manifest = config.out / "manifest.jsonl"
    lines = [json.dumps(to_plain(entry), sort_keys=True) for entry in entries]
    write_text_atomic(manifest, "\n".join(lines) + "\n", overwrite=True)
    log.info("prepared %d scans or cases of %d patients: %s", len(entries), patients, report)
    left_out = len({problem.id for problem in problems if problem.effect == LEFT_OUT})
    if left_out:
        raise InputError(
            "scans-skipped",
            f"{left_out} scans or cases were left out of {manifest}, in whole or in part; "
            f"{len(entries)} are in it.",
            f"They are named above and in {report.name}; mend or remove them.",
        )
    return manifest


def _with_sources(config: PrepareConfig) -> tuple[PrepareConfig, list[Problem]]:
    """Look for scans where none are listed."""
    if config.set:
        found = find_set(config.set, config.data, config.labels)
    elif config.scans or config.pictures or config.phantoms:
        return config, []
    else:
        found = find_sources(config.data)
    log.info("%s: %s", config.data, found.layout)
    scans = tuple(_absolute(scan) for scan in found.scans)
    config = replace(config, set="", labels=(), scans=scans, pictures=found.pictures)
    return config, list(found.problems)


def _absolute(scan: ScanSource) -> ScanSource:
    """Name the files of a scan so that the folder of data does not come before them again."""
    label = scan.label
    if label is not None:
        masks = {
            name: tuple(path.resolve() for path in paths) for name, paths in label.masks.items()
        }
        path = None if label.path is None else label.path.resolve()
        label = replace(label, path=path, masks=masks)
    return replace(scan, image=scan.image.resolve(), label=label)


def _list_stacks(config: PrepareConfig, problems: list[Problem]) -> list[PictureStack]:
    stacks: list[PictureStack] = []
    for source in config.pictures:
        crops = source.images.suffix == ".npz"
        try:
            pictures = unpacked(source, config.data, config.out) if crops else source
            found, wrong = stacks_of(pictures, config.data)
        except READING as error:
            found, wrong = [], [problem_of(error, source.id, config.data / source.images)]
        stacks += found
        problems += wrong
    return stacks


def _without_conflicts(
    config: PrepareConfig, stacks: list[PictureStack], problems: list[Problem]
) -> tuple[list[ScanSource], list[PictureStack]]:
    """Leave out patients in two parts of a split, unfit ids, and all but the first of one id."""
    items = [
        *(
            (scan.id, scan.patient, (scan.split,), config.data / scan.image)
            for scan in config.scans
        ),
        *((stack.id, stack.patient, stack.splits, stack.images[0]) for stack in stacks),
    ]
    wrong = split_problems(items)
    refused = {problem.id for problem in wrong}
    taken: set[str] = set()
    fine = []
    for name, _, _, file in items:
        if not _names_a_folder(name):
            error = InputError(
                "bad-id",
                f"The cache cannot have a folder {name!r}.",
                "Give the scan another id, or its files shorter names.",
            )
            wrong.append(problem_of(error, name, file))
            refused.add(name)
        elif name in taken:
            error = InputError(
                "same-id", f"Another scan has the id {name}, too.", "Give each scan its own id."
            )
            wrong.append(problem_of(error, name, file))
        fine.append(name not in taken and name not in refused)
        taken.add(name)
    problems += wrong
    scans = [scan for scan, good in zip(config.scans, fine, strict=False) if good]
    later = fine[len(config.scans) :]
    return scans, [stack for stack, good in zip(stacks, later, strict=True) if good]


def _names_a_folder(name: str) -> bool:
    """Tell whether a scan of this id has a place of its own in the cache, and only there."""
    inside = name not in ("", ".", "..") and Path(name).name == name and "\0" not in name
    return inside and len(os.fsencode(name)) <= LONGEST_NAME


def _accepted(
    scan: ScanSource,
    done: PreparedScan,
    config: PrepareConfig,
    seen: Seen,
    problems: list[Problem],
) -> list[ManifestEntry]:
    """Take over a prepared scan, unless it shows what another one does."""
    if done.problem is not None:
        problems.append(done.problem)
    if done.entry is None:
        return []
    sha256, shape = done.entry.sha256, done.entry.shape
    try:
        seen.add_digest(sha256, shape, scan.id, scan.patient, same_patient=True)
    except InputError as error:
        problems.append(problem_of(error, scan.id, config.data / scan.image))
        shutil.rmtree(config.out / scan.id)
        return []
    return [done.entry]


def _prepare_stack(
    stack: PictureStack, config: PrepareConfig, seen: Seen, problems: list[Problem]
) -> list[ManifestEntry]:
    """Prepare the pictures of a case, as many as can be read."""
    read = read_stack(stack, seen)
    problems += read.problems
    if not read.stack.images:
        return []
    if read.stack.masks and not read.labels.any():
        error = InputError(
            "empty-label", "No picture of it shows any structure.", "Check the masks."
        )
        problems.append(problem_of(error, stack.id, stack.images[0], REMARK))
    try:
        return [store_pictures(read.stack, read.images, read.labels, config.out)]
    except READING as error:
        problems.append(problem_of(error, stack.id, stack.images[0]))
        return []
