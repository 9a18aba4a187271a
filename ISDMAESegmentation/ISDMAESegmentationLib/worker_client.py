"""The worker process as Slicer sees it: start, ask, listen, cancel, kill.

One job at a time; nothing is queued. The worker keeps its model loaded between jobs, so it is left
running until `WorkerClient.stop`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _

from .environment_check import explain
from .failure import Failure, SegmentationError, refuse
from .json_lines import JsonLines
from .process_tree import kill_tree
from .worker_command import MODULE_FOLDER, WorkerCommand

PROTOCOL = 1
HELLO_MS = 90_000
CANCEL_MS = 1500
LOG_LINES = 400


@dataclass(frozen=True)
class Listener:
    """Who is told about a job: progress, then exactly one of the other two."""

    progress: Callable[[str, float, float | None], None]
    """Stage, share done in 0..1, seconds left (None as long as unknown)."""
    done: Callable[[dict[str, Any]], None]
    """The worker's report."""
    failed: Callable[[Failure], None]


def _stopped() -> Failure:
    return Failure(
        "stopped", _("The worker process was stopped."), _("Click Segment to start it again.")
    )


class WorkerClient:
    """Talks to one worker.

    Parameters
    ----------
    command : callable
        Returns the Python to use; asked anew at each start.
    state_changed : callable, optional
        Called without arguments whenever `state` says something new.
    """

    def __init__(
        self,
        command: Callable[[], WorkerCommand],
        state_changed: Callable[[], None] | None = None,
    ) -> None:
        self._command = command
        self._state_changed = state_changed or (lambda: None)
        self._process: qt.QProcess | None = None
        self._ended: qt.QProcess | None = None
        self._pid = 0
        self._lines = JsonLines()
        self._errors = ""
        self._job: tuple[int, Listener, str] | None = None
        self._last_id = 0
        self._last_failure = _stopped()
        self._log: list[str] = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._on_timeout)

    @property
    def busy(self) -> bool:
        """Whether a job is going on."""
        return self._job is not None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.state() != qt.QProcess.NotRunning

    @property
    def pid(self) -> int:
        """The worker's own process id, 0 before it has spoken."""
        return self._pid

    @property
    def log(self) -> str:
        """What the worker printed, newest last."""
        return "\n".join(self._log)

    @property
    def state(self) -> str:
        """One sentence for the panel."""
        if not self.running:
            return _("Not running. It starts with the next job.")
        if not self._pid:
            return _("Starting.")
        if self.busy:
            return _("Computing (process {pid}).").format(pid=self._pid)
        return _("Ready, with the model loaded (process {pid}).").format(pid=self._pid)

    def predict(self, job: dict[str, Any], listener: Listener) -> None:
        """Begin one prediction; ``job`` holds the fields of `isdmae.job.PredictJob`.

        Raises
        ------
        SegmentationError
            ``busy`` where a job is going on, ``no-python`` or ``worker-not-started`` where there is
            nothing to start.
        """
        if self.busy:
            raise refuse(
                "busy", _("A segmentation is running already."), _("Wait for it, or cancel it.")
            )
        if not self.running:
            self._start()
            if self._process is None:  # it failed before the event loop had its turn
                raise SegmentationError(self._last_failure)
        self._last_id += 1
        message = {"command": "predict", "id": self._last_id, "job": job}
        self._job = (self._last_id, listener, json.dumps(message) + "\n")
        if self._pid:
            self._send(self._job[2])
        else:
            self._timer.start(HELLO_MS)
        self._state_changed()

    def cancel(self) -> None:
        """End the job within two seconds; its listener hears ``cancelled``."""
        if self._job is None:
            return
        if not self._pid:
            self._kill_and_say_cancelled()
            return
        self._send(json.dumps({"command": "cancel", "id": self._job[0]}) + "\n")
        self._timer.start(CANCEL_MS)

    def stop(self, reason: Failure | None = None) -> None:
        """Kill the worker and all its children; the listener of a job in progress hears why."""
        self._end_process()
        self._finish(lambda listener: listener.failed(reason or _stopped()))

    def _start(self) -> None:
        command = self._command()
        self._pid, self._lines, self._errors = 0, JsonLines(), ""
        process = qt.QProcess()
        process.setProcessEnvironment(command.environment())
        process.setWorkingDirectory(str(MODULE_FOLDER))
        process.connect("readyReadStandardOutput()", self._on_output)
        process.connect("readyReadStandardError()", self._on_error_output)
        process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._on_process_error)
        self._process = process
        self._note(f"starting {command.python} -m isdmae serve")
        process.start(command.python, ["-u", "-m", "isdmae", "serve"])

    def _send(self, line: str) -> None:
        if self._process is not None:
            self._process.write(line)

    def _on_output(self) -> None:
        if self._process is None:
            return
        for message in self._lines.feed(self._process.readAllStandardOutput().data()):
            self._on_message(message)
        for stray in self._lines.strays:
            self._note(stray)
        self._lines.strays.clear()

    def _on_message(self, message: dict[str, Any]) -> None:
        event = message.get("event")
        if event == "hello":
            self._on_hello(message)
        elif self._job is None or message.get("id") not in (0, self._job[0]):
            return  # 0 is a message that the worker could not read: no other than the job's
        elif event == "progress":
            self._job[1].progress(message["stage"], message["share"], message["seconds_left"])
        elif event == "done":
            self._finish(lambda listener: listener.done(message["report"]))
        elif event == "error":
            failure = Failure(message["code"], message["message"], message["remedy"])
            self._finish(lambda listener: listener.failed(failure))

    def _on_hello(self, message: dict[str, Any]) -> None:
        if message.get("protocol") != PROTOCOL:
            found = message.get("isdmae", "?")
            self._fail(
                "worker-differs",
                _("The worker's isdmae {found} speaks another protocol.").format(found=found),
                _("Install the extension again, or choose another Python under Advanced."),
            )
            self._end_process()
            return
        self._pid = int(message["pid"])
        self._timer.stop()
        self._note(f"isdmae {message['isdmae']} is ready, process {self._pid}")
        if self._job is not None:
            self._send(self._job[2])
        self._state_changed()

    def _on_error_output(self) -> None:
        if self._process is None:
            return
        text = self._process.readAllStandardError().data().decode("utf-8", errors="replace")
        self._errors = (self._errors + text)[-4000:]
        for line in text.splitlines():
            self._note(line)

    def _on_finished(self, code: int, status: int) -> None:
        if self._process is None or self.running:  # an earlier one has ended late
            return
        self._on_error_output()
        self._forget_process()
        killed = status == qt.QProcess.CrashExit
        self._note(f"worker ended, code {code}{', killed or crashed' if killed else ''}")
        last = next((line for line in reversed(self._errors.splitlines()) if line.strip()), "")
        if "No module named" in last:
            failure = explain(last)
            self._fail(failure.code, failure.message, failure.remedy)
        else:
            self._fail(
                "worker-crashed",
                _("The worker process ended unexpectedly (code {code}). {last}").format(
                    code=code, last=last
                ),
                _("Click Segment to start it again; Advanced shows its log."),
            )
        self._state_changed()

    def _on_process_error(self, error: int) -> None:
        if error != qt.QProcess.FailedToStart or self._process is None:
            return
        reason = self._process.errorString()
        self._forget_process()
        self._note(f"worker did not start: {reason}")
        self._fail(
            "worker-not-started",
            _("The worker process could not be started: {reason}.").format(reason=reason),
            _("Check the worker's Python under Advanced."),
        )
        self._state_changed()

    def _on_timeout(self) -> None:
        if self._pid:
            self._kill_and_say_cancelled()
            return
        self._end_process()
        self._fail(
            "worker-silent",
            _("The worker process did not answer within {seconds} s.").format(
                seconds=HELLO_MS // 1000
            ),
            _("Check the worker's Python under Advanced, and its log."),
        )

    def _kill_and_say_cancelled(self) -> None:
        self._end_process()
        self._fail(
            "cancelled", _("The segmentation was cancelled."), _("Nothing in the scene changed.")
        )

    def _end_process(self) -> None:
        process, pid = self._process, self._pid
        self._forget_process()
        if process is not None:
            kill_tree(process, pid)
        self._state_changed()

    def _forget_process(self) -> None:
        self._timer.stop()
        # Kept until the next one: Qt may still be in one of its signals.
        self._ended = self._process
        self._process, self._pid = None, 0

    def _fail(self, code: str, message: str, remedy: str) -> None:
        failure = self._last_failure = Failure(code, message, remedy)
        self._finish(lambda listener: listener.failed(failure))

    def _finish(self, tell: Callable[[Listener], None]) -> None:
        if self._job is None:
            return
        listener = self._job[1]
        self._job = None
        self._timer.stop()
        tell(listener)
        self._state_changed()

    def _note(self, line: str) -> None:
        # Kept in memory only: a path in it may name a patient.
        self._log = [*self._log, line][-LOG_LINES:]
