"""The table of segments: visibility, colour, name, volume, mean HU, of nodules the diameter."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .scene_volume import world_of

SHOWN, COLOUR, NAME, VOLUME, MEAN, DIAMETER = range(6)


class ResultTable:
    """Fills a QTableWidget from a segmentation node and the report of its run."""

    def __init__(self, table: qt.QTableWidget) -> None:
        self._table = table
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._ids: list[str] = []
        self._points: list[list[float] | None] = []
        table.setColumnCount(6)
        table.setHorizontalHeaderLabels(["", "", _("Segment"), _("mL"), _("Mean HU"), _("mm")])
        table.verticalHeader().setVisible(False)
        header = table.horizontalHeader()
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        for column in (SHOWN, COLOUR, VOLUME, MEAN, DIAMETER):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        table.connect("itemChanged(QTableWidgetItem*)", self._on_item_changed)
        table.connect("cellClicked(int,int)", self._on_cell_clicked)
        self.show(None, None)

    def show(
        self, node: slicer.vtkMRMLSegmentationNode | None, report: dict[str, Any] | None
    ) -> None:
        """Show the segments of a run; without one the table is hidden."""
        self._node = node if report is not None else None
        entries = report["segments"] if report is not None and node is not None else []
        segments = [] if node is None else [self._segment(node, entry) for entry in entries]
        pairs = [
            (entry, segment)
            for entry, segment in zip(entries, segments, strict=False)
            if segment is not None
        ]
        self._ids = [entry["id"] for entry, segment in pairs]
        self._points = [entry.get("point_mm") for entry, segment in pairs]
        self._table.blockSignals(True)
        self._table.setRowCount(len(pairs))
        for row, (entry, segment) in enumerate(pairs):
            self._fill_row(row, entry, segment)
        at_points = any(self._points)
        self._table.setColumnHidden(DIAMETER, not at_points)
        self._table.blockSignals(False)
        self._table.setVisible(bool(pairs))
        self._fit_height()

    def _segment(
        self, node: slicer.vtkMRMLSegmentationNode, entry: dict[str, Any]
    ) -> slicer.vtkSegment | None:
        return node.GetSegmentation().GetSegment(entry["id"])

    def _fill_row(self, row: int, entry: dict[str, Any], segment: slicer.vtkSegment) -> None:
        shown = qt.QTableWidgetItem()
        shown.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
        display = self._node.GetDisplayNode()
        visible = display is None or display.GetSegmentVisibility(entry["id"])
        shown.setCheckState(qt.Qt.Checked if visible else qt.Qt.Unchecked)
        shown.setToolTip(_("Show or hide this segment"))
        colour = qt.QTableWidgetItem("  ")
        colour.setFlags(qt.Qt.ItemIsEnabled)
        red, green, blue = (round(255 * channel) for channel in segment.GetColor())
        colour.setBackground(qt.QBrush(qt.QColor(red, green, blue)))
        self._table.setItem(row, SHOWN, shown)
        self._table.setItem(row, COLOUR, colour)
        self._table.setItem(row, NAME, _text(segment.GetName()))
        volume = _number(entry.get("volume_ml"), "{:.2f}" if entry.get("point_mm") else "{:.0f}")
        shares = entry.get("percent_of", {}).items()
        volume.setToolTip("\n".join(_("{:.1f} % of the {}").format(s, name) for name, s in shares))
        self._table.setItem(row, VOLUME, volume)
        self._table.setItem(row, MEAN, _number(entry.get("mean_hu"), "{:.0f}"))
        diameter = _number(entry.get("diameter_mm"), "{:.1f}")
        diameter.setToolTip(_("Longest diameter within a slice"))
        self._table.setItem(row, DIAMETER, diameter)

    def _on_item_changed(self, item: qt.QTableWidgetItem) -> None:
        if self._node is None or item.column() != SHOWN or item.row() >= len(self._ids):
            return
        display = self._node.GetDisplayNode()
        if display is not None:
            shown = item.checkState() == qt.Qt.Checked
            display.SetSegmentVisibility(self._ids[item.row()], shown)

    def _on_cell_clicked(self, row: int, column: int) -> None:
        """Show a nodule in the slice views."""
        if self._node is None or column == SHOWN or self._points[row] is None:
            return
        slicer.vtkMRMLSliceNode.JumpAllSlices(
            slicer.mrmlScene,
            *world_of(self._points[row], self._node),
            slicer.vtkMRMLSliceNode.CenteredJumpSlice,
        )

    def _fit_height(self) -> None:
        rows = sum(self._table.rowHeight(row) for row in range(self._table.rowCount))
        height = self._table.horizontalHeader().height + rows + 4
        self._table.setFixedHeight(min(height, 240))


def _text(text: str) -> qt.QTableWidgetItem:
    item = qt.QTableWidgetItem(text)
    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
    return item


def _number(value: float | None, form: str) -> qt.QTableWidgetItem:
    item = _text("–" if value is None else form.format(value))
    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    return item
