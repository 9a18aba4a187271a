"""Store fields as text parameters and node references of a vtkMRMLScriptedModuleNode."""

from __future__ import annotations

import enum
import pathlib

import slicer

from .parameter_fields import Default, FieldType


class Field:
    """One stored value: how it is checked, written and read."""

    accepts: tuple[type, ...] = ()

    def __init__(self, kind: FieldType) -> None:
        self.kind = kind

    def default(self) -> object:
        """The value where none was given."""
        return self.kind.plain()

    def validate(self, value: object) -> None:
        """Raise TypeError for a wrong type and ValueError for a value that is not allowed."""
        if value is None:
            raise ValueError("Value must not be None")
        if not isinstance(value, self.accepts or self.kind.plain):
            raise TypeError(f"Value must be of type {self.kind.plain}, is {value!r}")
        self.kind.validate(value)

    def is_in(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        """Whether the node has the value."""
        return bool(node.HasParameter(name))

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: object) -> None:
        """Check and store a value."""
        self.validate(value)
        node.SetParameter(name, self.to_text(value))

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> object:
        """The stored value."""
        return self.from_text(node.GetParameter(name))

    def to_text(self, value: object) -> str:
        """How the value is stored."""
        return str(value)

    def from_text(self, text: str) -> object:
        """The value behind the stored text."""
        return self.kind.plain(text)


class FloatField(Field):
    """A decimal number; whole ones are welcome."""

    accepts = (int, float)


class BoolField(Field):
    """True or False."""

    def from_text(self, text: str) -> bool:
        """The value behind the stored text."""
        return text == "True"


class EnumField(Field):
    """A member of an Enum, stored by its name."""

    def default(self) -> enum.Enum:
        """The first member."""
        return next(iter(self.kind.plain))

    def to_text(self, value: enum.Enum) -> str:
        """The member's name."""
        return value.name

    def from_text(self, text: str) -> enum.Enum:
        """The member of that name."""
        try:
            return self.kind.plain[text]
        except KeyError as error:
            raise ValueError(f"{text!r} is no name in {self.kind.plain!r}") from error


class NodeField(Field):
    """A reference to a node, or None."""

    def default(self) -> None:
        """No node."""

    def validate(self, value: slicer.vtkMRMLNode | None) -> None:
        """Raise TypeError for a node of another class."""
        if value is not None and not isinstance(value, self.kind.plain):
            raise TypeError(f"Value must be of type {self.kind.plain}, is {type(value)}")
        self.kind.validate(value)

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: object) -> None:
        """Store the reference, and an empty text as a sign that it was set."""
        self.validate(value)
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> object:
        """The node, None where it is gone."""
        return node.GetNodeReference(name)


class PackField(Field):
    """A parameterPack: one stored value per member, as ``mask.ratio``."""

    @property
    def members(self) -> dict[str, Field]:
        """The pack's own fields."""
        return self.kind.plain.allParameters

    def is_in(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        """Whether the node has the pack."""
        first, field = next(iter(self.members.items()))
        return field.is_in(node, f"{name}.{first}")

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: object) -> None:
        """Store every member."""
        self.validate(value)
        with slicer.util.NodeModify(node):
            for member, field in self.members.items():
                field.write(node, f"{name}.{member}", getattr(value, member))

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> object:
        """A pack whose members write to the node when they are set."""
        values = {
            member: field.read(node, f"{name}.{member}") for member, field in self.members.items()
        }
        return self.kind.plain.observed(values, lambda pack: self.write(node, name, pack))


_PLAIN_FIELDS = {int: Field, str: Field, float: FloatField, bool: BoolField}


def create_field(annotated: object) -> tuple[Field, object]:
    """The field of an annotated type, and its default.

    Raises
    ------
    TypeError
        For a type that the harness does not store.
    """
    kind = FieldType.of(annotated)
    field = _field_class(kind.plain)(kind)
    given = kind.find(Default)
    return field, given.value if given is not None else field.default()


def _field_class(plain: type) -> type[Field]:
    if plain in _PLAIN_FIELDS:
        return _PLAIN_FIELDS[plain]
    if not isinstance(plain, type):
        raise TypeError(f"the harness does not store {plain}")
    for base, field in ((pathlib.PurePath, Field), (enum.Enum, EnumField)):
        if issubclass(plain, base):
            return field
    if issubclass(plain, slicer.vtkMRMLNode):
        return NodeField
    if getattr(plain, "is_pack", False):
        return PackField
    raise TypeError(f"the harness does not store {plain}")
