"""Side by side: what is compared runs in turns, so that a busy moment slows all of it. Pages."""

from __future__ import annotations

import json
import operator
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

Seconds = dict[str, list[float]]
Target = tuple[str, str, Sequence[str], str]
"""What, the part and the keys under which its result stands, and what it should be: ">= 5"."""


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
    """Return the best of twenty matrix products, in GFLOP/s."""
    one = torch.randn(size, size).to(dtype)
    best = min(interleave({"product": lambda: one @ one}, rounds=20)["product"])
    return 2 * size**3 / best / 1e9


def write_page(
    path: Path,
    title: str,
    command: str,
    results: dict[str, Any],
    targets: Sequence[Target],
    remarks: str,
    how: str = "What is compared ran in turns; medians.",
) -> None:
    """Write ``path`` with .json and .md: targets first, then all that was measured, as tables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), **results}
    path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    lines = [
        f"# {title}",
        "",
        f"`{command}` on {machine()}. {how}",
        "",
        f"![]({path.name}.png)",
        "",
        "| what | measured | target | |",
        "|---|--:|--:|---|",
    ]
    for what, part, keys, wanted in targets:
        value: Any = results.get(part)
        for key in keys:
            value = value.get(key) if value is not None else None
        if value is None:
            continue
        sign, _, bound = wanted.partition(" ")
        met = (operator.ge if sign == ">=" else operator.le)(value, float(bound))
        lines.append(f"| {what} | {number(value)} | {wanted} | {'met' if met else 'not met'} |")
    lines.append(remarks.rstrip())
    for part, found in results.items():
        lines += ["", f"## {part.capitalize()}", "", *_table(found)]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(rows: dict[str, Any]) -> list[str]:
    """Return one line a row; rows that share their keys get a column for each."""
    nested = [row for row in rows.values() if isinstance(row, dict)]
    if len(nested) < len(rows) or not set.intersection(*map(set, nested)):
        flat = _flat(rows)
        return ["| what | value |", "|---|--:|", *(f"| {k} | {v} |" for k, v in flat)]
    columns = list(dict.fromkeys(key for row in nested for key in row))
    return [
        f"| | {' | '.join(map(str, columns))} |",
        f"|---|{'--:|' * len(columns)}",
        *(f"| {k} | {' | '.join(_cell(row.get(c)) for c in columns)} |" for k, row in rows.items()),
    ]


def _flat(content: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in content.items():
        label = f"{before}{name}"
        rows += _flat(value, f"{label}: ") if isinstance(value, dict) else [(label, _cell(value))]
    return rows


def _cell(value: object) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """Return three digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def figure_of(panels: int) -> tuple[Any, Any]:
    """Return an empty figure with panels side by side, drawn without a screen."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    return plt.subplots(1, panels, figsize=(5 * panels, 3.8), layout="constrained")


def bars(axis: Any, values: Mapping[str, float], title: str, unit: str) -> None:
    """Draw a bar for each value, with its number."""
    drawn = axis.barh(list(values), list(values.values()))
    axis.bar_label(drawn, fmt=number, padding=3)
    axis.invert_yaxis()
    axis.set(title=title, xlabel=unit)
    axis.margins(x=0.18)
