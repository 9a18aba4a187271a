"""One short command in the worker's Python, without blocking: its answer comes to a callback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import qt
from slicer.i18n import tr as _

from .failure import SegmentationError
from .process_tree import kill_tree
from .worker_command import MODULE_FOLDER, WorkerCommand

LONGEST_MS = 90_000


@dataclass(frozen=True)
class Answer:
    """Exit code (None where it never ran or never ended), what it printed, what it complained."""

    code: int | None
    output: str
    errors: str


class OneShot:
    """Runs one command at a time; a new one replaces the old."""

    def __init__(self, command: Callable[[], WorkerCommand]) -> None:
        self._command = command
        self._process: qt.QProcess | None = None
        self._ended: qt.QProcess | None = None
        self._told: Callable[[Answer], None] | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._on_timeout)

    def start(self, arguments: Sequence[str], told: Callable[[Answer], None]) -> None:
        """Run ``python arguments``; ``told`` hears the answer once."""
        self.stop()
        self._told = told
        try:
            command = self._command()
        except SegmentationError as error:
            self._tell(Answer(None, "", str(error.failure)))
            return
        process = qt.QProcess()
        environment = command.environment()
        # PythonSlicer is a launcher, and killing it leaves the Python that it has started. On
        # Windows the tree is killed instead: DLLs that start would wait for the reading of stdin.
        if sys.platform != "win32":
            environment.insert("ISDMAE_END_WITH_STDIN", "1")
        process.setProcessEnvironment(environment)
        process.setWorkingDirectory(str(MODULE_FOLDER))
        process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._on_error)
        self._process = process
        self._timer.start(LONGEST_MS)
        process.start(command.python, list(arguments))

    def stop(self) -> None:
        """Forget the command in progress; nobody is told."""
        self._told = None
        self._timer.stop()
        # Kept until the next one: Qt may still be in one of its signals.
        self._ended, self._process = self._process, None
        if self._ended is not None and self._ended.state() != qt.QProcess.NotRunning:
            kill_tree(self._ended, self._ended.processId() if sys.platform == "win32" else 0)
            self._ended.waitForFinished(2000)

    def _on_finished(self, code: int, _status: int) -> None:
        # An earlier command may end late.
        if self._process is not None and self._process.state() == qt.QProcess.NotRunning:
            output = self._process.readAllStandardOutput().data()
            errors = self._process.readAllStandardError().data()
            self._tell(Answer(code, _decoded(output), _decoded(errors)))

    def _on_error(self, error: int) -> None:
        if error == qt.QProcess.FailedToStart and self._process is not None:
            self._tell(Answer(None, "", self._process.errorString()))

    def _on_timeout(self) -> None:
        seconds = LONGEST_MS // 1000
        self._tell(Answer(None, "", _("no answer within {seconds} s").format(seconds=seconds)))

    def _tell(self, answer: Answer) -> None:
        told = self._told
        self.stop()
        if told is not None:
            told(answer)


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
