"""The last section of the panel: the worker's Python, models, log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from . import install, models
from .environment_check import Environment, EnvironmentCheck
from .failure import SegmentationError
from .model_check import ModelCheck
from .parameter_node import ParameterNode
from .segmentation_logic import SegmentationLogic
from .training_client import TrainingClient
from .worker_command import name_python, named_python, worker_command


class AdvancedPanel:
    """Wires the section.

    Parameters
    ----------
    ui : object
        The widgets by name.
    logic : SegmentationLogic
        Its worker is shown and stopped here.
    training : TrainingClient
        Its log is shown below the worker's.
    told : callable
        Hears what the worker's Python has, None while it is being asked.
    models_changed : callable
        Called after a model was added or removed.
    """

    def __init__(
        self,
        ui: Any,
        logic: SegmentationLogic,
        training: TrainingClient,
        told: Callable[[Environment | None], None],
        models_changed: Callable[[], None],
    ) -> None:
        self._ui, self._logic, self._training = ui, logic, training
        self._told, self._models_changed = told, models_changed
        self._parameters: ParameterNode | None = None
        self._check = EnvironmentCheck(worker_command)
        self._model_check = ModelCheck(worker_command)
        self._environment: Environment | None = None
        ui.pythonEdit.filters = ctk.ctkPathLineEdit.Files
        ui.modelsEdit.filters = ui.wheelsEdit.filters = ctk.ctkPathLineEdit.Dirs
        ui.pythonEdit.currentPath = named_python()
        ui.modelsEdit.currentPath = str(models.user_folder())
        ui.wheelsEdit.currentPath = install.wheels_folder()
        ui.checkButton.connect("clicked(bool)", self._on_check)
        ui.installButton.connect("clicked(bool)", self._on_install)
        ui.addModelButton.connect("clicked(bool)", self._on_add_model)
        ui.verifyModelButton.connect("clicked(bool)", self._on_verify_model)
        ui.removeModelButton.connect("clicked(bool)", self._on_remove_model)
        ui.stopWorkerButton.connect("clicked(bool)", self._on_stop_worker)
        ui.logButton.connect("toggled(bool)", self._on_log)
        for edit in (ui.modelsEdit, ui.wheelsEdit):
            edit.connect("currentPathChanged(QString)", self._on_folder)
            edit.connect("validInputChanged(bool)", self._on_folder)
        ui.logText.setVisible(False)
        self.refresh()

    @property
    def environment(self) -> Environment | None:
        """What the worker's Python has; None while it is being asked."""
        return self._environment

    def set_parameters(self, parameters: ParameterNode | None) -> None:
        """Take the scene's choices."""
        self._parameters = parameters
        self.refresh()

    def check(self) -> None:
        """Ask the worker's Python what it has."""
        self._environment = None
        self._ui.environmentLabel.text = _("Asking.")
        self._told(None)
        self._check.start(self._on_environment)

    def make_ready(self) -> None:
        """Install what is missing in Slicer's own Python; raises SegmentationError if it stays so.

        A Python that the user named is never installed into.
        """
        if not self._logic.client.busy:
            self._take_python()
        environment = self._environment
        if environment is None or environment.usable or environment.failure is None:
            return
        if environment.failure.code != "packages-missing" or named_python():
            raise SegmentationError(environment.failure)
        self._read_folders()
        install.install_packages()
        self.check()

    def refresh(self) -> None:
        """Bring every widget of the section in line."""
        ui = self._ui
        client = self._logic.client
        ui.workerLabel.text = client.state
        ui.stopWorkerButton.enabled = client.running
        ui.stopWorkerButton.toolTip = (
            _("End the process and free its memory; the next click starts it again.")
            if client.running
            else _("It is not running.")
        )
        ui.installButton.enabled = not named_python()
        ui.installButton.toolTip = (
            _("Nothing is installed into a Python that you named.")
            if named_python()
            else _("Install PyTorch and safetensors into Slicer's own Python, after asking.")
        )
        model = self._chosen_model()
        ui.verifyModelButton.enabled = model is not None
        ui.removeModelButton.enabled = model is not None and model.removable
        ui.removeModelButton.toolTip = (
            _("Delete the chosen model of yours.")
            if ui.removeModelButton.enabled
            else _("The chosen model came with the extension.")
        )
        if ui.logText.isVisible():
            ui.logText.setPlainText(self._log())

    def close(self) -> None:
        """The panel goes away."""
        self._check.stop()
        self._model_check.stop()

    def _chosen_model(self) -> models.Model | None:
        name = self._parameters.model if self._parameters is not None else ""
        return next((model for model in models.list_models() if model.name == name), None)

    def _on_environment(self, environment: Environment) -> None:
        self._environment = environment
        self._ui.environmentLabel.text = environment.summary()
        self._told(environment)

    def _on_check(self, _checked: bool = False) -> None:
        if not self._take_python():
            self.check()
        self.refresh()

    def _take_python(self) -> bool:
        """Take the Python from its widget; returns whether it is another, which is asked then."""
        path = str(self._ui.pythonEdit.currentPath or "")
        if path == named_python():
            return False
        name_python(path)
        self._logic.stop()
        self.check()
        return True

    def _on_install(self, _checked: bool = False) -> None:
        self._read_folders()
        try:
            install.install_packages()
        except SegmentationError as error:
            self._ui.environmentLabel.text = str(error.failure)
            return
        self.check()

    def _on_folder(self, _changed: object) -> None:
        if self._read_folders():
            self._models_changed()
            self.refresh()

    def _read_folders(self) -> bool:
        """Take the folders from their widgets; returns whether that of the models is another.

        They are read before they are used, too: an edit that is cleared sends no new path.
        """
        install.choose_wheels_folder(str(self._ui.wheelsEdit.currentPath or ""))
        before = models.user_folder()
        models.choose_user_folder(str(self._ui.modelsEdit.currentPath or ""))
        return models.user_folder() != before

    def _on_add_model(self, _checked: bool = False) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("Folder of a model")
        )
        if folder:
            self.add_model(Path(folder))

    def add_model(self, folder: Path) -> None:
        """Copy the model in ``folder`` into the models folder and choose it."""
        self._read_folders()
        try:
            model = models.add_model(folder)
        except SegmentationError as error:
            self._ui.modelActionLabel.text = str(error.failure)
            return
        self._ui.modelActionLabel.text = _("'{title}' was added.").format(title=model.title)
        if self._parameters is not None:
            self._parameters.model = model.name
        self._models_changed()
        self.refresh()

    def _on_verify_model(self, _checked: bool = False) -> None:
        model = self._chosen_model()
        if model is not None:
            self._ui.modelActionLabel.text = _("Checking.")
            self._model_check.start(model.folder, self._on_verified)

    def _on_verified(self, words: str) -> None:
        self._ui.modelActionLabel.text = words

    def _on_remove_model(self, _checked: bool = False) -> None:
        model = self._chosen_model()
        if model is None:
            return
        question = _("Delete the model '{title}' from {folder}?").format(
            title=model.title, folder=model.folder
        )
        if not slicer.util.confirmOkCancelDisplay(question):
            return
        try:
            models.remove_model(model)
        except SegmentationError as error:
            self._ui.modelActionLabel.text = str(error.failure)
            return
        self._ui.modelActionLabel.text = _("'{title}' was removed.").format(title=model.title)
        if self._parameters is not None:
            self._parameters.model = "lungs"
        self._models_changed()
        self.refresh()

    def _on_stop_worker(self, _checked: bool = False) -> None:
        if self._logic.client.busy:
            self._logic.client.cancel()
        else:
            self._logic.stop()
        self.refresh()

    def _on_log(self, on: bool) -> None:
        self._ui.logText.setVisible(on)
        self._ui.logText.setPlainText(self._log())

    def _log(self) -> str:
        return "\n".join(part for part in (self._logic.client.log, self._training.log) if part)
