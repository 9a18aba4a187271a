"""Size and speed of the training cache: compressed (Blosc2) against plain NumPy files.

    isdmae-train prepare --recipe Training/recipes/lungs-prepare.yaml --data FOLDER
    python Testing/benchmarks/cache_read.py runs/lungs/cache/manifest.jsonl [MANIFEST ...]

The arrays of each manifest are written anew in every format to a temporary folder on the same disk.
Then, interleaved and in an order drawn anew in every round, with their labels: random slabs of
three slices, coronal planes, cubes of 32 x 160 x 160, whole training items (drawn, cut, augmented),
and slabs from files that were dropped from memory and opened anew. Medians of the rounds: CPU
milliseconds, which other programs disturb least, and wall milliseconds of what comes from the disk.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from isdmae.preprocess import PreprocessConfig
from isdmae.schema import to_plain
from isdmae_train.cache import open_array
from isdmae_train.config.data import DataConfig
from isdmae_train.cubes import CubeDataset
from isdmae_train.data import Scans, read_manifest
from isdmae_train.slices import SliceDataset

CUBE = (32, 160, 160)
BIT, BYTE = blosc2.Filter.BITSHUFFLE, blosc2.Filter.SHUFFLE
LZ4, ZSTD = blosc2.Codec.LZ4, blosc2.Codec.ZSTD
# Codec, level, filter, slices in a chunk, rows in a block (0: all).
FORMATS: dict[str, tuple[Any, int, Any, int, int] | None] = {
    "npy": None,
    "lz4, slice": (LZ4, 5, BIT, 1, 64),
    "lz4, slice, whole": (LZ4, 5, BIT, 1, 0),
    "lz4, slice, bytes": (LZ4, 5, BYTE, 1, 64),
    "zstd, slice": (ZSTD, 1, BIT, 1, 64),
}


def write(path: Path, array: np.ndarray, form: tuple[Any, int, Any, int, int] | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if form is None:
        np.save(path, array)
        return
    codec, level, shuffle, slices, rows = form
    depth, height, width = array.shape
    blosc2.asarray(
        np.ascontiguousarray(array),
        urlpath=str(path),
        mode="w",
        chunks=(min(slices, depth), height, width),
        blocks=(1, min(rows or height, height), min(rows or width, width)),
        cparams={"codec": codec, "clevel": level, "filters": [shuffle], "nthreads": 1},
    )


def converted(manifest: Path, out: Path, form: tuple[Any, int, Any, int, int] | None) -> Path:
    """Write the arrays of a cache to ``out`` in a format, and a manifest of them."""
    suffix = ".npy" if form is None else ".b2nd"
    lines = []
    for entry in read_manifest(manifest):
        places = {}
        for name in ("image", "label"):
            place = getattr(entry, name)
            if place is not None:
                places[name] = str(Path(place).with_suffix(suffix))
                write(out / places[name], np.asarray(open_array(manifest.parent / place)), form)
        lines.append(json.dumps(to_plain(dataclasses.replace(entry, **places))))
    (out / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out / "manifest.jsonl"


def drop(folder: Path) -> None:
    """Drop the files of ``folder`` from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def coronal(scans: Any, random: np.random.Generator) -> None:
    scan = scans.draw(random)
    _, image, truth = scans.opened(scan)
    row = [int(random.integers(image.shape[1]))]
    np.asarray(np.take(image, row, axis=1)).astype(np.float32)
    if truth is not None:
        np.asarray(np.take(truth, row, axis=1))


def slab(scans: Any, random: np.random.Generator) -> None:
    scan = scans.draw(random)
    _, image, truth = scans.opened(scan)
    k = int(random.integers(max(1, len(image) - 2)))
    image[k : k + 3].astype(np.float32)
    if truth is not None:
        np.array(truth[k])


