"""Stand-in for the layout manager: the real slice and view nodes, without widgets."""

from __future__ import annotations

import slicer

SLICES = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}


class SliceView:
    """The part of a slice widget that draws."""

    def forceRender(self) -> None:
        """Draw now: nothing here."""

    scheduleRender = forceRender


class SliceWidget:
    """One slice view."""

    def __init__(self, logic: slicer.vtkMRMLSliceLogic) -> None:
        self._logic = logic
        self._view = SliceView()

    def sliceLogic(self) -> slicer.vtkMRMLSliceLogic:
        """The logic of the slice."""
        return self._logic

    def mrmlSliceNode(self) -> slicer.vtkMRMLSliceNode:
        """The node of the slice."""
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> slicer.vtkMRMLSliceCompositeNode:
        """The node that names the volumes."""
        return self._logic.GetSliceCompositeNode()

    def sliceView(self) -> SliceView:
        """The drawing part."""
        return self._view

    def fitSliceToBackground(self) -> None:
        """Show the whole background volume."""
        self._logic.FitSliceToBackground()


class ThreeDView:
    """The part of a 3D widget that draws."""

    def __init__(self, node: slicer.vtkMRMLViewNode) -> None:
        self._node = node

    def mrmlViewNode(self) -> slicer.vtkMRMLViewNode:
        """The node of the view."""
        return self._node

    def forceRender(self) -> None:
        """Draw now: nothing here."""

    resetFocalPoint = resetCamera = scheduleRender = forceRender


class ThreeDWidget:
    """One 3D view."""

    def __init__(self, node: slicer.vtkMRMLViewNode) -> None:
        self._view = ThreeDView(node)

    def threeDView(self) -> ThreeDView:
        """The drawing part."""
        return self._view

    def mrmlViewNode(self) -> slicer.vtkMRMLViewNode:
        """The node of the view."""
        return self._view.mrmlViewNode()


class LayoutManager:
    """Three slices and one 3D view."""

    threeDViewCount = 1
    tableViewCount = 0
    plotViewCount = 0

    def __init__(self, logic: slicer.vtkSlicerApplicationLogic) -> None:
        self._application_logic = logic
        self._slices = {name: SliceWidget(self._slice(name, SLICES[name])) for name in SLICES}
        self._view_logic = slicer.vtkMRMLViewLogic()
        self._view_logic.SetMRMLApplicationLogic(logic)
        self._view_logic.SetMRMLScene(slicer.mrmlScene)
        logic.GetViewLogics().AddItem(self._view_logic)
        self._three_d = ThreeDWidget(self._view_logic.AddViewNode("1"))
        self.layout = 3  # four-up
        self.layouts_set: list[int] = []

    def _slice(self, name: str, orientation: str) -> slicer.vtkMRMLSliceLogic:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._application_logic)
        logic.SetMRMLScene(slicer.mrmlScene)
        self._application_logic.GetSliceLogics().AddItem(logic)
        node = logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        node.SetDimensions(400, 400, 1)
        return logic

    def sliceViewNames(self) -> tuple[str, ...]:
        """Red, Green and Yellow."""
        return tuple(self._slices)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        """A slice view by its name."""
        return self._slices.get(name)

    def threeDWidget(self, index: int) -> ThreeDWidget | None:
        """A 3D view by its number."""
        return self._three_d if index == 0 else None

    def mrmlSliceLogics(self) -> object:
        """The logics of all slices."""
        return self._application_logic.GetSliceLogics()

    def setLayout(self, layout: int) -> None:
        """Change the layout; the changes are listed in ``layouts_set``."""
        self.layout = layout
        self.layouts_set.append(layout)

    def resetSliceViews(self) -> None:
        """Fit every slice to its background."""
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def restore(self) -> None:
        """Forget what a test did to the layout."""
        self.layout = 3
        self.layouts_set.clear()

    def resetThreeDViews(self) -> None:
        """Fit the 3D view: nothing here."""
