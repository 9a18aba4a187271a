"""Take back the last run into an existing segmentation."""

from __future__ import annotations

import slicer

from .scene_segmentation import REPORT_ATTRIBUTE


class RunUndo:
    """Remembers one state of one segmentation node."""

    def __init__(self) -> None:
        self.forget()

    def save(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Remember the node's segments and report; nothing is kept of an empty node."""
        self.forget()
        if node.GetSegmentation().GetNumberOfSegments() == 0:
            return
        self._node_id = node.GetID()
        self._report = node.GetAttribute(REPORT_ATTRIBUTE)
        self._history = slicer.vtkSegmentationHistory()
        self._history.SetSegmentation(node.GetSegmentation())
        self._history.SaveState()

    def possible(self, node: slicer.vtkMRMLSegmentationNode | None) -> bool:
        """Whether ``node`` can be taken back."""
        return self._history is not None and node is not None and node.GetID() == self._node_id

    def restore(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Bring the remembered segments back, once."""
        if not self.possible(node):
            return
        self._history.RestorePreviousState()
        if self._report is None:
            node.RemoveAttribute(REPORT_ATTRIBUTE)
        else:
            node.SetAttribute(REPORT_ATTRIBUTE, self._report)
        self.forget()

    def forget(self) -> None:
        """Let go of the remembered state."""
        self._node_id = ""
        self._report: str | None = None
        self._history: slicer.vtkSegmentationHistory | None = None
