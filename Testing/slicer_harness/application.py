"""Stand-in for ``slicer.app``."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

import qt
import slicer
from PySide6.QtCore import Signal

from .io_manager import IOManager
from .layout_manager import LayoutManager
from .module_manager import MainWindow, ModuleManager
from .stand_in import stand_in

PATHS_OF_SLICER = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH")
"""What Slicer sets for its own Python, and what kills a foreign one."""


@stand_in
class CommandOptions(qt.QObject):
    """The command line: --testing."""

    testingEnabled = True
    noMainWindow = False
    pythonCode = ""
    pythonScript = ""


@stand_in
class Application(qt.QObject):
    """The application: settings and files in a throw-away folder, always --testing."""

    startupCompleted = Signal()
    aboutToQuit = Signal()
    mrmlSceneChanged = Signal(object)
    SIGNALS = ("mrmlSceneChanged(vtkMRMLScene*)",)

    applicationName = "Slicer"
    applicationVersion = "5.12.3"
    majorVersion, minorVersion = 5, 12
    revision = "00000"
    repositoryRevision = "0000000"
    os = "linux"
    platform = "linux-amd64"
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"

    def __init__(self, folder: Path, logic: slicer.vtkSlicerApplicationLogic) -> None:
        super().__init__()
        self._qt = qt.QApplication.instance()
        self._logic, self._folder = logic, folder
        self._layout, self._io = LayoutManager(logic), IOManager()
        self._modules, self._window = ModuleManager(), MainWindow()
        self._options = CommandOptions()
        self._paused = 0
        self.__dict__["temporaryPath"] = tempfile.mkdtemp(dir=folder)
        self.__dict__["cachePath"] = tempfile.mkdtemp(dir=folder)
        self.__dict__["slicerHome"] = str(folder)
        self.__dict__["slicerUserSettingsFilePath"] = qt.QSettings().fileName()
        self._python_slicer = _python_slicer(folder / "bin")

    # Parts of the application

    def applicationLogic(self) -> slicer.vtkSlicerApplicationLogic:
        """The real application logic."""
        return self._logic

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        """The scene."""
        return slicer.mrmlScene

    def layoutManager(self) -> LayoutManager:
        """Slices and 3D views, without widgets."""
        return self._layout

    def coreIOManager(self) -> IOManager:
        """Reads and writes files."""
        return self._io

    ioManager = coreIOManager

    def moduleManager(self) -> ModuleManager:
        """Finds modules."""
        return self._modules

    def topLevelWidgets(self) -> tuple[qt.QWidget, ...]:
        """Every window, the main window too."""
        return tuple(qt.QApplication.topLevelWidgets())

    def commandOptions(self) -> CommandOptions:
        """The command line."""
        return self._options

    def testingEnabled(self) -> bool:
        """Whether --testing was given."""
        return self._options.testingEnabled

    # Settings and environment

    def settings(self) -> qt.QSettings:
        """The throw-away settings."""
        return qt.QSettings()

    userSettings = revisionUserSettings = settings

    def startupEnvironment(self) -> qt.QProcessEnvironment:
        """The environment in which the application was started."""
        environment = qt.QProcessEnvironment.systemEnvironment()
        for name in ("QT_QPA_PLATFORM", "PYTHONNOUSERSITE"):
            environment.remove(name)
        return environment

    def pythonSlicer(self) -> str:
        """Where ``shutil.which("PythonSlicer")`` leads; not part of Slicer's own interface."""
        return self._python_slicer

    def moduleDocumentationUrl(self, name: str) -> str:
        """A page of the documentation."""
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def translate(self, context: str, text: str) -> str:
        """No translation."""
        return text

    # Events, cursors, rendering

    def processEvents(self, *flags: object) -> None:
        """Let Qt do what is waiting."""
        self._qt.processEvents(*flags)

    def pauseRender(self) -> None:
        """Hold back rendering."""
        self._paused += 1

    def resumeRender(self) -> None:
        """Let rendering go on."""
        self._paused -= 1

    def isRenderPaused(self) -> bool:
        """Whether rendering is held back."""
        return self._paused > 0

    def setRenderPaused(self, paused: bool) -> None:
        """Hold back rendering, or not."""
        self._paused += 1 if paused else -1

    def setOverrideCursor(self, cursor: object) -> None:
        """Change the cursor everywhere."""
        self._qt.setOverrideCursor(qt.QCursor(cursor))

    def restoreOverrideCursor(self) -> None:
        """Undo setOverrideCursor()."""
        self._qt.restoreOverrideCursor()

    def keyboardModifiers(self) -> object:
        """The keys that are held."""
        return self._qt.keyboardModifiers()

    def clipboard(self) -> qt.QClipboard:
        """The clipboard."""
        return self._qt.clipboard()

    def palette(self) -> qt.QPalette:
        """The application's colours."""
        return self._qt.palette()

    def font(self) -> qt.QFont:
        """The application's font."""
        return self._qt.font()

    def style(self) -> qt.QStyle:
        """The application's style."""
        return self._qt.style()

    def restart(self) -> None:
        """A module asked for a restart, which a test cannot survive."""
        raise RuntimeError("the module asked for a restart")

    def exit(self, code: int = 0) -> None:
        """A module asked to quit, which a test cannot survive."""
        raise RuntimeError(f"the module asked to quit with {code}")


def _python_slicer(folder: Path) -> str:
    """A launcher as PythonSlicer is one: killing it leaves its Python alive."""
    folder.mkdir(exist_ok=True)
    launcher = folder / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n', encoding="utf-8")
    launcher.chmod(launcher.stat().st_mode | stat.S_IEXEC)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return str(launcher)
