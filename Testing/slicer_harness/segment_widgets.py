"""Stand-ins for the widgets that show segments."""

from __future__ import annotations

import qt
import slicer
from PySide6.QtCore import Signal

from .stand_in import computed, observe, stand_in, stored

_VISIBLE, _COLOUR, _OPACITY, _NAME, _STATUS = range(5)
_SURFACE = "Closed surface"


@stand_in
class qMRMLSegmentsTableView(qt.QWidget):
    """The table of segments. It keeps its node, and the rows, when the scene lets go of it."""

    selectionChanged = Signal(object, object)
    segmentsAboutToBeShown = Signal()
    SIGNALS = ("selectionChanged(QItemSelection,QItemSelection)",)

    readOnly = stored(bool, False)
    headerVisible = stored(bool, True)
    selectionMode = stored(int, 3)
    visibilityColumnVisible = stored(bool, True)
    colorColumnVisible = stored(bool, True)
    opacityColumnVisible = stored(bool, True)
    statusColumnVisible = stored(bool, True)
    layerColumnVisible = stored(bool, False)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node, self._tags = None, []
        self._table = qt.QTableWidget(0, 5)
        self._table.setHorizontalHeaderLabels(["", "Color", "Opacity", "Name", "Status"])
        self._table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        self._table.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Expanding)
        layout = qt.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        self._table.itemChanged.connect(self._edited)
        selection = self._table.selectionModel()
        selection.selectionChanged.connect(lambda a, b: self.selectionChanged.emit(a, b))

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        """The table needs only its node."""

    def setSegmentationNode(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Show the segments of a node, or none."""
        for tag in self._tags:
            self._node.RemoveObserver(tag)
        self._node, self._tags = node, []
        if node is not None:
            events = slicer.vtkSegmentation
            for event in (
                events.SegmentAdded, events.SegmentRemoved, events.SegmentModified
            ):  # fmt: skip
                self._tags.append(observe(node, event, self._segments_changed))
        self._fill()

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The node whose segments are shown."""
        return self._node

    def _segments_changed(self, *_: object) -> None:
        self._fill()

    def _fill(self) -> None:
        self._table.blockSignals(True)
        self._table.rowCount = self.segmentCount()
        for row in range(self.segmentCount()):
            self._fill_row(row)
        self._table.blockSignals(False)

    def _fill_row(self, row: int) -> None:
        segmentation = self._node.GetSegmentation()
        segment_id = segmentation.GetNthSegmentID(row)
        segment, display = segmentation.GetNthSegment(row), self._node.GetDisplayNode()
        items = [qt.QTableWidgetItem() for _ in range(5)]
        visible = display is None or display.GetSegmentVisibility(segment_id)
        items[_VISIBLE].setCheckState(qt.Qt.Checked if visible else qt.Qt.Unchecked)
        items[_COLOUR].setBackground(qt.QBrush(qt.QColor.fromRgbF(*segment.GetColor())))
        opacity = display.GetSegmentOpacity3D(segment_id) if display else 1.0
        items[_OPACITY].setText(f"{opacity:.2f}")
        items[_NAME].setText(segment.GetName())
        items[_NAME].setData(qt.Qt.UserRole, segment_id)
        for column, item in enumerate(items):
            self._table.setItem(row, column, item)

    def _edited(self, item: qt.QTableWidgetItem) -> None:
        segment_id = self._node.GetSegmentation().GetNthSegmentID(item.row())
        if item.column() == _VISIBLE:
            shown = item.checkState() == qt.Qt.Checked
            self._node.GetDisplayNode().SetSegmentVisibility(segment_id, shown)
        if item.column() == _NAME:
            self._node.GetSegmentation().GetSegment(segment_id).SetName(item.text())

    def segmentCount(self) -> int:
        """The number of rows."""
        return self._node.GetSegmentation().GetNumberOfSegments() if self._node else 0

    def _id_of(self, row: int) -> str:
        return self._table.item(row, _NAME).data(qt.Qt.UserRole)

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        """The ids of the selected rows."""
        rows = self._table.selectionModel().selectedRows()
        return tuple(self._id_of(row.row()) for row in rows)

    def setSelectedSegmentIDs(self, segment_ids: list[str]) -> None:
        """Select rows by their ids."""
        self._table.clearSelection()
        for row in range(self._table.rowCount):
            if self._id_of(row) in segment_ids:
                self._table.selectRow(row)

    def clearSelection(self) -> None:
        """Select nothing."""
        self._table.clearSelection()

    def setReadOnly(self, on: bool) -> None:
        """Forbid editing."""
        self.readOnly = on

    def setHeaderVisible(self, on: bool) -> None:
        """Show the column titles."""
        self.headerVisible = on

    def setVisibilityColumnVisible(self, on: bool) -> None:
        """Show the first column."""
        self._table.setColumnHidden(_VISIBLE, not on)

    def setColorColumnVisible(self, on: bool) -> None:
        """Show the colours."""
        self._table.setColumnHidden(_COLOUR, not on)

    def setOpacityColumnVisible(self, on: bool) -> None:
        """Show the opacities."""
        self._table.setColumnHidden(_OPACITY, not on)

    def setStatusColumnVisible(self, on: bool) -> None:
        """Show the status flags."""
        self._table.setColumnHidden(_STATUS, not on)

    def setLayerColumnVisible(self, on: bool) -> None:
        """Show the layers."""
        self.layerColumnVisible = on


@stand_in
class qMRMLSegmentationShow3DButton(qt.QWidget):
    """A menu button: click() would open its menu and wait for ever, so it raises."""

    toggled = Signal(bool)
    clicked = Signal(bool)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node = None
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._button = qt.QPushButton("Show 3D")
        self._button.checkable = True
        layout.addWidget(self._button)
        self._button.toggled.connect(self._toggled)
        self.enabled = False

    def setSegmentationNode(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Take a node, and look whether it has surfaces."""
        self._node = node
        self.enabled = node is not None
        has_surface = bool(node and node.GetSegmentation().ContainsRepresentation(_SURFACE))
        self._button.blockSignals(True)
        self._button.checked = has_surface
        self._button.blockSignals(False)

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The node."""
        return self._node

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        """The button needs only its node."""

    def _toggled(self, on: bool) -> None:
        if self._node is not None and on:
            self._node.CreateClosedSurfaceRepresentation()
        elif self._node is not None:
            self._node.RemoveClosedSurfaceRepresentation()
        self.toggled.emit(on)

    def click(self) -> None:
        """Refused: in Slicer it opens a modal menu."""
        raise RuntimeError("Show 3D is a menu button: click() blocks; use .checked or .toggle()")

    animateClick = click

    def toggle(self) -> None:
        """Create or remove the surfaces."""
        self._button.toggle()

    def setChecked(self, on: bool) -> None:
        """Create or remove the surfaces."""
        self._button.checked = on

    def isChecked(self) -> bool:
        """Whether surfaces are shown."""
        return self._button.checked

    def setLocked(self, locked: bool) -> None:
        """Forbid changes."""
        self.locked = locked

    def setText(self, text: str) -> None:
        """Set the text."""
        self._button.text = text

    checked = computed(bool, isChecked, setChecked)
    text = computed(str, lambda self: self._button.text, setText)
    locked = stored(bool, False)
