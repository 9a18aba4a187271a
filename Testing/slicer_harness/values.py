"""The conversions of PythonQt between Python values and those of Qt."""

from __future__ import annotations

import enum
import numbers

_BOOL = {"bool"}
_INT = {"int", "uint", "qlonglong", "qulonglong"}
_FLOAT = {"double", "float"}
_TEXT = {"QString"}


class EnumValue(int):
    """An enum value as PythonQt shows it: an int that equals Qt's own enum member too."""

    native: enum.Enum

    def __new__(cls, native: enum.Enum) -> EnumValue:
        """Wrap an enum member of PySide6."""
        value = super().__new__(cls, native.value)
        value.native = native
        return value

    def __eq__(self, other: object) -> bool:
        if isinstance(other, enum.Enum):
            other = other.value
        return int(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return int.__hash__(self)


def to_python(value: object) -> object:
    """What PythonQt hands to Python: enums as ints, lists of Qt as tuples."""
    if isinstance(value, enum.Enum) and isinstance(value.value, int):
        return EnumValue(value)
    if isinstance(value, list):
        return tuple(value)
    return value


def to_native(value: object) -> object:
    """What PySide6 takes: the enum member behind an EnumValue, any other value as it is."""
    return value.native if isinstance(value, EnumValue) else value


def coerce(type_name: str, value: object) -> object:
    """Convert a value to a property's C++ type, as loosely as PythonQt does.

    33.7 becomes 33 for an int property, None becomes "None" and 5 becomes "5" for a text, and
    any text that is not empty is true.

    Raises
    ------
    ValueError
        Where the value cannot be converted, for example a text to a number.
    """
    if type_name in _TEXT:
        return str(value)
    if type_name in _BOOL:
        return bool(value)
    if type_name in _INT | _FLOAT:
        if not isinstance(value, numbers.Real) and not hasattr(value, "__index__"):
            raise ValueError(f"a property of type {type_name} does not accept {value!r}")
        return int(value) if type_name in _INT else float(value)
    if isinstance(value, tuple):
        return list(value)
    return to_native(value)
