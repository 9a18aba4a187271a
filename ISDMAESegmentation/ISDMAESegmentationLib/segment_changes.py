"""Hear of it when the segments of a segmentation change."""

from __future__ import annotations

from collections.abc import Callable

import slicer

# Of vtkSegmentation; names and colours are no change.
EVENTS = ("SegmentAdded", "SegmentRemoved", "SourceRepresentationModified")


class SegmentChanges:
    """Tells when segments of one node are added, removed or painted."""

    def __init__(self) -> None:
        self._segmentation: slicer.vtkSegmentation | None = None
        self._tags: list[int] = []

    def watch(self, node: slicer.vtkMRMLSegmentationNode, changed: Callable[[], None]) -> None:
        """Call ``changed`` at each change of ``node``; one that is watched keeps its callable."""
        segmentation = node.GetSegmentation()
        if segmentation is self._segmentation:
            return
        self.stop()
        self._segmentation = segmentation
        for name in EVENTS:
            event = getattr(slicer.vtkSegmentation, name)
            self._tags.append(segmentation.AddObserver(event, lambda _caller, _event: changed()))

    def stop(self) -> None:
        """Let go of the node."""
        for tag in self._tags:
            self._segmentation.RemoveObserver(tag)
        self._segmentation, self._tags = None, []
