"""The module ``slicer.parameterNodeWrapper``: typed access to a parameter node."""

from __future__ import annotations

import typing
import weakref
from collections.abc import Callable

import slicer
import vtk

from .parameter_fields import (
    Choice,
    Decimals,
    Default,
    Exclude,
    Maximum,
    Minimum,
    SingleStep,
    Validator,
    WithinRange,
)
from .parameter_gui import Connector, create_connector
from .parameter_packs import parameterPack
from .parameter_storage import Field, NodeField, create_field

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "Maximum",
    "Minimum",
    "SingleStep",
    "Validator",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
    "parameterPack",
]

_WIDGET_PROPERTY = "SlicerParameterName"
_OWN_NAMES = {"parameterNode", "allParameters", "connectGui", "disconnectGui", "getValue",
              "setValue", "default", "dataType", "isCached", "StartModify", "EndModify",
              "AddObserver", "RemoveObserver", "Modified", "connectParametersToGui"}  # fmt: skip


class WrapperBase:
    """What the decorator gives to a wrapper. A misspelt field is accepted, as in Slicer."""

    allParameters: typing.ClassVar[dict[str, Field]] = {}
    _defaults: typing.ClassVar[dict[str, object]] = {}

    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode = parameterNode
        self._connections: dict[int, dict[str, Connector]] = {}
        self._next_tag, self._updating_gui, self._writing = 0, False, False
        self._values: dict[str, object] = {}
        self._read_all()
        # A weak reference, or the observer would keep the wrapper alive
        this = weakref.ref(self)
        self._observer = parameterNode.AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda *_: this() and this()._node_modified()
        )

    def __del__(self) -> None:
        if "_observer" in self.__dict__:
            self.parameterNode.RemoveObserver(self._observer)

    def _read_all(self) -> None:
        """Read every field; one that the node lacks gets its default, as after a scene close."""
        for name, field in self.allParameters.items():
            if not field.is_in(self.parameterNode, name):
                field.write(self.parameterNode, name, self._defaults[name])
            # As in Slicer: nodes are not there yet while a scene is loaded, and nothing looks again
            waits = isinstance(field, NodeField) and self._is_importing()
            self._values[name] = None if waits else field.read(self.parameterNode, name)

    def _is_importing(self) -> bool:
        scene = self.parameterNode.GetScene()
        return scene is not None and bool(scene.IsImporting())

    def _node_modified(self) -> None:
        if not self._writing:
            self._writing = True  # the defaults that are written modify the node again
            try:
                self._read_all()
            finally:
                self._writing = False
        self._update_gui()

    def _read(self, name: str) -> object:
        return self._values[name]

    def _write(self, name: str, value: object) -> None:
        field = self.allParameters[name]
        with slicer.util.NodeModify(self.parameterNode):
            field.write(self.parameterNode, name, value)
            self._values[name] = field.read(self.parameterNode, name)

    # Access by name

    def getValue(self, name: str) -> object:
        """A value by its name, with dots for packs."""
        self._field_of(name)
        first, _, rest = name.partition(".")
        value = self._read(first)
        return value.getValue(rest) if rest else value

    def setValue(self, name: str, value: object) -> None:
        """Set a value by its name, with dots for packs."""
        self._field_of(name)
        first, _, rest = name.partition(".")
        if rest:
            self._read(first).setValue(rest, value)
        else:
            self._write(first, value)

    def default(self, name: str) -> Default:
        """The value of a fresh node."""
        return Default(self._defaults[name])

    def isCached(self, name: str) -> bool:
        """Whether reading needs no parsing."""
        self._field_of(name)
        return True

    @classmethod
    def _field_of(cls, name: str) -> Field:
        first, _, rest = name.partition(".")
        if first not in cls.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {first}")
        field = cls.allParameters[first]
        return field.kind.plain.fieldOf(rest) if rest else field

    # The node behind

    def StartModify(self) -> int:
        """Hold back events."""
        return self.parameterNode.StartModify()

    def EndModify(self, previous: int) -> None:
        """Send the events held back."""
        self.parameterNode.EndModify(previous)

    def AddObserver(self, event: object, callback: Callable, priority: float = 0.0) -> int:
        """Observe the node."""
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        """Undo AddObserver()."""
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        """Send an event."""
        self.parameterNode.Modified()

    # The panel

    def connectGui(self, gui: object) -> int:
        """Connect every widget of childWidgetVariables() that names a parameter.

        Returns
        -------
        int
            The tag for disconnectGui().
        """
        mapping = {}
        for widget in gui.__dict__.values():
            name = widget.property(_WIDGET_PROPERTY)
            if name:
                mapping[name] = widget
        return self.connectParametersToGui(mapping)

    def connectParametersToGui(self, mapping: dict[str, object]) -> int:
        """Connect widgets by the names of their parameters."""
        connectors = {
            name: create_connector(widget, self._field_of(name)) for name, widget in mapping.items()
        }
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._connections[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(lambda name=name, c=connector: self._gui_changed(name, c))
        return tag

    def disconnectGui(self, tag: int) -> None:
        """Undo connectGui()."""
        for connector in self._connections.pop(tag, {}).values():
            connector.disconnect()

    def _gui_changed(self, name: str, connector: Connector) -> None:
        if not self._updating_gui:
            self.setValue(name, connector.read())

    def _update_gui(self) -> None:
        if self._updating_gui:
            return
        self._updating_gui = True
        try:
            with slicer.util.NodeModify(self.parameterNode):
                for connectors in list(self._connections.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating_gui = False


def parameterNodeWrapper(kind: type | None = None) -> type | Callable:
    """Class decorator: typed attributes that are stored in a parameter node."""
    return _process if kind is None else _process(kind)


def isParameterNodeWrapper(candidate: object) -> bool:
    """Whether a class or object came from parameterNodeWrapper."""
    kind = candidate if isinstance(candidate, type) else type(candidate)
    return issubclass(kind, WrapperBase)


def _process(kind: type) -> type:
    fields, defaults = {}, {}
    for name, annotated in typing.get_type_hints(kind, include_extras=True).items():
        if name in _OWN_NAMES:
            raise ValueError(f"Cannot use reserved name {name!r} in a parameterNodeWrapper")
        fields[name], defaults[name] = create_field(annotated)
        defaults[name] = kind.__dict__.get(name, defaults[name])
    body = dict(kind.__dict__)
    for key in ("__dict__", "__weakref__"):
        body.pop(key, None)
    body |= {"allParameters": fields, "_defaults": defaults}
    body |= {name: _attribute(name) for name in fields}
    return type(kind.__name__, (WrapperBase,), body)


def _attribute(name: str) -> property:
    return property(lambda self: self._read(name), lambda self, value: self._write(name, value))
