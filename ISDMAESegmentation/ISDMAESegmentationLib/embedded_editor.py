"""The Segment Editor inside the panel, made when it is first asked for."""

from __future__ import annotations

import qt
import slicer

SINGLETON = "ISDMAESegmentation.Editor"
EFFECTS = ["Paint", "Erase", "Draw", "Scissors", "Smoothing", "Islands", "Logical operators"]


class EmbeddedEditor:
    """Edits the panel's result; it costs 0.4 s and a copy of the CT, so only on demand."""

    def __init__(self, area: qt.QWidget) -> None:
        self._area = area
        self._editor: slicer.qMRMLSegmentEditorWidget | None = None
        self._shown = False
        area.setVisible(False)

    @property
    def shown(self) -> bool:
        """Whether the editor is open."""
        return self._shown

    def show(
        self, node: slicer.vtkMRMLSegmentationNode, ct: slicer.vtkMRMLScalarVolumeNode | None
    ) -> None:
        """Open the editor on ``node`` with ``ct`` behind it."""
        if self._editor is None:
            self._editor = self._make()
        self._editor.setSegmentationNode(node)
        self._editor.setSourceVolumeNode(ct)
        segmentation = node.GetSegmentation()
        if segmentation.GetNumberOfSegments() > 0:
            self._editor.setCurrentSegmentID(segmentation.GetNthSegmentID(0))
        self._shown = True
        self._area.setVisible(True)
        self.enter()

    def hide(self) -> None:
        """Close the editor; its effect no longer takes the mouse."""
        self.leave()
        self._shown = False
        self._area.setVisible(False)

    def enter(self) -> None:
        """The module is shown again."""
        if self._editor is not None and self._shown:
            self._editor.setupViewObservations()
            self._editor.installKeyboardShortcuts()

    def leave(self) -> None:
        """The module is left: no effect stays active behind another module's back."""
        if self._editor is not None and self._shown:
            self._editor.setActiveEffect(None)
            self._editor.uninstallKeyboardShortcuts()
            self._editor.removeViewObservations()

    def edits(self, node: slicer.vtkMRMLSegmentationNode) -> bool:
        """Whether it is open on ``node``."""
        return self._shown and self._editor.segmentationNode() is node

    def save_state(self, node: slicer.vtkMRMLSegmentationNode) -> bool:
        """Make the coming change undoable in the editor; False where it is not open on ``node``."""
        if not self.edits(node):
            return False
        self._editor.saveStateForUndo()
        return True

    def _make(self) -> slicer.qMRMLSegmentEditorWidget:
        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMRMLScene(slicer.mrmlScene)
        editor.setMaximumNumberOfUndoStates(10)
        editor.setSegmentationNodeSelectorVisible(False)
        editor.setSourceVolumeNodeSelectorVisible(False)
        editor.setSwitchToSegmentationsButtonVisible(False)
        editor.setEffectNameOrder(EFFECTS)
        editor.unorderedEffectsVisible = False
        editor.setMRMLSegmentEditorNode(_editor_node())
        self._area.layout().addWidget(editor)
        return editor


def _editor_node() -> slicer.vtkMRMLSegmentEditorNode:
    node = slicer.mrmlScene.GetSingletonNode(SINGLETON, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(SINGLETON)
        node = slicer.mrmlScene.AddNode(node)
    return node
