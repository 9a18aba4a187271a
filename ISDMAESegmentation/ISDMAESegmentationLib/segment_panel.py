"""The first section of the panel: choose, click, look, correct."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from . import models
from .combo import Entry, ValueCombo
from .devices import device_entries
from .embedded_editor import EmbeddedEditor
from .environment_check import Environment
from .failure import Failure, SegmentationError
from .parameter_node import ParameterNode
from .points_row import PointsRow
from .result_table import ResultTable
from .run import Run, RunListener, RunRequest
from .scene_segmentation import ct_of, is_of_other_ct, stored_report
from .scene_volume import surround, world_of
from .segmentation_logic import SegmentationLogic, run_facts
from .text import DOUBLE_CLICK_S, failure_style, stage_in_words, time_left
from .undo import RunUndo


class SegmentPanel:
    """Wires the widgets of the section to the logic.

    Parameters
    ----------
    ui : object
        The widgets by name.
    logic : SegmentationLogic
        Runs the worker.
    make_ready : callable
        Called before the first run: installs what is missing; raises SegmentationError.
    """

    def __init__(self, ui: Any, logic: SegmentationLogic, make_ready: Callable[[], None]) -> None:
        self._ui, self._logic, self._make_ready = ui, logic, make_ready
        self._parameters: ParameterNode | None = None
        self._environment: Environment | None = None
        self._run: Run | None = None
        self._begun = 0.0
        self._searching = False  # whether the run looks for points
        self._message: Failure | str = ""
        self._volume_id = ""  # of the CT that the message speaks of
        self._table = ResultTable(ui.resultTable, ui.changedLabel)
        self._editor = EmbeddedEditor(ui.editorArea)
        self._undo = RunUndo()
        self._points = PointsRow(ui, self.refresh, self._on_suggest)
        self._models = ValueCombo(ui.modelCombo, self._choose_model)
        self._devices = ValueCombo(ui.deviceCombo, self._choose_device)
        ui.segmentButton.connect("clicked(bool)", self._on_segment)
        ui.editButton.connect("toggled(bool)", self._on_edit)
        ui.regionSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self._on_new_region)
        ui.reportButton.connect("toggled(bool)", self._on_report)
        ui.undoButton.connect("clicked(bool)", self._on_undo)
        _prepare_report_table(ui.reportTable)
        self.refresh()

    @property
    def running(self) -> bool:
        """Whether a run is going on."""
        return self._run is not None

    def set_parameters(self, parameters: ParameterNode | None) -> None:
        """Take the scene's choices (None while a scene closes)."""
        self._parameters = parameters
        if parameters is None:
            self._undo.forget()
            self._show_result(None)
            self._ui.editButton.setChecked(False)
        self.refresh()

    def set_environment(self, environment: Environment | None) -> None:
        """Take what the worker's Python has; None while it is being asked."""
        self._environment = environment
        self.refresh()

    def refresh(self) -> None:
        """Bring every widget of the section in line with the scene and the run."""
        parameters = self._parameters
        self._forget_message_of_other_ct()
        available = models.list_models()
        self._models.fill(
            [Entry(model.name, model.title) for model in available],
            parameters.model if parameters else "",
        )
        chosen = next((model for model in available if model.name == self._models.value), None)
        self._ui.modelLabel.text = chosen.summary() if chosen else ""
        self._devices.fill(
            device_entries(self._environment), parameters.device if parameters else "auto"
        )
        self._ui.deviceLabel.text = (
            self._environment.device_summary()
            if self._environment is not None
            else _("Looking at the worker's Python.")
        )
        node = parameters.segmentation if parameters else None
        self._show_result(node)
        self._points.show(parameters, chosen, running=self.running)
        self._refresh_trachea(chosen)
        self._refresh_button(chosen)

    def enter(self) -> None:
        """The module is shown."""
        self._editor.enter()

    def leave(self) -> None:
        """The module is left."""
        self._points.stop()
        self._editor.leave()

    def close(self) -> None:
        """The panel goes away."""
        self._points.close()
        self._editor.hide()
        self._table.show(None, None)

    def _forget_message_of_other_ct(self) -> None:
        ct = self._parameters.volume if self._parameters is not None else None
        volume_id = ct.GetID() if ct is not None else ""
        if volume_id != self._volume_id and not self.running:
            self._message = ""
        self._volume_id = volume_id

    def _refresh_trachea(self, model: models.Model | None) -> None:
        box = self._ui.tracheaBox
        box.setVisible(model is not None and model.finds_lungs)
        region = self._parameters is not None and self._parameters.region is not None
        box.enabled = not self.running and not region
        box.toolTip = (
            _("Not within a region: it is followed from the top of the whole CT.")
            if region
            else _("By a classical method, not by the network. It takes some seconds more.")
        )

    # The button

    def _refresh_button(self, model: models.Model | None) -> None:
        button = self._ui.segmentButton
        why_not = "" if self.running else self._why_not(model)
        self._points.refuse_suggestions(
            _("A run is going on.") if self.running else self._why_no_run(model)
        )
        button.text = _("Cancel") if self.running else _("Segment")
        button.enabled = not why_not
        button.toolTip = why_not or _("Find the structures that the model knows.")
        self._ui.progressBar.setVisible(self.running)
        for name in ("volumeSelector", "modelCombo", "segmentationSelector", "regionSelector",
                     "deviceCombo"):  # fmt: skip
            getattr(self._ui, name).enabled = not self.running
        # What a search says of itself is not hidden by what the next run wants.
        first = isinstance(self._message, Failure) or (self._searching and self._message)
        self._say(self._message if first else why_not or self._message)

    def _why_not(self, model: models.Model | None) -> str:
        reason = self._why_no_run(model)
        return reason or (self._points.why_not() if model.needs_points else "")

    def _why_no_run(self, model: models.Model | None) -> str:
        if self._parameters is None or self._parameters.volume is None:
            return _("Choose a chest CT first.")
        if model is None:
            return _("Choose a model first; Advanced adds one.")
        if self._logic.client.busy:
            return _("Several CTs are being segmented; wait for them, or cancel them below.")
        return ""

    def _say(self, message: Failure | str) -> None:
        label = self._ui.statusLabel
        label.text = str(message)
        failed = isinstance(message, Failure) and message.code != "cancelled"
        label.toolTip = _("Error code: {code}").format(code=message.code) if failed else ""
        label.setStyleSheet(failure_style() if failed else "")
        label.setVisible(bool(label.text))

    # A run

    def _on_segment(self, _checked: bool = False) -> None:
        if self._run is not None:
            if time.monotonic() - self._begun < DOUBLE_CLICK_S:
                return
            self._ui.segmentButton.enabled = False
            self._ui.segmentButton.toolTip = _("Cancelling.")
            self._run.cancel()
            return
        self._message = ""
        self._searching = False
        self._begin(force=False)

    def _on_suggest(self) -> None:
        self._message = ""
        self._searching = True
        self._begin(force=False)

    def _begin(self, *, force: bool) -> None:
        listener = RunListener(self._on_progress, self._on_done, self._on_failed)
        try:
            self._make_ready()
            parameters = self._parameters  # not before: the scene may have changed meanwhile
            if parameters is None:
                return
            whole_lungs = parameters.region is None and models.finds_lungs(parameters.model)
            at_points = models.needs_points(parameters.model) and not self._searching
            request = RunRequest(
                parameters.volume,
                parameters.model,
                parameters.device,
                self._output(parameters),
                parameters.region,
                force,
                parameters.points if at_points else None,
                parameters.trachea and whole_lungs,
                self._searching,
            )
            self._run = self._logic.start(request, listener, self._before_fill)
        except SegmentationError as error:
            self._message = error.failure
        else:
            self._begun = time.monotonic()
            self._on_progress("start", 0.0, None)
        self.refresh()

    def _output(self, parameters: ParameterNode) -> slicer.vtkMRMLSegmentationNode | None:
        """Return where the result goes: never to segments of another CT.

        Candidates replace those of an earlier search, and nothing else.
        """
        node = parameters.segmentation
        if node is not None and is_of_other_ct(node, parameters.volume):
            return None
        if self._searching and not (stored_report(node) or {}).get("search"):
            return None
        return node

    def _on_progress(self, stage: str, share: float, seconds_left: float | None) -> None:
        words = _("Starting") if stage == "start" else stage_in_words(stage)
        left = time_left(seconds_left)
        bar = self._ui.progressBar
        bar.value = int(100 * share)
        bar.setFormat(f"{words}, {left}" if left else words)

    def _before_fill(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        if self._editor.save_state(node):
            self._undo.forget()
        else:
            self._undo.save(node)

    def _on_done(self, node: slicer.vtkMRMLSegmentationNode, report: dict[str, Any]) -> None:
        self._run = None
        self._undo.watch(node, self.refresh)
        seconds = sum(report["seconds"].values())
        notices = " ".join(
            f"{notice['message']} {notice['remedy']}" for notice in report["notices"]
        )
        done = _("Done in {seconds:.1f} s.").format(seconds=seconds)
        self._message = notices if report["status"] == "empty" else f"{done} {notices}".strip()
        if self._searching:
            node = self._take_suggestions(node, report)
        if self._parameters is not None:
            self._parameters.segmentation = node
        self.refresh()

    def _take_suggestions(
        self, node: slicer.vtkMRMLSegmentationNode, report: dict[str, Any]
    ) -> slicer.vtkMRMLSegmentationNode | None:
        """List the candidates as points; a new segmentation without any goes again."""
        places = [world_of(entry["point_mm"], node) for entry in report["segments"]]
        self._points.take_suggestions(places)
        before = self._parameters.segmentation if self._parameters is not None else None
        if places or node is before:
            return node
        slicer.mrmlScene.RemoveNode(node.GetDisplayNode())
        slicer.mrmlScene.RemoveNode(node)
        return before

    def _on_failed(self, failure: Failure) -> None:
        self._run = None
        self._message = failure
        self.refresh()
        if failure.code == "not-hu" and slicer.util.confirmYesNoDisplay(
            _("{message} Segment it all the same?").format(message=failure.message)
        ):
            self._message = ""
            self._begin(force=True)

    # The result

    def _show_result(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        report = stored_report(node)
        self._table.show(node, report)
        self._ui.show3DButton.setSegmentationNode(node if report else None)
        for name in ("show3DButton", "editButton", "reportButton", "undoButton"):
            getattr(self._ui, name).setVisible(report is not None)
        self._ui.undoButton.enabled = self._undo.possible(node)
        self._ui.undoButton.toolTip = (
            _("Bring back the segments as they were before the last run.")
            if self._undo.possible(node)
            else _("There is no last run to take back, or the segments were changed since.")
        )
        if report is None:
            self._ui.reportButton.setChecked(False)
            self._ui.editButton.setChecked(False)
        elif self._editor.shown and not self._editor.edits(node):
            self._open_editor(node)
        _fill_report_table(self._ui.reportTable, report)
        self._ui.reportTable.setVisible(report is not None and self._ui.reportButton.checked)

    def _on_edit(self, on: bool) -> None:
        node = self._parameters.segmentation if self._parameters else None
        if on and node is not None:
            self._open_editor(node)
        else:
            self._editor.hide()

    def _open_editor(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Edit a segmentation over its own CT, which may be another one than that chosen now."""
        own = ct_of(node)
        if own is not None and own is not self._parameters.volume:
            slicer.util.setSliceViewerLayers(background=own)
        self._editor.show(node, own or self._parameters.volume)

    def _on_report(self, on: bool) -> None:
        self._ui.reportTable.setVisible(on)
        self._ui.reportTable.resizeRowsToContents()

    def _on_undo(self, _checked: bool = False) -> None:
        if self._parameters is not None and self._parameters.segmentation is not None:
            self._undo.restore(self._parameters.segmentation)
            self._message = _("The last run was taken back.")
            self.refresh()

    # Choices

    def _choose_model(self, value: str) -> None:
        if self._parameters is not None:
            self._parameters.model = value
            self._message = ""  # it spoke of another model
            self.refresh()

    def _on_new_region(self, roi: slicer.vtkMRMLMarkupsROINode) -> None:
        if self._parameters is not None and self._parameters.volume is not None:
            surround(self._parameters.volume, roi)

    def _choose_device(self, value: str) -> None:
        if self._parameters is not None:
            self._parameters.device = value


def _prepare_report_table(table: qt.QTableWidget) -> None:
    table.setColumnCount(2)
    table.horizontalHeader().setVisible(False)
    table.verticalHeader().setVisible(False)
    table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.ResizeToContents)
    table.horizontalHeader().setSectionResizeMode(1, qt.QHeaderView.Stretch)


def _fill_report_table(table: qt.QTableWidget, report: dict[str, Any] | None) -> None:
    rows = [] if report is None else run_facts(report)
    table.setRowCount(len(rows))
    for row, pair in enumerate(rows):
        for column, text in enumerate(pair):
            table.setItem(row, column, qt.QTableWidgetItem(text))
    table.resizeRowsToContents()
