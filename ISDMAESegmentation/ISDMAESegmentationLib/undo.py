"""Take back the last run into an existing segmentation."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from .scene_segmentation import REPORT_ATTRIBUTE

# Of vtkSegmentation: what tells that the user has worked on the result.
CHANGES = ("SegmentAdded", "SegmentRemoved", "SourceRepresentationModified")


class RunUndo:
    """Remembers one state of one segmentation node, until the user changes what came after it."""

    def __init__(self) -> None:
        self._segmentation: slicer.vtkSegmentation | None = None
        self._tags: list[int] = []
        self.forget()

    def save(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Remember the node's segments and report; an empty node leaves all as it was."""
        if node.GetSegmentation().GetNumberOfSegments() == 0:
            return
        self.forget()
        self._node_id = node.GetID()
        self._report = node.GetAttribute(REPORT_ATTRIBUTE)
        self._history = slicer.vtkSegmentationHistory()
        self._history.SetSegmentation(node.GetSegmentation())
        self._history.SaveState()

    def watch(self, node: slicer.vtkMRMLSegmentationNode, changed: Callable[[], None]) -> None:
        """The run has filled ``node``: from now on a change of its segments is the user's own.

        It ends the remembering, since going back would take that change along; ``changed`` is
        called then.
        """
        if not self.possible(node):
            return

        def on_change(_caller: object, _event: str) -> None:
            self.forget()
            changed()

        self._segmentation = node.GetSegmentation()
        for name in CHANGES:
            event = getattr(slicer.vtkSegmentation, name)
            self._tags.append(self._segmentation.AddObserver(event, on_change))

    def possible(self, node: slicer.vtkMRMLSegmentationNode | None) -> bool:
        """Whether ``node`` can be taken back."""
        return self._history is not None and node is not None and node.GetID() == self._node_id

    def restore(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Bring the remembered segments back, once."""
        if not self.possible(node):
            return
        self._stop_watching()
        self._history.RestorePreviousState()
        if self._report is None:
            node.RemoveAttribute(REPORT_ATTRIBUTE)
        else:
            node.SetAttribute(REPORT_ATTRIBUTE, self._report)
        self.forget()

    def forget(self) -> None:
        """Let go of the remembered state."""
        self._stop_watching()
        self._node_id = ""
        self._report: str | None = None
        self._history: slicer.vtkSegmentationHistory | None = None

    def _stop_watching(self) -> None:
        for tag in self._tags:
            self._segmentation.RemoveObserver(tag)
        self._segmentation, self._tags = None, []
