"""One part of a comparison: a recipe with one fold held out, one seed and one share of the labels.

It is trained, exported and scored; ``done.json`` in its folder says so and of what.
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
from .compare_plan import Part
from .compare_start import note_weights, refuse_other_weights
from .compare_table import PartResult
from .config.compare import CompareConfig
from .config.results import EvaluateConfig, ExportConfig
from .config.runs import FinetuneConfig, PretrainConfig
from .data import read_manifest
from .evaluate import evaluate
from .export import export
from .finetune import finetune
from .pretrain import pretrain
from .score_table import read_patients

log = logging.getLogger(__name__)

RECORD = "done.json"
SCORING = ("postprocess", "tolerance_mm", "lung_model")
"""Facts of the scores alone: where one differs, a part is scored anew and not trained."""


def do_part(part: Part, config: CompareConfig, manifest_sha256: str, stop: Stop) -> None:
    """Train, export and score a part, unless that is done.

    Raises
    ------
    InputError
        ``other-run`` where it was made with another configuration or from other weights;
        ``in-use`` where another process is at it, or at its pre-training.
    Cancelled
        Where ``stop`` asks for it.
    """
    folder = part.finetune.out.parent
    folder.mkdir(parents=True, exist_ok=True)
    with claimed(folder):
        if _record_of(part, config, manifest_sha256) is None:
            log.info("%s", part.title)
            _do(part, config, manifest_sha256, stop)
        else:
            refuse_other_weights(folder, part.finetune)


def known_result(part: Part, config: CompareConfig, manifest_sha256: str) -> PartResult | None:
    """Return what a part has scored; None where it is not done.

    Raises
    ------
    InputError
        ``other-run`` where it was made with another configuration.
    """
    record = _record_of(part, config, manifest_sha256)
    if record is None:
        return None
    scores = part.finetune.out.parent / "evaluation" / "patients.csv"
    return PartResult(
        recipe=part.recipe,
        fold=part.fold.name,
        seed=part.seed,
        share=part.share,
        patients=() if record["diverged"] else tuple(read_patients(scores)),
        diverged=record["diverged"],
    )


def _record_of(part: Part, config: CompareConfig, manifest_sha256: str) -> dict[str, Any] | None:
    defaults = {
        **to_plain(FinetuneConfig()), "pretrain": essence(PretrainConfig()), "lung_model": "",
    }  # fmt: skip
    return _read_record(part.finetune.out.parent, _facts(part, config, manifest_sha256), defaults)


def _facts(part: Part, config: CompareConfig, manifest_sha256: str) -> dict[str, Any]:
    return {
        **to_plain(part.finetune),
        "pretrain": None if part.pretrain is None else essence(part.pretrain),
        "postprocess": to_plain(config.postprocess),
        "tolerance_mm": config.tolerance_mm,
        "lung_model": config.lung_model,
        "manifest_sha256": manifest_sha256,
    }


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
        before, now, unsaid = map(_training, (record["facts"], facts, defaults))
        different = differences(before, now, unsaid)
        rescored = differences(record["facts"], facts, defaults)
    except (OSError, ValueError, KeyError, AttributeError):
        log.warning("%s is damaged; the part is done again", path)
        return None
    if different:
        raise InputError(
            "other-run",
            f"{folder} was made with another configuration: {'; '.join(different)}.",
            "Choose another output folder, or remove that one.",
        )
    return None if rescored else record


def _training(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in SCORING}


def _do(part: Part, config: CompareConfig, manifest_sha256: str, stop: Stop) -> None:
    """Pre-train unless that is done, fine-tune, export, evaluate; then write the record."""
    folder, begun = part.finetune.out.parent, time.monotonic()
    diverged = ""
    if (folder / RECORD).is_file():
        log.info("%s: what is trained is kept, and scored anew", folder)
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
        "facts": _facts(part, config, manifest_sha256),
        "diverged": diverged,
        "seconds": round(time.monotonic() - begun, 1),
    }
    write_text_atomic(folder / RECORD, json.dumps(record, indent=2) + "\n", overwrite=True)


def _pretrain_once(run: PretrainConfig) -> None:
    """Pre-train, or take what an earlier part has pre-trained."""
    run.out.mkdir(parents=True, exist_ok=True)
    with claimed(run.out):
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
        "lung_model": config.lung_model,
    }


def _trained_on(part: Part) -> Sequence[Any]:
    data = part.finetune.data
    return [entry for entry in read_manifest(data.manifest) if entry.id not in data.hold_out]
