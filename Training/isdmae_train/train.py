"""`train`: everything from a folder of scans to a model, in one command that can be repeated.

It prepares the folder once, trains, and after fine-tuning exports the model. Stopped at any point
and started again it goes on where it was; what is finished is not done again.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from isdmae.atomic import write_text_atomic
from isdmae.bundle import INFO_NAME, BundleInfo, find_bundle
from isdmae.errors import InputError
from isdmae.networks.unet import SIZES, UNetConfig
from isdmae.preprocess import PreprocessConfig
from isdmae.schema import from_plain, to_plain

from .checkpoint import trained_network
from .claim import claimed
from .config.prepare import PrepareConfig
from .config.recipes import load_recipe, recipe_path
from .config.results import ExportConfig
from .config.runs import FinetuneConfig, LoopConfig, PretrainConfig, TrainConfig
from .data import ManifestEntry, read_manifest
from .export import export
from .failures import explained
from .finetune import finetune
from .prepare import prepare
from .pretrain import pretrain
from .reporter import Reporter, current, reporting, take_pipes

log = logging.getLogger(__name__)

RunConfig: TypeAlias = PretrainConfig | FinetuneConfig

MADE_FROM = "made_from.json"
NETWORK_FIELDS = ("spatial_dims", "size", "encoder", "preprocess")
"""Fields that a network which goes on learning has to keep."""
LICENCE = "for you to set"


def train(config: TrainConfig) -> Path:
    """Prepare, train, and after fine-tuning export; returns the folder of the run or the model.

    Raises
    ------
    IsdmaeError
        Of any part; a program that listens has been told by then.
    """
    reporter = take_pipes() if config.progress == "json" else Reporter()
    with reporting(reporter):
        try:
            result, facts = _train(config)
        except Exception as error:
            known = explained(error)
            reporter.error(known.code, known.message, known.remedy)
            if known is error:
                raise
            raise known from error
        reporter.done(facts)
    return result


def _train(config: TrainConfig) -> tuple[Path, dict[str, Any]]:
    config.out.mkdir(parents=True, exist_ok=True)
    with claimed(config.out):
        return _in_own_folder(config)


def _in_own_folder(config: TrainConfig) -> tuple[Path, dict[str, Any]]:
    run = recipe(config)
    manifest = prepare_once(config, run.preprocess)
    run = replace(run, data=replace(run.data, manifest=manifest))
    facts: dict[str, Any] = {"run": str(config.out.resolve()), "model": None}
    if isinstance(run, PretrainConfig):
        return pretrain(run), facts
    entries = read_manifest(manifest)
    if config.labels or not config.recipe:
        run = replace(run, labels=config.labels or shared_labels(entries))
    finetune(run)
    folder, name = _export(config, run, entries)
    return folder, facts | {"model": str(folder.resolve()), "name": name}


def recipe(config: TrainConfig) -> RunConfig:
    """Return the configuration of the run, without its data."""
    kind = PretrainConfig if config.task == "pretrain" else FinetuneConfig
    run: RunConfig = load_recipe(kind, recipe_path(config.recipe)) if config.recipe else kind()
    loop = _loop(run.loop, config)
    if isinstance(run, FinetuneConfig):
        coarse = run.coarse_steps * loop.steps // run.loop.steps  # the same share of a short run
        run = replace(run, out=config.out, loop=loop, coarse_steps=coarse)
    else:
        run = replace(run, out=config.out, loop=loop)
    if isinstance(run, PretrainConfig):
        given = {
            name: getattr(config, name)
            for name in ("patch_size", "spatial_ratio", "bins", "intensity_ratio")
            if getattr(config, name) is not None
        }
        return replace(run, masks=replace(run.masks, **given))
    if config.start is not None:
        return replace(run, start=config.start, **network_of(config.start))
    return run if config.recipe and run.start and run.start.is_dir() else replace(run, start=None)


def _loop(loop: LoopConfig, config: TrainConfig) -> LoopConfig:
    """Take over steps and device; a short run warms up shortly and is recorded often."""
    if config.steps:
        loop = replace(
            loop, steps=config.steps, warm_up=min(loop.warm_up, max(1, config.steps // 10))
        )
    often = max(1, min(loop.log_every, loop.steps // 50))
    return replace(loop, device=config.device, log_every=often)


def network_of(start: Path) -> dict[str, Any]:
    """Return the fields of a `FinetuneConfig` that ``start``, a run or a model, decides."""
    known = {field.name for field in dataclasses.fields(FinetuneConfig)} & set(NETWORK_FIELDS)
    if (start / INFO_NAME).is_file():
        info = find_bundle(start).info
        return {
            "spatial_dims": info.network.spatial_dims,
            "encoder": info.network.encoder,
            "size": size_of(info),
            "preprocess": info.preprocess,
        }
    plain = trained_network(start)[1]["config"]
    kept = {name: value for name, value in plain.items() if name in known}
    run = from_plain(FinetuneConfig, kept, f"the configuration of {start.name}")
    return {name: getattr(run, name) for name in kept}


def size_of(info: BundleInfo) -> str:
    """Return the name of the size of a model's network; InputError where it has none."""
    shape = info.network
    for name in SIZES:
        known = UNetConfig.of_size(
            name,
            spatial_dims=shape.spatial_dims,
            in_channels=shape.in_channels,
            encoder=shape.encoder,
        )
        if shape == known:
            return name
    raise InputError(
        "start-differs",
        f"The network of the model '{info.name}' has no size that can be trained.",
        "Start from another model, or from a pre-training run.",
    )


