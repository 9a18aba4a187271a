"""Two processes, started by torchrun, on one machine: the run of one process, shared."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from isdmae.io import to_sitk, write_image_atomic, write_labelmap
from isdmae.labels import LUNGS
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae_train import cli
from isdmae_train.checkpoint import list_checkpoints, read_checkpoint

STEPS = 2
SHARED = {
    "data": {"size": 48},
    "loop": {"steps": STEPS, "batch": 4, "workers": 0, "bf16": False, "log_every": 1,
             "warm_up": 1, "device": "cpu"},
}  # fmt: skip
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
PRETRAIN = {**SHARED, "masks": {"patch_size": 8}}


@pytest.fixture(autouse=True)
def in_this_process() -> Iterator[None]:
    """Signals are restored."""
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared cache of two phantoms."""
    data = tmp_path_factory.mktemp("data")
    scans: list[dict[str, Any]] = []
    for seed in (0, 1):
        size = PhantomConfig(shape=(16, 48, 56), spacing_mm=(6.5, 6.5, 18.0), seed=seed)
        phantom = make_phantom(size)
        write_image_atomic(data / f"ct{seed}.nrrd", to_sitk(phantom.ct))
        write_labelmap(data / f"lungs{seed}.nrrd", phantom.lungs, LUNGS)
        label = {"path": f"lungs{seed}.nrrd", "values": {"left lung": [1], "right lung": [2]}}
        scans.append({"id": f"p{seed}", "patient": f"p{seed}", "image": f"ct{seed}.nrrd",
                      "licence": "none", "label": label})  # fmt: skip
    recipe = data / "prepare.yaml"
    recipe.write_text(
        yaml.safe_dump({"data": str(data), "out": str(data / "cache"), "scans": scans})
    )
    assert cli.main(["prepare", "--recipe", str(recipe)]) == 0
    return data / "cache"


