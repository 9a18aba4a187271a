"""What a comparison trains: its parts, and the configuration of each.

A part is one recipe with one fold held out, one seed and one share of the labels. All parts of a
fold hold out the same patients, all recipes have the same seeds and steps, and a pre-training is
done once for all parts that share it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from isdmae.bundle import find_bundle
from isdmae.errors import InputError
from isdmae.schema import from_plain, to_plain

from .config.compare import CompareBudget, CompareConfig, CompareOptions, CompareRecipe
from .config.recipes import load_recipe, read_yaml, recipe_path
from .config.runs import FinetuneConfig, PretrainConfig
from .data import ManifestEntry, has_truth
from .folds import Fold, make_folds, read_split

log = logging.getLogger(__name__)

T = TypeVar("T", PretrainConfig, FinetuneConfig)

NETWORK_FIELDS = ("spatial_dims", "encoder", "size", "preprocess")
"""What a fine-tuning takes over from its pre-training, where both have it."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One model of the comparison: how it is trained, and on whom it is scored."""

    recipe: str
    fold: Fold
    seed: int
    share: float
    pretrain: PretrainConfig | None
    finetune: FinetuneConfig

    @property
    def title(self) -> str:
        """What to call it in a log."""
        return (
            f"{self.recipe}, fold {self.fold.name}, seed {self.seed}, "
            f"{100 * self.share:g} % of the labels"
        )


def load_comparison(options: CompareOptions) -> CompareConfig:
    """Read a comparison's recipe; each of its budgets has a folder of its own in ``out``.

    Raises
    ------
    InputError
        ``bad-recipe`` or ``bad-schema``, naming the entry.
    """
    path = recipe_path(str(options.recipe))
    plain = read_yaml(path)
    changes: dict[str, Any] = {}
    for name in ("budget", "baseline"):
        if getattr(options, name):
            changes[name] = getattr(options, name)
    if options.data is not None:
        changes["prepare"] = {"data": options.data}
    merged = merged_plain(plain, changes) if isinstance(plain, Mapping) else plain
    config = from_plain(CompareConfig, _with_prepare(merged), options.recipe.name)
    chosen = config.budgets[config.budget].recipes or tuple(config.recipes)
    if len(chosen) > 1 and config.baseline not in chosen:
        log.warning(
            "The budget %s does without the recipe %s, so its table will have no differences to "
            "it; --baseline names another: %s.", config.budget, config.baseline, ", ".join(chosen),
        )  # fmt: skip
    device = {"loop": {"device": options.device}}
    return dataclasses.replace(
        config,
        out=(options.out or config.out) / config.budget,
        split=None if config.split is None else _beside(config.split, path),
        common=merged_plain(config.common, device),
    )


def _with_prepare(plain: Any) -> Any:
    """Lay ``prepare`` over the recipe of `prepare` that it names, where it names one."""
    prepare = plain.get("prepare") if isinstance(plain, Mapping) else None
    if not isinstance(prepare, Mapping) or "recipe" not in prepare:
        return plain
    own = {name: value for name, value in prepare.items() if name != "recipe"}
    return {**plain, "prepare": merged_plain(read_yaml(recipe_path(prepare["recipe"])), own)}


def _beside(path: Path, recipe: Path) -> Path:
    """Return a file that lies beside the recipe, if it is not where its path says."""
    other = recipe.parent / path
    return other if other.is_file() and not path.is_file() else path


