"""Kill predictions, trainings and exports at random moments and look at what is left.

    make faults        # or: python Testing/faults/run.py [--kills 100] [--table FILE]

Each job runs in a process of its own (a fork of one that has PyTorch loaded, so that the moments
fall into the work and not into the imports) and gets SIGKILL after a random part of the time that
it takes undisturbed. After every kill nothing half-written may stand under its final name; the same
job then goes on or begins anew, and its result must be that of the undisturbed one.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from isdmae.bundle import find_bundle, verify, write_bundle
from isdmae.errors import InputError
from isdmae.io import to_sitk, write_image_atomic
from isdmae.job import PredictJob, Runner
from isdmae.networks import unet
from isdmae.networks.segmenter import Segmenter
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae_train import cli
from isdmae_train.checkpoint import list_checkpoints, read_checkpoint, trained_network
from tiny_model import TINY_NETWORK, tiny_info

SEED = 20261125
STEPS = 12
CARD = """\
name: bone
title: Bone
description: For tests.
version: "0"
licence: Apache-2.0
non_commercial: false
training_sets: []
"""
log = logging.getLogger("faults")


@dataclass(frozen=True, kw_only=True)
class Work:
    """A job, what may be left of it at any time, and what it must lead to."""

    name: str
    do: Callable[[], object]
    whole: Callable[[], str]
    """A digest of the finished result; empty where it is not there (yet)."""
    sound: Callable[[], bool]
    """Whether all that stands under a final name is whole."""
    begin_anew: Callable[[], None]


@dataclass
class Count:
    """What became of the kills of one job."""

    killed: int = 0
    finished_first: int = 0
    problems: list[str] = field(default_factory=list)


def in_child(do: Callable[[], object]) -> int:
    """Start ``do`` in a forked process; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.dup2(devnull, 2)
        do()
        code = 0
    finally:
        os._exit(code)


def undisturbed(work: Work) -> float:
    """Let the job come to its end; returns its seconds."""
    start = time.perf_counter()
    _, status = os.waitpid(in_child(work.do), 0)
    if status:
        raise RuntimeError(f"{work.name} fails undisturbed")
    return time.perf_counter() - start


def survive(work: Work, kills: int, chance: random.Random) -> Count:
    """Kill the job so often, each time at another moment."""
    count = Count()
    undisturbed(work)
    expected = work.whole()
    work.begin_anew()
    seconds = undisturbed(work)
    if work.whole() != expected:
        count.problems.append("two undisturbed runs differ")
    work.begin_anew()
    while count.killed < kills:
        child = in_child(work.do)
        time.sleep(seconds * chance.random())
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            count.killed += 1
        else:
            count.finished_first += 1
            if status:
                count.problems.append(f"it did not go on after kill {count.killed}")
        if not work.sound():
            count.problems.append(f"half-written after kill {count.killed}")
        found = work.whole()
        if found and found != expected:
            count.problems.append(f"another result after kill {count.killed}")
        if found:
            work.begin_anew()
    undisturbed(work)
    if work.whole() != expected:
        count.problems.append("another result at the end")
    return count


def orphans(folder: Path) -> list[Path]:
    """Return temporary files of dead processes."""
    return [path for path in folder.rglob(".*.tmp*") if path.is_file()]


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, empty where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def predictions(folder: Path) -> Work:
    """Predict a small scan into a labelmap."""
    torch.manual_seed(0)
    weights = Segmenter(TINY_NETWORK, classes=3).state_dict()
    model = write_bundle(folder / "tiny", tiny_info(), weights).folder
    phantom = make_phantom(PhantomConfig(shape=(20, 48, 56), spacing_mm=(6.4, 6.4, 15.0)))
    scan = folder / "ct.nrrd"
    write_image_atomic(scan, to_sitk(phantom.ct))
    out = folder / "out" / "labels.nrrd"
    out.parent.mkdir()
    runner = Runner()

    def do() -> None:
        torch.set_num_threads(1)
        job = PredictJob(input=scan, outputs=(out,), model=str(model), device="cpu", overwrite=True)
        runner.run(job)

    do()
    reference = digest_of(out)
    out.unlink()
    return Work(
        name="prediction",
        do=do,
        whole=lambda: digest_of(out),
        sound=lambda: digest_of(out) in ("", reference),
        begin_anew=lambda: out.unlink(missing_ok=True),
    )


