"""Start the stand-in application, load a scripted module, and drive it.

>>> harness.boot()                                                    # doctest: +SKIP
>>> module, widget, parent = harness.load_module("X/X.py")            # doctest: +SKIP
>>> harness.enter(widget)                                             # doctest: +SKIP
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from pathlib import Path

from . import recorded
from .boot import boot, state
from .event_loop import EventLoopGap, longest_event_loop_gap_ms, spin, spin_until
from .slots import SlotError, slot_errors

__all__ = [
    "EventLoopGap",
    "SlotError",
    "boot",
    "close_scene",
    "complete_startup",
    "enter",
    "leave",
    "load_module",
    "load_scene",
    "longest_event_loop_gap_ms",
    "quit_application",
    "recorded",
    "reload",
    "reset",
    "save_scene",
    "slot_errors",
    "spin",
    "spin_until",
    "unload",
]

_NODES_OF_MODULES = (
    "vtkMRMLScriptedModuleNode",
    "vtkMRMLSegmentEditorNode",
    "vtkMRMLPlotViewNode",
)
"""Singletons that survive closing the scene, but not reset()."""


# Modules


def load_module(path: str | os.PathLike) -> tuple[types.ModuleType, object, object]:
    """Execute a scripted module's file and create its panel.

    Parameters
    ----------
    path : path
        ``<Name>/<Name>.py``.

    Returns
    -------
    tuple
        The Python module, its widget object, and the Qt widget that holds the panel.
    """
    import slicer

    from .module_manager import qSlicerScriptedLoadableModule

    path = Path(path).resolve()
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    described = qSlicerScriptedLoadableModule(name, str(path))
    setattr(slicer.modules, name.lower(), described)
    setattr(slicer.moduleNames, name, name)
    setattr(slicer.modules, f"{name}Instance", getattr(module, name)(described))
    described.categories = tuple(described.categories)
    state["loaded"][name] = described
    parent = described.widgetRepresentation()
    return module, parent.self(), parent


def enter(widget: object) -> None:
    """Show the panel; a module without a category cannot be reached, which raises."""
    import slicer

    module = getattr(slicer.modules, widget.moduleName.lower())
    if not module.categories:
        raise RuntimeError(f"{module.name} has no category: Slicer would not show it")
    slicer.util.selectModule(widget.moduleName)
    widget.parent.enter()


def leave(widget: object) -> None:
    """Show another panel."""
    widget.parent.exit()
    _forget_selection()


def reload(widget: object) -> object:
    """Press Reload: the file is executed, then the old cleanup() and the new setup().

    Returns
    -------
    object
        The new widget object. Its enter() was not called.
    """
    widget.onReload()
    return widget.parent.self()


def unload(widget: object) -> None:
    """Remove a module and its panel, between tests."""
    import slicer

    name, parent = widget.moduleName, widget.parent
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    _forget_selection()
    for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
        slicer.modules.__dict__.pop(attribute, None)
    slicer.moduleNames.__dict__.pop(name, None)
    state["loaded"].pop(name, None)
    sys.modules.pop(name, None)
    parent.delete()


def _forget_selection() -> None:
    import slicer

    slicer.util.mainWindow().moduleSelector()._selected = ""


# The application


def complete_startup() -> None:
    """Tell the modules that all are loaded: this is when they register their sample data."""
    import slicer

    slicer.app.startupCompleted.emit()


def close_scene() -> None:
    """File > Close Scene."""
    import slicer

    slicer.mrmlScene.Clear(0)
    spin(0)


def save_scene(path: str | os.PathLike) -> None:
    """File > Save, as .mrb or .mrml."""
    import slicer

    if not slicer.util.saveScene(str(path), {}):
        raise RuntimeError(f"the scene could not be saved as {path}")


def load_scene(path: str | os.PathLike) -> None:
    """File > Add Data: merge a saved scene into the present one."""
    from . import io_manager

    if not io_manager.load_scene(str(path), clear=False):
        raise RuntimeError(f"the scene {path} could not be loaded")
    spin(0)


def quit_application() -> None:
    """Quit as Slicer does: cleanup() of every module, then aboutToQuit."""
    import slicer

    for name in list(state["loaded"]):
        slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    slicer.app.aboutToQuit.emit()


def reset() -> None:
    """Start the next test afresh: no modules, no nodes, no dialogs, no settings, no errors."""
    import shiboken6
    import slicer

    from . import packaging_recorder

    for described in list(state["loaded"].values()):
        if described.has_widget():
            unload(described.widgetRepresentation().self())
    for window in slicer.app.topLevelWidgets():
        if shiboken6.isValid(window) and window is not slicer.util.mainWindow():
            window.delete()
    slicer.mrmlScene.Clear(0)
    for kind in _NODES_OF_MODULES:
        for node in slicer.util.getNodesByClass(kind):
            slicer.mrmlScene.RemoveNode(node)
    slicer.app.userSettings().clear()
    slicer.app.layoutManager().restore()
    recorded.reset()
    packaging_recorder.reset()
    spin(0)
    slot_errors.clear()
