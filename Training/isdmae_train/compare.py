"""`compare`: recipes on the same folds, seeds, label shares and steps, and one honest table.

Every part leaves a ``done.json``; stopped at any point and started again, the comparison goes on
with the part, and in it with the step, at which it was.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from isdmae.atomic import write_text_atomic
from isdmae.errors import InputError
from isdmae.inference import Stop
from isdmae.schema import to_plain

from . import loop
from .checkpoint import differences
from .claim import claimed
from .compare_data import file_digest, prepare_once
from .compare_plan import Part, load_comparison, parts_of
from .compare_start import note_weights, refuse_other_weights
from .compare_table import PartResult, write_tables
from .config.compare import CompareConfig, CompareOptions
from .config.results import EvaluateConfig, ExportConfig
from .config.runs import FinetuneConfig, PretrainConfig
from .data import read_manifest
from .evaluate import evaluate
from .export import export
from .finetune import finetune
from .pretrain import pretrain
from .reporter import counted, current, reporting
from .score_table import read_patients

log = logging.getLogger(__name__)

RECORD = "done.json"


def compare(options: CompareOptions) -> Path:
    """Train, export and score every part that is not done, and write the table.

    Returns
    -------
    Path
        The folder with ``comparison.md``, ``comparison.csv`` and ``comparison.json``; they are
        written anew after every part, so that they say what is known so far.

    Raises
    ------
    InputError
        Where recipe, data or split cannot be used; ``other-run`` where a finished part was made
        with another configuration or from other weights; ``cache-differs`` where the cache was
        made from other data; ``in-use`` where another process compares there.
    Cancelled
        Where SIGINT or SIGTERM stopped it; the same command goes on.
    """
    config = load_comparison(options)
    config.out.mkdir(parents=True, exist_ok=True)
    with claimed(config.out):
        return _compare(config)


def _compare(config: CompareConfig) -> Path:
    manifest = prepare_once(config.prepare)
    entries = read_manifest(manifest)
    parts = parts_of(config, entries)
    digest = file_digest(manifest)
    with reporting(current()) as reporter:
        loop.StopRequest()  # from here on a signal is heard between the runs, too
        results: list[PartResult] = []
        for part in counted(parts, "compare", "part"):
            log.info("%s", part.title)
            results.append(_result(part, config, digest, lambda: reporter.control.stopped))
            write_tables(config, results, len(parts))
    log.info("\n%s", (config.out / "comparison.md").read_text(encoding="utf-8"))
    return config.out


def _result(part: Part, config: CompareConfig, digest: str, stop: Stop) -> PartResult:
    """Return what a part scores, from its record or by doing it."""
    folder = part.finetune.out.parent
    facts = {
        **to_plain(part.finetune),
        "pretrain": None if part.pretrain is None else essence(part.pretrain),
        "postprocess": to_plain(config.postprocess),
        "tolerance_mm": config.tolerance_mm,
        "manifest_sha256": digest,
    }
    defaults = {**to_plain(FinetuneConfig()), "pretrain": essence(PretrainConfig())}
    record = _read_record(folder, facts, defaults)
    if record is None:
        record = _do(part, config, facts, stop)
    else:
        refuse_other_weights(folder, part.finetune)
    patients = () if record["diverged"] else read_patients(folder / "evaluation" / "patients.csv")
    return PartResult(
        recipe=part.recipe,
        fold=part.fold.name,
        seed=part.seed,
        share=part.share,
        patients=tuple(patients),
        diverged=record["diverged"],
    )


def essence(run: PretrainConfig) -> dict[str, Any]:
    """Return what a pre-training computes, without where and on what machine it does."""
    plain = to_plain(run)
    plain["out"] = plain["data"]["manifest"] = ""
    for name in ("workers", "log_every", "checkpoint_minutes", "device"):
        del plain["loop"][name]
    return plain  # type: ignore[no-any-return]


def _read_record(
    folder: Path, facts: dict[str, Any], defaults: dict[str, Any]
) -> dict[str, Any] | None:
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        different = differences(record["facts"], facts, defaults)
    except (OSError, ValueError, KeyError, AttributeError):
        log.warning("%s is damaged; the part is done again", path)
        return None
    if different:
        raise InputError(
            "other-run",
            f"{folder} was made with another configuration: {'; '.join(different)}.",
            "Choose another output folder, or remove that one.",
        )
    return record


def _do(part: Part, config: CompareConfig, facts: dict[str, Any], stop: Stop) -> dict[str, Any]:
    """Pre-train unless that is done, fine-tune, export, evaluate; then write the record."""
    folder, begun = part.finetune.out.parent, time.monotonic()
    diverged = ""
    try:
        if part.pretrain is not None:
            _pretrain_once(part.pretrain)
        refuse_other_weights(folder, part.finetune)
        note_weights(folder, part.finetune)
        finetune(part.finetune)
    except loop.DivergedError as error:
        # It would do so again: the table says so, and the other parts go on.
        log.warning("%s: %s", part.title, error)
        diverged = error.message
    else:
        _score(part, config, stop)
    record = {
        "facts": facts,
        "diverged": diverged,
        "seconds": round(time.monotonic() - begun, 1),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(folder / RECORD, json.dumps(record, indent=2) + "\n", overwrite=True)
    return record


def _pretrain_once(run: PretrainConfig) -> None:
    """Pre-train, or take what an earlier part has pre-trained."""
    if _read_record(run.out, essence(run), essence(PretrainConfig())) is None:
        begun = time.monotonic()
        pretrain(run)
        record = {"facts": essence(run), "seconds": round(time.monotonic() - begun, 1)}
        write_text_atomic(run.out / RECORD, json.dumps(record, indent=2) + "\n", overwrite=True)


def _score(part: Part, config: CompareConfig, stop: Stop) -> None:
    folder = part.finetune.out.parent
    card = folder / "card.yaml"
    write_text_atomic(card, yaml.safe_dump(make_card(part, config)), overwrite=True)
    export(ExportConfig(run=part.finetune.out, out=folder / "bundle", card=card))
    device = part.finetune.loop.device
    try:
        evaluate(
            EvaluateConfig(
                model=str(folder / "bundle"),
                manifest=part.finetune.data.manifest,
                patients=part.fold.patients,
                out=folder / "evaluation",
                tolerance_mm=config.tolerance_mm,
                worst=config.worst,
                device=device,
                seed=config.seed,
            ),
            stop=stop,
        )
    except InputError as error:
        if error.code != "images-skipped":
            raise
        log.warning("%s", error)


def make_card(part: Part, config: CompareConfig) -> dict[str, Any]:
    """Return what a part's bundle says of itself: a specimen of a comparison, not for use."""
    licences = sorted({entry.licence for entry in _trained_on(part)})
    return {
        "name": part.recipe,
        "title": part.recipe,
        "description": f"One part of a comparison ({part.title}); not for use.",
        "version": "0",
        "licence": f"as the training data: {', '.join(licences)}",
        "non_commercial": True,
        "training_sets": [],
        "postprocess": to_plain(config.postprocess),
    }


def _trained_on(part: Part) -> Sequence[Any]:
    data = part.finetune.data
    return [entry for entry in read_manifest(data.manifest) if entry.id not in data.hold_out]
