"""Any exception in words that a person can act on."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from isdmae.atomic import FULL
from isdmae.errors import InputError, IsdmaeError, ResourceError, says_memory_is_short

GO_ON = "the same command goes on from the last checkpoint"


def explained(error: Exception) -> IsdmaeError:
    """Return ``error`` as one that we foresaw; of a defect the traceback is printed."""
    if isinstance(error, IsdmaeError):
        return error
    short = says_memory_is_short(error)  # of the system, too: OSError, ENOMEM
    if isinstance(error, OSError) and not (short or isinstance(error, ConnectionError)):
        return _lost(error)
    traceback.print_exception(error)
    if short:
        return ResourceError(
            "out-of-memory",
            "The memory is not enough for this training.",
            "Close other programs, or take a recipe with a smaller batch or network.",
        )
    return IsdmaeError(
        "defect", f"{type(error).__name__}: {error}", "Please report this with the log."
    )


@contextmanager
def naming(scan: str) -> Iterator[None]:
    """Say in whatever goes wrong inside which scan it was.

    Raises
    ------
    IsdmaeError
        Of the kind and code of `explained`.
    """
    try:
        yield
    except Exception as error:
        known = explained(error)
        remedy = known.remedy
        if known.code == "defect":
            remedy = f"{remedy} A run with {scan} in data.hold_out goes without this scan."
        raise type(known)(known.code, f"Scan {scan}: {known.message}", remedy) from error


def _lost(error: OSError) -> IsdmaeError:
    path = error.filename
    name = os.fsdecode(path) if isinstance(path, (str, bytes)) else "A file"
    if error.errno in FULL:
        return ResourceError(
            "disk-full",
            f"{name} could not be written: the disk is full.",
            f"Free some space; {GO_ON}.",
        )
    # Of a loader: the end of its traceback.
    why = error.strerror or (str(error).splitlines() or [type(error).__name__])[-1]
    return InputError(
        "file-lost",
        f"{name} could not be read or written: {why}.",
        f"Check that the disk or network share is there and may be written; {GO_ON}.",
    )
