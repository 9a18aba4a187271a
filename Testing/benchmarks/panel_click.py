"""From click to segments: what the panel adds to the worker's own time, and what it leaves behind.

    python Testing/benchmarks/panel_click.py [--runs 50] [--small] [--ct SCAN] [--json FILE]

On the test harness (real MRML, real Qt, the real worker). Printed: the overhead of a warm click
over the worker's own seconds, the longest time that the event loop was held up, the memory of the
Slicer-side process over all runs with its slope, and children and temporary files that are left.
``--small`` takes a phantom of 96 x 80 x 28, with which fifty runs take a minute or two.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing"))

from isdmae import io  # noqa: E402
from isdmae.phantom import PhantomConfig, make_phantom  # noqa: E402
from panel_under_test import PanelUnderTest, add_ct, is_alive  # noqa: E402
from slicer_harness import harness  # noqa: E402

log = logging.getLogger(__name__)


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
    """Click, measure, print."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    small = PhantomConfig(shape=(28, 80, 96), spacing_mm=(3.8, 3.8, 10.0))
    config = small if options.small else PhantomConfig()
    volume = io.read(options.ct).volume if options.ct else make_phantom(config).ct
    harness.boot()
    facts = measure(volume, options.runs)
    for name, value in facts.items():
        log.info("%s: %s", name.replace("_", " "), value)
    if options.json:
        options.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def measure(volume: io.Volume, runs: int) -> dict[str, object]:
    """Run ``runs`` warm clicks into one segmentation, and return what they cost."""
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
    return {
        "voxels": " x ".join(map(str, volume.shape[::-1])),
        "warm_clicks": runs,
        "worker_s_median": round(statistics.median(worker), 2),
        "overhead_s_median": round(statistics.median(overheads), 3),
        "overhead_s_most": round(max(overheads), 3),
        "event_loop_held_up_ms_median": round(statistics.median(gaps), 1),
        "event_loop_held_up_ms_most": round(max(gaps), 1),
        "memory_mb_first_and_last": [round(memory[0], 1), round(memory[-1], 1)],
        "memory_slope_mb_a_run": round(slope(memory), 3),
        "memory_slope_mb_a_run_after_a_fifth": round(slope(later), 3),
        "processes_started_during_the_runs": len(more),
        "processes_left": len(children()) + is_alive(pid),
        "temporary_folders_left": len(left),
    }


def slope(values: list[float]) -> float:
    """Return the growth a run of a straight line through ``values``."""
    return float(np.polyfit(np.arange(len(values)), values, 1)[0]) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
