"""From click to segments: what the panel adds to the worker's own time, and what it leaves behind.

    python Testing/benchmarks/panel_click.py [--runs 50] [--ct SCAN] [--out FOLDER]

On the test harness (real MRML, real Qt, the real worker). Measured: the overhead of a warm click
over the worker's own seconds, the longest time that the event loop was held up, the memory of the
Slicer-side process over all runs with its slope, and children and temporary files that are left.
First on a synthetic chest of 96 x 80 x 28 voxels, then on SCAN, or without one on a synthetic chest
of 224 x 192 x 96. With ``--out`` the page panel.md is written, with its numbers and a plot.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing"))

from measure import figure_of, write_page  # noqa: E402

from isdmae import io  # noqa: E402
from isdmae.phantom import PhantomConfig, make_phantom  # noqa: E402
from panel_under_test import PanelUnderTest, add_ct, is_alive  # noqa: E402
from slicer_harness import harness  # noqa: E402

log = logging.getLogger(__name__)

TITLE = "From click to segments in the panel"
HOW = "On the test harness: real MRML, real Qt, the real worker, kept warm."
TARGETS = [
    (f"{scan}: {what}", "clicks", (scan, key), wanted)
    for scan in ("small scan", "large scan")
    for what, key, wanted in (
        ("overhead over the worker's own seconds, s", "overhead at most, s", "<= 1.5"),
        ("event loop held up, ms", "event loop held up at most, ms", "<= 100"),
        ("memory slope, MB a run", "memory slope after a fifth of them, MB a run", "<= 0.05"),
        ("processes left", "processes left", "<= 0"),
        ("temporary folders left", "temporary folders left", "<= 0"),
    )
]
REMARKS = """
The memory is that of the process that would be Slicer; the network computes in another. The
overhead is what passes between the click and the segments beyond the worker's own seconds: the CT
written for it, the labels read and brought into the scene."""


def resident_mb() -> float:
    """Return this process's resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def children() -> list[int]:
    """Return the ids of the living processes that this one has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = (
                stat.read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()[:2]
            )
        except OSError:  # it has ended meanwhile
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.append(int(stat.parent.name))
    return found


def main() -> None:
    """Click, measure, print; write the page."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    small = PhantomConfig(shape=(28, 80, 96), spacing_mm=(3.8, 3.8, 10.0))
    large = io.read(options.ct).volume if options.ct else make_phantom(PhantomConfig()).ct
    harness.boot()
    results: dict[str, Any] = {}
    series = {}
    for name, volume in (("small scan", make_phantom(small).ct), ("large scan", large)):
        facts, series[name] = measure(volume, options.runs)
        results[name] = facts
        for what, value in facts.items():
            log.info("%s: %s: %s", name, what, value)
    if options.out:
        command = f"python Testing/benchmarks/panel_click.py --runs {options.runs}"
        command += " --ct SCAN" if options.ct else ""
        page = options.out / "panel"
        write_page(page, TITLE, command, {"clicks": results}, TARGETS, REMARKS, how=HOW)
        draw(series, page.with_suffix(".png"))


def measure(volume: io.Volume, runs: int) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Run ``runs`` warm clicks into one segmentation; return what they cost, and each run's."""
    import qt
    import slicer

    qt.QSettings().setValue("ISDMAESegmentation/WorkerPython", sys.executable)
    panel = PanelUnderTest(harness)
    from ISDMAESegmentationLib.scene_segmentation import stored_report

    ct = add_ct(volume)
    panel.segment(ct)
    before = children()
    overheads, gaps, memory, worker = [], [], [], []
    for _ in range(runs):
        begun = time.perf_counter()
        with harness.longest_event_loop_gap_ms() as gap:
            panel.ui.segmentButton.click()
            panel.wait(lambda: not panel.running)
        node = panel.ui.segmentationSelector.currentNode()
        report = stored_report(node)
        worker.append(sum(report["seconds"].values()))
        overheads.append(time.perf_counter() - begun - worker[-1])
        gaps.append(gap.ms)
        memory.append(resident_mb())
        harness.spin(0.05)
    more = [one for one in children() if one not in before]
    pid = panel.panel.logic.client.pid
    harness.unload(panel.widget)
    left = list(Path(slicer.app.temporaryPath).glob("isdmae-*"))
    later = memory[len(memory) // 5 :]  # allocators settle in the first runs
    facts = {
        "voxels": " x ".join(map(str, volume.shape[::-1])),
        "warm clicks": runs,
        "worker, s": statistics.median(worker),
        "overhead, s": statistics.median(overheads),
        "overhead at most, s": max(overheads),
        "event loop held up, ms": statistics.median(gaps),
        "event loop held up at most, ms": max(gaps),
        "memory after the first run, MB": memory[0],
        "memory after the last run, MB": memory[-1],
        "memory slope of all runs, MB a run": slope(memory),
        "memory slope after a fifth of them, MB a run": slope(later),
        "processes started during the runs": len(more),
        "processes left": len(children()) + is_alive(pid),
        "temporary folders left": len(left),
    }
    return facts, {"overhead, s": overheads, "memory, MB": memory}


def draw(series: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Draw overhead and memory of each run."""
    figure, axes = figure_of(2)
    for name, values in series.items():
        for axis, (what, numbers) in zip(axes, values.items(), strict=True):
            axis.plot(range(1, len(numbers) + 1), numbers, label=name)
            axis.set(title=what, xlabel="run")
            axis.legend()
    for axis in axes:
        axis.set_ylim(bottom=0)
    figure.savefig(path, dpi=80)


def slope(values: list[float]) -> float:
    """Return the growth a run of a straight line through ``values``."""
    return float(np.polyfit(np.arange(len(values)), values, 1)[0]) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
