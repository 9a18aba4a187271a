"""Why a network does not reach the speed of a large matrix product: its layers, one by one.

For each kind of layer: what it computes (GFLOP) and moves at least (its tensors, once), how long
that took where it stands in the network, and the least that the machine needs for it:

* *tile*: the products at the measured speed of a large matrix product, where channels are counted
  in the whole tiles of the processor's matrix unit (for bfloat16 32 in, times the kernel's width,
  and 16 out: the 4 channels of the first layer fill three eighths of a tile);
* *memory*: its tensors at the measured speed of copying tensors of that size.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from measure import interleave
from torch import Tensor, nn

from isdmae.networks.blocks import ConvNorm

TILE = (32, 16)
Row = dict[str, Any]


def copy_speed(count: int) -> float:
    """Return how many GB/s of bfloat16 are read and written in copying so many values."""
    block = torch.zeros(count, dtype=torch.bfloat16)
    copy = torch.empty_like(block)
    best = min(interleave({"copy": lambda: copy.copy_(block)}, rounds=30)["copy"])
    return 2 * block.nbytes / best / 1e9


def tile_share(inside: int, outside: int, width: int) -> float:
    """Return which share of whole tiles a convolution of that kernel width fills."""
    share = 1.0
    for channels, whole in zip((inside * width, outside), TILE, strict=True):
        share *= channels / (-(-channels // whole) * whole)
    return share


def row(
    seconds: float, flop: float, numbers: float, tile: float, products: float, copied: float
) -> Row:
    """Return a line of the table; ``numbers`` of bfloat16, ``products`` and ``copied`` in G a s."""
    least = {"tile": flop / tile / products / 1e9, "memory": 2 * numbers / copied / 1e9}
    limit = max(least, key=lambda name: least[name])
    return {
        "ms": 1000 * seconds,
        "GFLOP": flop / 1e9,
        "MB": 2 * numbers / 1e6,
        "GFLOP/s": flop / seconds / 1e9,
        "tile filled": tile,
        "least, ms": 1000 * least[limit],
        "by": limit,
        "share of the least": least[limit] / seconds,
    }


def timed_layers(network: nn.Module, run: Callable[[], object], products: float) -> dict[str, Row]:
    """Time every convolution of a network where it stands; those of one kind are added.

    Parameters
    ----------
    network : nn.Module
        Folded for prediction.
    run : callable
        Calls the network once, on one thread.
    products : float
        The speed of a large matrix product on one thread, in GFLOP/s.
    """
    began: dict[nn.Module, float] = {}
    seconds: dict[nn.Module, list[float]] = defaultdict(list)
    shapes: dict[nn.Module, tuple[Tensor, Tensor, int]] = {}

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        began[module] = time.perf_counter()

    def after(
        module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Any], output: Tensor
    ) -> None:
        seconds[module].append(time.perf_counter() - began[module])
        plus = named.get("plus")
        shapes[module] = inputs[0], output, 0 if plus is None else plus.numel()

    inner = {m.conv for m in network.modules() if isinstance(m, ConvNorm)}
    kinds = (ConvNorm, nn.Conv2d, nn.ConvTranspose2d)
    hooks = [
        hook
        for module in network.modules()
        if isinstance(module, kinds) and module not in inner
        for hook in (
            module.register_forward_pre_hook(before),
            module.register_forward_hook(after, with_kwargs=True),
        )
    ]
    whole = statistics.median(interleave({"network": run}, rounds=25)["network"])
    for hook in hooks:
        hook.remove()
    sums: dict[str, list[float]] = {}
    for module, (image, output, plus) in shapes.items():
        conv = module.conv if isinstance(module, ConvNorm) else module
        inside, outside = image.shape[1], output.shape[1]
        pixels = output[0, 0] if isinstance(conv, nn.Conv2d) else image[0, 0]
        flop = 2.0 * len(image) * pixels.numel() * conv.weight.numel()
        numbers = float(image.numel() + output.numel() + plus + conv.weight.numel())
        side = "x".join(str(length) for length in conv.kernel_size)
        up = "" if isinstance(conv, nn.Conv2d) else ", doubling"
        name = f"{side}{up}, {inside} to {outside} at {output.shape[2]} x {output.shape[3]}"
        found = [statistics.median(seconds[module]), flop, numbers]
        known = sums.setdefault(
            name, [0.0, 0.0, 0.0, tile_share(inside, outside, conv.kernel_size[-1])]
        )
        sums[name] = [*(a + b for a, b in zip(known, found, strict=False)), known[3]]
    table = {
        name: row(spent, flop, numbers, tile, products, copy_speed(int(numbers / 2)))
        for name, (spent, flop, numbers, tile) in sums.items()
    }
    spent = sum(r["ms"] for r in table.values())
    least = sum(r["least, ms"] for r in table.values())
    table["between layers (skips joined, activations)"] = {"ms": 1000 * whole - spent}
    flop = sum(r.get("GFLOP", 0.0) for r in table.values())
    table["the whole network"] = {
        "ms": 1000 * whole,
        "GFLOP": flop,
        "GFLOP/s": flop / whole,
        "least, ms": least,
        "share of the least": least / 1000 / whole,
        "share of the product": flop / whole / products,
        "share of the product at the least": 1000 * flop / least / products,
    }
    return table


KINDS = {
    "convolutions, forward": ("convolution", "mkldnn_convolution", "_convolution"),
    "convolutions, backward": ("convolution_backward",),
    "batch norm, forward": ("native_batch_norm", "cudnn_batch_norm"),
    "batch norm, backward": ("native_batch_norm_backward",),
    "activations, both ways": ("leaky_relu", "leaky_relu_", "leaky_relu_backward"),
    "sums (shortcuts, their gradients)": ("add", "add_"),
    "copies, casts, joins": ("copy_", "cat", "clone", "slice_backward", "zero_", "fill_"),
}


def timed_kinds(
    step: Callable[[], object], flop: dict[str, int], products: float
) -> dict[str, Row]:
    """Return where the time of a step of training goes, by kind of operation.

    Parameters
    ----------
    step : callable
        Forward and backward.
    flop : dict of int
        Operations of the convolutions by direction, as `flop_by_direction` counts them.
    products : float
        The speed of a large matrix product on as many threads, in GFLOP/s.
    """
    from torch.profiler import ProfilerActivity, profile

    step()
    start = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    whole = time.perf_counter() - start
    own: dict[str, float] = defaultdict(float)
    for event in seen.key_averages():
        own[event.key.removeprefix("aten::")] += event.self_cpu_time_total / 1e6
    table: dict[str, Row] = {}
    for kind, names in KINDS.items():
        spent = sum(own.get(name, 0.0) for name in names)
        table[kind] = {"ms": 1000 * spent, "share of the step": spent / whole}
        if kind in flop:
            table[kind] |= {
                "GFLOP": flop[kind] / 1e9,
                "GFLOP/s": flop[kind] / spent / 1e9,
                "share of the product": flop[kind] / spent / 1e9 / products,
            }
    rest = whole - sum(r["ms"] for r in table.values()) / 1000
    table["the rest (loss, channels, masks)"] = {
        "ms": 1000 * rest,
        "share of the step": rest / whole,
    }
    total = sum(flop.values())
    table["the whole step"] = {
        "ms": 1000 * whole,
        "share of the step": 1.0,
        "GFLOP": total / 1e9,
        "GFLOP/s": total / whole / 1e9,
        "share of the product": total / whole / 1e9 / products,
    }
    return table


def flop_by_direction(step: Callable[[], object]) -> dict[str, int]:
    """Count the operations of the convolutions of a step, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    counts = {str(name): n for name, n in counter.get_flop_counts()["Global"].items()}
    return {
        "convolutions, forward": counts.get("aten.convolution", 0),
        "convolutions, backward": counts.get("aten.convolution_backward", 0),
    }
