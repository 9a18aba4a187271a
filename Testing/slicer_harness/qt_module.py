"""The module ``qt`` of Slicer, made of PySide6."""

from __future__ import annotations

import sys
from types import ModuleType

from PySide6 import QtCore, QtGui, QtTest, QtUiTools, QtWidgets

from . import attributes
from .slots import guarded

_OPEN_MODES = ("ReadOnly", "WriteOnly", "ReadWrite", "Append", "Text")


def install() -> ModuleType:
    """Create ``qt`` and put it into sys.modules, once per process."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    _patch_pyside()
    # Imported late: only classes derived after the change see it.
    from . import qt_dialogs, qt_process, qt_values, ui_loader

    module = ModuleType("qt", "Qt as PythonQt shows it.")
    for source in (QtCore, QtGui, QtWidgets, QtUiTools):
        for name in dir(source):
            if not name.startswith("_"):
                setattr(module, name, getattr(source, name))
    module.QTest = QtTest.QTest
    for source in (qt_process.QProcess, qt_values.QByteArray, qt_values.QImage):
        setattr(module, source.__name__, source)
    module.QSettings, module.QUiLoader = qt_values.QSettings, ui_loader.QUiLoader
    qt_values.list_data_as_tuple()
    qt_dialogs.install(module)
    sys.modules["qt"] = module
    return module


def _patch_pyside() -> None:
    attributes.install((QtCore, QtGui, QtWidgets, QtUiTools))
    for mode in _OPEN_MODES:
        setattr(QtCore.QFile, mode, getattr(QtCore.QIODevice.OpenModeFlag, mode))
    QtCore.QByteArray.__bytes__ = _refuse_bytes
    QtCore.QEventLoop.exec_ = QtCore.QEventLoop.exec
    QtCore.QTimer.singleShot = _TimerSingleShot()


def _refuse_bytes(self: QtCore.QByteArray) -> bytes:
    raise TypeError("bytes(QByteArray) does not work in PythonQt: use .data()")


_waiting: set[QtCore.QTimer] = set()


def _single_shot(milliseconds: int, *arguments: object) -> None:
    """QTimer.singleShot(ms, function), or (ms, timer type, function)."""
    timer = QtCore.QTimer()
    slot = guarded(arguments[-1], "QTimer.singleShot")

    def fire() -> None:
        _waiting.discard(timer)
        slot()

    _waiting.add(timer)
    timer.setSingleShot(True)
    timer.timeout.connect(fire)
    timer.start(int(milliseconds))


class _TimerSingleShot(attributes.PropertyAttribute):
    """QTimer.singleShot is a function of the class and a property of each timer."""

    def __init__(self) -> None:
        super().__init__("singleShot", "bool", True, staticmethod(_single_shot))