def prepare_once(config: TrainConfig, preprocess: PreprocessConfig) -> Path:
    """Return the manifest of the run's cache, made anew where the folder has changed or a file of
    the cache is gone.

    Scans that cannot be used are named in a notice; the others are trained on.
    """
    cache = config.out / "cache"
    manifest, record = cache / "manifest.jsonl", cache / MADE_FROM
    facts = _facts_of(config, preprocess)
    if record.is_file() and record.read_text("utf-8") == facts and _is_whole(manifest):
        return manifest
    record.unlink(missing_ok=True)
    try:
        prepare(PrepareConfig(data=config.data, set=config.set, out=cache, preprocess=preprocess))
    except InputError as error:
        if error.code != "scans-skipped":
            raise
        current().notice(error.message)
        log.warning("%s", error)
    write_text_atomic(record, facts, overwrite=True)
    return manifest


def _is_whole(manifest: Path) -> bool:
    """Tell whether a manifest and all arrays that it lists are there."""
    if not manifest.is_file():
        return False
    names = [name for one in read_manifest(manifest) for name in (one.image, one.label) if name]
    return all((manifest.parent / name).is_file() for name in names)


def _facts_of(config: TrainConfig, preprocess: PreprocessConfig) -> str:
    """Return what decides the cache as JSON: every file's name, size and time; the pixel size."""
    data, run = config.data, config.out.resolve()
    files = []
    for path in sorted(data.rglob("*")):
        # The run may lie in the folder of scans; scans exported from Slicer lie in the run.
        own = run in path.resolve().parents and data.resolve() not in (run / "data").parents
        if path.is_file() and not (own and run != data.resolve().parent):
            status = path.stat()
            files.append([path.relative_to(data).as_posix(), status.st_size, status.st_mtime_ns])
    facts = {"files": files, "preprocess": to_plain(preprocess), "set": config.set}
    return json.dumps(facts) + "\n"


def shared_labels(entries: Sequence[ManifestEntry]) -> tuple[str, ...]:
    """Return the labels that all labelled scans have, in the order of the first.

    Raises
    ------
    InputError
        ``no-training-data`` where there is none.
    """
    labelled = [entry.labels for entry in entries if entry.labels]
    first = labelled[0] if labelled else ()
    shared = [name for name in first if all(name in names for names in labelled)]
    if not shared:
        names = sorted({name for one in labelled for name in one})
        raise InputError(
            "no-training-data",
            f"No label is in all of the {len(labelled)} labelled scans (found: "
            f"{', '.join(names) or 'none'}).",
            "Name the labels to learn, or give every scan the same ones.",
        )
    return tuple(shared)


def _export(
    config: TrainConfig, run: FinetuneConfig, entries: Sequence[ManifestEntry]
) -> tuple[Path, str]:
    name = config.name or config.out.resolve().name
    folder = config.models_folder / name if config.models_folder else config.out / "model"
    card = config.out / "card.yaml"
    if not card.is_file():
        text = yaml.safe_dump(make_card(name, run, entries), sort_keys=False, allow_unicode=True)
        write_text_atomic(card, text)
    export(ExportConfig(run=config.out, out=folder, card=card))
    return folder, name


def make_card(name: str, run: FinetuneConfig, entries: Sequence[ManifestEntry]) -> dict[str, Any]:
    """Return what is known of a model; the rest is for its owner to write into ``card.yaml``."""
    used = [entry for entry in entries if set(run.labels) <= {*entry.labels, *entry.free_of}]
    sets = [
        {"name": f"the user's own data ({len(used)} scans)", "licence": LICENCE, "citation": ""}
    ]
    licence, non_commercial = LICENCE, False
    if run.start is not None and (run.start / INFO_NAME).is_file():
        info = find_bundle(run.start).info
        sets += [to_plain(one) for one in info.training_sets]
        licence = f"{LICENCE}; it started from '{info.name}' ({info.licence})"
        non_commercial = info.non_commercial
    return {
        "name": name,
        "title": name.replace("-", " ").replace("_", " ").strip().capitalize() or name,
        "description": f"Finds {', '.join(run.labels)}. Trained on the user's own data; its"
        " accuracy has not been measured.",
        "version": "0.1.0",
        "licence": licence,
        "non_commercial": non_commercial,
        "training_sets": sets,
        "results": [],
        "command": f"isdmae-train train --task finetune --steps {run.loop.steps}",
    }
