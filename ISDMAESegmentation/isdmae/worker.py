"""The worker: one JSON object a line in on stdin, one a line out on stdout; a model stays loaded.

In:  ``{"command": "load", "id": 1, "model": "lungs", "device": "auto"}``
     ``{"command": "predict", "id": 2, "job": {... fields of isdmae.job.PredictJob ...}}``
     ``{"command": "cancel", "id": 2}``  ``{"command": "quit"}``
Out: ``hello`` (once, with the process id), ``loaded``, ``progress``, ``done`` (with the report),
     ``error`` (code, message, remedy, exit_code); each with the ``id`` it answers.

It listens on its pipes only. When stdin ends, the run in progress is cancelled and the worker ends.
Everything else that is printed goes to stderr, so that stdout holds nothing but messages.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, TextIO

from . import __version__
from .errors import (
    EXIT_DEFECT,
    EXIT_DONE,
    EXIT_OUT_OF_RESOURCES,
    InputError,
    IsdmaeError,
    says_memory_is_short,
)
from .job import PredictJob, Runner
from .progress import TimeLeft, progress_event
from .schema import from_plain

log = logging.getLogger(__name__)

PROTOCOL = 1
LONGEST_LINE = 1_000_000
SECONDS_TO_END = 5.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """One message from the other side."""

    command: Literal["load", "predict", "cancel", "quit"]
    id: int = 0
    model: str = "lungs"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32"] = "auto"
    job: PredictJob | None = None


def serve() -> int:
    """Run the worker on this process's own stdin and stdout until ``quit`` or the end of stdin."""
    if hasattr(os, "setsid") and os.getpid() != os.getpgrp():
        os.setsid()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii", newline="\n")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return Worker(sys.stdin.buffer, answers).run()


def _load_libraries() -> None:
    """Load what a prediction needs before anything reads stdin.

    On Windows the start of a DLL asks for the state of stdin, and waits as long as a thread reads
    from that pipe (https://github.com/numpy/numpy/issues/24290).
    """
    import numpy as np  # noqa: F401
    import SimpleITK  # noqa: F401
    import torch  # noqa: F401


class Worker:
    """Reads requests in a thread, works on them one by one in the calling thread."""

    def __init__(self, requests: BinaryIO, answers: TextIO) -> None:
        self._requests, self._answers = requests, answers
        self._lock = threading.Lock()
        self._queue: queue.Queue[Request | None] = queue.Queue()
        self._waiting: list[int] = []
        self._cancelled: set[int] = set()
        self._ended = threading.Event()
        self._runner = Runner()

    def run(self) -> int:
        """Answer until the end; returns the exit code."""
        self._say(
            {"event": "hello", "pid": os.getpid(), "isdmae": __version__, "protocol": PROTOCOL}
        )
        if sys.platform == "win32":
            _load_libraries()
        threading.Thread(target=self._listen, daemon=True).start()
        while (request := self._queue.get()) is not None:
            self._answer(request)
        return EXIT_DONE

    def _listen(self) -> None:
        try:
            self._listen_to_requests()
        finally:
            self._ended.set()
            self._queue.put(None)
        # A computation that does not come to its next batch must not outlive its master.
        timer = threading.Timer(SECONDS_TO_END, os._exit, [EXIT_DONE])
        timer.daemon = True
        timer.start()

    def _listen_to_requests(self) -> None:
        while line := self._requests.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                line = self._drain()
            try:
                request = parse_request(line)
            except InputError as error:
                self._say(error_event(id_of(line), error))
                continue
            if request.command == "quit":
                return
            if request.command != "cancel":
                self._waiting.append(request.id)
                self._queue.put(request)
            elif request.id in self._waiting:
                self._cancelled.add(request.id)

    def _drain(self) -> bytes:
        """Read over the rest of a line that is too long; what it holds is not looked at."""
        while (rest := self._requests.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
            pass
        return b"a line that is too long"

    def _answer(self, request: Request) -> None:
        try:
            self._say({"id": request.id, **self._do(request)})
        except IsdmaeError as error:
            self._say(error_event(request.id, error))
        except Exception as error:  # noqa: BLE001 - the worker must answer, whatever happened
            if says_memory_is_short(error):
                self._say(
                    _event(
                        request.id,
                        "out-of-memory",
                        "The memory is not enough.",
                        "Close other programs, or crop the scan.",
                        EXIT_OUT_OF_RESOURCES,
                    )
                )
                return
            traceback.print_exc(file=sys.stderr)
            self._say(
                _event(
                    request.id,
                    "defect",
                    f"{type(error).__name__}: {error}",
                    "Please report this with the log.",
                    EXIT_DEFECT,
                )
            )
        finally:
            self._waiting.remove(request.id)
            self._cancelled.discard(request.id)

    def _do(self, request: Request) -> Mapping[str, Any]:
        if request.command == "load":
            predictor = self._runner.predictor(request.model, request.device, request.precision)
            return {
                "event": "loaded",
                "model": predictor.bundle.info.name,
                "device": str(predictor.device.device),
                "device_reason": predictor.device.reason,
            }
        if request.job is None:
            raise InputError("bad-message", "A predict message needs a job.", "Add the job.")
        left = TimeLeft()

        def show(stage: str, share: float) -> None:
            self._say({"id": request.id, **progress_event(stage, share, left(share))})

        def stop() -> bool:
            return request.id in self._cancelled or self._ended.is_set()

        return {"event": "done", "report": self._runner.run(request.job, progress=show, stop=stop)}

    def _say(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            try:
                self._answers.write(json.dumps(message) + "\n")
                self._answers.flush()
            except (BrokenPipeError, ValueError):
                self._ended.set()


def parse_request(line: bytes) -> Request:
    """Read one line of UTF-8; InputError ``bad-message`` or ``bad-schema`` says what is wrong."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            "bad-message", "A message is not JSON.", "Send one JSON object a line."
        ) from error
    return from_plain(Request, data, "message")


def id_of(line: bytes) -> int:
    """Return the id of a message, whatever else is wrong with it; 0 where it has none."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return 0
    found = data.get("id") if isinstance(data, dict) else None
    return found if type(found) is int else 0


def error_event(request_id: int, error: IsdmaeError) -> dict[str, Any]:
    """Return the message for a failure that we foresaw."""
    return _event(request_id, error.code, error.message, error.remedy, error.exit_code)


def _event(request_id: int, code: str, message: str, remedy: str, exit_code: int) -> dict[str, Any]:
    return {
        "event": "error",
        "id": request_id,
        "code": code,
        "message": message,
        "remedy": remedy,
        "exit_code": exit_code,
    }
