"""Stand-in for the selector of several nodes."""

from __future__ import annotations

import qt
import slicer
from PySide6.QtCore import Signal

from .node_combo_box import qMRMLNodeComboBox
from .stand_in import stand_in


@stand_in
class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """Choose several nodes."""

    checkedNodesChanged = Signal()

    def checkedNodes(self) -> tuple[slicer.vtkMRMLNode, ...]:
        """The checked nodes."""
        checked = self.__dict__.get("_checked", set())
        return tuple(self._scene.GetNodeByID(i) for i in self._ids if i in checked)

    def uncheckedNodes(self) -> tuple[slicer.vtkMRMLNode, ...]:
        """The other nodes."""
        checked = self.__dict__.get("_checked", set())
        return tuple(self._scene.GetNodeByID(i) for i in self._ids if i not in checked)

    def setCheckState(self, node: slicer.vtkMRMLNode, state: object) -> None:
        """Check or uncheck a node."""
        checked = self.__dict__.setdefault("_checked", set())
        on = state not in (qt.Qt.Unchecked, 0, False)
        (checked.add if on else checked.discard)(node.GetID())
        self.checkedNodesChanged.emit()

    def checkState(self, node: slicer.vtkMRMLNode) -> object:
        """Whether a node is checked."""
        checked = node.GetID() in self.__dict__.get("_checked", set())
        return qt.Qt.Checked if checked else qt.Qt.Unchecked
