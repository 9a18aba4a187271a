"""Call Python functions from Qt and VTK; an exception in one is kept, and fails the test."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from .values import to_python


@dataclass(frozen=True)
class SlotError:
    """An exception that left a slot, an observer or an event handler."""

    where: str
    exception: BaseException

    def __str__(self) -> str:
        lines = traceback.format_exception(self.exception)
        return f"in {self.where}:\n" + "".join(lines)


slot_errors: list[SlotError] = []
"""What Slicer would only have printed. The fixtures fail the test unless it is empty."""


def record(where: str, exception: BaseException) -> None:
    """Keep an exception for the end of the test, and print it as Slicer does."""
    error = SlotError(where, exception)
    slot_errors.append(error)
    sys.stderr.write(f"{error}\n")


def guarded(function: Callable, where: str, available: int | None = None) -> Callable:
    """A slot that hands ``function`` as many arguments as it takes, of those available.

    Parameters
    ----------
    function : callable
        Any Python callable.
    where : str
        Named in the error report.
    available : int, optional
        The number of arguments in the signature that was connected; all by default.
    """
    wanted = positional_arguments(function)
    count = _smaller(wanted, available)

    def slot(*arguments: object) -> None:
        try:
            function(*(to_python(value) for value in arguments[:count]))
        except Exception as error:  # noqa: BLE001  every exception of a slot is a finding
            record(where, error)

    return slot


def positional_arguments(function: Callable) -> int | None:
    """How many positional arguments a callable takes; None where any number will do."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _smaller(first: int | None, second: int | None) -> int | None:
    known = [value for value in (first, second) if value is not None]
    return min(known) if known else None


def collect_unraised() -> None:
    """Also keep what Qt and VTK hand to sys.excepthook: observers, timers, event handlers."""
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: object) -> None:
        slot_errors.append(SlotError("an observer or an event handler", error))
        previous(kind, error, trace)

    sys.excepthook = hook
