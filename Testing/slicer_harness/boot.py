"""Start the stand-in application: Qt, the scene, and the modules that scripts import."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from .slots import collect_unraised

state: dict[str, object] = {}
"""The application, its folder and the loaded modules; empty before boot()."""


def boot() -> None:
    """Make ``slicer``, ``qt``, ``ctk`` and ``SampleData`` importable; once per process.

    Raises
    ------
    RuntimeError
        Where a package or a shared library is missing, with its name.
    """
    if state:
        return
    from .missing import reason_to_skip

    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    if reason := reason_to_skip():
        raise RuntimeError(reason)
    _import_slicer()
    folder = Path(tempfile.mkdtemp(prefix="slicer_harness_"))
    state.update(folder=folder, loaded={})
    _start_qt(folder)
    _enrich_slicer(folder)
    collect_unraised()
    atexit.register(_shut_down)


def _import_slicer() -> None:
    """Import slicer-core; it would take every other folder called "slicer" for a part of it."""
    path = sys.path[:]
    sys.path[:] = [
        entry
        for entry in path
        if not (Path(entry) / "slicer").is_dir() or (Path(entry) / "slicer/__init__.py").is_file()
    ]
    try:
        import slicer  # noqa: F401
    finally:
        sys.path[:] = path


def _start_qt(folder: Path) -> None:
    from . import qt_module

    qt = qt_module.install()
    qt.qInstallMessageHandler(_print_message)
    qt.QSettings.setDefaultFormat(qt.QSettings.IniFormat)
    qt.QSettings.setPath(qt.QSettings.IniFormat, qt.QSettings.UserScope, str(folder))
    qt.QSettings.setPath(qt.QSettings.IniFormat, qt.QSettings.SystemScope, str(folder / "system"))
    state["application"] = qt.QApplication.instance() or qt.QApplication(["Slicer"])
    qt.QCoreApplication.setOrganizationName("NA-MIC")
    qt.QCoreApplication.setApplicationName("Slicer")


def _print_message(_kind: object, _context: object, message: str) -> None:
    if "propagateSizeHints" not in message:  # the offscreen platform says so of every window
        sys.stderr.write(f"Qt: {message}\n")


def _enrich_slicer(folder: Path) -> None:
    import slicer

    from . import ctk_module, scene

    ctk_module.install()
    logic = scene.create(folder)
    from . import (
        application,
        checkable_node_combo_box,
        module_manager,
        mrml_widgets,
        node_combo_box,
        plot_view,
        segment_editor,
        segment_widgets,
        translation,
        util_dialogs,
    )

    for source in (
        mrml_widgets, plot_view, node_combo_box, checkable_node_combo_box, segment_widgets,
        segment_editor, module_manager,
    ):  # fmt: skip
        for name, kind in vars(source).items():
            if name.startswith(("qMRML", "qSlicer")):
                setattr(slicer, name, kind)
    slicer.app = application.Application(folder, logic)
    util_dialogs.install()
    from . import packaging_recorder, parameter_wrapper, sample_data, scripted_modules, self_test

    for name, module in {
        "i18n": translation,
        "packaging": packaging_recorder,
        "parameterNodeWrapper": parameter_wrapper,
        "ScriptedLoadableModule": scripted_modules,
        "testing": self_test,
    }.items():
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    sys.modules["SampleData"] = sample_data


def _shut_down() -> None:
    """Let go of windows and nodes while Python is still whole, and remove the folder."""
    import slicer

    if "slicer_harness.views" in sys.modules:
        sys.modules["slicer_harness.views"].close()
    slicer.mrmlScene.Clear(1)
    shutil.rmtree(state["folder"], ignore_errors=True)
