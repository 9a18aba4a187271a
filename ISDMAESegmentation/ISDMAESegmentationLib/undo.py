"""Take back the last run into an existing segmentation."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from .scene_segmentation import CHANGED_ATTRIBUTE, REPORT_ATTRIBUTE
from .segment_changes import SegmentChanges


class RunUndo:
    """Remembers one state of one segmentation node, until the user changes what came after it."""

    def __init__(self) -> None:
        self._changes = SegmentChanges()
        self.forget()

    def save(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Remember the node's segments and report; an empty node leaves all as it was."""
        if node.GetSegmentation().GetNumberOfSegments() == 0:
            return
        self.forget()
        self._node_id = node.GetID()
        self._attributes = {
            name: node.GetAttribute(name) for name in (REPORT_ATTRIBUTE, CHANGED_ATTRIBUTE)
        }
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

        def on_change() -> None:
            self.forget()
            changed()

        self._changes.watch(node, on_change)

    def possible(self, node: slicer.vtkMRMLSegmentationNode | None) -> bool:
        """Whether ``node`` can be taken back."""
        return self._history is not None and node is not None and node.GetID() == self._node_id

    def restore(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Bring the remembered segments back, once."""
        if not self.possible(node):
            return
        self._changes.stop()
        self._history.RestorePreviousState()
        for name, value in self._attributes.items():
            node.SetAttribute(name, value)  # None removes it
        self.forget()

    def forget(self) -> None:
        """Let go of the remembered state."""
        self._changes.stop()
        self._node_id = ""
        self._attributes: dict[str, str | None] = {}
        self._history: slicer.vtkSegmentationHistory | None = None
