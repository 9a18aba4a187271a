"""qt.QProcess with the habits of PythonQt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6 import QtCore

from .qt_values import QByteArray
from .values import EnumValue, to_native

_NAMES = (
    "NotRunning", "Starting", "Running", "NormalExit", "CrashExit", "FailedToStart", "Crashed",
    "Timedout", "WriteError", "ReadError", "UnknownError", "SeparateChannels", "MergedChannels",
    "ForwardedChannels", "ForwardedErrorChannel", "ForwardedOutputChannel", "StandardOutput",
    "StandardError", "ManagedInputChannel", "ForwardedInputChannel",
)  # fmt: skip


class QProcess(QtCore.QProcess):
    """A child process, whose enums are ints and whose output is a QByteArray."""

    def start(self, program: object, arguments: Sequence[object] = (), *mode: object) -> None:
        """Start a program; texts, paths and ints are accepted."""
        if not isinstance(arguments, (list, tuple)):
            raise ValueError("QProcess.start takes the arguments as a list or tuple")
        texts = [_text(argument) for argument in arguments]
        super().start(_text(program), texts, *(to_native(value) for value in mode))

    def write(self, content: str | bytes | QByteArray | QtCore.QByteArray) -> int:
        """Send text or bytes to the child.

        Raises
        ------
        TypeError
            For a bytearray: Slicer would send the text "bytearray(b'...')".
        """
        if isinstance(content, str):
            content = content.encode()
        elif isinstance(content, (QByteArray, QtCore.QByteArray)):
            content = content.data()
        if not isinstance(content, bytes):
            raise TypeError(f"QProcess.write does not take a {type(content).__name__}")
        return super().write(content)

    def readAllStandardOutput(self) -> QByteArray:
        """What the child has written to stdout since the last call."""
        return QByteArray(super().readAllStandardOutput())

    def readAllStandardError(self) -> QByteArray:
        """What the child has written to stderr since the last call."""
        return QByteArray(super().readAllStandardError())

    def readAll(self) -> QByteArray:
        """What the current channel holds."""
        return QByteArray(super().readAll())

    def readLine(self, limit: int = 0) -> QByteArray:
        """One line of the current channel."""
        return QByteArray(super().readLine(limit))

    def state(self) -> EnumValue:
        """NotRunning, Starting or Running."""
        return EnumValue(super().state())

    def exitStatus(self) -> EnumValue:
        """NormalExit or CrashExit."""
        return EnumValue(super().exitStatus())

    def error(self) -> EnumValue:
        """The last error."""
        return EnumValue(super().error())

    def setProcessChannelMode(self, mode: EnumValue) -> None:
        """Keep the channels apart, or merge them."""
        super().setProcessChannelMode(to_native(mode))

    def processChannelMode(self) -> EnumValue:
        """How the channels are kept."""
        return EnumValue(super().processChannelMode())

    def setReadChannel(self, channel: EnumValue) -> None:
        """Choose what readLine() and readAll() read."""
        super().setReadChannel(to_native(channel))

    def setInputChannelMode(self, mode: EnumValue) -> None:
        """Choose where the child's stdin comes from."""
        super().setInputChannelMode(to_native(mode))

    def setWorkingDirectory(self, folder: object) -> None:
        """Start the child in a folder."""
        super().setWorkingDirectory(_text(folder))

    def setUnixProcessParameters(self, *_: object) -> None:
        """Absent from Slicer's Qt 5."""
        raise AttributeError("QProcess has no attribute 'setUnixProcessParameters' in Qt 5")


for _name in _NAMES:
    setattr(QProcess, _name, EnumValue(getattr(QtCore.QProcess, _name)))
QProcess.__stand_in__ = True


def _text(value: object) -> str:
    if not isinstance(value, (str, Path, int)):
        raise ValueError(f"QProcess does not take a {type(value).__name__} here")
    return str(value)
