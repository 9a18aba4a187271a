"""The points of a model that asks for them: which list, and placing new ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .models import Model
from .parameter_node import ParameterNode

LIST_NAME = "Nodules"
SUGGESTED_NAME = "Nodule candidates"
SUGGESTED = "ISDMAE.suggested"
"""Attribute of a list that a search has made."""


class PointsRow:
    """Shows its row for such a model only, and follows the chosen list of points.

    Parameters
    ----------
    ui : object
        The widgets by name.
    changed : callable
        Called when a point is placed or removed.
    suggest : callable
        Called when points are to be suggested.
    """

    def __init__(self, ui: Any, changed: Callable[[], None], suggest: Callable[[], None]) -> None:
        self._ui, self._changed = ui, changed
        self._parameters: ParameterNode | None = None
        self._node: slicer.vtkMRMLMarkupsFiducialNode | None = None
        self._node_tags: list[int] = []
        self._interaction = slicer.app.applicationLogic().GetInteractionNode()
        self._mode_tag = self._interaction.AddObserver(
            slicer.vtkMRMLInteractionNode.InteractionModeChangedEvent, self._on_mode
        )
        ui.placeButton.connect("toggled(bool)", self._on_place)
        ui.suggestButton.connect("clicked(bool)", lambda _checked: suggest())

    def show(self, parameters: ParameterNode | None, model: Model | None, *, running: bool) -> None:
        """Take the scene's choices, and show the row where the model asks for points."""
        wanted = model is not None and model.needs_points
        self._parameters = parameters
        self._watch(parameters.points if parameters is not None and wanted else None)
        for name in ("pointsLabel", "pointsSelector", "placeButton"):
            getattr(self._ui, name).setVisible(wanted)
        self._ui.pointsSelector.enabled = not running
        self._ui.placeButton.enabled = parameters is not None and not running
        self._ui.suggestButton.setVisible(wanted and model.suggests_points)
        if not wanted or running:
            self.stop()

    def refuse_suggestions(self, why_not: str) -> None:
        """Enable the button that suggests points unless there is a reason against it."""
        self._ui.suggestButton.enabled = not why_not
        self._ui.suggestButton.toolTip = why_not or _(
            "Experimental: segment round spots in the lungs and list them as points. It misses "
            "nodules and shows vessels; look through the whole CT all the same."
        )

    def take_suggestions(self, places: list[tuple[float, float, float]]) -> None:
        """Put points (RAS of the world) into a list of their own, and choose it.

        Those of earlier searches are put away, hidden: the user may have added to them.
        """
        if self._parameters is None:
            return
        for former in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"):
            if former.GetAttribute(SUGGESTED):
                former.SetDisplayVisibility(False)
                if former is self._parameters.points:
                    self._parameters.points = None
        if not places:
            return
        node = _new_list(SUGGESTED_NAME)
        node.SetAttribute(SUGGESTED, "1")
        for number, place in enumerate(places, start=1):
            node.AddControlPointWorld(vtk.vtkVector3d(*place), str(number))
        self._parameters.points = node

    def why_not(self) -> str:
        """Return what is missing for a run, or an empty text."""
        if self._node is None or self._node.GetNumberOfDefinedControlPoints() == 0:
            return _("Place a point in each nodule first: click Place, then into a slice view.")
        return ""

    def stop(self) -> None:
        """End the placing of points."""
        self._ui.placeButton.setChecked(False)

    def close(self) -> None:
        """The panel goes away."""
        self.stop()
        self._watch(None)
        self._interaction.RemoveObserver(self._mode_tag)

    def _watch(self, node: slicer.vtkMRMLMarkupsFiducialNode | None) -> None:
        if node is self._node:
            return
        self.stop()
        for tag in self._node_tags:
            self._node.RemoveObserver(tag)
        self._node, self._node_tags = node, []
        if node is not None:
            if node.GetAttribute(SUGGESTED):  # a later search has hidden it
                node.SetDisplayVisibility(True)
            events = (
                node.PointPositionDefinedEvent,
                node.PointPositionUndefinedEvent,
                node.PointRemovedEvent,
            )
            self._node_tags = [node.AddObserver(event, self._on_points) for event in events]

    def _on_points(self, _caller: object, _event: str) -> None:
        self._changed()

    def _on_place(self, on: bool) -> None:
        if not on:
            if self._placing():
                self._interaction.SwitchToViewTransformMode()
            return
        if self._parameters.points is None:
            node = _new_list(LIST_NAME)
            self._parameters.points = node
            self._watch(node)
            self._ui.placeButton.setChecked(True)
            return
        slicer.modules.markups.logic().SetActiveList(self._node)
        self._interaction.SwitchToPersistentPlaceMode()

    def _placing(self) -> bool:
        return self._interaction.GetCurrentInteractionMode() == self._interaction.Place

    def _on_mode(self, _caller: object, _event: str) -> None:
        if not self._placing():
            self.stop()


def _new_list(name: str) -> slicer.vtkMRMLMarkupsFiducialNode:
    """Add a list of points whose marks do not hide what they mark, as the default balls would."""
    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLMarkupsFiducialNode", slicer.mrmlScene.GenerateUniqueName(name)
    )
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetGlyphType(display.Cross2D)
    return node
