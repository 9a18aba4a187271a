"""parameterPack: several fields under one name, possibly nested."""

from __future__ import annotations

import typing
from collections.abc import Callable

from .parameter_storage import Field, create_field


class PackBase:
    """What the decorator gives to a pack."""

    is_pack = True
    allParameters: typing.ClassVar[dict[str, Field]] = {}
    defaults: typing.ClassVar[dict[str, object]] = {}

    def __init__(self, *values: object, **named: object) -> None:
        object.__setattr__(self, "_save", None)
        given = dict(zip(self.allParameters, values, strict=False)) | named
        unknown = set(given) - set(self.allParameters)
        if unknown:
            raise TypeError(f"unexpected arguments {sorted(unknown)}")
        for name in self.allParameters:
            setattr(self, name, given.get(name, self.defaults[name]))

    @classmethod
    def observed(cls, values: dict[str, object], save: Callable) -> PackBase:
        """A pack that stores itself at each change."""
        pack = cls.__new__(cls)
        PackBase.__init__(pack, **values)
        object.__setattr__(pack, "_save", save)
        for value in values.values():
            if isinstance(value, PackBase):
                object.__setattr__(value, "_save", lambda _: save(pack))
        return pack

    def __setattr__(self, name: str, value: object) -> None:
        field = self.allParameters.get(name)
        if field is None and self._save is not None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        if field is not None:
            field.validate(value)
        object.__setattr__(self, name, value)
        if self._save is not None:
            self._save(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.allParameters)

    __hash__ = None

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.allParameters)
        return f"{type(self).__name__}({values})"

    def getValue(self, name: str) -> object:
        """A member by its name, with dots for nested packs."""
        first, _, rest = name.partition(".")
        value = getattr(self, first)
        return value.getValue(rest) if rest else value

    def setValue(self, name: str, value: object) -> None:
        """Set a member by its name, with dots for nested packs."""
        first, _, rest = name.partition(".")
        if first not in self.allParameters:
            raise ValueError(f"{type(self).__name__} has no member {first!r}")
        if rest:
            getattr(self, first).setValue(rest, value)
        else:
            setattr(self, first, value)

    @classmethod
    def fieldOf(cls, name: str) -> Field:
        """The field behind a name with dots."""
        first, _, rest = name.partition(".")
        if first not in cls.allParameters:
            raise ValueError(f"{cls.__name__} has no member {first!r}")
        field = cls.allParameters[first]
        return field.kind.plain.fieldOf(rest) if rest else field


def parameterPack(kind: type | None = None) -> type | Callable:
    """Class decorator: make a pack of the annotated fields."""
    return _process if kind is None else _process(kind)


def _process(kind: type) -> type:
    fields, defaults = {}, {}
    for name, annotated in typing.get_type_hints(kind, include_extras=True).items():
        fields[name], defaults[name] = create_field(annotated)
        if name in kind.__dict__:
            defaults[name] = kind.__dict__[name]
        fields[name].validate(defaults[name])
    if not fields:
        raise ValueError("a parameterPack needs members")
    body = {key: value for key, value in kind.__dict__.items() if key not in fields}
    for key in ("__dict__", "__weakref__"):
        body.pop(key, None)
    body |= {"allParameters": fields, "defaults": defaults}
    return type(kind.__name__, (PackBase,), body)
