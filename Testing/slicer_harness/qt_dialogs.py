"""Qt's dialogs: recorded, answered from the queue, never shown."""

from __future__ import annotations

from types import ModuleType

from PySide6 import QtGui, QtWidgets

from . import recorded

_BOXES = ("information", "question", "warning", "critical", "about")
_FILE_DIALOGS = {
    "getOpenFileName": "",
    "getOpenFileNames": (),
    "getSaveFileName": "",
    "getExistingDirectory": "",
}
_INPUTS = {"getText": "", "getItem": "", "getMultiLineText": "", "getInt": 0, "getDouble": 0.0}


def install(module: ModuleType) -> None:
    """Replace everything in ``qt`` that would wait for the user or leave the application."""
    for name in _BOXES:
        setattr(module.QMessageBox, name, staticmethod(_message_box(name)))
    for name, cancelled in _FILE_DIALOGS.items():
        setattr(module.QFileDialog, name, staticmethod(_question(f"QFileDialog.{name}", cancelled)))
    for name, cancelled in _INPUTS.items():
        setattr(
            module.QInputDialog, name, staticmethod(_question(f"QInputDialog.{name}", cancelled))
        )
    for kind in (QtWidgets.QDialog, QtWidgets.QMessageBox, QtWidgets.QFileDialog):
        kind.exec_ = kind.exec = _execute
    QtWidgets.QMenu.exec_ = QtWidgets.QMenu.exec = _open_menu
    QtWidgets.QMenu.popup = _open_menu
    QtGui.QDesktopServices.openUrl = staticmethod(_open_url)


def _message_box(name: str) -> object:
    def static(parent: object, title: str, text: str, *buttons: object) -> object:
        default = QtWidgets.QMessageBox.StandardButton.Ok
        if name == "question":
            default = buttons[1] if len(buttons) > 1 else QtWidgets.QMessageBox.StandardButton.No
        return recorded.show(f"QMessageBox.{name}", text, default, title=title)

    return static


def _question(kind: str, cancelled: object) -> object:
    """A static function that returns one value, as in PythonQt, and not PySide's pair."""

    def static(parent: object = None, title: str = "", *rest: object) -> object:
        return recorded.show(kind, title, cancelled, arguments=rest)

    return static


def _execute(self: QtWidgets.QDialog) -> object:
    text = self.property("text") or self.property("windowTitle") or ""
    return recorded.show(type(self).__name__, text, 0, widget=self)


def _open_menu(self: QtWidgets.QMenu, *_: object) -> object:
    return recorded.show("QMenu", self.property("title"), None, widget=self)


def _open_url(url: object) -> object:
    return recorded.show("QDesktopServices.openUrl", url.toString(), True)
