"""The third section of the panel: pre-train and fine-tune, watch, pause, stop, go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from .environment_check import Environment
from .failure import Failure, SegmentationError
from .loss_plot import LossPlot
from .parameter_node import ParameterNode
from .preview_tiles import PreviewTiles
from .scene_pairs import PairExport
from .text import DOUBLE_CLICK_S, failure_style, time_left
from .training_client import TrainingClient, TrainingListener
from .training_command import PRETRAIN, TrainingRequest
from .training_form import TrainingForm
from .training_runs import read_log
from .worker_command import worker_command

PLOT_MS = 500


class TrainingPanel:
    """Wires the section.

    Parameters
    ----------
    ui : object
        The widgets by name.
    make_ready : callable
        Installs what is missing; raises SegmentationError.
    models_changed : callable
        Called after a model was made.
    """

    def __init__(
        self, ui: Any, make_ready: Callable[[], None], models_changed: Callable[[], None]
    ) -> None:
        self._ui, self._make_ready, self._models_changed = ui, make_ready, models_changed
        self.client = TrainingClient(worker_command)
        self._form = TrainingForm(ui, self._on_changed)
        self._plot, self._preview = LossPlot(ui.trainPlotArea), PreviewTiles(ui.trainPreviewArea)
        self._parameters: ParameterNode | None = None
        self._export: PairExport | None = None
        self._request: TrainingRequest | None = None
        self._choices: dict[str, Any] = {}
        self._message: Failure | str = ""
        self._notices: list[str] = []
        self._words, self._stop_clicked = "", 0.0
        self._new_model = ""
        self._timer = qt.QTimer()
        self._timer.setInterval(PLOT_MS)
        self._timer.connect("timeout()", self._plot.show)
        ui.trainStartButton.connect("clicked(bool)", self._on_start)
        ui.trainPauseButton.connect("clicked(bool)", self._on_pause)
        ui.trainStopButton.connect("clicked(bool)", self._on_stop)
        self.refresh()

    @property
    def running(self) -> bool:
        """Whether a run goes on, or its data are being written."""
        return self.client.running or self._export is not None

    def set_parameters(self, parameters: ParameterNode | None) -> None:
        """Take the scene's choices; None while a scene closes, which a run does not mind."""
        self._parameters = parameters
        if parameters is None and self._export is not None:
            self._end(Failure("scene-closed", _("The scene was closed."), _("Start again.")))
        self._form.set_parameters(parameters)
        if parameters is not None:
            if self.running:
                self._form.restore(self._choices)
            self._plot.show()
            self._choose_new_model()
        self.refresh()

    def set_environment(self, environment: Environment | None) -> None:
        """Take what the worker's Python has."""
        self._form.set_environment(environment)
        self.refresh()

    def close(self) -> None:
        """The panel goes away: the run stops with a checkpoint."""
        self._timer.stop()
        if self._export is not None:
            self._export.cancel()
            self._export = None
        self.client.close()
        self._plot.close()

    def refresh(self) -> None:
        """Bring every widget of the section in line."""
        ui, running = self._ui, self.running
        self._form.refresh(locked=running)
        why_not = _("A training is running.") if running else self._form.why_not()
        goes_on = not running and not why_not and self._form.run().begun
        ui.trainStartButton.text = _("Resume") if goes_on else _("Start")
        _set(
            ui.trainStartButton,
            why_not,
            _("Go on from its last checkpoint.") if goes_on else _("Begin the training."),
        )
        self._refresh_running()
        ui.trainProgressBar.setVisible(running)
        self._say(self._message or ("" if running else why_not))

    def _refresh_running(self) -> None:
        ui, client = self._ui, self.client
        pause, stop = ui.trainPauseButton, ui.trainStopButton
        pause.text = _("Resume") if client.paused else _("Pause")
        if client.stopping:
            why_not = _("It is stopping.")
        elif client.running and not client.pid:
            why_not = _("It is starting.")
        else:
            why_not = "" if client.running else _("Nothing is being trained.")
        _set(pause, why_not, _("Go on.") if client.paused else _("Rest; its memory is kept."))
        stop.text = _("Stop now") if client.stopping else _("Stop")
        _set(
            stop,
            "" if self.running else _("Nothing is being trained."),
            _("It ends after this step. Click again to end it at once.")
            if client.stopping
            else _("End after this step with a checkpoint, from which it can go on."),
        )

    def _say(self, message: Failure | str) -> None:
        label = self._ui.trainStatusLabel
        label.text = " ".join([str(message), *self._notices]).strip()
        failed = isinstance(message, Failure) and message.code not in ("stopped", "scene-closed")
        label.toolTip = _("Error code: {code}").format(code=message.code) if failed else ""
        label.setStyleSheet(failure_style() if failed else "")
        label.setVisible(bool(label.text))

    # What the user does

    def _on_changed(self) -> None:
        if not self.running:
            self._message, self._notices = "", []
            shown = self._request
            if shown and (shown.task, shown.name) != (self._form.task, self._form.name):
                self._clear()
        self.refresh()

    def _clear(self) -> None:
        """Show nothing of a former run any more."""
        self._request = None
        self._plot.clear()
        self._preview.clear()

    def _on_start(self, _checked: bool = False) -> None:
        self._form.read_paths()
        self.refresh()
        if self.running or not self._ui.trainStartButton.enabled:
            return
        self._message, self._notices = "", []
        try:
            self._make_ready()
            if self._parameters is None:  # the scene was closed meanwhile
                return
            self._clear()
            self._request, self._choices = self._form.request(), self._form.choices()
            if self._form.from_scene and not self._form.exported():
                self._begin_export()
            else:
                self._launch()
        except SegmentationError as error:
            self._message = error.failure
        self.refresh()

    def _begin_export(self) -> None:
        self._export = PairExport(
            self._form.pairs(),
            self._request.labels,
            self._request.data,
            self._on_written,
            self._on_export_done,
            self._end,
        )
        self._show_progress(0, 0, _("Writing the CTs of the scene"), None)
        self._export.start()

    def _on_written(self, done: int, total: int) -> None:
        self._show_progress(done, total, _("Writing the CTs of the scene"), None)

    def _on_export_done(self) -> None:
        self._export = None
        try:
            self._launch()
        except SegmentationError as error:
            self._message = error.failure
        self.refresh()

    def _launch(self) -> None:
        listener = TrainingListener(self._on_event, self._on_done, self._end)
        self.client.start(self._request, listener)
        self._show_progress(0, 0, _("Starting"), None)
        self._timer.start()

    def _on_pause(self, _checked: bool = False) -> None:
        if self.client.paused:
            self.client.resume()
            self._ui.trainProgressBar.setFormat(self._words)
        else:
            self.client.pause()
            self._ui.trainProgressBar.setFormat(_("Paused. {words}").format(words=self._words))
        self._refresh_running()

    def _on_stop(self, _checked: bool = False) -> None:
        if self._export is not None:
            self._end(Failure("stopped", _("Nothing was trained."), ""))
            return
        if self.client.stopping and time.monotonic() - self._stop_clicked < DOUBLE_CLICK_S:
            return
        self._stop_clicked = time.monotonic()
        self.client.stop()
        if self.client.stopping:
            self._message = _("It ends after this step, with a checkpoint.")
        self.refresh()

    # What the process says

    def _on_event(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "hello":
            self._refresh_running()
        elif kind == "progress":
            words = _("Preparing CT {number} of {total}").format(
                number=min(event["done"] + 1, event["total"]), total=event["total"]
            )
            self._show_progress(event["done"], event["total"], words, event["seconds_left"])
        elif kind == "step":
            self._on_step(event)
        elif kind == "picture":
            self._preview.show(Path(event["path"]))
        elif kind == "notice":
            self._notices.append(str(event["message"]))
            self.refresh()

    def _on_step(self, event: dict[str, Any]) -> None:
        step, steps = event["step"], event["steps"]
        if len(self._plot.rows) == 0 and not event["values"]:
            for earlier, values in read_log(self._request.out, step):
                self._plot.add(earlier, values)
        if event["values"]:
            self._plot.add(step, event["values"])
        words = _("Step {step} of {steps}").format(step=step, steps=steps)
        self._show_progress(step, steps, words, event["seconds_left"])

    def _show_progress(self, done: int, total: int, words: str, seconds: float | None) -> None:
        left = time_left(seconds) if done < total else ""
        self._words = f"{words}, {left}" if left else words
        bar = self._ui.trainProgressBar
        bar.value = int(100 * done / total) if total else 0
        paused = _("Paused. {words}").format(words=self._words)
        bar.setFormat(paused if self.client.paused else self._words)

    def _on_done(self, facts: dict[str, Any]) -> None:
        request = self._request
        if request.task == PRETRAIN:
            self._message = _("'{name}' is pre-trained; fine-tuning can start from it.").format(
                name=request.name
            )
            if self._parameters is not None and not self._parameters.trainStart:
                self._parameters.trainStart = str(request.out)
        else:
            self._new_model = request.name
            self._message = _("The model '{name}' is ready, and chosen under Segment.").format(
                name=facts.get("name", request.name)
            )
        self._finish()
        self._choose_new_model()

    def _choose_new_model(self) -> None:
        if self._new_model and self._parameters is not None:
            self._parameters.model, self._new_model = self._new_model, ""
        self._models_changed()

    def _end(self, failure: Failure) -> None:
        if failure.code == "stopped":
            again = _("Resume goes on from there.") if self._form.run().begun else ""
            failure = Failure(failure.code, failure.message, again)
        self._message = failure
        self._finish()

    def _finish(self) -> None:
        if self._export is not None:
            self._export.cancel()
            self._export = None
        self._timer.stop()
        self._plot.show()
        self.refresh()


def _set(button: qt.QPushButton, why_not: str, tip: str) -> None:
    button.enabled = not why_not
    button.toolTip = why_not or tip
