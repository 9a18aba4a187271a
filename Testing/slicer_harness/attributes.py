"""Make the classes of PySide6 look like those of PythonQt.

Properties become attributes, ``connect`` takes signatures, and an attribute that does not exist
can be neither read nor written.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType

import shiboken6
from PySide6 import QtCore

from . import signals
from .values import coerce

_READ = QtCore.QObject.__getattribute__
_NOT_PROPERTIES = {"event"}


class PropertyAttribute:
    """A Qt property as an attribute of the instances; the class keeps the C++ member."""

    def __init__(self, name: str, type_name: str, writable: bool, member: object) -> None:
        self.name, self.type_name, self.writable, self.member = name, type_name, writable, member
        self._reading: set[int] = set()

    def __get__(self, owner: QtCore.QObject | None, kind: type | None = None) -> object:
        if owner is None:
            return self._original(None, kind)
        if id(owner) in self._reading:  # Qt asks whether Python overrides a virtual of this name
            return self._original(owner, kind)
        self._reading.add(id(owner))
        try:
            return to_property_value(owner.property(self.name))
        finally:
            self._reading.discard(id(owner))

    def __set__(self, owner: QtCore.QObject, value: object) -> None:
        if not self.writable:
            raise AttributeError(f"{type(owner).__name__}.{self.name} can only be read")
        if not owner.setProperty(self.name, coerce(self.type_name, value)):
            raise ValueError(f"{type(owner).__name__}.{self.name} does not accept {value!r}")

    def _original(self, owner: QtCore.QObject | None, kind: type | None) -> object:
        if self.member is None:
            return self
        return self.member.__get__(owner, kind) if hasattr(self.member, "__get__") else self.member


def to_property_value(value: object) -> object:
    """Lists of texts become tuples; the enums of PySide6 stay, since its setters want them."""
    return tuple(value) if isinstance(value, list) else value


def qt_classes(modules: tuple[ModuleType, ...]) -> Iterator[type]:
    """Every class that wraps one of Qt's, base classes first."""
    found = {
        getattr(module, name)
        for module in modules
        for name in dir(module)
        if isinstance(getattr(module, name), type)
    }
    wrapped = [c for c in found if issubclass(c, shiboken6.Shiboken.Object)]
    return iter(sorted(wrapped, key=lambda c: (len(c.__mro__), c.__name__)))


def install(modules: tuple[ModuleType, ...]) -> None:
    """Change every class of the given PySide6 modules, once per process."""
    if QtCore.QObject.__getattribute__ is not _READ:
        return
    for kind in qt_classes(modules):
        if issubclass(kind, QtCore.QObject):
            _install_properties(kind)
            if "__getattribute__" in kind.__dict__:
                kind.__getattribute__ = _strict_getter(kind.__dict__["__getattribute__"])
        kind.__setattr__ = _set_attribute
    shiboken6.Shiboken.Object.__setattr__ = _set_attribute
    QtCore.QObject.name = PropertyAttribute("objectName", "QString", True, None)
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.delete = _delete


def _install_properties(kind: type) -> None:
    meta = kind.staticMetaObject
    for index in range(meta.propertyCount()):
        found = meta.property(index)
        name = found.name()
        inherited = index < meta.propertyOffset() and name not in kind.__dict__
        if inherited or name in _NOT_PROPERTIES or name.startswith("_"):
            continue
        member = inspect.getattr_static(kind, name, None)
        setattr(kind, name, PropertyAttribute(name, found.typeName(), found.isWritable(), member))


def _strict_getter(read: Callable) -> Callable:
    """A __getattribute__ with signals as PythonQt has them, on top of a class's own."""

    def get_attribute(self: QtCore.QObject, name: str) -> object:
        if name == "connect":
            return lambda *arguments: signals.connect(self, *arguments)
        if name == "disconnect":
            return lambda *arguments: signals.disconnect(self, *arguments)
        if _READ(self, "__dict__").get("_destroyed") and not name.startswith("__"):
            raise ValueError(f"trying to use {name} of a destroyed {type(self).__name__} object")
        try:
            value = read(self, name)
        except AttributeError:
            if not name.startswith("_") and name.encode() in _dynamic_names(self):
                return to_property_value(_READ(self, "property")(name))
            raise
        if isinstance(value, QtCore.Property):  # what is left when a parent was deleted
            raise ValueError(f"trying to use {name} of a destroyed {type(self).__name__} object")
        return _bound(self, name, value) if isinstance(value, QtCore.SignalInstance) else value

    return get_attribute


def _bound(self: QtCore.QObject, name: str, native: QtCore.SignalInstance) -> object:
    if name in signals.NEWER_THAN_QT5:
        raise AttributeError(f"{type(self).__name__}.{name} is newer than Slicer's Qt 5")
    return signals.BoundSignal(self, name, native)


def _dynamic_names(self: QtCore.QObject) -> list[bytes]:
    if not shiboken6.isValid(self):
        return []
    return [name.data() for name in _READ(self, "dynamicPropertyNames")()]


def _set_attribute(self: object, name: str, value: object) -> None:
    """A __setattr__ that refuses what PythonQt would refuse."""
    member = inspect.getattr_static(type(self), name, None)
    is_property = isinstance(member, (PropertyAttribute, property))
    # PySide itself keeps the signals of an instance as its attributes
    if is_property or name.startswith("__") or isinstance(value, QtCore.SignalInstance):
        object.__setattr__(self, name, value)
    elif isinstance(member, QtCore.Property):
        if member.fset is None:
            raise AttributeError(f"{type(self).__name__}.{name} can only be read")
        member.fset(self, coerce(_type_name(self, name), value))
    elif _may_grow(type(self), name):
        object.__setattr__(self, name, value)
    elif isinstance(self, QtCore.QObject) and name.encode() in _dynamic_names(self):
        self.setProperty(name, value)
    else:
        why = "has no attribute" if member is None else "does not let you overwrite"
        raise AttributeError(f"{type(self).__name__} {why} {name!r}")


def _may_grow(kind: type, name: str) -> bool:
    """Whether instances take new attributes: classes written in Python, outside the harness."""
    if kind.__module__.startswith("PySide6."):
        return False
    return name.startswith("_") or not kind.__dict__.get("__stand_in__", False)


def _type_name(owner: QtCore.QObject, name: str) -> str:
    meta = owner.metaObject()
    return meta.property(meta.indexOfProperty(name)).typeName()


def _delete(self: QtCore.QObject) -> None:
    """Destroy the C++ object at once; every later call raises ValueError."""
    shiboken6.delete(self)
    _READ(self, "__dict__")["_destroyed"] = True
