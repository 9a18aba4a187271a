"""The table of segments: visibility, colour, name, volume, mean HU; share of lung or diameter."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .scene_segmentation import CHANGED_ATTRIBUTE
from .scene_volume import world_of
from .segment_changes import SegmentChanges

SHOWN, COLOUR, NAME, VOLUME, MEAN, DIAMETER, SHARE = range(7)


class ResultTable:
    """Fills a QTableWidget from a segmentation node and the report of its run.

    Segments that are changed afterwards are not measured anew: a label below the table says so, and
    the node keeps it.
    """

    def __init__(self, table: qt.QTableWidget, changed_label: qt.QLabel) -> None:
        self._table, self._changed_label = table, changed_label
        self._changes = SegmentChanges()
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._ids: list[str] = []
        self._points: list[list[float] | None] = []
        table.setColumnCount(7)
        table.setHorizontalHeaderLabels(
            ["", "", _("Segment"), _("mL"), _("Mean HU"), _("mm"), _("% of lung")]
        )
        table.verticalHeader().setVisible(False)
        header = table.horizontalHeader()
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        for column in (SHOWN, COLOUR, VOLUME, MEAN, DIAMETER, SHARE):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        table.connect("itemChanged(QTableWidgetItem*)", self._on_item_changed)
        table.connect("cellClicked(int,int)", self._on_cell_clicked)
        self.show(None, None)

    def show(
        self, node: slicer.vtkMRMLSegmentationNode | None, report: dict[str, Any] | None
    ) -> None:
        """Show the segments of a run; without one the table is hidden."""
        self._node = node if report is not None else None
        self._watch()
        entries = report["segments"] if report is not None and node is not None else []
        pairs = [
            (entry, segment)
            for entry in entries
            if (segment := node.GetSegmentation().GetSegment(entry["id"])) is not None
        ]
        self._ids = [entry["id"] for entry, segment in pairs]
        self._points = [entry.get("point_mm") for entry, segment in pairs]
        self._table.blockSignals(True)
        self._table.setRowCount(len(pairs))
        for row, (entry, segment) in enumerate(pairs):
            self._fill_row(row, entry, segment)
        self._table.setColumnHidden(SHARE, not any(entry.get("percent_of") for entry in entries))
        self._table.setColumnHidden(DIAMETER, not any(self._points))
        self._table.blockSignals(False)
        self._table.setVisible(bool(pairs))
        self._fit_height()

    def _watch(self) -> None:
        if self._node is None:
            self._changes.stop()
        else:
            self._changes.watch(self._node, self._on_changed)
        changed = self._node is not None and self._node.GetAttribute(CHANGED_ATTRIBUTE) is not None
        self._changed_label.setVisible(changed)

    def _on_changed(self) -> None:
        self._node.SetAttribute(CHANGED_ATTRIBUTE, "1")
        self._changed_label.setVisible(True)

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
        self._table.setItem(row, VOLUME, volume)
        self._table.setItem(row, MEAN, _number(entry.get("mean_hu"), "{:.0f}"))
        self._table.setItem(row, SHARE, _shares(entry.get("percent_of", {})))
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


def _shares(percent_of: dict[str, float]) -> qt.QTableWidgetItem:
    """Return such as ``left 4.3, right 8.7``, and in the tool tip the whole names."""
    short = {name.removesuffix(" lung"): percent for name, percent in percent_of.items()}
    item = _text(", ".join(f"{name} {percent:.1f}" for name, percent in short.items()) or "–")
    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    words = [_("{:.1f} % of the {}").format(share, name) for name, share in percent_of.items()]
    item.setToolTip("\n".join(words))
    return item
