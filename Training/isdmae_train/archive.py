"""`archive`: a model on every scan of an archive, on one machine or a cluster (Ray, an extra).

Each scan is a task of its own: it is written to its own file and its own line of the results, is
tried again where its worker died, and a second start does only what is missing: what has no result
of this model, or has another image since. Scans and results lie in folders that all machines see.
"""

from __future__ import annotations

import csv
import json
import logging
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from isdmae.atomic import write_text_atomic
from isdmae.bundle import find_bundle
from isdmae.errors import Cancelled, InputError, IsdmaeError
from isdmae.job import PredictJob, Runner

from . import loop
from .claim import claimed
from .config.results import ArchiveConfig
from .distributed import take_processors
from .reporter import current

log = logging.getLogger(__name__)

ROWS, RESULTS = "rows", "results.csv"
SUFFIX = ".seg.nrrd"
COLUMNS = ("scan", "status", "code", "message", "segment", "volume_ml", "mean_hu", "seconds")
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ArchiveScan:
    """One scan of the archive; ``id`` names its files."""

    id: str
    image: Path


def archive(config: ArchiveConfig) -> Path:
    """Segment every scan of a manifest that lacks a result, and write ``results.csv``.

    Returns
    -------
    Path
        The table: one line a segment, or one a scan that failed, with code and message.

    Raises
    ------
    InputError
        ``no-ray`` where Ray is not installed; ``bad-manifest``; ``archive-incomplete`` where some
        scans failed, after the table was written; ``in-use`` where another process works there.
    Cancelled
        Where SIGINT or SIGTERM stopped it; the same command goes on.
    """
    scans = read_archive(config.manifest)
    made_by = how_made(config)
    (config.out / ROWS).mkdir(parents=True, exist_ok=True)
    with claimed(config.out):
        return _archive(scans, config, made_by)


def how_made(config: ArchiveConfig) -> Row:
    """Return what a result says of how it was made: other results are none of this archive."""
    info = find_bundle(config.model).info
    first = find_bundle(info.looks_first).info.weights.sha256 if info.looks_first else ""
    return {
        "model_sha256": info.weights.sha256,
        "model_version": info.version,
        "first_sha256": first,
        "trachea": config.trachea,
    }


def _archive(scans: Sequence[ArchiveScan], config: ArchiveConfig, made_by: Row) -> Path:
    missing = [scan for scan in scans if not is_done(scan, config.out, made_by)]
    log.info("%d scans, %d of them have a result", len(scans), len(scans) - len(missing))
    stop = loop.StopRequest()
    if missing:
        _run(missing, config, stop)
    failed = [scan for scan in scans if not is_done(scan, config.out, made_by)]
    table = write_results(scans, config.out, made_by)
    if stop.asked and failed:
        raise Cancelled(
            "stopped", f"Stopped; {len(failed)} scans are left.", "The same command goes on."
        )
    if failed:
        raise InputError(
            "archive-incomplete",
            f"{len(failed)} of {len(scans)} scans have no result; {table} says why.",
            "Mend or remove them; the same command tries them again.",
        )
    return table


def read_archive(path: Path) -> list[ArchiveScan]:
    """Read a manifest: a line for each scan, its path, or JSON with ``id`` and ``image``.

    Paths are relative to the manifest. Without an id the file's name is it.

    Raises
    ------
    InputError
        ``bad-manifest`` where a line cannot be read, or two scans would have one name.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        scans = [_scan(line, path.parent) for line in lines if line]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "bad-manifest",
            f"{path} cannot be read: {error}.",
            'Write a path a line, or {"id": "...", "image": "..."}.',
        ) from error
    names = [scan.id for scan in scans]
    double = sorted({name for name in names if names.count(name) > 1})
    if double or not scans:
        raise InputError(
            "bad-manifest",
            f"Two scans are called {double[0]}." if double else f"{path} lists no scan.",
            "Give each scan an id of its own.",
        )
    return scans


def _scan(line: str, folder: Path) -> ArchiveScan:
    if line.startswith("{"):
        record = json.loads(line)
        image, name = Path(record["image"]), str(record.get("id", ""))
    else:
        image, name = Path(line), ""
    name = name or re.sub(r"\.(nii\.gz|seg\.nrrd|[A-Za-z]{2,5})$", "", image.name)
    safe = re.sub(r"[^\w.-]+", "_", name).strip(".")[:120]
    if not safe:
        raise ValueError(f"'{line[:40]}' names no scan")
    return ArchiveScan(id=safe, image=(folder / image).resolve())


def is_done(scan: ArchiveScan, out: Path, made_by: Row) -> bool:
    """Whether a scan has a result: a line that says so, and the file.

    A result that was made otherwise (see `how_made`), or of an image that has changed since, is
    none.
    """
    row = _read_row(scan, out)
    if row is None or row["status"] == "failed" or _is_stale(row, scan, made_by):
        return False
    return (out / f"{scan.id}{SUFFIX}").is_file()


def _is_stale(row: Row, scan: ArchiveScan, made_by: Row) -> bool:
    """Whether a result was made otherwise, or of another image; older ones do not know theirs."""
    before = {**made_by, "trachea": False, **row}
    if any(before[name] != value for name, value in made_by.items()):
        return True
    return row.get("image") not in (None, stamp(scan.image))


def stamp(image: Path) -> list[int] | None:
    """Return size in bytes and time of change in ns of a file, or of the folder of a series.

    A folder changes with what is added, removed or renamed in it; None where there is none.
    """
    try:
        status = image.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _read_row(scan: ArchiveScan, out: Path) -> Row | None:
    try:
        row: Row = json.loads((out / ROWS / f"{scan.id}.json").read_text(encoding="utf-8"))
        return row if isinstance(row, dict) and "status" in row else None
    except (OSError, ValueError):
        return None


def _run(scans: Sequence[ArchiveScan], config: ArchiveConfig, stop: loop.StopRequest) -> None:
    """Give the scans to Ray's workers and keep what they answer."""
    try:
        import ray
        from ray.exceptions import RayActorError, RayTaskError
    except ImportError as error:
        raise InputError(
            "no-ray",
            "Ray is not installed.",
            "pip install 'isdmae-train[cluster]'",
        ) from error
    ray.init(address=config.address or None, log_to_driver=False, configure_logging=False)
    try:
        workers = _start_workers(ray, config, len(scans))
        waiting = list(reversed(scans))
        busy: dict[Any, tuple[Any, ArchiveScan]] = {}
        reporter, begun, done = current(), time.monotonic(), 0
        for worker in workers[: len(scans)]:
            _give(worker, waiting.pop(), config, busy)
        while busy:
            finished, _ = ray.wait(list(busy), num_returns=1, timeout=0.5)
            for answer in finished:
                worker, scan = busy.pop(answer)
                try:
                    row = ray.get(answer)
                except RayActorError:
                    row = _failed(scan, "worker-died", "Its worker died at every try.")
                except RayTaskError as error:  # a defect of ours must not stop the archive
                    row = _failed(scan, "internal-error", type(error.cause).__name__)
                _keep(row, scan, config.out)
                done += 1
                left = (time.monotonic() - begun) / done * (len(scans) - done)
                reporter.progress("archive", done, len(scans), left)
                log.info("%d of %d, about %.0f min left", done, len(scans), left / 60)
                if waiting and not stop.asked:
                    _give(worker, waiting.pop(), config, busy)
            if stop.asked:
                break
    finally:
        ray.shutdown()


