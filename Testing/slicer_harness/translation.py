"""The module ``slicer.i18n``: texts stay as they are."""

from __future__ import annotations


def tr(text: str) -> str:
    """A text of the calling module."""
    return text


def translate(context: str, text: str) -> str:
    """A text of a named context, such as "qSlicerAbstractCoreModule"."""
    return text