def trainings(folder: Path) -> Work:
    """Fine-tune a very small network for a few steps, with a checkpoint after each."""
    cache, run = folder / "cache", folder / "run"
    recipe = folder / "prepare.yaml"
    recipe.write_text(
        f"data: {folder}\nout: {cache}\nphantoms: 1\npreprocess: {{in_plane_spacing_mm: 6.0}}\n"
    )
    if cli.main(["prepare", "--recipe", str(recipe)]):
        raise RuntimeError("nothing was prepared")
    unet.SIZES["S"] = ((16, 16, 16), (0, 1, 1))
    command = [
        "finetune", "--out", str(run), "--data.manifest", str(cache / "manifest.jsonl"),
        "--data.size", "32", "--preprocess.in-plane-spacing-mm", "6.0",
        "--loop.steps", str(STEPS), "--loop.batch", "2", "--loop.workers", "0",
        "--loop.warm-up", "2", "--loop.checkpoint-minutes", "0", "--loop.device", "cpu",
    ]  # fmt: skip

    def do() -> None:
        if cli.main(command):
            raise RuntimeError("the training failed")

    def whole() -> str:
        done = list_checkpoints(run / "checkpoints")
        if not done or not done[0].name.endswith(f"{STEPS:08d}.safetensors"):
            return ""
        weights, _ = trained_network(run)
        result = hashlib.sha256()
        for name in sorted(weights):
            result.update(weights[name].numpy().tobytes())
        return result.hexdigest()

    def sound() -> bool:
        try:
            for path in list_checkpoints(run / "checkpoints"):
                read_checkpoint(path)
        except InputError:
            return False
        return True

    def begin_anew() -> None:
        for path in sorted(run.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    return Work(name="training", do=do, whole=whole, sound=sound, begin_anew=begin_anew)


def exports(folder: Path, run: Path) -> Work:
    """Export a run over the model of an earlier export."""
    card, out = folder / "card.yaml", folder / "model"
    card.write_text(CARD)
    command = ["export", "--run", str(run), "--out", str(out), "--card", str(card)]

    def do() -> None:
        if cli.main(command):
            raise RuntimeError("the export failed")

    def sound() -> bool:
        if not (out / "model.json").exists():
            return True  # no model, which everybody sees
        try:
            verify(find_bundle(out))
        except InputError:
            return False
        return True

    return Work(
        name="export",
        do=do,
        whole=lambda: digest_of(out / "model.json") and digest_of(out / "model.safetensors"),
        sound=sound,
        begin_anew=lambda: None,
    )


def main() -> int:
    """Kill, look, print, write; 1 where anything was not as it must be."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100, help="of each kind")
    parser.add_argument("--table", type=Path, help="write the table as a page, too")
    options = parser.parse_args()
    chance = random.Random(SEED)
    rows, bad = [], False
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        works: list[Callable[[], Work]] = [
            lambda: predictions(folder),
            lambda: trainings(folder),
            lambda: exports(folder, folder / "run"),
        ]
        for make in works:
            work = make()
            count = survive(work, options.kills, chance)
            left = len(orphans(folder))
            bad |= bool(count.problems or left)
            rows.append(
                f"| {work.name} | {count.killed} | {count.killed - len(count.problems)} | {left} |"
            )
            log.info("%s %s", rows[-1], "; ".join(count.problems[:5]))
    head = (
        "| job | killed | survived | temporary files left after the next run |\n|---|--:|--:|--:|"
    )
    table = "\n".join([head, *rows])
    facts = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}."
    log.info("%s\n\n%s", table, facts)
    if options.table is not None:
        intro = (
            "# Killed at any moment\n\nCommand: `make faults`. What counts as survived is said in "
            "[run.py](../../../Testing/faults/run.py).\n\n"
        )
        options.table.write_text(f"{intro}{table}\n\n{facts}\n", encoding="utf-8")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
