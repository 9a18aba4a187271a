"""Many CTs, one after the other: of the scene, or of a folder; results.csv at the end."""

from __future__ import annotations

import csv
import io
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .failure import Failure, SegmentationError, refuse
from .models import locate
from .run import Run, RunListener, RunRequest
from .scene_volume import scene_cts
from .worker_client import Listener, WorkerClient

log = logging.getLogger(__name__)

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
PERCENT_OF = {"percent_left_lung": "left lung", "percent_right_lung": "right lung"}
"""Columns of how much of each lung a segment takes, where the model looks within the lungs."""
COLUMNS = (
    "scan", "status", "segment", "volume_ml", "mean_hu", *PERCENT_OF, "seconds", "message"
)  # fmt: skip
# A failure that the next scan would meet as well.
FATAL = (
    "worker-not-started",
    "no-python",
    "worker-silent",
    "worker-differs",
    "no-model",
    "stopped",
    "scene-closed",
)

Heard = Callable[[dict[str, Any]], None]
Failed = Callable[[Failure], None]
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Item:
    """A scan: its name in the table, and how to begin it."""

    name: str
    begin: Callable[[Progress, Heard, Failed], None]


@dataclass
class BatchState:
    """How far it is; ``rows`` are those of results.csv."""

    total: int
    finished: int = 0
    failed: int = 0
    current: str = ""
    share: float = 0.0
    seconds_left: float | None = None
    cancelled: bool = False
    rows: list[tuple[Any, ...]] = field(default_factory=list)


class Batch:
    """Runs the items in turn. One that fails is named in the table, and the others go on.

    Parameters
    ----------
    items : sequence of Item
        At least one.
    results : Path
        The results.csv, written anew after each scan, so a crash loses nothing.
    changed, done : callable
        Told of every change, and once of the end.
    """

    def __init__(
        self,
        client: WorkerClient,
        items: Sequence[Item],
        results: Path,
        changed: Callable[[BatchState], None],
        done: Callable[[BatchState], None],
    ) -> None:
        if not items:
            raise refuse(
                "nothing-to-do", _("There is no CT to segment."), _("Load or choose some.")
            )
        self._client, self._items, self._results = client, list(items), results
        self._changed, self._done = changed, done
        self.state = BatchState(total=len(self._items), rows=finished_rows(results))
        self._begun = time.monotonic()

    def start(self) -> None:
        """Begin with the first scan."""
        self._next()

    def cancel(self) -> None:
        """Stop; what is finished stays."""
        self.state.cancelled = True
        self._client.cancel()

    def abandon(self) -> None:
        """Stop, and tell nobody any more."""
        self._changed = self._done = lambda state: None
        self.cancel()

    def _next(self) -> None:
        state = self.state
        if state.cancelled or state.finished == state.total:
            self._done(state)
            return
        item = self._items[state.finished]
        state.current, self._item_begun = item.name, time.monotonic()
        self._on_progress(0.0)
        try:
            item.begin(self._on_progress, self._on_report, self._on_failed)
        except SegmentationError as error:
            self._on_failed(error.failure)
        except Exception as error:  # the others shall have their turn, whatever it was
            log.exception("a scan of the batch could not be begun")
            self._on_failed(
                Failure("scan-failed", f"{error}.", _("Slicer's log says where it happened."))
            )

    def _on_progress(self, share: float) -> None:
        state = self.state
        state.share = (state.finished + share) / state.total
        spent = time.monotonic() - self._begun
        state.seconds_left = spent * (1 - state.share) / state.share if state.share > 0.02 else None
        self._changed(state)

    def _on_report(self, report: dict[str, Any]) -> None:
        seconds = round(time.monotonic() - self._item_begun, 2)
        message = " ".join(notice["message"] for notice in report["notices"])
        for entry in report["segments"]:
            self.state.rows.append(
                (self.state.current, report["status"], entry["name"], entry["volume_ml"],
                 entry["mean_hu"], *_percent_of(entry), seconds, message)
            )  # fmt: skip
        self._finish_item()

    def _on_failed(self, failure: Failure) -> None:
        state = self.state
        if failure.code == "cancelled":
            state.cancelled = True
        else:
            seconds = round(time.monotonic() - self._item_begun, 2)
            state.rows.append(_failed_row(state.current, failure.code, seconds, str(failure)))
            state.failed += 1
        if failure.code in FATAL:
            state.cancelled = True
        self._finish_item()

    def _finish_item(self) -> None:
        if not self.state.cancelled:
            self.state.finished += 1
        try:
            write_results(self._results, self.state.rows)
        except OSError as error:
            self.state.rows.append(_failed_row("", "not-written", "", str(error)))
            self.state.cancelled = True
        # From the event loop, so that many failures in a row do not pile up on the stack.
        qt.QTimer.singleShot(0, self._next)


