"""What the stand-ins for Slicer's and CTK's widgets have in common."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import shiboken6
import vtk
from PySide6 import QtCore

custom_widgets: dict[str, type] = {}
"""The stand-ins by name, for the .ui loader."""


def stand_in(kind: type) -> type:
    """Class decorator: refuse unknown attributes, and let .ui files use the class."""
    kind.__stand_in__ = True
    custom_widgets[kind.__name__] = kind
    return kind


def stored(kind: type | str, default: object, changed: str | None = None) -> QtCore.Property:
    """A Qt property that keeps its value on the instance.

    Parameters
    ----------
    kind : type or str
        The property's type, or its C++ name.
    default : object
        The value of a fresh widget.
    changed : str, optional
        A method without arguments, called after the value was set.
    """
    key = f"_stored_{next(_numbers)}"

    def read(self: QtCore.QObject) -> object:
        return self.__dict__.get(key, default)

    def write(self: QtCore.QObject, value: object) -> None:
        self.__dict__[key] = tuple(value) if isinstance(value, list) else value
        if changed:
            getattr(self, changed)()

    return QtCore.Property(kind, read, write)


def computed(kind: type | str, read: Callable, write: Callable | None = None) -> QtCore.Property:
    """A Qt property with functions of its own."""
    return QtCore.Property(kind, read, write)


def observe(source: vtk.vtkObject, event: object, method: Callable, *, node: bool = False) -> int:
    """Observe a VTK object with a method of a widget, as long as the widget exists.

    Parameters
    ----------
    source : vtkObject
        The scene, or a node.
    event : int or str
        The event.
    method : bound method
        Called as (source, event), or as (source, event, node).
    node : bool
        Whether the event brings a node.

    Returns
    -------
    int
        The tag for RemoveObserver().
    """
    weak = weakref.WeakMethod(method)

    def callback(*arguments: object) -> None:
        alive = weak()
        if alive is not None and shiboken6.isValid(alive.__self__):
            alive(*arguments)

    if node:
        vtk.calldata_type(vtk.VTK_OBJECT)(callback)
    return source.AddObserver(event, callback)


def _count() -> object:
    number = 0
    while True:
        yield number
        number += 1


_numbers = _count()