def cube(scans: Any, random: np.random.Generator) -> None:
    scan = scans.draw(random)
    _, image, truth = scans.opened(scan)
    corner = [
        int(random.integers(max(1, n - c + 1))) for n, c in zip(image.shape, CUBE, strict=True)
    ]
    box = tuple(slice(start, start + c) for start, c in zip(corner, CUBE, strict=True))
    image[box].astype(np.float32)
    if truth is not None:
        np.array(truth[box])


def timed(work: Callable[[int], None], seed: int, times: int) -> tuple[float, float]:
    """Return CPU and wall milliseconds of one piece of ``work``."""
    wall, cpu = time.perf_counter(), time.process_time()
    for number in range(times):
        work(seed * times + number)
    return (
        1000 * (time.process_time() - cpu) / times,
        1000 * (time.perf_counter() - wall) / times,
    )


def works(manifest: Path) -> dict[str, tuple[Callable[[int], None], int]]:
    """Return what is measured of one cache, and how often in a round."""
    entries = read_manifest(manifest)
    labels, data = entries[0].labels, DataConfig(manifest=manifest)
    flat = SliceDataset(data, PreprocessConfig(), seed=0, labels=labels)
    random = np.random.default_rng

    def from_disk(seed: int) -> None:
        slab(Scans(data, PreprocessConfig(), labels), random(seed))

    made: dict[str, tuple[Callable[[int], None], int]] = {
        "slab": (lambda seed: slab(flat.scans, random(seed)), 40),
        "slice item": (lambda seed: [flat[seed], None][1], 20),
        "from disk": (from_disk, 1),
    }
    if max(entry.shape[0] for entry in entries) >= CUBE[0]:
        cubes = PreprocessConfig(roi_size=CUBE, slice_spacing_mm=3.0)
        deep = CubeDataset(data, cubes, seed=0, labels=labels)
        made["coronal"] = (lambda seed: coronal(flat.scans, random(seed)), 10)
        made["cube"] = (lambda seed: cube(flat.scans, random(seed)), 10)
        made["cube item"] = (lambda seed: [deep[seed], None][1], 4)
    return made


def measured(manifest: Path, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each format."""
    with tempfile.TemporaryDirectory(dir=manifest.parent) as temporary:
        folders = {name: Path(temporary) / name.replace(", ", "-") for name in FORMATS}
        rows: dict[str, dict[str, Any]] = {}
        made = {}
        for name, form in FORMATS.items():
            folders[name].mkdir()
            made[name] = works(converted(manifest, folders[name], form))
            size = sum(p.stat().st_size for p in folders[name].rglob("*") if p.suffix != ".jsonl")
            rows[name] = {"format": name, "MB": size / 1e6}
        times: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        order = np.random.default_rng(0)
        for number in range(rounds + 1):  # the first round warms up
            for name in order.permutation(list(FORMATS)):
                for what, (work, count) in made[name].items():
                    if what == "from disk":
                        drop(folders[name])
                    times[name, what].append(timed(work, number, count))
        for name, row in rows.items():
            for what in made[name]:
                cpu, wall = zip(*times[name, what][1:], strict=True)
                if what == "from disk":
                    row["all opened and a slab from disk, wall ms"] = statistics.median(wall)
                else:
                    row[f"{what}, CPU ms"] = statistics.median(cpu)
    return list(rows.values())


def imported() -> float:
    """Return the seconds that a process needs to import Blosc2 beyond NumPy."""
    code = (
        "import numpy, time; t = time.perf_counter(); import blosc2; print(time.perf_counter() - t)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in "123"
    ]
    return statistics.median(float(run.stdout) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = {"import of blosc2, s": imported()}
    print(f"import of blosc2: {result['import of blosc2, s']:.2f} s")
    for manifest in options.manifests:
        rows = measured(manifest, options.rounds)
        columns = list(rows[0])
        print(f"\n{manifest.parent}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for row in rows:
            cells = [v if isinstance(v, str) else f"{v:.3g}" for v in row.values()]
            print(f"| {' | '.join(cells)} |")
        result[str(manifest.parent)] = rows
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
