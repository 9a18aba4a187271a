"""From click to segments: what the panel adds to the worker's own time, and what it leaves behind.

    python Testing/benchmarks/panel_click.py [--runs 50] [--ct SCAN]

On the test harness (real MRML, real Qt, the real worker). Printed: the overhead of a warm click
over the worker's own seconds, the longest time that the event loop was held up, the memory of the
Slicer-side process over all runs with its slope, and children and temporary files that are left.
"""

from __future__ import annotations

import argparse
import logging
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


def main() -> None:
    """Click, measure, print."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--ct", type=Path)
    options = parser.parse_args()
    volume = io.read(options.ct).volume if options.ct else make_phantom(PhantomConfig()).ct
    harness.boot()
    measure(volume, options.runs)


def measure(volume: io.Volume, runs: int) -> None:
    """Run ``runs`` warm clicks into one segmentation."""
    import qt
    import slicer

    qt.QSettings().setValue("ISDMAESegmentation/WorkerPython", sys.executable)
    panel = PanelUnderTest(harness)
    from ISDMAESegmentationLib.scene_segmentation import stored_report

    ct = add_ct(volume)
    panel.segment(ct)
    overheads, gaps, memory = [], [], []
    for _ in range(runs):
        begun = time.perf_counter()
        with harness.longest_event_loop_gap_ms() as gap:
            panel.ui.segmentButton.click()
            panel.wait(lambda: not panel.running)
        node = panel.ui.segmentationSelector.currentNode()
        report = stored_report(node)
        overheads.append(time.perf_counter() - begun - sum(report["seconds"].values()))
        gaps.append(gap.ms)
        memory.append(resident_mb())
        harness.spin(0.05)
    pid = panel.panel.logic.client.pid
    panel.panel.logic.stop()
    slope = np.polyfit(np.arange(runs), memory, 1)[0] if runs > 1 else 0.0
    left = list(Path(slicer.app.temporaryPath).glob("isdmae-*"))
    log.info("volume %s, %d warm clicks", " x ".join(map(str, volume.shape[::-1])), runs)
    log.info("overhead over the worker's time: median %.2f s, most %.2f s",
             statistics.median(overheads), max(overheads))  # fmt: skip
    log.info("event loop held up: median %.0f ms, most %.0f ms", statistics.median(gaps), max(gaps))
    log.info("memory %.0f MB, slope %.3f MB a run", memory[-1], slope)
    log.info("worker alive: %s, temporary folders left: %d", is_alive(pid), len(left))
    harness.unload(panel.widget)


if __name__ == "__main__":
    main()
