"""How fast training is, against the plain way of doing the same on the same machine.

    make bench    # or: python Testing/benchmarks/training_speed.py [--part NAME] [--out FOLDER]

Parts: ``steps``, whole steps of pre-training in 2D and 3D in child processes: ours, ours with the
allocator as it is, the authors' (`authors_step`), one and two processes, threads, batches;
``pieces``, SSIM, masks and optimiser by themselves; ``loading``, what an item of a fine-tuning and
a pre-training costs, by stage (needs a cache; default that of ``make lungs``); ``roofline``, the
share of the measured limits that the network reaches in training; ``kinds``, where the time of its
step goes. What is compared runs in turns.
``--device cuda``: whole steps on a GPU.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from authors_step import authors_loss, dense_ssim, loop_bins, loop_patches
from layers import flop_by_direction, timed_kinds
from measure import bars, figure_of, interleave, matrix_gflops, median, ratio, write_page
from monai.losses import SSIMLoss
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from isdmae.compute import MEMORY_FORMAT
from isdmae.masking import equal_bins, intensity_mask, spatial_mask
from isdmae.networks.dual_mae import DualMaskedAutoencoder
from isdmae.preprocess import PreprocessConfig
from isdmae_train import augment, slices
from isdmae_train.cache import CachedArray
from isdmae_train.config.data import AugmentConfig, DataConfig
from isdmae_train.config.runs import PretrainConfig
from isdmae_train.losses import ssim_map
from isdmae_train.memory import keep_freed_memory
from isdmae_train.pretrain import build_network, draw_masks, loss_terms, total_loss

PARTS = ("steps", "pieces", "loading", "roofline", "kinds")
IMAGE = {2: (256, 256), 3: (32, 128, 128)}
BATCH = {2: 16, 3: 2}
SSIM_2D = "SSIM 2D, forward and backward, against the dense window of 15 x 15"
SSIM_3D = "SSIM 3D, forward and backward, against MONAI's, window of 11"
MASKS = "masks of a batch against Python loops"
log = logging.getLogger("training_speed")


def cores() -> int:
    return len(os.sched_getaffinity(0))


# Whole steps


def steps(device: str) -> dict[str, Any]:
    """Run every kind of step in turns, each in a process of its own."""
    kinds: dict[str, list[str]] = {}
    for dims, count in ((2, "3"), (3, "2")):
        here = ["--device", device, "--dims", str(dims), "--steps", count]
        kinds |= {
            f"{dims}D, ours": here,
            f"{dims}D, ours, allocator as it is": [*here, "--plain-memory"],
            f"{dims}D, ours, float32": [*here, "--float32"],
            f"{dims}D, authors'": [*here, "--authors", "--plain-memory"],
        }
    flat = ["--device", device, "--dims", "2", "--steps", "3"]
    kinds |= {f"2D, ours, batch {n}": [*flat, "--batch", str(n)] for n in (4, 32)}
    if device != "cpu":
        kinds |= {f"2D, ours, batch {n}": [*flat, "--batch", str(n)] for n in (64, 128, 256)}
    else:
        kinds |= {
            "2D, ours, 1 thread": [*flat, "--threads", "1"],
            "2D, ours, 2 processes": [*flat, "--threads", "1", "--processes", "2"],
        }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
    for turn in range(2):
        for name, arguments in kinds.items():
            if turn and name == "3D, authors'":
                continue  # most of a minute
            found[name].append(child(arguments))
            log.info("%s: %s", name, found[name][-1])
    table = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in found.items()
    }
    for name, row in table.items():
        base = found[f"{name[:2]}, ours"]
        row["times ours a sample"] = statistics.median(
            one["s a sample"] / other["s a sample"]
            for one, other in zip(found[name], base, strict=False)
        )
    return table


def child(arguments: list[str]) -> dict[str, float]:
    """Time one kind of step in a new process, or two."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    start = [sys.executable]
    if "--processes" in arguments:
        count = arguments[arguments.index("--processes") + 1]
        start += ["-m", "torch.distributed.run", "--nproc-per-node", count]
    command = [*start, __file__, "--child", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def configuration(dims: int) -> PretrainConfig:
    return PretrainConfig(spatial_dims=2 if dims == 2 else 3)


def images(dims: int, batch: int) -> Tensor:
    return torch.randn(batch, 1, *IMAGE[dims]) * 300 - 500


def our_loss(
    network: nn.Module, image: Tensor, config: PretrainConfig, dtype: torch.dtype
) -> Tensor:
    is_hu = torch.ones(len(image), dtype=torch.bool, device=image.device)
    hidden = draw_masks(image, is_hu, config.masks, 0, 0, config.views)
    with torch.autocast(image.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        result = network(image, is_hu, hidden)
    return total_loss(loss_terms(result, hidden, config), config)


def time_steps(options: argparse.Namespace) -> dict[str, float]:
    """Time steps of size S after one to warm up."""
    torch.manual_seed(0)
    torch.set_num_threads(options.threads or cores())
    device = torch.device(options.device)
    if not options.plain_memory:
        keep_freed_memory()
    dims, config = options.dims, configuration(options.dims)
    network: nn.Module = build_network(config).to(device)
    batch = options.batch or BATCH[dims]
    if options.processes > 1:
        torch.distributed.init_process_group("gloo")
        batch //= options.processes
    if not options.authors:
        network = network.to(memory_format=MEMORY_FORMAT[dims])  # type: ignore[call-overload]
    model = DistributedDataParallel(network) if options.processes > 1 else network
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    dtype = torch.float32 if options.float32 else torch.bfloat16
    image = images(dims, batch).to(device)
    wall, cpu = [], []
    for _ in range(options.steps + 1):
        start, used = time.perf_counter(), time.process_time()
        if options.authors:
            assert isinstance(network, DualMaskedAutoencoder)
            loss = authors_loss(network, image, window=15 if dims == 2 else 11)
        else:
            loss = our_loss(model, image, config, dtype)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    seconds = statistics.median(wall[1:])
    return {
        "s a step": seconds,
        "CPU s a step": statistics.median(cpu[1:]) * options.processes,
        "s a sample": seconds / (batch * options.processes),
        "steps a second": 1 / seconds,
        "peak GB": torch.cuda.max_memory_allocated() / 1e9
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


# Pieces


def pieces() -> dict[str, Any]:
    """Measure SSIM forward and backward, masks, and the optimiser, each against the plain way."""
    torch.manual_seed(0)
    torch.set_num_threads(cores())
    flat = [torch.rand(BATCH[2], 3, *IMAGE[2]) for _ in range(2)]
    deep = [torch.rand(1, 1, 96, 96, 96) for _ in range(2)]
    image, chance = images(2, BATCH[2]), torch.Generator().manual_seed(0)
    edges = equal_bins(-1000, 400, 8)

    def descend(similarity: Callable[[Tensor, Tensor], Tensor], pair: list[Tensor]) -> None:
        x = pair[0].clone().requires_grad_()
        (1 - similarity(x, pair[1]).mean()).backward()

    def ours() -> None:
        spatial_mask(len(image), IMAGE[2], patch_size=16, ratio=0.5, generator=chance)
        intensity_mask(image, edges=edges, ratio=0.5, generator=chance)

    def loops() -> None:
        loop_patches(image)
        loop_bins(image)

    criterion = SSIMLoss(spatial_dims=3)
    parameters = sum(p.numel() for p in build_network(configuration(2)).parameters())
    comparisons: dict[str, tuple[Callable[[], object], Callable[[], object], int]] = {
        SSIM_2D: (
            lambda: descend(lambda x, y: ssim_map(x, y, window=15), flat),
            lambda: descend(dense_ssim, flat),
            3,
        ),
        SSIM_3D: (
            lambda: descend(ssim_map, deep),
            lambda: descend(lambda x, y: 1 - criterion(x, y), deep),
            3,
        ),
        MASKS: (ours, loops, 5),
        f"AdamW of {parameters / 1e6:.1f} M weights, fused, against one by one": (
            optimizer_step(fused=True),
            optimizer_step(fused=False),
            15,
        ),
    }
    found = {}
    for name, (new, plain, rounds) in comparisons.items():
        seconds = interleave({"ours": new, "plain": plain}, rounds=rounds)
        found[name] = {
            "ours, ms": 1000 * median(seconds, "ours"),
            "plain, ms": 1000 * median(seconds, "plain"),
            "times": ratio(seconds, "plain", "ours"),
        }
        log.info("%s: %s", name, found[name])
    return found


def optimizer_step(*, fused: bool) -> Callable[[], object]:
    network = build_network(configuration(2))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=fused)
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    return optimizer.step


# Loading

STAGES = (
    "warp",
    "take_contrast_away",
    "add_lesions",
    "add_decoys",
    "add_islands",
    "degrade",
    "add_noise",
    "crop_field_of_view",
    "to_picture",
)


def loading(manifest: Path, count: int = 400) -> dict[str, Any]:
    """Time 2D items, and the stages of each; a stage's share counts how often chance takes it."""
    torch.set_num_threads(1)
    kinds = {
        "fine-tuning": AugmentConfig(lesions=0.4, decoys=0.3, unenhanced=0.5),
        "pre-training": AugmentConfig(lesions=0.0),
        "pre-training, values changed on the device": AugmentConfig(lesions=0.0, on_device=True),
    }
    found = {}
    for name, change in kinds.items():
        data = DataConfig(manifest=manifest, augment=change)
        labels = ("left lung", "right lung") if name == "fine-tuning" else ()
        found[name] = items(loader_dataset(data, labels), count)
        log.info("%s: %s", name, found[name])
    keys = list(dict.fromkeys(key for row in found.values() for key in row))
    return {key: {name: row.get(key) for name, row in found.items()} for key in keys}


def loader_dataset(data: DataConfig, labels: tuple[str, ...]) -> slices.SliceDataset:
    from isdmae_train.augment_batch import loader_config

    return slices.SliceDataset(loader_config(data), PreprocessConfig(), seed=0, labels=labels)


def items(dataset: slices.SliceDataset, count: int) -> dict[str, float]:
    for index in range(20):
        dataset[index]
    start = time.process_time()
    for index in range(count):
        dataset[20 + index]
    whole = time.process_time() - start
    spent: dict[str, float] = defaultdict(float)
    originals = {name: getattr(augment, name) for name in STAGES}
    read = CachedArray.__getitem__

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return work(*arguments, **named)
            finally:
                spent[name] += time.perf_counter() - begin

        return wrapped

    try:
        for name, work in originals.items():
            setattr(augment, name, timed(name, work))
        CachedArray.__getitem__ = timed("read from the cache", read)  # type: ignore[method-assign]
        start_wall = time.perf_counter()
        for index in range(count):
            dataset[20 + index]
        wall = time.perf_counter() - start_wall
    finally:
        for name, work in originals.items():
            setattr(augment, name, work)
        CachedArray.__getitem__ = read  # type: ignore[method-assign]
    stages = {name: 1000 * seconds / count for name, seconds in spent.items()}
    rest = 1000 * (wall - sum(spent.values())) / count
    return {
        "items a second of a core": count / whole,
        "ms an item": 1000 * whole / count,
        **{f"{name}, ms": value for name, value in sorted(stages.items(), key=lambda s: -s[1])},
        "the rest, ms": rest,
    }


# Roofline


def roofline() -> dict[str, Any]:
    """Set the step of training beside what the machine could do with its operations and bytes."""
    from torch.utils.flop_counter import FlopCounterMode

    threads = cores()
    torch.set_num_threads(threads)
    keep_freed_memory()
    products = {"bf16": matrix_gflops(torch.bfloat16), "fp32": matrix_gflops(torch.float32)}
    block = torch.zeros(64 << 20)
    copy = torch.empty_like(block)
    best = min(interleave({"copy": lambda: copy.copy_(block)}, rounds=5)["copy"])
    bandwidth = 2 * block.nbytes / best / 1e9
    config = configuration(2)
    network = build_network(config).to(memory_format=torch.channels_last)
    image = images(2, BATCH[2])
    traffic: list[tuple[float, float]] = []

    def seen(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        moved = 2.0 * (sum(x.numel() for x in inputs) + output.numel())
        operations = 0.0
        if isinstance(module, nn.Conv2d):
            operations = 2.0 * output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.ConvTranspose2d):
            operations = 2.0 * inputs[0].numel() * module.weight[0].numel()
        traffic.append((operations, moved))

    hooks = [
        module.register_forward_hook(seen)
        for module in network.modules()
        if not list(module.children())
    ]
    with FlopCounterMode(display=False) as counter:
        our_loss(network, image, config, torch.bfloat16).backward()
    for hook in hooks:
        hook.remove()

    def step() -> None:
        our_loss(network, image, config, torch.bfloat16).backward()
        network.zero_grad()

    def forward() -> None:
        with torch.no_grad():
            our_loss(network, image, config, torch.bfloat16)

    seconds = interleave({"step": step, "forward": forward}, rounds=4)
    total = counter.get_total_flops()
    # A layer reads and writes its tensors once forward, and twice as much backward.
    bound = 3 * sum(
        max(operations / products["bf16"], moved / bandwidth) / 1e9 for operations, moved in traffic
    )
    measured = median(seconds, "step")
    reached = total / measured / 1e9
    return {
        "threads": threads,
        "matrix product 2048 bf16, GFLOP/s": products["bf16"],
        "matrix product 2048 fp32, GFLOP/s": products["fp32"],
        "memory copy, GB/s": bandwidth,
        "GFLOP a step (16 images, both views, without the optimiser)": total / 1e9,
        "bytes a step, least, GB": 3 * sum(moved for _, moved in traffic) / 1e9,
        "measured, s": measured,
        "of it forward, s": median(seconds, "forward"),
        "reached, GFLOP/s": reached,
        "share of the matrix limit": reached / products["bf16"],
        "step at the matrix limit alone, s": total / products["bf16"] / 1e9,
        "step at the memory limit alone, s": 3 * sum(m for _, m in traffic) / bandwidth / 1e9,
        "roofline (each layer at its slower limit), s": bound,
        "share of the roofline": bound / measured,
    }


def kinds() -> dict[str, Any]:
    """Show where the time of the 2D step goes, by kind of operation; memory kept as in training."""
    torch.set_num_threads(cores())
    keep_freed_memory()
    config, image = configuration(2), images(2, BATCH[2])
    network = build_network(config).to(memory_format=torch.channels_last)

    def step() -> None:
        our_loss(network, image, config, torch.bfloat16).backward()
        network.zero_grad()

    return timed_kinds(step, flop_by_direction(step), matrix_gflops(torch.bfloat16))


# The page

TARGETS = (
    ("2D step, authors' against ours", "steps", ("2D, authors'", "times ours a sample"), ">= 2.5"),
    ("SSIM 2D against the dense window", "pieces", (SSIM_2D, "times"), ">= 5"),
    ("SSIM 3D against MONAI's", "pieces", (SSIM_3D, "times"), ">= 10"),
    ("masks against Python loops", "pieces", (MASKS, "times"), ">= 10"),
    ("share of the matrix limit", "roofline", ("share of the matrix limit",), ">= 0.5"),
)
REMARKS = """
*Share of the matrix limit*: *Kinds*, at the end, shows where a step's time goes. Two fifths of it
are spent in the convolutions, which hold all products; batch norm, activations, the sums of the
shortcuts, copies and the loss only move tensors (at full resolution the 32 views of a batch have
maps of 67 MB, far beyond the caches), and no matrix unit makes them faster. The convolutions by
themselves reach half of the limit forward and a third backward, for the reasons that the layers of
[prediction](prediction-speed.md) show. *Roofline* sets each convolution and batch norm at the
slower of its two limits, the products and the memory: their sum is a quarter of the time.
"""


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw the time a sample of the steps, and what an item of the loader is made of."""
    figure, axes = figure_of(3)
    for axis, dims in zip(axes, ("2D", "3D"), strict=False):
        rows = {n[4:]: r for n, r in results["steps"].items() if n.startswith(dims)}
        values = {name: row["s a sample"] for name, row in rows.items()}
        bars(axis, values, f"Pre-training {dims}", "s a sample")
    stages = {
        name.removesuffix(", ms"): row["fine-tuning"]
        for name, row in results.get("loading", {}).items()
        if name.endswith(", ms") and "fine-tuning" in row
    }
    bars(axes[2], stages, "A 2D item of fine-tuning, one core", "ms")
    figure.savefig(path, dpi=90)


def main() -> None:
    """Measure the parts, each in its own process; write JSON, tables and plot."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="this part alone")
    parser.add_argument("--manifest", type=Path, default=Path("runs/lungs/cache/manifest.jsonl"))
    parser.add_argument("--device", default="cpu", help="cpu, or cuda (whole steps alone)")
    parser.add_argument("--out", type=Path, help="folder for JSON, page and plot")
    hidden = {"help": argparse.SUPPRESS}
    for flag in ("--child", "--authors", "--plain-memory", "--float32"):
        parser.add_argument(flag, action="store_true", **hidden)
    for number, value in (("--dims", 2), ("--steps", 3), ("--batch", 0), ("--threads", 0)):
        parser.add_argument(number, type=int, default=value, **hidden)
    parser.add_argument("--processes", type=int, default=1, **hidden)
    options = parser.parse_args()
    if options.child:
        result = time_steps(options)
        if int(os.environ.get("RANK", "0")) == 0:
            sys.stdout.write(json.dumps(result) + "\n")
        return
    results = {}
    for part in options.part or (PARTS if options.device == "cpu" else ("steps",)):
        if part == "loading" and not options.manifest.exists():
            log.info("No cache %s: the part 'loading' is left out (make lungs).", options.manifest)
            continue
        work = {"loading": loading, "steps": steps}.get(part)
        given = options.manifest if part == "loading" else options.device
        results[part] = work(given) if work else globals()[part]()
    if options.out is not None:
        name = "training-speed" if options.device == "cpu" else f"training-speed-{options.device}"
        write_page(options.out / name, "Speed of training", "make bench", results, TARGETS, REMARKS)
        if "steps" in results:
            plot(results, options.out / f"{name}.png")


if __name__ == "__main__":
    main()