def _start_workers(ray: Any, config: ArchiveConfig, scans: int) -> list[Any]:
    """Start one worker for each GPU, or for each ``config.cpus`` processors, of all machines."""
    resources = ray.cluster_resources()
    on_gpu = config.device in ("auto", "cuda") and resources.get("GPU", 0) >= 1
    each = {"num_gpus": 1} if on_gpu else {"num_cpus": config.cpus}
    room = int(resources["GPU"] if on_gpu else resources.get("CPU", 1) // config.cpus)
    kind = ray.remote(max_restarts=-1, max_task_retries=config.retries, **each)(ArchiveWorker)
    count = max(1, min(room, scans))
    device = "cuda" if on_gpu else "cpu" if config.device == "auto" else config.device
    log.info("%d workers (%s)", count, device)
    return [kind.remote(config, device, number) for number in range(count)]


def _give(
    worker: Any, scan: ArchiveScan, config: ArchiveConfig, busy: dict[Any, tuple[Any, ArchiveScan]]
) -> None:
    output = config.out.resolve() / f"{scan.id}{SUFFIX}"
    answer = worker.segment.remote(scan.id, str(scan.image), str(output))
    busy[answer] = (worker, scan)


class ArchiveWorker:
    """One process that keeps the model loaded; Ray starts it anew where it dies."""

    def __init__(self, config: ArchiveConfig, device: str, number: int) -> None:
        self._config, self._device = config, device
        take_processors(number, config.cpus)
        self._runner = Runner()

    def segment(self, name: str, image: str, output: str) -> Row:
        """Segment one scan to a file; what it refuses is the answer, not an error."""
        begun, before = time.monotonic(), stamp(Path(image))
        job = PredictJob(
            input=Path(image),
            outputs=(Path(output),),
            model=self._config.model,
            device=self._device,  # type: ignore[arg-type]
            trachea=self._config.trachea,
            overwrite=True,
        )
        scan = ArchiveScan(id=name, image=Path(image))
        try:
            report = self._runner.run(job)
        except IsdmaeError as error:
            return _failed(scan, error.code, str(error))
        return {
            "scan": name,
            "status": report["status"],
            "model_sha256": report["model"]["sha256"],
            "model_version": report["model"]["version"],
            "first_sha256": (report["model"]["first"] or {"sha256": ""})["sha256"],
            "trachea": job.trachea,
            "image": before,
            "seconds": round(time.monotonic() - begun, 2),
            "segments": [
                {key: one[key] for key in ("name", "volume_ml", "mean_hu")}
                for one in report["segments"]
            ],
        }


def _failed(scan: ArchiveScan, code: str, message: str) -> Row:
    return {"scan": scan.id, "status": "failed", "code": code, "message": message}


def _keep(row: Row, scan: ArchiveScan, out: Path) -> None:
    text = json.dumps(row, indent=1) + "\n"
    write_text_atomic(out / ROWS / f"{scan.id}.json", text, overwrite=True)


def write_results(scans: Sequence[ArchiveScan], out: Path, made_by: Row) -> Path:
    """Write ``results.csv`` from the results that there are, in the manifest's order."""
    text = StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for scan in scans:
        row = _read_row(scan, out)
        if row is not None and not _is_stale(row, scan, made_by):
            writer.writerows(_lines(row))
    write_text_atomic(out / RESULTS, text.getvalue(), overwrite=True)
    return out / RESULTS


def _lines(row: Row) -> Iterator[Row]:
    shared = {name: row[name] for name in COLUMNS if name in row}
    for segment in row.get("segments", [{}]):
        measures = {name: segment[name] for name in ("volume_ml", "mean_hu") if name in segment}
        yield {**shared, **measures, "segment": segment.get("name", "")}
