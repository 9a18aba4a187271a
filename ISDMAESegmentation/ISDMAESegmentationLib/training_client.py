"""The training process as Slicer sees it: start, listen, pause, stop, and at the worst kill.

It owns no data of the scene, so it goes on when the scene is closed. When its pipe ends, with
Slicer itself, it stops with a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _

from .failure import Failure, refuse
from .install import training_package_names
from .json_lines import JsonLines
from .process_tree import kill_tree
from .training_command import TrainingRequest, training_folder
from .worker_command import MODULE_FOLDER, WorkerCommand

LOG_LINES = 400
# A step and its checkpoint take seconds on most machines; Slicer does not wait longer to quit.
WAIT_FOR_CHECKPOINT_MS = 10_000


@dataclass(frozen=True)
class TrainingListener:
    """Who is told: every event, then once how it ended."""

    event: Callable[[dict[str, Any]], None]
    """``progress``, ``step``, ``picture`` and ``notice``, as `isdmae_train.reporter` sends them."""
    done: Callable[[dict[str, Any]], None]
    """The last event, with ``run`` and ``model``."""
    failed: Callable[[Failure], None]
    """Why it ended before; ``stopped`` where that was asked for."""


class TrainingClient:
    """Runs one training at a time; ``command`` returns the Python to use."""

    def __init__(self, command: Callable[[], WorkerCommand]) -> None:
        self._command = command
        self._process: qt.QProcess | None = None
        self._ended: qt.QProcess | None = None
        self._listener: TrainingListener | None = None
        self._outcome: dict[str, Any] | None = None
        self._pid = 0
        self._lines = JsonLines()
        self._log: list[str] = []
        self.paused = False
        self.stopping = False

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The process id that the training says of itself, 0 before it has spoken."""
        return self._pid

    @property
    def log(self) -> str:
        """What it printed beside its messages, newest last."""
        return "\n".join(self._log)

    def start(self, request: TrainingRequest, listener: TrainingListener) -> None:
        """Begin, or go on with the run in ``request.out``.

        Raises
        ------
        SegmentationError
            ``busy``, ``no-python`` or ``no-training-package``.
        """
        if self.running:
            raise refuse("busy", _("A training is running already."), _("Wait for it, or stop it."))
        command, folder = self._command(), training_folder()
        self._pid, self._lines, self._log = 0, JsonLines(), []
        self._listener, self._outcome = listener, None
        self.paused = self.stopping = False
        process = qt.QProcess()
        process.setProcessEnvironment(command.environment(folder))
        process.setWorkingDirectory(str(MODULE_FOLDER))
        process.connect("readyReadStandardOutput()", self._on_output)
        process.connect("readyReadStandardError()", self._on_error_output)
        process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._on_process_error)
        self._process = process
        process.start(command.python, request.arguments())

    def pause(self) -> None:
        """Let it rest after its step; its memory stays."""
        self._send("pause")
        self.paused = True

    def resume(self) -> None:
        """End the pause."""
        self._send("resume")
        self.paused = False

    def stop(self) -> None:
        """Let it end after its step with a checkpoint; a second call ends it at once."""
        if self._process is None:
            return
        if self.stopping or not self._pid:
            self.kill()
            return
        self._send("stop")
        self.stopping = True

    def kill(self) -> None:
        """End it with all its children, within two seconds; the last checkpoint stays."""
        process, pid, listener = self._process, self._pid, self._listener
        self._forget()
        if process is not None:
            kill_tree(process, pid)
        if listener is not None:
            listener.failed(_stopped())

    def close(self) -> None:
        """Slicer goes: stop with a checkpoint, kill what has not ended by then; tell nobody."""
        process, pid = self._process, self._pid
        self._send("stop")
        self._forget()
        if process is None:
            return
        process.closeWriteChannel()
        if not pid or not process.waitForFinished(WAIT_FOR_CHECKPOINT_MS):
            kill_tree(process, pid)

    def _send(self, word: str) -> None:
        if self._process is not None:
            self._process.write(f"{word}\n")

    def _on_output(self) -> None:
        if self._process is None:
            return
        for message in self._lines.feed(self._process.readAllStandardOutput().data()):
            self._on_message(message)

    def _on_message(self, message: dict[str, Any]) -> None:
        event = message.get("event")
        if event == "hello":
            self._pid = int(message["pid"])
        elif event in ("done", "error"):
            self._outcome = message
        if self._listener is not None and event not in ("done", "error"):
            self._listener.event(message)

    def _on_error_output(self) -> None:
        if self._process is None:
            return
        text = self._process.readAllStandardError().data().decode("utf-8", errors="replace")
        # Kept in memory only: a path in it may name a patient.
        self._log = [*self._log, *(line for line in text.splitlines() if line.strip())][-LOG_LINES:]

    def _on_finished(self, code: int, _status: int) -> None:
        if self._process is None or self._process.state() != qt.QProcess.NotRunning:
            return  # an earlier one has ended late
        self._on_output()
        self._on_error_output()
        listener, outcome = self._listener, self._outcome or {}
        self._forget()
        if listener is None:
            return
        if outcome.get("event") == "done":
            listener.done(outcome)
        elif outcome.get("event") == "error":
            listener.failed(Failure(outcome["code"], outcome["message"], outcome["remedy"]))
        else:
            listener.failed(explain_end(code, self._log))

    def _on_process_error(self, error: int) -> None:
        if error != qt.QProcess.FailedToStart or self._process is None:
            return
        reason, listener = self._process.errorString(), self._listener
        self._forget()
        if listener is not None:
            listener.failed(
                Failure(
                    "trainer-not-started",
                    _("The training could not be started: {reason}.").format(reason=reason),
                    _("Check the worker's Python under Advanced."),
                )
            )

    def _forget(self) -> None:
        # Kept until the next one: Qt may still be in one of its signals.
        self._ended = self._process
        self._process, self._listener, self._pid = None, None, 0
        self.paused = self.stopping = False


def explain_end(code: int, log: list[str]) -> Failure:
    """Say why the process ended without a word of its own."""
    last = log[-1] if log else ""
    if "No module named" in last:
        package = last.rpartition("named")[2].strip(" '\"")
        return Failure(
            "training-packages-missing",
            _("The worker's Python lacks a package for training: {package}.").format(
                package=package
            ),
            _("Install {names} there, and start again.").format(
                names=", ".join(training_package_names())
            ),
        )
    return Failure(
        "trainer-crashed",
        _("The training ended unexpectedly (code {code}). {last}").format(code=code, last=last),
        _("Click Resume: it goes on from its last checkpoint. Advanced shows its log."),
    )


def _stopped() -> Failure:
    return Failure(
        "stopped", _("The training was ended."), _("Resume goes on from its last checkpoint.")
    )
