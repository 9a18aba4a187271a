"""Configurations as YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml

from isdmae.errors import InputError
from isdmae.schema import from_plain

T = TypeVar("T")

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "recipes"

RECIPES = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "recipes"
"""The published ones: within an installed package; beside it in a checkout and in Slicer."""


def recipe_path(name: str) -> Path:
    """Return the file of a published recipe, or ``name`` itself as a path.

    Examples
    --------
    >>> recipe_path("pretrain/isd-mae").is_file()
    True
    """
    published = RECIPES / f"{name}.yaml"
    return published if published.is_file() else Path(name)


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
