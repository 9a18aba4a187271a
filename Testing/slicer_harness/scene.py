"""The real MRML scene and module logics of slicer-core, without an application."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import slicer
import vtk

LOGICS = {
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
}
"""Module name and class of its logic."""

_NAMES_INSIDE_SLICER = {
    "MRMLCorePython": "MRMLCore",
    "MRMLLogicPython": "MRMLLogic",
    "vtkSegmentationCorePython": "vtkSegmentationCore",
    "vtkITK": "vtkITK",
    "vtkSlicerSegmentationsModuleMRMLPython": "vtkSlicerSegmentationsModuleMRML",
}

_kept_alive: list[object] = []


def create(cache: Path) -> slicer.vtkSlicerApplicationLogic:
    """Create ``slicer.mrmlScene`` and ``slicer.modules``.

    Parameters
    ----------
    cache : Path
        A folder that reading .mrb files needs.
    """
    _name_extension_modules()
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    colours = logic.GetColorLogic()
    colours.SetMRMLScene(scene)
    colours.AddDefaultColorNodes()
    logic.SetModuleLogic("Colors", colours)
    slicer.mrmlScene, slicer.modules = scene, types.SimpleNamespace()
    slicer.moduleNames = types.SimpleNamespace()
    add_module("Colors", colours)
    for name, kind in LOGICS.items():
        if hasattr(slicer, kind):
            _add_logic(logic, name, getattr(slicer, kind)())
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    _enable_bundles(scene, logic, cache)
    return logic


def _add_logic(
    logic: slicer.vtkSlicerApplicationLogic, name: str, module_logic: slicer.vtkMRMLAbstractLogic
) -> None:
    # The terminology files are part of the application: their absence is no news
    with without_warnings():
        module_logic.SetMRMLScene(slicer.mrmlScene)
        module_logic.SetMRMLApplicationLogic(logic)
        logic.SetModuleLogic(name, module_logic)
    add_module(name, module_logic)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep VTK quiet about what is known."""
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(0)
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(shown)


def add_module(name: str, logic: object) -> None:
    """Make a C++ module's logic known as ``slicer.modules.<name>``."""
    from .module_manager import LogicModule

    setattr(slicer.modules, name.lower(), LogicModule(name, logic))
    setattr(slicer.moduleNames, name, name)


def _name_extension_modules() -> None:
    import importlib

    for inside, own in _NAMES_INSIDE_SLICER.items():
        sys.modules[inside] = importlib.import_module(f"slicer_core.{own}")


def _enable_bundles(
    scene: slicer.vtkMRMLScene, logic: slicer.vtkSlicerApplicationLogic, cache: Path
) -> None:
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.SetMRMLApplicationLogic(logic)
    remote.GetCacheManager().SetRemoteCacheDirectory(str(cache))
    data = slicer.vtkDataIOManagerLogic()
    data.SetMRMLScene(scene)
    data.SetMRMLApplicationLogic(logic)
    data.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    _kept_alive.extend((remote, data))
