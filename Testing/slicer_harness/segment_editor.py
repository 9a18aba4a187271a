"""Stand-in for the Segment Editor widget, with a real undo history."""

from __future__ import annotations

import qt
import slicer
from PySide6.QtCore import Signal

from .stand_in import observe, stand_in, stored

_EFFECTS = (
    "Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds",
    "Fill between slices", "Margin", "Hollow", "Smoothing", "Scissors", "Islands",
    "Logical operators", "Mask volume",
)  # fmt: skip


class Effect:
    """One tool of the editor."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: dict[str, str] = {}

    def setParameter(self, name: str, value: object) -> None:
        """Set one of the tool's parameters."""
        self.parameters[name] = str(value)

    def parameter(self, name: str) -> str:
        """One of the tool's parameters; empty where it was never set."""
        return self.parameters.get(name, "")

    def self(self) -> Effect:
        """The Python side of the tool."""
        return self


@stand_in
class qMRMLSegmentEditorWidget(qt.QWidget):
    """The editor's state without its tools: make it in Python, never in a .ui file."""

    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)
    currentSegmentIDChanged = Signal(str)
    SIGNALS = (
        "segmentationNodeChanged(vtkMRMLSegmentationNode*)",
        "sourceVolumeNodeChanged(vtkMRMLVolumeNode*)",
        "currentSegmentIDChanged(QString)",
    )

    unorderedEffectsVisible = stored(bool, True)
    autoShowSourceVolumeNode = stored(bool, True)
    readOnly = stored(bool, False)
    segmentationNodeSelectorVisible = stored(bool, True)
    sourceVolumeNodeSelectorVisible = stored(bool, True)
    switchToSegmentationsButtonVisible = stored(bool, True)
    addRemoveSegmentButtonsVisible = stored(bool, True)
    undoEnabled = stored(bool, True)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = self._node = self._segmentation = self._volume = self._effect = None
        self._history = slicer.vtkSegmentationHistory()
        self._effects = {name: Effect(name) for name in _EFFECTS}
        self._order: tuple[str, ...] = _EFFECTS
        self._observed_scene_tags: list[int] = []
        self.__dict__["_active"] = {"shortcuts": False, "observations": False}
        qt.QVBoxLayout(self).addWidget(qt.QLabel("Segment Editor"))

    # Nodes

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        """Set the scene; closing it empties the editor."""
        for tag in self._observed_scene_tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._observed_scene_tags = scene, []
        if scene is not None:
            tag = observe(scene, scene.NodeRemovedEvent, self._forget_removed)
            self._observed_scene_tags = [tag]

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        """The scene."""
        return self._scene

    def _forget_removed(self, *_: object) -> None:
        if self._segmentation is not None and self._segmentation.GetScene() is None:
            self.setSegmentationNode(None)
            self.setActiveEffect(None)
        if self._volume is not None and self._volume.GetScene() is None:
            self.setSourceVolumeNode(None)

    def setMRMLSegmentEditorNode(self, node: slicer.vtkMRMLSegmentEditorNode | None) -> None:
        """Set the node that keeps the editor's settings."""
        self._node = node

    def mrmlSegmentEditorNode(self) -> slicer.vtkMRMLSegmentEditorNode | None:
        """The node that keeps the editor's settings."""
        return self._node

    def setSegmentationNode(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Edit a segmentation; this needs the editor node."""
        self._require_editor_node(node)
        self._segmentation = node
        self._history.SetSegmentation(node.GetSegmentation() if node else None)
        if self._node is not None:
            self._node.SetAndObserveSegmentationNode(node)
        self.segmentationNodeChanged.emit(node)

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation that is edited."""
        return self._segmentation

    def setSourceVolumeNode(self, node: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        """Paint by the intensities of a volume; this needs the editor node."""
        self._require_editor_node(node)
        self._volume = node
        if self._node is not None:
            self._node.SetAndObserveSourceVolumeNode(node)
        self.sourceVolumeNodeChanged.emit(node)

    def sourceVolumeNode(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume whose intensities are used."""
        return self._volume

    def _require_editor_node(self, node: slicer.vtkMRMLNode | None) -> None:
        if node is not None and self._node is None:
            raise RuntimeError("the segment editor needs setMRMLSegmentEditorNode() first")

    def setCurrentSegmentID(self, segment_id: str) -> None:
        """Choose the segment to edit."""
        if self._node is not None:
            self._node.SetSelectedSegmentID(segment_id)
        self.currentSegmentIDChanged.emit(segment_id)

    def currentSegmentID(self) -> str:
        """The segment that is edited."""
        return (self._node.GetSelectedSegmentID() or "") if self._node else ""

    # Tools

    def setActiveEffectByName(self, name: str) -> None:
        """Choose a tool; an unknown name chooses none."""
        self._effect = self._effects.get(name)

    def setActiveEffect(self, effect: Effect | None) -> None:
        """Choose a tool, or none."""
        self._effect = effect

    def activeEffect(self) -> Effect | None:
        """The chosen tool."""
        return self._effect

    def effectByName(self, name: str) -> Effect | None:
        """A tool by its name."""
        return self._effects.get(name)

    def availableEffectNames(self) -> tuple[str, ...]:
        """The names of all tools."""
        return _EFFECTS

    def setEffectNameOrder(self, names: list[str]) -> None:
        """Which tools come first, or at all."""
        self._order = tuple(names)

    def effectNameOrder(self) -> tuple[str, ...]:
        """The order of the tools."""
        return self._order

    # Undo

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        """How many steps can be undone."""
        self._history.SetMaximumNumberOfStates(count)

    def maximumNumberOfUndoStates(self) -> int:
        """How many steps can be undone."""
        return self._history.GetMaximumNumberOfStates()

    def saveStateForUndo(self) -> None:
        """Remember the segments as they are."""
        self._history.SaveState()

    def undo(self) -> None:
        """Go back one state."""
        self._history.RestorePreviousState()

    def redo(self) -> None:
        """Go forward one state."""
        self._history.RestoreNextState()

    # What only changes the looks, or the mouse and the keyboard

    def setSegmentationNodeSelectorVisible(self, on: bool) -> None:
        """Show the selector of the segmentation."""
        self.segmentationNodeSelectorVisible = on

    def setSourceVolumeNodeSelectorVisible(self, on: bool) -> None:
        """Show the selector of the volume."""
        self.sourceVolumeNodeSelectorVisible = on

    def setSwitchToSegmentationsButtonVisible(self, on: bool) -> None:
        """Show the button that leads to the Segmentations module."""
        self.switchToSegmentationsButtonVisible = on

    def setAddRemoveSegmentButtonsVisible(self, on: bool) -> None:
        """Show the Add and Remove buttons."""
        self.addRemoveSegmentButtonsVisible = on

    def setUndoEnabled(self, on: bool) -> None:
        """Show Undo and Redo."""
        self.undoEnabled = on

    def setReadOnly(self, on: bool) -> None:
        """Forbid editing."""
        self.readOnly = on

    def setupViewObservations(self) -> None:
        """Let the tools see the mouse."""
        self._active["observations"] = True

    def removeViewObservations(self) -> None:
        """Take the mouse away from the tools."""
        self._active["observations"] = False

    def installKeyboardShortcuts(self) -> None:
        """Let the tools see the keyboard."""
        self._active["shortcuts"] = True

    def uninstallKeyboardShortcuts(self) -> None:
        """Take the keyboard away from the tools."""
        self._active["shortcuts"] = False

    def updateWidgetFromMRML(self) -> None:
        """Show what the editor node says."""
