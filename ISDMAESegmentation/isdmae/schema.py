"""Strict reading of plain data (JSON, YAML) into frozen dataclasses, and back.

One reader serves ``model.json``, training recipes and worker messages: every key must be known,
every value must have the declared type, and the dataclass's own ``__post_init__`` has the last
word. Nothing is imported by name and nothing is executed.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import InputError

T = TypeVar("T")


def from_plain(kind: type[T], data: Any, where: str) -> T:
    """Build ``kind`` from plain data.

    Parameters
    ----------
    kind : type
        A dataclass whose fields are str, int, float, bool, Path, Literal, tuples, optionals, str
        dictionaries or further dataclasses.
    data : object
        What a JSON or YAML reader returned.
    where : str
        Name of the source, for messages (``"model.json"``).

    Raises
    ------
    InputError
        ``bad-schema``, naming the field and what was expected.
    """
    result: T = _convert(kind, data, where)
    return result


def to_plain(value: Any) -> Any:
    """Turn dataclasses, tuples and paths into dictionaries, lists and strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: to_plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _bad(where: str, message: str) -> InputError:
    return InputError(
        "bad-schema", f"{where}: {message}.", "Correct the entry, or use an unchanged file."
    )


def _convert(kind: Any, data: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, data, where)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _optional(kind, data, where)
    if origin is tuple:
        return _tuple(kind, data, where)
    if origin is dict:
        if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
            raise _bad(where, "a table with text keys is expected")
        value_kind = get_args(kind)[1]
        return {key: _convert(value_kind, item, f"{where}.{key}") for key, item in data.items()}
    if origin is Literal:
        if not any(data == choice and type(data) is type(choice) for choice in get_args(kind)):
            raise _bad(where, f"{data!r} is none of {', '.join(map(repr, get_args(kind)))}")
        return data
    return _scalar(kind, data, where)


def _dataclass(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise _bad(where, "a table is expected")
    hints = get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(map(str, data)) - set(known))
    if unknown:
        raise _bad(where, f"unknown entry '{unknown[0]}' (known: {', '.join(sorted(known))})")
    values = {}
    for name, field in known.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise _bad(where, f"entry '{name}' is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise _bad(where, str(error).rstrip(".")) from error


def _optional(kind: Any, data: Any, where: str) -> Any:
    choices = get_args(kind)
    if data is None and type(None) in choices:
        return None
    errors = []
    for choice in choices:
        if choice is type(None):
            continue
        try:
            return _convert(choice, data, where)
        except InputError as error:
            errors.append(error)
    raise errors[0]


def _tuple(kind: Any, data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, (list, tuple)):
        raise _bad(where, "a list is expected")
    kinds = get_args(kind)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(data)
    if len(kinds) != len(data):
        raise _bad(where, f"a list of {len(kinds)} entries is expected, not {len(data)}")
    pairs = enumerate(zip(kinds, data, strict=True))
    return tuple(_convert(one, item, f"{where}[{index}]") for index, (one, item) in pairs)


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is Any:
        return data
    if kind is Path and isinstance(data, (str, Path)):
        if "\0" in str(data):
            raise _bad(where, "a path without a zero byte is expected")
        return Path(data)
    if kind is float and isinstance(data, (int, float)) and not isinstance(data, bool):
        if not math.isfinite(data):
            raise _bad(where, "a finite number is expected")
        return float(data)
    if kind in (str, int, bool) and type(data) is kind:
        return data
    raise _bad(where, f"{getattr(kind, '__name__', kind)} is expected, not {data!r}")