def write_recipe(folder: Path, cache: Path, base: dict[str, Any], **loop: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {
        **base,
        "out": str(folder / "run"),
        "data": {**base["data"], "manifest": str(cache / "manifest.jsonl")},
        "loop": {**base["loop"], **loop},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def command(arguments: list[str]) -> list[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    start += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    return [*start, "-m", "isdmae_train", *arguments]


def torchrun(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(arguments), capture_output=True, text=True, env=ENVIRONMENT, timeout=300,
        check=False,
    )  # fmt: skip


def logged(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors, _ = read_checkpoint(list_checkpoints(folder / "run" / "checkpoints")[0])
    return {name: value for name, value in tensors.items() if name.startswith("network/")}


@pytest.mark.parametrize(
    ("name", "base", "accumulate"),
    [("pretrain", PRETRAIN, 1), ("finetune", SHARED, 1), ("finetune", SHARED, 2)],
)
def test_two_processes_do_what_one_does(
    cache: Path, tmp_path: Path, name: str, base: dict[str, Any], accumulate: int
) -> None:
    """Batch norms, means over hidden voxels and the contrast are those of the whole batch."""
    alone = write_recipe(tmp_path / "1", cache, base, accumulate=accumulate)
    assert cli.main([name, "--recipe", str(alone)]) == 0
    both = write_recipe(tmp_path / "2", cache, base, accumulate=accumulate)
    done = torchrun([name, "--recipe", str(both)])
    assert done.returncode == 0, done.stderr[-3000:]
    expected, shared = (logged(tmp_path / folder) for folder in ("1", "2"))
    assert len(expected) == len(shared) == STEPS
    for key in ("loss", "gradient_norm"):
        assert shared[0][key] == pytest.approx(expected[0][key], rel=1e-3), key
    # Adam makes much of the rounding in small gradients, so later steps agree only roughly.
    assert shared[1]["loss"] == pytest.approx(expected[1]["loss"], rel=2e-2)
    one, two = (weights(tmp_path / folder) for folder in ("1", "2"))
    assert set(one) == set(two)
    statistics = [key for key in one if key.endswith("running_mean")]
    assert statistics
    apart = [((one[key] - two[key]).norm() / one[key].norm()).item() for key in statistics]
    assert max(apart) < 0.2, apart


def test_a_batch_that_cannot_be_shared_is_refused(cache: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, cache, SHARED, batch=3)
    done = torchrun(["finetune", "--recipe", str(recipe)])
    assert done.returncode != 0
    assert "cannot be shared evenly among 2 processes" in done.stderr
    recipe = write_recipe(tmp_path, cache, SHARED, batch=4, accumulate=4)
    done = torchrun(["finetune", "--recipe", str(recipe)])
    assert done.returncode != 0
    assert "of 1 cannot be shared evenly among 2 processes" in done.stderr


def test_a_killed_process_ends_the_others_and_the_same_command_goes_on(
    cache: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, cache, SHARED, steps=8, checkpoint_minutes=0.0, batch=2)
    arguments = ["finetune", "--recipe", str(recipe)]
    process = subprocess.Popen(
        command(arguments),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 200
    while not list_checkpoints(checkpoints):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    _, text = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "exitcode" in text
    assert list_checkpoints(checkpoints)[0].name < "step-00000008.safetensors"
    done = torchrun(arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list_checkpoints(checkpoints)[0].name == "step-00000008.safetensors"


def test_torchrun_starts_a_run_again_whose_process_was_killed(cache: Path, tmp_path: Path) -> None:
    """Twice, so that addresses of two starts that have ended are there to be confused with."""
    recipe = write_recipe(tmp_path, cache, SHARED, steps=8, checkpoint_minutes=0.0, batch=2)
    start = command(["finetune", "--recipe", str(recipe)])
    process = subprocess.Popen(
        [*start[:3], "--max-restarts", "2", *start[3:]],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 200
    for victim in (0, 1):
        before = list_checkpoints(checkpoints)[:1]
        while list_checkpoints(checkpoints)[:1] == before or len(children(process.pid)) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(children(process.pid)[victim], signal.SIGKILL)
    _, text = process.communicate(timeout=300)
    assert process.returncode == 0, text[-3000:]
    assert list_checkpoints(checkpoints)[0].name == "step-00000008.safetensors"


def test_a_signal_to_torchrun_stops_all_with_a_checkpoint(cache: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, cache, SHARED, steps=3000, checkpoint_minutes=1000, batch=2)
    process = subprocess.Popen(
        command(["finetune", "--recipe", str(recipe)]),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 200
    while not (log.is_file() and log.read_text(encoding="utf-8")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = children(process.pid)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "Stopped at step" in text
    (saved,) = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert read_checkpoint(saved)[1]["step"] == len(logged(tmp_path))
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_a_loss_that_is_not_finite_ends_all_and_names_the_slices(
    cache: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, cache, SHARED, steps=8, learning_rate=1e30)
    done = torchrun(["finetune", "--recipe", str(recipe)])
    assert done.returncode != 0
    assert re.search(
        r"The loss is (nan|inf) at step \d \(slices p[01]\[\d+\], p[01]\[", done.stderr
    )


def test_a_scan_that_cannot_be_read_ends_all_and_is_named(cache: Path, tmp_path: Path) -> None:
    broken = tmp_path / "cache"
    shutil.copytree(cache, broken)
    path = broken / "p1" / "image.b2nd"
    data = bytearray(path.read_bytes())
    data[len(data) // 4 : len(data) * 3 // 4] = bytes(len(data) * 3 // 4 - len(data) // 4)
    path.write_bytes(data)
    recipe = write_recipe(tmp_path, broken, SHARED, steps=200, workers=1)
    done = torchrun(["finetune", "--recipe", str(recipe)])
    assert done.returncode != 0
    assert "Scan p1: " in done.stderr
    assert "isdmae-train prepare" in done.stderr


def test_every_kind_of_network_and_recipe_is_shared(tmp_path: Path) -> None:
    """Each parameter gets its gradient in every process, and the sum is that of the whole batch."""
    (tmp_path / "apart.py").write_text(APART, encoding="utf-8")
    start = command([])[:-2]
    done = subprocess.run(
        [*start, str(tmp_path / "apart.py")], capture_output=True, text=True, env=ENVIRONMENT,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(found) == {"3d", "tcs-mae", "mit", "noise-no-contrast"}
    for name, (alone, shared) in found.items():
        assert shared == pytest.approx(alone, rel=1e-3), name


APART = """
import json
import torch
from isdmae.networks import unet
from isdmae_train import distributed, loop
from isdmae_train.config.recipes import RECIPES, load_recipe
from isdmae_train.config.runs import LoopConfig, MaskConfig, PretrainConfig
from isdmae_train.pretrain import build_network, draw_masks, draw_noise, loss_terms, total_loss
from dataclasses import replace

SETTINGS = LoopConfig(batch=4, bf16=False, device="cpu")
unet.SIZES["S"] = ((16, 16, 24, 24), (0, 1, 1, 1))
MASKS = MaskConfig(patch_size=8)
RUNS = {
    "3d": PretrainConfig(spatial_dims=3, ssim_window=7, masks=MASKS),
    "tcs-mae": load_recipe(PretrainConfig, RECIPES / "pretrain" / "tcs-mae.yaml"),
    "mit": PretrainConfig(encoder="mit", masks=MASKS),
    "noise-no-contrast": PretrainConfig(contrast_weight=0.0, masks=replace(MASKS, fill="noise")),
}


def norm(run, network, first, count):
    # The norm of the gradient that samples first, first + 1, ... give.
    shape = (4, 1, 16, 32, 32) if run.spatial_dims == 3 else (4, 1, 64, 64)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 1400 - 1000
    image, is_hu = image[first : first + count], torch.ones(count, dtype=torch.bool)
    hidden = draw_masks(image, is_hu, run.masks, 0, first, run.views)
    noise = draw_noise(image, is_hu, run.masks, 0, first)
    loss = total_loss(loss_terms(network(image, is_hu, hidden, noise), hidden, run), run)
    loss.backward()
    gradients = [one.grad for one in network.parameters()]
    assert all(one is not None for one in gradients)
    return torch.stack([one.norm() for one in gradients]).norm().item()


def built(run):
    torch.manual_seed(0)
    return build_network(run)


alone = {name: norm(run, built(run), 0, 4) for name, run in RUNS.items()}
loop.start(SETTINGS)
first, count = distributed.share_of(4)
shared = {
    name: norm(run, distributed.shared(built(run)), first, count) for name, run in RUNS.items()
}
if distributed.rank() == 0:
    print(json.dumps({name: [alone[name], shared[name]] for name in RUNS}))
distributed.leave()
"""


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [int(child) for child in listed]


def test_two_processes_evaluate_what_one_does(cache: Path, tmp_path: Path) -> None:
    manifest = str(cache / "manifest.jsonl")
    one, two = tmp_path / "1", tmp_path / "2"
    options = ["evaluate", "--model", "lungs", "--manifest", manifest, "--device", "cpu"]
    options += ["--worst", "1"]
    assert cli.main([*options, "--out", str(one)]) == 0
    done = torchrun([*options, "--out", str(two)])
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("scores.csv", "patients.csv", "summary.json", "table.md"):
        assert (one / name).read_text() == (two / name).read_text(), name
    pictures = [sorted(path.name for path in (each / "worst").iterdir()) for each in (one, two)]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) == 1