def merged_plain(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Lay tables over one another, the later ones on top, down to single entries.

    Examples
    --------
    >>> merged_plain({"loop": {"steps": 1, "batch": 2}}, {"loop": {"steps": 5}})
    {'loop': {'steps': 5, 'batch': 2}}
    """
    result: dict[str, Any] = {}
    for table in tables:
        for name, value in table.items():
            below = result.get(name)
            if isinstance(below, Mapping) and isinstance(value, Mapping):
                result[name] = merged_plain(below, value)
            else:
                result[name] = value
    return result


def parts_of(config: CompareConfig, entries: Sequence[ManifestEntry]) -> list[Part]:
    """List the parts, all recipes of one seed, fold and share together.

    An interrupted comparison so holds as many whole comparisons as there was time for.

    Raises
    ------
    InputError
        Where the patients cannot be split, a recipe does not fit its schema, or ``lung_model`` is
        no model or stands beside a 3D recipe.
    """
    budget = config.budgets[config.budget]
    folds = folds_of(config, budget, entries)
    shared: dict[str, PretrainConfig] = {}
    parts = [
        _part(config, name, fold, seed, share, entries, shared)
        for seed in budget.seeds
        for fold in folds
        for share in budget.shares
        for name in budget.recipes or config.recipes
    ]
    if config.lung_model:
        find_bundle(config.lung_model)
        if any(part.finetune.spatial_dims == 3 for part in parts):
            raise InputError(
                "bad-recipe",
                "lung_model is for 2D networks, and a recipe of this budget has a 3D one.",
                "Leave lung_model out, or compare 2D recipes alone.",
            )
    return parts


def folds_of(
    config: CompareConfig, budget: CompareBudget, entries: Sequence[ManifestEntry]
) -> tuple[Fold, ...]:
    """Split the patients with truth; an image without truth goes with its patient."""
    labelled = [entry for entry in entries if has_truth(entry, config.labels)]
    if not labelled:
        raise InputError(
            "no-training-data",
            f"No scan has the labels {', '.join(config.labels)}.",
            "Check the labels of the comparison and of its data.",
        )
    given = None if config.split is None else read_split(config.split)
    folds = make_folds(labelled, budget.folds, seed=config.seed, given=given)
    return folds[: budget.run_folds or None]


def held_out(fold: Fold, entries: Sequence[ManifestEntry]) -> list[str]:
    """Return the ids of everything that belongs to the patients of ``fold``."""
    return [entry.id for entry in entries if entry.patient in fold.patients]


def _part(
    config: CompareConfig,
    name: str,
    fold: Fold,
    seed: int,
    share: float,
    entries: Sequence[ManifestEntry],
    shared: dict[str, PretrainConfig],
) -> Part:
    hidden = held_out(fold, entries)
    pretrain = _pretrain(config, name, fold, hidden, shared)
    place = f"fold{fold.name}-seed{seed}-labels{100 * share:g}"
    finetune = _finetune(
        config, name, config.out / "parts" / name / place, hidden, seed, share, pretrain
    )
    return Part(
        recipe=name,
        fold=fold,
        seed=seed,
        share=share,
        pretrain=pretrain,
        finetune=_placed(finetune, fold, seed),
    )


def _placed(run: FinetuneConfig, fold: Fold, seed: int) -> FinetuneConfig:
    """Name the fold and the seed in the paths of start and teachers."""

    def placed(path: Path) -> Path:
        return Path(str(path).replace("{fold}", fold.name).replace("{seed}", str(seed)))

    start = None if run.start is None else placed(run.start)
    return dataclasses.replace(run, start=start, teachers=tuple(map(placed, run.teachers)))


def _pretrain(
    config: CompareConfig,
    name: str,
    fold: Fold,
    hidden: list[str],
    shared: dict[str, PretrainConfig],
) -> PretrainConfig | None:
    """Return the recipe's pre-training, that of an earlier recipe where it is the very same."""
    recipe, budget = config.recipes[name], config.budgets[config.budget]
    if not recipe.pretrain:
        return None
    path = recipe_path(recipe.pretrain)
    load_recipe(PretrainConfig, path)  # a slip in the file is reported under its name
    scope = "all" if config.transductive else f"fold{fold.name}"
    run = {
        "out": str(config.out / "pretrain" / f"{name}-{scope}"),
        "data": {
            "manifest": str(config.prepare.out / "manifest.jsonl"),
            "hold_out": [] if config.transductive else hidden,
        },
        "loop": {"steps": budget.pretrain_steps, "seed": config.seed},
    }
    layers = (
        read_yaml(path), config.common, config.pretrain, budget.common, budget.pretrain,
        recipe.pretrain_with, run,
    )  # fmt: skip
    result = _warmed_up(_read(PretrainConfig, f"pre-training of {name}", *layers))
    key = repr({**to_plain(result), "out": ""})
    return shared.setdefault(key, result)


def _finetune(
    config: CompareConfig,
    name: str,
    out: Path,
    hidden: list[str],
    seed: int,
    share: float,
    pretrain: PretrainConfig | None,
) -> FinetuneConfig:
    recipe, budget = config.recipes[name], config.budgets[config.budget]
    data: dict[str, Any] = {
        "manifest": str(config.prepare.out / "manifest.jsonl"),
        "hold_out": hidden,
    }
    if share < 1:
        data["label_share"] = share
        if budget.labels_by_seed:
            data["label_seed"] = seed
    run: dict[str, Any] = {
        "out": str(out / "finetune"),
        "labels": list(config.labels),
        "data": data,
        "loop": {"steps": finetune_steps(recipe, budget), "seed": seed},
    }
    if pretrain is not None:
        run["start"] = str(pretrain.out)
    layers = (
        config.common, config.finetune, budget.common, budget.finetune, _network(pretrain),
        recipe.finetune_with, run,
    )  # fmt: skip
    return _warmed_up(_read(FinetuneConfig, f"fine-tuning of {name}", *layers))


def finetune_steps(recipe: CompareRecipe, budget: CompareBudget) -> int:
    """Return how many steps a recipe's fine-tuning has."""
    return budget.finetune_steps + (budget.pretrain_steps if recipe.all_steps else 0)


def _network(pretrain: PretrainConfig | None) -> dict[str, Any]:
    """Return what decides the network's shape, so that a fine-tuning fits its pre-training."""
    known = {one.name for one in dataclasses.fields(FinetuneConfig)}
    plain = {} if pretrain is None else to_plain(pretrain)
    return {name: plain[name] for name in NETWORK_FIELDS if name in known and name in plain}


def _read(kind: type[T], where: str, *layers: Mapping[str, Any]) -> T:
    return from_plain(kind, merged_plain(*layers), where)


def _warmed_up(run: T) -> T:
    """Shorten the warm-up of a run that has few steps."""
    warm_up = min(run.loop.warm_up, max(1, run.loop.steps // 10))
    return dataclasses.replace(run, loop=dataclasses.replace(run.loop, warm_up=warm_up))
