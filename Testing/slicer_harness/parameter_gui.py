"""Keep a widget and a parameter the same."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable

import ctk
import qt
import slicer

from .parameter_fields import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange
from .parameter_storage import Field


class Connector:
    """One widget that shows one parameter.

    Parameters
    ----------
    widget : QWidget
        The widget; its class has to match exactly.
    field : Field
        The parameter's type.
    signal : str
        What the widget emits when the user changes it.
    attribute : str
        The property that holds the value.
    """

    def __init__(self, widget: qt.QWidget, field: Field, signal: str, attribute: str) -> None:
        self.widget, self.field, self.attribute = widget, field, attribute
        self._signal, self._slot = getattr(widget, signal), None

    def read(self) -> object:
        """The widget's value as the parameter's type."""
        return self.field.kind.plain(getattr(self.widget, self.attribute))

    def write(self, value: object) -> None:
        """Show a value."""
        setattr(self.widget, self.attribute, value)

    def connect(self, callback: Callable) -> None:
        """Call a function at each change by the user."""
        self._slot = lambda *_: callback()
        self._signal.connect(self._slot)

    def disconnect(self) -> None:
        """Undo connect()."""
        if self._slot is not None:
            self._signal.disconnect(self._slot)


class NumberConnector(Connector):
    """A slider or spin box, which takes over range, step and decimals."""

    def __init__(self, widget: qt.QWidget, field: Field, signal: str, attribute: str) -> None:
        super().__init__(widget, field, signal, attribute)
        kind = field.kind
        for annotation, name in ((Decimals, "decimals"), (SingleStep, "singleStep")):
            if kind.find(annotation) is not None:
                setattr(widget, name, kind.find(annotation).value)
        limits = kind.find(WithinRange)
        low, high = limits or kind.find(Minimum), limits or kind.find(Maximum)
        is_slider = type(widget) in (ctk.ctkSliderWidget, qt.QSlider)
        if is_slider and (low is None or high is None):
            raise RuntimeError("Cannot have a connection to a slider where the type is unbounded.")
        largest = 2**31 - 1 if kind.plain is int else float("inf")
        widget.minimum = low.minimum if low else -largest
        widget.maximum = high.maximum if high else largest


class PathConnector(Connector):
    """A path widget."""

    def write(self, value: pathlib.PurePath) -> None:
        """Show a path."""
        super().write(str(value))


class ListConnector(Connector):
    """A combo box that is filled with the choices."""

    def __init__(self, widget: qt.QComboBox, field: Field, signal: str, attribute: str) -> None:
        super().__init__(widget, field, signal, attribute)
        self._choices = self._labelled()
        widget.clear()
        for label, _ in self._choices:
            widget.addItem(label)

    def _labelled(self) -> list[tuple[str, object]]:
        plain = self.field.kind.plain
        if issubclass(plain, enum.Enum):
            label = getattr(plain, "label", lambda member: member.name)
            return [(label(member), member) for member in plain]
        choice = self.field.kind.find(Choice)
        if choice is None:
            raise RuntimeError("a combo box needs the Choice annotation")
        return [(str(value), value) for value in choice.choices]

    def read(self) -> object:
        """The chosen value."""
        return self._choices[self.widget.currentIndex][1]

    def write(self, value: object) -> None:
        """Choose a value; one that is not offered raises ValueError."""
        values = [choice for _, choice in self._choices]
        if value not in values:
            raise ValueError(f"Unable to find value {value} in choices {values}")
        self.widget.currentIndex = values.index(value)


class NodeConnector(Connector):
    """A node selector, which takes over the node type."""

    def __init__(self, widget: object, field: Field, signal: str, attribute: str) -> None:
        super().__init__(widget, field, signal, attribute)
        widget.nodeTypes = [field.kind.plain.__name__]

    def read(self) -> slicer.vtkMRMLNode | None:
        """The chosen node."""
        return self.widget.currentNode()

    def write(self, value: slicer.vtkMRMLNode | None) -> None:
        """Choose a node."""
        self.widget.setCurrentNode(value)


class TextConnector(Connector):
    """A multi-line text."""

    def read(self) -> str:
        """The whole text."""
        return self.widget.toPlainText()

    def write(self, value: str) -> None:
        """Show a text."""
        self.widget.setPlainText(value)


def _table() -> list[tuple[type, type, type[Connector], str, str]]:
    """(parameter type, widget class, connector, signal, property)."""
    changed = "valueChanged"
    return [
        (bool, qt.QCheckBox, Connector, "stateChanged", "checked"),
        (bool, qt.QPushButton, Connector, "toggled", "checked"),
        (int, qt.QSpinBox, NumberConnector, changed, "value"),
        (int, qt.QSlider, NumberConnector, changed, "value"),
        (int, ctk.ctkSliderWidget, NumberConnector, changed, "value"),
        (float, qt.QDoubleSpinBox, NumberConnector, changed, "value"),
        (float, ctk.ctkSliderWidget, NumberConnector, changed, "value"),
        (str, qt.QLineEdit, Connector, "textChanged", "text"),
        (str, qt.QLabel, Connector, "windowTitleChanged", "text"),  # in one direction only
        (str, qt.QTextEdit, TextConnector, "textChanged", ""),
        (str, qt.QComboBox, ListConnector, "currentIndexChanged", ""),
        (int, qt.QComboBox, ListConnector, "currentIndexChanged", ""),
        (float, qt.QComboBox, ListConnector, "currentIndexChanged", ""),
        (enum.Enum, qt.QComboBox, ListConnector, "currentIndexChanged", ""),
        (pathlib.PurePath, ctk.ctkPathLineEdit, PathConnector, "currentPathChanged", "currentPath"),
        (pathlib.PurePath, ctk.ctkDirectoryButton, PathConnector, "directoryChanged", "directory"),
        (slicer.vtkMRMLNode, slicer.qMRMLNodeComboBox, NodeConnector, "currentNodeChanged", ""),
    ]


def create_connector(widget: qt.QWidget, field: Field) -> Connector:
    """The connector for a widget and a field.

    Raises
    ------
    RuntimeError
        Where the two do not go together, and for a class derived in Python.
    """
    plain = field.kind.plain
    for kind, widget_class, connector, signal, attribute in _table():
        same = plain is kind if kind in (bool, int, float, str) else issubclass(plain, kind)
        if same and type(widget) is widget_class:
            return connector(widget, field, signal, attribute)
    raise RuntimeError(f"Unable to connect {plain} to a {type(widget).__name__}")
