"""The losses of a run as a live plot in the panel, without a change of the user's layout."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

SINGLETON = "ISDMAESegmentation.Training"
HEIGHT_PX = 200
# Colours that people with any colour vision tell apart (Okabe and Ito 2008).
COLOURS = (
    (0.0, 0.447, 0.698),
    (0.835, 0.369, 0.0),
    (0.0, 0.62, 0.451),
    (0.8, 0.475, 0.655),
    (0.337, 0.706, 0.914),
)
NOT_LOSSES = ("learning_rate", "gradient_norm")


class LossPlot:
    """Keeps the numbers, and shows them where a scene is; its nodes are never saved."""

    def __init__(self, area: qt.QWidget) -> None:
        self._area = area
        self._view: slicer.qMRMLPlotView | None = None
        self._names: list[str] = []
        self._rows: list[list[float]] = []
        area.setVisible(False)

    @property
    def rows(self) -> np.ndarray:
        """Step and losses, one row a record."""
        return np.array(self._rows, dtype=float).reshape(len(self._rows), len(self._names) + 1)

    def clear(self) -> None:
        """Forget the numbers of the former run."""
        self._names, self._rows = [], []
        self._remove_nodes()
        self._area.setVisible(False)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of one step; the first record decides which losses are shown."""
        if not self._names:
            self._names = [name for name in values if name not in NOT_LOSSES]
        if self._names:
            self._rows.append([step, *(float(values.get(n, np.nan)) for n in self._names)])

    def show(self) -> None:
        """Draw what was added; makes its nodes anew after a scene was closed."""
        if not self._rows:
            return
        table = slicer.mrmlScene.GetFirstNodeByName(f"{SINGLETON}.table")
        if table is None:
            table = self._make_nodes()
        slicer.util.updateTableFromArray(table, self.rows, ["step", *self._names])
        self._area.setVisible(True)

    def close(self) -> None:
        """The panel goes away."""
        if self._view is not None:
            self._view.setMRMLPlotViewNode(None)
        self._remove_nodes()

    def _make_nodes(self) -> slicer.vtkMRMLTableNode:
        table = _add_node("vtkMRMLTableNode", "table")
        chart = _add_node("vtkMRMLPlotChartNode", "chart")
        slicer.util.updateTableFromArray(table, self.rows, ["step", *self._names])
        for number, name in enumerate(self._names):
            series = _add_node("vtkMRMLPlotSeriesNode", name)
            series.SetName(name)
            series.SetAndObserveTableNodeID(table.GetID())
            series.SetXColumnName("step")
            series.SetYColumnName(name)
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
            series.SetColor(*COLOURS[number % len(COLOURS)])
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        chart.SetTitle("")
        chart.SetXAxisTitle(_("step"))
        chart.SetYAxisTitle(_("loss"))
        view_node = _view_node()
        view_node.SetPlotChartNodeID(chart.GetID())
        self._show_view(view_node)
        return table

    def _show_view(self, node: slicer.vtkMRMLPlotViewNode) -> None:
        if self._view is None:
            self._view = slicer.qMRMLPlotView()
            self._view.setMRMLScene(slicer.mrmlScene)
            self._view.setMinimumHeight(HEIGHT_PX)
            self._area.layout().addWidget(self._view)
        self._view.setMRMLPlotViewNode(node)

    def _remove_nodes(self) -> None:
        for kind in ("vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode", "vtkMRMLTableNode"):
            for node in slicer.util.getNodesByClass(kind):
                if node.GetAttribute(SINGLETON):
                    slicer.mrmlScene.RemoveNode(node)


def _add_node(kind: str, name: str) -> slicer.vtkMRMLNode:
    node = slicer.mrmlScene.CreateNodeByClass(kind)
    node.UnRegister(None)
    node.SetName(f"{SINGLETON}.{name}")
    node.SetAttribute(SINGLETON, "1")
    # Before it is added: combo boxes do not look again.
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    return slicer.mrmlScene.AddNode(node)


def _view_node() -> slicer.vtkMRMLPlotViewNode:
    node = slicer.mrmlScene.GetSingletonNode(SINGLETON, "vtkMRMLPlotViewNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLPlotViewNode")
        node.UnRegister(None)
        node.SetSingletonTag(SINGLETON)
        node.SetLayoutName(SINGLETON)
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node = slicer.mrmlScene.AddNode(node)
    return node
