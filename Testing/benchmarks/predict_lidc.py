"""Time and peak memory of a prediction, cold and warm, by stage.

    make bench        # or: python Testing/benchmarks/predict_lidc.py [--ct PATH]

Cold: a new process for each run, from the shell to the files. Warm: the same job again and again
in one worker, which keeps the model loaded. Medians of several runs; without the real scan the
synthetic chest is used. Figures depend on the machine and on what else runs on it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
log = logging.getLogger(__name__)


def cold(ct: Path, out: Path) -> tuple[float, dict[str, float]]:
    """Return wall seconds of a fresh command, and its own split."""
    start = time.perf_counter()
    subprocess.run(
        [
            sys.executable, "-m", "isdmae", "predict", str(ct), "-o", str(out / "cold.nii.gz"),
            "--report", str(out / "cold.json"), "--overwrite", "--progress", "none",
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    report = json.loads((out / "cold.json").read_text(encoding="utf-8"))
    return seconds, report["seconds"]


class Warm:
    """A worker process that gets the same job several times."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "isdmae", "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, ct: Path, out: Path) -> tuple[float, dict[str, float]]:
        """Return wall seconds from message to answer, and the worker's own split."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"input": str(ct), "outputs": [str(out / "warm.nrrd")], "overwrite": True}
        start = time.perf_counter()
        self._process.stdin.write(json.dumps({"command": "predict", "id": 1, "job": job}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "error":
                raise RuntimeError(event["message"])
            if event["event"] == "done":
                return time.perf_counter() - start, event["report"]["seconds"]
        raise RuntimeError("the worker ended")

    def close(self) -> None:
        """End the worker by closing its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def main() -> None:
    """Measure and print a table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    data = Path(os.environ.get("ISDMAE_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--ct", type=Path, default=data / "lidc" / "LIDC-IDRI-0001-dicom")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        out, ct = Path(name), options.ct
        if not ct.exists():
            ct = out / "phantom.nrrd"
            subprocess.run([sys.executable, "-m", "isdmae", "phantom", str(ct)], check=True)
        worker = Warm()
        worker.run(ct, out)
        results: dict[str, list[tuple[float, dict[str, float]]]] = {"cold": [], "warm": []}
        for _ in range(options.runs):
            results["cold"].append(cold(ct, out))
            results["warm"].append(worker.run(ct, out))
        worker.close()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    log.info("%s on %s, %d cores", ct.name, platform.machine(), len(os.sched_getaffinity(0)))
    for kind, runs in results.items():
        log.info(
            "%s: %.2f s (median of %d)", kind, statistics.median(r[0] for r in runs), len(runs)
        )
        for stage in runs[0][1]:
            log.info("  %-18s %.2f s", stage, statistics.median(r[1][stage] for r in runs))
    log.info("peak memory of one process: %.2f GB", peak)


if __name__ == "__main__":
    main()
