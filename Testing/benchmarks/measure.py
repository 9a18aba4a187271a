"""Side by side: what is compared runs in turns, so that a busy moment slows all of it."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

Seconds = dict[str, list[float]]


def interleave(works: Mapping[str, Callable[[], object]], *, rounds: int) -> Seconds:
    """Run each work once to warm up, then all of them in turns; wall seconds of each run."""
    seconds: Seconds = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Seconds, slow: str, fast: str) -> float:
    """Return the median over the turns of how many times as long the slow one took."""
    pairs = zip(seconds[slow], seconds[fast], strict=True)
    return statistics.median(one / other for one, other in pairs)


def median(seconds: Seconds, name: str) -> float:
    """Return the median of a work's runs."""
    return statistics.median(seconds[name])


def machine() -> str:
    """Say what it runs on: processor, cores, what its matrix products reach."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
        flags = next((line for line in lines if line.startswith("flags")), "").split()
        known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
        model += f" ({', '.join(known)})"
    return f"{model}, {len(os.sched_getaffinity(0))} cores, PyTorch {torch.__version__}"


def matrix_gflops(dtype: torch.dtype, size: int = 2048) -> float:
    """Return the best of five matrix products, in GFLOP/s."""
    one = torch.randn(size, size).to(dtype)
    best = min(interleave({"product": lambda: one @ one}, rounds=5)["product"])
    return 2 * size**3 / best / 1e9
