"""Say in words what the harness lacks on this machine."""

from __future__ import annotations

import importlib
import importlib.util
import os
from ctypes.util import find_library

PACKAGES = {"PySide6": "PySide6-Essentials", "slicer_core": "slicer-core"}
"""Import name and distribution of the Python packages that the harness stands on."""

LIBRARIES = {
    "libEGL": "libegl1",
    "libGL.": "libgl1",
    "libOSMesa": "libosmesa6",
    "libxkbcommon": "libxkbcommon0",
    "libdbus": "libdbus-1-3",
    "libfontconfig": "libfontconfig1",
    "libglib": "libglib2.0-0",
    "libX11": "libx11-6",
    "libXrender": "libxrender1",
}
"""Part of a shared library's name and the Debian package that brings it."""


def reason_to_skip() -> str | None:
    """What hinders the harness from running, as a sentence; None where it can run."""
    for name, distribution in PACKAGES.items():
        if importlib.util.find_spec(name) is None:
            return f"{distribution} is not installed (see Testing/requirements.txt)"
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    for name in ("PySide6.QtWidgets", "PySide6.QtUiTools", "slicer_core", "vtk"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            return f"{name} cannot be loaded: {error}{_apt_hint(str(error))}"
    return None


def reason_not_to_render() -> str | None:
    """What hinders VTK from rendering without a screen; None where nothing does."""
    if os.environ.get("DISPLAY") or any(find_library(name) for name in ("EGL", "OSMesa")):
        return None
    return "neither libEGL nor libOSMesa is there; on Debian and Ubuntu: apt-get install libosmesa6"


def _apt_hint(message: str) -> str:
    """The Debian package that holds the library named in an ImportError."""
    for part, package in LIBRARIES.items():
        if part in message:
            return f"; on Debian and Ubuntu: apt-get install {package}"
    return ""
