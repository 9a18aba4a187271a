"""Which Python computes, and in which environment: Slicer's own, or one that the user names."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from .failure import refuse

SETTING = "ISDMAESegmentation/WorkerPython"
MODULE_FOLDER = Path(__file__).resolve().parents[1]
# Set by Slicer for its own Python; a foreign one does not start with them.
SLICER_VARIABLES = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True)
class WorkerCommand:
    """A Python interpreter; ``own`` is True for the one that comes with Slicer."""

    python: str
    own: bool

    def environment(self, *more: Path) -> qt.QProcessEnvironment:
        """Return the child's environment: UTF-8, isdmae of this module, packages in ``more``."""
        environment = slicer.app.startupEnvironment()
        inherited = ""
        if self.own:
            for name, value in os.environ.items():
                environment.insert(name, value)
            inherited = os.environ.get("PYTHONPATH", "")
        else:
            for name in SLICER_VARIABLES:
                environment.remove(name)
        paths = [str(MODULE_FOLDER), *map(str, more), *([inherited] if inherited else [])]
        environment.insert("PYTHONPATH", os.pathsep.join(paths))
        environment.insert("PYTHONUTF8", "1")
        return environment


def named_python() -> str:
    """Return the interpreter that the user named in Advanced, or an empty text."""
    return str(slicer.util.settingsValue(SETTING, "") or "")


def name_python(path: str) -> None:
    """Remember the user's choice on this machine; an empty text means Slicer's own Python."""
    qt.QSettings().setValue(SETTING, path)


def worker_command() -> WorkerCommand:
    """Return the Python to use.

    Raises
    ------
    SegmentationError
        ``no-python`` where the named file is gone or Slicer's own Python cannot be found.
    """
    named = named_python()
    if named:
        if not Path(named).is_file():
            raise refuse(
                "no-python",
                _("The Python '{path}' named in Advanced does not exist.").format(path=named),
                _("Choose another one there, or clear the field to use Slicer's own."),
            )
        return WorkerCommand(named, own=False)
    own = shutil.which("PythonSlicer")
    if own is None:
        raise refuse(
            "no-python",
            _("Slicer's own Python (PythonSlicer) was not found."),
            _("Install Slicer again, or name a Python under Advanced."),
        )
    return WorkerCommand(own, own=True)
