"""Configurations as YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml

from isdmae.errors import InputError
from isdmae.schema import from_plain

T = TypeVar("T")

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def load_recipe(kind: type[T], path: Path) -> T:
    """Read a YAML recipe; InputError names what is wrong in it."""
    return from_plain(kind, read_yaml(path), path.name)


def read_yaml(path: Path) -> Any:
    """Parse a YAML file with the safe loader (no objects, no code)."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            "bad-recipe", f"{path.name} cannot be read as YAML: {error}.", "Check the file."
        ) from error
