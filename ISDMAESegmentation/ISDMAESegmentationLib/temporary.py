"""Folders of our own in Slicer's temporary one."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from .failure import refuse


def make_folder() -> Path:
    """Make a folder; Slicer's own may have been cleaned away meanwhile.

    Raises
    ------
    SegmentationError
        ``not-written`` where the disk does not take it.
    """
    try:
        Path(slicer.app.temporaryPath).mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="isdmae-", dir=slicer.app.temporaryPath))
    except OSError as error:
        raise refuse(
            "not-written",
            _("No temporary folder could be made: {error}.").format(error=error.strerror or error),
            _("Free some disk space, or choose another temporary folder in Slicer's settings."),
        ) from error


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for a ``with`` block; errors as `make_folder`."""
    folder = make_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
