"""Stand-in for Slicer's plot view: it draws the lines of a chart's series, plainly."""

from __future__ import annotations

import numpy as np
import qt
import slicer
from PySide6 import QtCore, QtGui
from PySide6.QtCore import Signal
from vtk.util.numpy_support import vtk_to_numpy

from .stand_in import observe, stand_in

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 26, 34


@stand_in
class qMRMLPlotView(qt.QWidget):
    """The plot of the chart of a view node."""

    dataSelected = Signal(object, object)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = self._node = None
        self._observed: list[tuple[object, int]] = []

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        """Keep the scene."""
        self._scene = scene

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        """The scene, None before it was set."""
        return self._scene

    def setMRMLPlotViewNode(self, node: slicer.vtkMRMLPlotViewNode | None) -> None:
        """Show the chart of a view node, and every change of it."""
        for source, tag in self._observed:
            source.RemoveObserver(tag)
        self._node = node
        watched = [] if node is None else [node, *(table for table, _ in self.series())]
        self._observed = [(one, observe(one, "ModifiedEvent", self._changed)) for one in watched]
        self.update()

    def mrmlPlotViewNode(self) -> slicer.vtkMRMLPlotViewNode | None:
        """The view node."""
        return self._node

    def fitToContent(self) -> None:
        """Fit the axes to the series."""

    def series(self) -> list[tuple[slicer.vtkMRMLTableNode, slicer.vtkMRMLPlotSeriesNode]]:
        """The series of the chart that have a table."""
        chart = self._node.GetPlotChartNode() if self._node is not None else None
        count = chart.GetNumberOfPlotSeriesNodes() if chart is not None else 0
        nodes = [chart.GetNthPlotSeriesNode(n) for n in range(count)]
        return [(one.GetTableNode(), one) for one in nodes if one and one.GetTableNode()]

    def _changed(self, *_: object) -> None:
        self.update()

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        """Draw axes, lines and legend."""
        painter = QtGui.QPainter(self)
        painter.fillRect(QtCore.QRect(0, 0, self.width, self.height), QtGui.QColor("white"))
        lines = [(node, *_values(table, node)) for table, node in self.series()]
        lines = [line for line in lines if len(line[1])]
        if lines:
            self._draw(painter, lines)
        painter.end()

    def _draw(self, painter: QtGui.QPainter, lines: list) -> None:
        xs = np.concatenate([x for _, x, _ in lines])
        ys = np.concatenate([y for _, _, y in lines])
        box = (xs.min(), max(xs.max(), xs.min() + 1), min(ys.min(), 0.0), ys.max() + 1e-6)
        width, height = self.width - _LEFT - _RIGHT, self.height - _TOP - _BOTTOM
        chart = self._node.GetPlotChartNode()
        painter.setRenderHint(QtGui.QPainter.Antialiasing)
        painter.setPen(QtGui.QColor("#555"))
        painter.drawRect(_LEFT, _TOP, width, height)
        painter.drawText(4, _TOP + 10, f"{box[3]:.2f}")
        painter.drawText(4, _TOP + height, f"{box[2]:.2f}")
        painter.drawText(_LEFT, _TOP + height + 14, f"{box[0]:.0f}")
        painter.drawText(_LEFT + width - 28, _TOP + height + 14, f"{box[1]:.0f}")
        painter.drawText(_LEFT + width // 2 - 12, _TOP + height + 26, chart.GetXAxisTitle())
        painter.drawText(4, _TOP - 10, chart.GetYAxisTitle())
        for number, (node, x, y) in enumerate(lines):
            painter.setPen(QtGui.QPen(QtGui.QColor.fromRgbF(*node.GetColor()), 1.6))
            across = _LEFT + width * (x - box[0]) / (box[1] - box[0])
            down = _TOP + height * (1 - (y - box[2]) / (box[3] - box[2]))
            points = [QtCore.QPointF(*point) for point in zip(across, down, strict=True)]
            painter.drawPolyline(points)
            painter.drawText(_LEFT + 70 * number, _TOP - 10, node.GetName())


def _values(table: slicer.vtkMRMLTableNode, node: slicer.vtkMRMLPlotSeriesNode) -> tuple:
    columns = [
        table.GetTable().GetColumnByName(name)
        for name in (node.GetXColumnName(), node.GetYColumnName())
    ]
    if None in columns:
        return np.zeros(0), np.zeros(0)
    x, y = (vtk_to_numpy(column) for column in columns)
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]
