"""Signals as in PythonQt: ``w.connect("clicked(bool)", f)`` and ``w.clicked.connect(f)``."""

from __future__ import annotations

import re
from collections.abc import Callable

import shiboken6
from PySide6 import QtCore

from .slots import guarded

_READ = QtCore.QObject.__getattribute__

QT5_SIGNATURES = {
    ("QProcess", "finished(int)"): "finished(int,QProcess::ExitStatus)",
    ("QComboBox", "currentIndexChanged(QString)"): "currentTextChanged(QString)",
    ("QButtonGroup", "buttonClicked(int)"): "idClicked(int)",
    ("QButtonGroup", "buttonToggled(int,bool)"): "idToggled(int,bool)",
}
"""Signatures of Qt 5 that Qt 6, on which the harness runs, replaced."""

NEWER_THAN_QT5 = {"checkStateChanged", "idClicked", "idPressed", "idReleased", "idToggled"}
"""Signals that Slicer's Qt 5 does not have."""

_PYTHON_TYPES = {"int": int, "bool": bool, "double": float, "QString": str}

# (address of the C++ object, signal name) -> the connected functions and their native slots
_links: dict[int, list[tuple[str, Callable, Callable]]] = {}


class BoundSignal:
    """A signal of one object, read as an attribute."""

    def __init__(self, owner: QtCore.QObject, name: str, native: QtCore.SignalInstance) -> None:
        self._owner, self._name, self._native = owner, name, native

    def connect(self, function: Callable) -> bool:
        """Call a function at each emission."""
        native = self._native
        longest = _longest_signature(self._owner, self._name)
        if longest and self._name not in _declared_names(type(self._owner)):
            native = _overload(native, longest)
        return _link(self._owner, self._name, native, function, None)

    def disconnect(self, function: Callable) -> bool:
        """Stop calling a function; False where it was never connected."""
        return _unlink(self._owner, self._name, function)

    def emit(self, *arguments: object) -> None:
        """Call every connected function."""
        self._native.emit(*arguments)

    def __getitem__(self, overload: object) -> BoundSignal:
        return BoundSignal(self._owner, self._name, self._native[overload])


def connect(owner: QtCore.QObject, signature: str, receiver: object, *slot: str) -> bool:
    """Connect a signal, given by its C++ signature, to a function or a named slot.

    Raises
    ------
    ValueError
        Where the object has no such signal. Slicer prints a line and returns False.
    """
    name, native, count = find_signal(owner, signature)
    function = getattr(receiver, slot[0].split("(")[0]) if slot else receiver
    if not callable(function):
        raise TypeError(f"connect {signature}: {function!r} cannot be called")
    return _link(owner, name, native, function, count)


def disconnect(owner: QtCore.QObject, signature: str, receiver: object, *slot: str) -> bool:
    """Undo connect(); False where the function was not connected."""
    name, _, _ = find_signal(owner, signature)
    function = getattr(receiver, slot[0].split("(")[0]) if slot else receiver
    return _unlink(owner, name, function)


def find_signal(
    owner: QtCore.QObject, signature: str
) -> tuple[str, QtCore.SignalInstance | _Converted, int]:
    """The name, the native signal and the number of arguments of a C++ signature."""
    wanted = normalized(signature)
    count = len([a for a in wanted[wanted.index("(") + 1 : -1].split(",") if a])
    name = wanted.split("(")[0]
    declared = declared_signals(type(owner))
    if wanted in declared:
        target, convert = declared[wanted]
        native = _READ(owner, target)
        return target, (_Converted(native, convert) if convert else native), count
    wanted = _signature_in_qt6(owner, wanted)
    if owner.metaObject().indexOfSignal(wanted) < 0 or name in NEWER_THAN_QT5:
        raise ValueError(f"{owner.metaObject().className()} has no signal {signature}")
    name = wanted.split("(")[0]
    return name, _overload(_READ(owner, name), wanted), count


def normalized(signature: str) -> str:
    """A signature without blanks, const and references.

    Raises
    ------
    ValueError
        Where it lacks the parentheses, as in connect("clicked", f).
    """
    match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", str(signature))
    if not match:
        raise ValueError(f"not a signal's signature: {signature!r}")
    arguments = re.sub(r"\bconst\b|&|\s", "", match.group(2))
    return f"{match.group(1)}({arguments})"


def declared_signals(kind: type) -> dict[str, tuple[str, Callable | None]]:
    """The signatures that a stand-in declares in SIGNALS, with those of its base classes."""
    found: dict[str, tuple[str, Callable | None]] = {}
    for base in reversed(kind.__mro__):
        for entry in base.__dict__.get("SIGNALS", ()):
            signature, convert = entry if isinstance(entry, tuple) else (entry, None)
            found[signature] = (signature.split("(")[0], convert)
    return found


class _Converted:
    """A signal whose arguments are converted first, for the overloads of stand-ins."""

    def __init__(self, native: QtCore.SignalInstance, convert: Callable) -> None:
        self._native, self._convert = native, convert
        self._slots: dict[Callable, Callable] = {}

    def connect(self, slot: Callable) -> None:
        self._slots[slot] = lambda value: slot(self._convert(value))
        self._native.connect(self._slots[slot])

    def disconnect(self, slot: Callable) -> None:
        self._native.disconnect(self._slots.pop(slot))


def _signature_in_qt6(owner: QtCore.QObject, signature: str) -> str:
    for (class_name, old), new in QT5_SIGNATURES.items():
        if old == signature and owner.inherits(class_name):
            return new
    return signature


def _longest_signature(owner: QtCore.QObject, name: str) -> str | None:
    """The signature with all arguments: clicked(bool), and not clicked()."""
    meta = owner.metaObject()
    methods = [meta.method(index) for index in range(meta.methodCount())]
    matching = [m for m in methods if m.name() == name.encode()]
    longest = max(matching, key=lambda m: m.parameterCount(), default=None)
    return longest.methodSignature().data().decode() if longest else None


def _declared_names(kind: type) -> set[str]:
    return {target for target, _ in declared_signals(kind).values()}


def _overload(native: QtCore.SignalInstance, signature: str) -> QtCore.SignalInstance:
    arguments = signature[signature.index("(") + 1 : -1].split(",")
    kind = _PYTHON_TYPES.get(arguments[0])
    if len(arguments) != 1 or kind is None:
        return native
    try:
        return native[kind]
    except (KeyError, IndexError, TypeError):
        return native


def _address(owner: QtCore.QObject) -> int:
    return shiboken6.getCppPointer(owner)[0]


def _link(
    owner: QtCore.QObject, name: str, native: object, function: Callable, count: int | None
) -> bool:
    slot = guarded(function, f"a slot of {type(owner).__name__}.{name}", count)
    address = _address(owner)
    if address not in _links:
        _links[address] = []
        _READ(owner, "destroyed").connect(lambda *_: _links.pop(address, None))
    native.connect(slot)
    _links[address].append((name, function, lambda: native.disconnect(slot)))
    return True


def _unlink(owner: QtCore.QObject, name: str, function: Callable) -> bool:
    links = _links.get(_address(owner), [])
    for link in links:
        if link[0] == name and link[1] == function:
            links.remove(link)
            link[2]()
            return True
    return False
