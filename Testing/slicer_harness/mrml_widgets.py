"""Stand-ins for the simpler widgets of Slicer."""

from __future__ import annotations

import qt
import slicer
from PySide6.QtCore import Signal

from .ctk_inputs import ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget
from .stand_in import stand_in, stored


@stand_in
class qSlicerWidget(qt.QWidget):
    """A widget that knows the scene and tells its children."""

    mrmlSceneChanged = Signal(object)
    SIGNALS = ("mrmlSceneChanged(vtkMRMLScene*)",)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        """Set the scene, here and in every connected child."""
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        """The scene, None before it was set."""
        return self._scene


@stand_in
class qMRMLWidget(qSlicerWidget):
    """The top widget of a module's .ui file."""


class _SceneMixin:
    """The scene of widgets that only have to keep it."""

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        """Keep the scene."""
        self.__dict__["_scene"] = scene

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        """The scene, None before it was set."""
        return self.__dict__.get("_scene")


@stand_in
class qMRMLSliderWidget(_SceneMixin, ctkSliderWidget):
    """A slider in the scene's units."""

    quantity = stored(str, "")


@stand_in
class qMRMLSpinBox(_SceneMixin, ctkDoubleSpinBox):
    """A spin box in the scene's units."""

    quantity = stored(str, "")


@stand_in
class qMRMLRangeWidget(_SceneMixin, ctkRangeWidget):
    """A range in the scene's units."""

    quantity = stored(str, "")
