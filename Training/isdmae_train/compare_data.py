"""The cache of a comparison: made once, and known to be made from what the recipe says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from pathlib import Path

from isdmae.atomic import write_text_atomic
from isdmae.errors import InputError
from isdmae.schema import from_plain, to_plain

from .claim import claimed
from .config.prepare import PrepareConfig
from .prepare import prepare

log = logging.getLogger(__name__)

RECORD = "prepared.json"


def prepare_once(config: PrepareConfig) -> Path:
    """Return the manifest, made where there is none; what cannot be prepared is named once.

    What it was made from is written beside it. A cache that the command ``prepare`` made has no
    such record and is taken as it is, so that a recipe need not repeat what that one was told.

    Raises
    ------
    InputError
        ``in-use`` where another process is making it; ``cache-differs`` where the cache was made
        from something else; whatever `isdmae_train.prepare.prepare` raises, but for scans that
        cannot be used.
    """
    manifest = config.out / "manifest.jsonl"
    if not manifest.is_file():
        config.out.mkdir(parents=True, exist_ok=True)
        with claimed(config.out):
            if not manifest.is_file():  # another process may have made it meanwhile
                _prepare(config, manifest)
                return manifest
    _refuse_other_data(config, manifest)
    return manifest


def _prepare(config: PrepareConfig, manifest: Path) -> None:
    try:
        prepare(config)
    except InputError as error:
        if error.code != "scans-skipped":
            raise
        log.warning("%s", error)
    facts = {"prepare": to_plain(_essence(config)), "manifest_sha256": file_digest(manifest)}
    record = manifest.with_name(RECORD)
    write_text_atomic(record, json.dumps(facts, indent=2) + "\n", overwrite=True)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a small file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _refuse_other_data(config: PrepareConfig, manifest: Path) -> None:
    before = _made_from(manifest)
    if before is None:
        return
    now = _essence(config)
    names = [field.name for field in dataclasses.fields(PrepareConfig)]
    different = [name for name in names if getattr(before, name) != getattr(now, name)]
    if different:
        raise InputError(
            "cache-differs",
            f"{manifest.parent} was prepared from something else: {', '.join(different)} differ.",
            "Give prepare.out another folder, or remove that one, so that it is made anew; where "
            f"the same scans have only moved, remove {RECORD} from it.",
        )


def _made_from(manifest: Path) -> PrepareConfig | None:
    """Return what the manifest is known to be made from; None where nothing says so."""
    record = manifest.with_name(RECORD)
    try:
        facts = json.loads(record.read_text(encoding="utf-8"))
        if facts["manifest_sha256"] != file_digest(manifest):  # `prepare` has made it since
            return None
        return from_plain(PrepareConfig, facts["prepare"], record.name)
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


def _essence(config: PrepareConfig) -> PrepareConfig:
    """Return what decides the cache, however its folders and the number of processes are given."""
    return dataclasses.replace(config, data=config.data.resolve(), out=Path(), workers=0)
