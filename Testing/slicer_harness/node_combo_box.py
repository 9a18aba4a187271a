"""Stand-in for Slicer's node selectors."""

from __future__ import annotations

import qt
import slicer
import vtk
from PySide6.QtCore import Signal

from .stand_in import computed, observe, stand_in, stored

_CREATE, _RENAME, _DELETE = "create", "rename", "delete"


@stand_in
class qMRMLNodeComboBox(qt.QWidget):
    """Choose a node of the scene.

    A node that is added to the scene is not selected. Removing the selected node selects another
    one, if there is any.
    """

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    currentNodeRenamed = Signal(str)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeActivated = Signal(object)
    SIGNALS = (
        "currentNodeChanged(vtkMRMLNode*)",
        ("currentNodeChanged(bool)", bool),
        "currentNodeIDChanged(QString)",
        "nodeAdded(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)",
        "nodeActivated(vtkMRMLNode*)",
    )

    nodeTypes = stored("QStringList", (), "_refill")
    noneEnabled = stored(bool, False, "_refill")
    noneDisplay = stored(str, "", "_refill")
    addEnabled = stored(bool, True, "_refill")
    removeEnabled = stored(bool, True, "_refill")
    renameEnabled = stored(bool, False, "_refill")
    editEnabled = stored(bool, False, "_refill")
    showHidden = stored(bool, False, "_refill")
    showChildNodeTypes = stored(bool, True, "_refill")
    hideChildNodeTypes = stored("QStringList", (), "_refill")
    selectNodeUponCreation = stored(bool, True)
    baseName = stored(str, "", "_refill")
    interactionNodeSingletonTag = stored(str, "")

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene, self._tags, self._node_tags = None, [], {}
        self._ids: list[str] = []
        self._current = ""
        self._attributes: dict[tuple[str, str], str | None] = {}
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = qt.QComboBox()
        self._combo.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._activated)
        self._show()

    # The scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        """List the nodes of a scene; where None is no choice, the first node is selected."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is not None:
            self._tags = [
                observe(scene, scene.NodeAddedEvent, self._node_added, node=True),
                observe(scene, scene.NodeRemovedEvent, self._node_removed, node=True),
            ]
        self._refill()

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        """The scene."""
        return self._scene

    def _node_added(self, _scene: object, _event: str, node: slicer.vtkMRMLNode) -> None:
        if self._lists(node):
            self._ids.append(node.GetID())
            self._watch(node)
            self._show()
            self.nodeAdded.emit(node)

    def _node_removed(self, _scene: object, _event: str, node: slicer.vtkMRMLNode) -> None:
        node_id = node.GetID()
        if node_id not in self._ids:
            return
        row = self._ids.index(node_id)
        self._ids.remove(node_id)
        node.RemoveObserver(self._node_tags.pop(node_id))
        if node_id == self._current:
            self._select(self._ids[max(row - 1, 0)] if self._ids else "")
        else:
            self._show()

    def _watch(self, node: slicer.vtkMRMLNode) -> None:
        if node.GetID() not in self._node_tags:
            tag = observe(node, vtk.vtkCommand.ModifiedEvent, self._node_modified)
            self._node_tags[node.GetID()] = tag

    def _node_modified(self, node: slicer.vtkMRMLNode, _event: str) -> None:
        row = self._combo.findData(node.GetID())
        if row >= 0 and self._combo.itemText(row) != node.GetName():
            self._show()
            if node.GetID() == self._current:
                self.currentNodeRenamed.emit(node.GetName())

    # What is listed

    def _lists(self, node: slicer.vtkMRMLNode) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        return any(self._is_of(node, kind) for kind in self.nodeTypes)

    def _is_of(self, node: slicer.vtkMRMLNode, kind: str) -> bool:
        if node.GetClassName() in self.hideChildNodeTypes:
            return False
        if not (node.IsA(kind) if self.showChildNodeTypes else node.GetClassName() == kind):
            return False
        for (node_type, name), value in self._attributes.items():
            found = node.GetAttribute(name)
            if node_type == kind and (found is None or (value is not None and found != value)):
                return False
        return True

    def addAttribute(self, node_type: str, name: str, value: object = None) -> None:
        """List only nodes of a type that have an attribute, and optionally its value."""
        self._attributes[node_type, name] = None if value is None else str(value)
        self._refill()

    def removeAttribute(self, node_type: str, name: str) -> None:
        """Undo addAttribute()."""
        self._attributes.pop((node_type, name), None)
        self._refill()

    def _refill(self) -> None:
        """List anew; nodes hidden since they were added go only now."""
        nodes = self._scene_nodes()
        self._ids = [node.GetID() for node in nodes]
        for node in nodes:
            self._watch(node)
        current = self._current if self._current in self._ids else ""
        if not current and self._ids and not self.noneEnabled:
            current = self._ids[0]
        self._select(current)

    def _scene_nodes(self) -> list[slicer.vtkMRMLNode]:
        if self._scene is None:
            return []
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
        return [node for node in nodes if self._lists(node)]

    def _show(self) -> None:
        combo = self._combo
        combo.blockSignals(True)
        combo.clear()
        if self.noneEnabled:
            combo.addItem(self.noneDisplay or "None", "")
        for node_id in self._ids:
            combo.addItem(self._scene.GetNodeByID(node_id).GetName(), node_id)
        for text, action in self._actions():
            combo.addItem(text, action)
        combo.placeholderText = self.noneDisplay or f"Select a {self._type_label()}"
        combo.currentIndex = combo.findData(self._current)
        combo.blockSignals(False)

    def _actions(self) -> list[tuple[str, tuple[str, str]]]:
        actions = []
        if self.addEnabled:
            for kind in self.nodeTypes:
                label = self.baseName or self._type_label(kind)
                actions.append((f"Create new {label}", (_CREATE, kind)))
        if self.renameEnabled and self._current:
            actions.append((f"Rename current {self._type_label()}", (_RENAME, "")))
        if self.removeEnabled and self._current:
            actions.append((f"Delete current {self._type_label()}", (_DELETE, "")))
        return actions

    def _type_label(self, kind: str | None = None) -> str:
        kind = kind or (self.nodeTypes[0] if self.nodeTypes else "vtkMRMLNode")
        tag = slicer.mrmlScene.GetTagByClassName(kind)
        return "Volume" if tag and tag.endswith("Volume") else (tag or "Node")

    # The current node

    def _select(self, node_id: str) -> None:
        changed = node_id != self._current
        self._current = node_id
        self._show()
        if changed:
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node_id)

    def _activated(self, row: int) -> None:
        chosen = self._combo.itemData(row)
        if isinstance(chosen, str):
            self._select(chosen)
            self.nodeActivated.emit(self.currentNode())
            return
        self._show()
        action, kind = chosen
        if action == _CREATE:
            self.addNode(kind)
        elif action == _DELETE:
            self.removeCurrentNode()

    def addNode(self, kind: str | None = None) -> slicer.vtkMRMLNode:
        """Create a node, as "Create new" does, and select it."""
        kind = kind or self.nodeTypes[0]
        base = self.baseName or self._scene.GetTagByClassName(kind)
        node = self._scene.AddNewNodeByClass(kind, self._scene.GenerateUniqueName(base))
        if self.selectNodeUponCreation:
            self._select(node.GetID())
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        """Remove the selected node from the scene."""
        node = self.currentNode()
        if node is not None:
            self.nodeAboutToBeRemoved.emit(node)
            self._scene.RemoveNode(node)

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        """The selected node."""
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node: slicer.vtkMRMLNode | str | None) -> None:
        """Select a node; one that is not listed selects None."""
        node_id = node if isinstance(node, str) else (node.GetID() if node else "")
        self._select(node_id if node_id in self._ids else "")

    def setCurrentNodeID(self, node_id: str) -> None:
        """Select a node by its id."""
        self.setCurrentNode(node_id or "")

    def setCurrentNodeIndex(self, index: int) -> None:
        """Select a node by its place in the list."""
        self._select(self._ids[index])

    def nodeFromIndex(self, index: int) -> slicer.vtkMRMLNode | None:
        """A node by its place in the list."""
        return self._scene.GetNodeByID(self._ids[index]) if index < len(self._ids) else None

    def nodeCount(self) -> int:
        """How many nodes are listed."""
        return len(self._ids)

    def setNodeTypes(self, kinds: list[str]) -> None:
        """List nodes of these classes."""
        self.nodeTypes = kinds

    currentNodeID = computed(str, lambda self: self._current, setCurrentNodeID)
    currentText = computed(str, lambda self: self._combo.currentText or self._combo.placeholderText)