def _percent_of(entry: dict[str, Any]) -> list[float | str]:
    return [entry["percent_of"].get(name, "") for name in PERCENT_OF.values()]


def _failed_row(scan: str, status: str, seconds: Any, message: str) -> tuple[Any, ...]:
    """Return a row that says why a scan has no result."""
    known = {"scan": scan, "status": status, "seconds": seconds, "message": message}
    return tuple(known.get(column, "") for column in COLUMNS)


def finished_rows(path: Path) -> list[tuple[Any, ...]]:
    """Return the rows of an earlier, stopped batch whose scans have a result.

    A column that an older version did not write is empty.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                tuple(row.get(column) or "" for column in COLUMNS) for row in csv.DictReader(file)
            ]
    except (OSError, ValueError):
        return []
    return [row for row in rows if row[1] in ("done", "empty")]


def write_results(path: Path, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write the table under a temporary name and rename it: nobody meets half of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text.getvalue(), encoding="utf-8")
    temporary.replace(path)


def scene_items(client: WorkerClient, model: str, device: str, trachea: bool = False) -> list[Item]:
    """Return an item for every CT of the scene; each gets a segmentation of its own."""
    return [
        _scene_item(client, volume.GetID(), volume.GetName(), model, device, trachea)
        for volume in scene_cts()
    ]


def _scene_item(
    client: WorkerClient, node_id: str, name: str, model: str, device: str, trachea: bool
) -> Item:
    def begin(progress: Progress, heard: Heard, failed: Failed) -> None:
        ct = slicer.mrmlScene.GetNodeByID(node_id)
        request = RunRequest(ct, model, device, trachea=trachea)
        listener = RunListener(
            progress=lambda stage, share, left: progress(share),
            done=lambda node, report: heard(report),
            failed=failed,
        )
        Run(client, request, listener)

    return Item(name, begin)


def folder_items(
    client: WorkerClient,
    source: Path,
    target: Path,
    model: str,
    device: str,
    trachea: bool = False,
) -> list[Item]:
    """Return an item for every scan in ``source``; each gets ``<name>.seg.nrrd`` in ``target``.

    A scan is an image file, or a sub-folder (a DICOM series). One whose result exists is left out,
    so a batch that was stopped goes on where it was.
    """
    items = []
    for path in sorted(source.iterdir()):
        scan = path.is_dir() or path.name.lower().endswith(SUFFIXES)
        output = target / f"{_stem(path)}.seg.nrrd"
        if scan and not path.name.startswith(".") and path != target and not output.exists():
            if path.name.lower().endswith(".seg.nrrd"):
                continue
            items.append(_folder_item(client, path, output, model, device, trachea))
    return items


def _stem(path: Path) -> str:
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.is_file() and name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _folder_item(
    client: WorkerClient, path: Path, output: Path, model: str, device: str, trachea: bool
) -> Item:
    job: dict[str, Any] = {
        "input": str(path),
        "outputs": [str(output)],
        "model": locate(model),
        "device": device,
    }
    if trachea:
        job["trachea"] = True

    def begin(progress: Progress, heard: Heard, failed: Failed) -> None:
        listener = Listener(
            progress=lambda stage, share, left: progress(share), done=heard, failed=failed
        )
        client.predict(job, listener)

    return Item(path.name, begin)
