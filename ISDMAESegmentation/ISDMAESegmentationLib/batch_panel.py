"""The second section of the panel: several CTs with one click."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
from slicer.i18n import tr as _

from . import models
from .batch import Batch, BatchState, folder_items, scene_items
from .failure import SegmentationError, refuse
from .parameter_node import ParameterNode
from .segmentation_logic import SegmentationLogic
from .text import DOUBLE_CLICK_S, time_left

RESULTS_NAME = "results.csv"
SCENE, FOLDER = range(2)


class BatchPanel:
    """Wires the section; arguments as for `SegmentPanel`."""

    def __init__(self, ui: Any, logic: SegmentationLogic, make_ready: Callable[[], None]) -> None:
        self._ui, self._logic, self._make_ready = ui, logic, make_ready
        self._parameters: ParameterNode | None = None
        self._batch: Batch | None = None
        self._message, self._begun = "", 0.0
        ui.batchInputEdit.filters = ui.batchOutputEdit.filters = ctk.ctkPathLineEdit.Dirs
        ui.batchSourceCombo.addItem(_("All CTs of the scene"))
        ui.batchSourceCombo.addItem(_("All CTs in a folder"))
        ui.batchSourceCombo.connect("currentIndexChanged(int)", self._on_changed)
        for edit in (ui.batchInputEdit, ui.batchOutputEdit):
            edit.connect("currentPathChanged(QString)", self._on_changed)
            edit.connect("validInputChanged(bool)", self._on_changed)
        ui.batchButton.connect("clicked(bool)", self._on_click)
        self.refresh()

    @property
    def running(self) -> bool:
        """Whether a batch is going on."""
        return self._batch is not None

    def set_parameters(self, parameters: ParameterNode | None) -> None:
        """Take the scene's choices: model and device are those of the first section."""
        self._parameters = parameters
        self.refresh()

    def close(self) -> None:
        """The panel goes away."""
        if self._batch is not None:
            self._batch.abandon()
            self._batch = None

    def refresh(self) -> None:
        """Bring every widget of the section in line."""
        ui = self._ui
        from_folder = ui.batchSourceCombo.currentIndex == FOLDER
        ui.batchInputEdit.enabled = from_folder and not self.running
        ui.batchInputEdit.toolTip = (
            _("Image files, and folders with one DICOM series each.")
            if from_folder
            else _("Only for CTs in a folder.")
        )
        ui.batchSourceCombo.enabled = ui.batchOutputEdit.enabled = not self.running
        why_not = "" if self.running else self._why_not(from_folder)
        ui.batchButton.text = _("Cancel") if self.running else _("Segment all")
        ui.batchButton.enabled = not why_not
        ui.batchButton.toolTip = why_not
        ui.batchProgressBar.setVisible(self.running)
        ui.batchLabel.text = self._message or why_not

    def _why_not(self, from_folder: bool) -> str:
        if self._logic.client.busy:
            return _("A segmentation is running.")
        if self._parameters is not None and models.needs_points(self._parameters.model):
            return _("The model needs points in each CT; segment them one by one, above.")
        source = self._ui.batchInputEdit.currentPath
        if from_folder and not (source and Path(source).is_dir()):
            return _("Choose the folder of CTs.")
        if not self._ui.batchOutputEdit.currentPath:
            return _("Choose a folder for the results.")
        return ""

    def _on_changed(self, *_values: object) -> None:
        self._message = ""
        self.refresh()

    def _on_click(self, _checked: bool = False) -> None:
        if self._batch is not None:
            if time.monotonic() - self._begun < DOUBLE_CLICK_S:
                return
            self._ui.batchButton.enabled = False
            self._batch.cancel()
            return
        self._on_changed()  # a folder that was cleared does not always say so
        if not self._ui.batchButton.enabled:
            return
        try:
            self._make_ready()
            if self._parameters is None:  # the scene was closed meanwhile
                return
            self._batch = self._make_batch()
        except SegmentationError as error:
            self._message = str(error.failure)
            self.refresh()
            return
        self._begun = time.monotonic()
        self.refresh()
        self._batch.start()

    def _make_batch(self) -> Batch:
        model, device = self._parameters.model, self._parameters.device
        trachea = self._parameters.trachea and models.finds_lungs(model)
        target = Path(self._ui.batchOutputEdit.currentPath)
        try:
            target.mkdir(parents=True, exist_ok=True)
            if self._ui.batchSourceCombo.currentIndex == FOLDER:
                source = Path(self._ui.batchInputEdit.currentPath)
                items = folder_items(self._logic.client, source, target, model, device, trachea)
            else:
                items = scene_items(self._logic.client, model, device, trachea)
        except OSError as error:
            raise refuse(
                "bad-folder",
                _("The folder cannot be used: {error}.").format(error=error.strerror or error),
                _("Choose another one."),
            ) from error
        return Batch(
            self._logic.client, items, target / RESULTS_NAME, self._on_progress, self._on_done
        )

    def _on_progress(self, state: BatchState) -> None:
        self._ui.batchProgressBar.value = int(100 * state.share)
        left = time_left(state.seconds_left)
        number = min(state.finished + 1, state.total)
        words = _("{number} of {total}").format(number=number, total=state.total)
        self._ui.batchProgressBar.setFormat(f"{words}, {left}" if left else words)
        self._ui.batchLabel.text = state.current

    def _on_done(self, state: BatchState) -> None:
        self._batch = None
        self._message = _("{good} of {total} segmented, {failed} failed; see {name}.").format(
            good=state.finished - state.failed,
            total=state.total,
            failed=state.failed,
            name=RESULTS_NAME,
        )
        if state.cancelled:
            self._message = _("Stopped. {rest}").format(rest=self._message)
        self.refresh()
