"""The command line: `isdmae-train train | prepare | sets | pretrain | finetune | ...`.

``train`` does everything from a folder of scans to a model; the others are its single parts. Each
of them takes ``--recipe FILE.yaml`` and any field of its configuration as an option, which
overrides the recipe: ``isdmae-train pretrain --recipe lungs-pretrain.yaml --loop.steps 50``.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from isdmae.errors import EXIT_BAD_INPUT, EXIT_DONE, InputError
from isdmae.progress import log_to_stderr

from .config.compare import CompareOptions
from .config.prepare import PrepareConfig, SetsOptions
from .config.recipes import load_recipe, recipe_path
from .config.results import (
    ArchiveConfig,
    EvaluateConfig,
    ExportConfig,
    ReconstructConfig,
    ReportOptions,
)
from .config.runs import FinetuneConfig, ImportConfig, PretrainConfig, TrainConfig
from .memory import keep_freed_memory


def _train(config: TrainConfig) -> None:
    from .train import train

    train(config)


def _prepare(config: PrepareConfig) -> None:
    from .prepare import prepare

    logging.info("manifest: %s", prepare(config))


def _sets(options: SetsOptions) -> None:
    from .public_sets import described, listed

    sys.stdout.write(described(options.name) if options.name else listed())


def _pretrain(config: PretrainConfig) -> None:
    from .pretrain import pretrain

    logging.info("pre-trained: %s", pretrain(config))


def _finetune(config: FinetuneConfig) -> None:
    from .finetune import finetune

    logging.info("fine-tuned: %s", finetune(config))


def _export(config: ExportConfig) -> None:
    from .export import export

    logging.info("bundle: %s", export(config).folder)


def _evaluate(config: EvaluateConfig) -> None:
    from .evaluate import evaluate

    evaluate(config)


def _archive(config: ArchiveConfig) -> None:
    from .archive import archive

    logging.info("results: %s", archive(config))


def _reconstruct(config: ReconstructConfig) -> None:
    from .reconstruct import reconstruct

    logging.info("drawn: %s", reconstruct(config))


def _report(options: ReportOptions) -> None:
    from .report import write_report

    logging.info("written: %s", write_report(options.run))


def _import(config: ImportConfig) -> None:
    from .foreign import import_encoder

    logging.info("to start from: %s", import_encoder(config))


def _compare(options: CompareOptions) -> None:
    from .compare import compare

    logging.info("compared: %s", compare(options))


COMMANDS: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
    "train": (TrainConfig, _train),
    "prepare": (PrepareConfig, _prepare),
    "sets": (SetsOptions, _sets),
    "pretrain": (PretrainConfig, _pretrain),
    "finetune": (FinetuneConfig, _finetune),
    "export": (ExportConfig, _export),
    "evaluate": (EvaluateConfig, _evaluate),
    "compare": (CompareOptions, _compare),
    "archive": (ArchiveConfig, _archive),
    "reconstruct": (ReconstructConfig, _reconstruct),
    "report": (ReportOptions, _report),
    "import-encoder": (ImportConfig, _import),
}


FIRST_WORD: dict[type[Any], str] = {
    CompareOptions: "--recipe",
    SetsOptions: "--name",
    ReportOptions: "--run",
    ArchiveConfig: "--manifest",
    ImportConfig: "--file",
    ReconstructConfig: "--run",
}
"""The option that a first word without one stands for."""

SHARED = ("pretrain", "finetune", "evaluate")
"""What torchrun may start in several processes; see `isdmae_train.distributed`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 bad input, 3 out of resources)."""
    own_process = arguments is None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    log_to_stderr()
    if not arguments or arguments[0] not in COMMANDS:
        sys.stderr.write(
            f"usage: isdmae-train {{{','.join(COMMANDS)}}} [--recipe FILE] [options]\n"
        )
        return EXIT_DONE if arguments[:1] in (["-h"], ["--help"]) else EXIT_BAD_INPUT
    name, *rest = arguments
    kind, run = COMMANDS[name]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and name not in SHARED:
        logging.error("Only %s can be shared by several processes.", ", ".join(SHARED))
        return EXIT_BAD_INPUT
    if own_process and name in ("train", "pretrain", "finetune", "compare"):
        keep_freed_memory()
    try:
        run(_configure(kind, name, rest))
    except Exception as error:  # noqa: BLE001 - whatever happened is said in words
        from .failures import explained

        known = explained(error)
        logging.error("%s", known)
        return known.exit_code
    _leave_group()
    return EXIT_DONE


def _leave_group() -> None:
    """Take leave of the other processes, where there are any; after an error they may be gone."""
    module = sys.modules.get("isdmae_train.distributed")
    if module is not None:
        module.leave()


def _configure(kind: type[Any], name: str, rest: list[str]) -> Any:
    program = f"isdmae-train {name}"
    if kind in FIRST_WORD and rest and not rest[0].startswith("-"):
        rest = [FIRST_WORD[kind], *rest]
    if kind in (TrainConfig, CompareOptions, SetsOptions) or "--recipe" not in rest:
        return tyro.cli(kind, args=rest, prog=program)
    place = rest.index("--recipe")
    if place + 1 == len(rest):
        raise InputError("bad-usage", "--recipe needs a file.", "Name a YAML recipe.")
    default = load_recipe(kind, recipe_path(rest[place + 1]))
    return tyro.cli(kind, args=rest[:place] + rest[place + 2 :], prog=program, default=default)
