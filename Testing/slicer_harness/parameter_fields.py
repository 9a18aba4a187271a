"""What a field of a parameter node may be annotated with."""

from __future__ import annotations

import typing
from dataclasses import dataclass


class Validator:
    """Checks a value before it is stored."""

    def validate(self, value: object) -> None:
        """Raise ValueError where the value is not valid."""
        raise NotImplementedError


@dataclass
class WithinRange(Validator):
    """Both ends included."""

    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        """Raise ValueError outside the range."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within [{self.minimum}, {self.maximum}]")


@dataclass
class Minimum(Validator):
    """At least this."""

    minimum: float

    def validate(self, value: float) -> None:
        """Raise ValueError below."""
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclass
class Maximum(Validator):
    """At most this."""

    maximum: float

    def validate(self, value: float) -> None:
        """Raise ValueError above."""
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


@dataclass
class Choice(Validator):
    """One of these."""

    choices: list

    def validate(self, value: object) -> None:
        """Raise ValueError for anything else."""
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


@dataclass
class Exclude(Validator):
    """None of these."""

    excludedValues: list

    def validate(self, value: object) -> None:
        """Raise ValueError for one of them."""
        if value in self.excludedValues:
            raise ValueError(f"{value!r} is excluded")


@dataclass
class Default:
    """The value of a fresh parameter node."""

    value: object


@dataclass
class SingleStep:
    """The step of a slider or spin box."""

    value: float


@dataclass
class Decimals:
    """The decimals of a slider or spin box."""

    value: int


@dataclass(frozen=True)
class FieldType:
    """A field's type, taken apart."""

    plain: type
    annotations: tuple

    @classmethod
    def of(cls, annotated: object) -> FieldType:
        """Take ``Annotated[type, ...]``, or a bare type."""
        if typing.get_origin(annotated) is typing.Annotated:
            plain, *annotations = typing.get_args(annotated)
            return cls(plain, tuple(annotations))
        return cls(annotated, ())

    def find(self, kind: type) -> object:
        """The first annotation of a class, None where there is none."""
        return next((a for a in self.annotations if isinstance(a, kind)), None)

    def validate(self, value: object) -> None:
        """Check a value against every annotation."""
        for annotation in self.annotations:
            if isinstance(annotation, Validator):
                annotation.validate(value)
