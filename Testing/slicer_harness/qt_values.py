"""QByteArray, QImage and QSettings with the habits of PythonQt."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets

_BYTES = (bytes, bytearray, memoryview)


class QByteArray:
    """Bytes from Qt. Only data() gives Python bytes; bytes(), + and iteration do not work."""

    __slots__ = ("_content",)

    def __init__(self, content: str | bytes | QtCore.QByteArray = b"") -> None:
        if isinstance(content, (QtCore.QByteArray, QByteArray)):
            content = content.data()
        self._content = content.encode() if isinstance(content, str) else content

    def data(self) -> bytes:
        """The content as Python bytes."""
        return self._content

    def size(self) -> int:
        """The number of bytes."""
        return len(self._content)

    length = size

    def isEmpty(self) -> bool:
        """Whether there are no bytes."""
        return not self._content

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (QByteArray, QtCore.QByteArray)):
            return self._content == other.data()
        return NotImplemented

    __hash__ = None

    def __bytes__(self) -> bytes:
        raise TypeError("bytes(QByteArray) does not work in PythonQt: use .data()")


class QImage(QtGui.QImage):
    """QImage, whose constructors refuse what PythonQt refuses."""

    __stand_in__ = True

    def __init__(self, *arguments: object) -> None:
        first = arguments[0] if arguments else None
        is_buffer = isinstance(first, (QByteArray, QtCore.QByteArray, bytearray, memoryview))
        if is_buffer or hasattr(first, "__array_interface__"):
            raise ValueError(f"QImage does not take {type(first).__name__}: use loadFromData()")
        if isinstance(first, bytes) and len(arguments) != 4:
            raise ValueError("QImage(bytes, ...) takes width, height and format: no bytesPerLine")
        super().__init__(*arguments)

    def loadFromData(self, content: object, *arguments: object) -> bool:
        """Read an encoded picture, such as PNG or PPM."""
        return super().loadFromData(_bytes_of(content), *arguments)


def _bytes_of(content: object) -> bytes:
    if isinstance(content, (QByteArray, QtCore.QByteArray)):
        return content.data()
    if not isinstance(content, bytes):
        raise ValueError(f"loadFromData takes bytes, not {type(content).__name__}")
    return content


class QSettings(QtCore.QSettings):
    """QSettings, where lists come back as tuples and an absent key as None."""

    __stand_in__ = True

    def value(self, key: str, default: object = None) -> object:
        """The stored value; the type may be lost once the file was read again."""
        if not self.contains(key):
            return default
        value = super().value(key)
        return tuple(value) if isinstance(value, list) else value

    def setValue(self, key: str, value: object) -> None:
        """Store a value."""
        super().setValue(key, list(value) if isinstance(value, tuple) else value)

    def allKeys(self) -> tuple[str, ...]:
        """Every key."""
        return tuple(super().allKeys())

    def childKeys(self) -> tuple[str, ...]:
        """The keys of the current group."""
        return tuple(super().childKeys())

    def childGroups(self) -> tuple[str, ...]:
        """The groups within the current group."""
        return tuple(super().childGroups())


def list_data_as_tuple() -> None:
    """Item data that is a list comes back as a tuple."""
    for kind, method in (
        (QtWidgets.QTableWidgetItem, "data"),
        (QtWidgets.QListWidgetItem, "data"),
        (QtWidgets.QTreeWidgetItem, "data"),
        (QtGui.QStandardItem, "data"),
        (QtWidgets.QComboBox, "itemData"),
    ):
        setattr(kind, method, _tuple_method(getattr(kind, method)))


def _tuple_method(native: object) -> object:
    def method(self: object, *arguments: object) -> object:
        value = native(self, *arguments)
        return tuple(value) if isinstance(value, list) else value

    return method
