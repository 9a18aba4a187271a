"""Load .ui files: a class, a property or a signal that does not exist raises."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import signals
from .stand_in import custom_widgets

ONLY_IN_PYTHON = {"qMRMLSegmentEditorWidget"}
"""Widgets that spoil a panel when they are part of its .ui file."""


class QUiLoader(QtUiTools.QUiLoader):
    """Qt's loader with the stand-ins as custom widgets."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        for kind in custom_widgets.values():
            self.registerCustomWidget(kind)

    def load(
        self, file: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None
    ) -> QtWidgets.QWidget:
        """Create the widgets of a .ui file and connect them.

        Raises
        ------
        RuntimeError
            For a broken file, and for a class or property that no widget here has. Slicer leaves
            the widget out without a word.
        """
        try:
            root = ET.fromstring(file.readAll().data())
        except ET.ParseError as error:
            raise RuntimeError(f"broken .ui file: {error}") from error
        _check_classes(root)
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        widget = super().load(_buffer(root), parent)
        if widget is None:
            raise RuntimeError(f"cannot load the .ui file: {self.errorString()}")
        _check_properties(root, widget)
        for connection in connections if connections is not None else ():
            _connect(widget, connection)
        return widget


def _check_classes(root: ET.Element) -> None:
    used = {element.get("class") for element in root.iter("widget")} - {"Line"}
    for name in sorted(used & ONLY_IN_PYTHON):
        raise RuntimeError(f"{name} fills childWidgetVariables with its parts: make it in Python")
    unknown = sorted(
        name for name in used if name not in custom_widgets and not hasattr(QtWidgets, name)
    )
    if unknown:
        raise RuntimeError(f"no widget and no stand-in is called {', '.join(unknown)}")


def _check_properties(root: ET.Element, widget: QtWidgets.QWidget) -> None:
    for element in root.iter("widget"):
        kind, found = element.get("class"), _child(widget, element.get("name"))
        if found is None or kind == "Line":
            continue
        if kind in custom_widgets and type(found) is not custom_widgets[kind]:
            raise RuntimeError(f"the stand-in {kind} could not be created, see above")
        for item in element.findall("property"):
            name = item.get("name")
            if item.get("stdset") != "0" and found.metaObject().indexOfProperty(name) < 0:
                raise RuntimeError(f"{kind} has no property {name!r}")


def _buffer(root: ET.Element) -> QtCore.QBuffer:
    buffer = QtCore.QBuffer()
    buffer.setData(ET.tostring(root))
    buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    return buffer


def _child(widget: QtWidgets.QWidget, name: str) -> QtCore.QObject | None:
    return widget if widget.objectName == name else widget.findChild(QtCore.QObject, name)


def _connect(widget: QtWidgets.QWidget, connection: ET.Element) -> None:
    sender, signal, receiver, slot = (
        connection.findtext(key) for key in ("sender", "signal", "receiver", "slot")
    )
    source, target = _child(widget, sender), _child(widget, receiver)
    if source is None or target is None:
        raise RuntimeError(f"the .ui file connects {sender} with {receiver}: one is missing")
    signals.connect(source, signal, getattr(target, slot.split("(")[0]))
