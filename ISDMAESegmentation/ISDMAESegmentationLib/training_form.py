"""The choices of the Train section: what is offered, what is missing, what they amount to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
from slicer.i18n import tr as _

from . import models, training_runs
from .combo import Entry, ValueCombo
from .devices import FOR_TRAINING, device_entries
from .environment_check import Environment
from .parameter_node import ParameterNode
from .scene_pairs import (
    DATASET_NAME,
    ScenePair,
    find_pairs,
    find_volumes,
    labels_of_folder,
    shared_names,
)
from .training_command import FINETUNE, PRETRAIN, TrainingRequest, published_recipes

FOLDER, SCENE = "folder", "scene"
DEFAULT_NAMES = {PRETRAIN: "my-pretraining", FINETUNE: "my-model"}
FIELDS = (
    "trainTaskCombo", "trainSourceCombo", "trainFolderEdit", "trainLabelsEdit", "trainStartCombo",
    "trainNameEdit", "trainStepsSpin", "trainDeviceCombo", "trainMoreBox",
)  # fmt: skip
CHOICES = (
    "trainTask", "trainSource", "trainFolder", "trainLabels", "trainStart", "trainName",
    "trainSteps", "trainDevice", "trainRecipe", "trainRecipeFile", "maskPatch",
    "maskSpatialRatio", "maskBins", "maskIntensityRatio",
)  # fmt: skip
ONLY_FOR = {
    PRETRAIN: ("maskPatchSpin", "maskSpatialSlider", "maskBinsSpin", "maskIntensitySlider"),
    FINETUNE: ("trainLabelsEdit", "trainStartCombo"),
}


class TrainingForm:
    """Binds the fields that no parameter connector binds; ``changed`` hears of the user."""

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self._ui, self._changed = ui, changed
        self._parameters: ParameterNode | None = None
        self._environment: Environment | None = None
        self._paths = {"trainFolder": ui.trainFolderEdit, "trainRecipeFile": ui.trainRecipeEdit}
        self._combos = {
            "trainTask": self._combo(ui.trainTaskCombo, "trainTask"),
            "trainSource": self._combo(ui.trainSourceCombo, "trainSource"),
            "trainStart": self._combo(ui.trainStartCombo, "trainStart"),
            "trainDevice": self._combo(ui.trainDeviceCombo, "trainDevice"),
            "trainRecipe": self._combo(ui.trainRecipeCombo, "trainRecipe"),
        }
        ui.trainFolderEdit.filters = ui.trainRunsEdit.filters = ctk.ctkPathLineEdit.Dirs
        ui.trainRecipeEdit.filters = ctk.ctkPathLineEdit.Files
        ui.trainRunsEdit.currentPath = str(training_runs.runs_folder())
        for edit in (ui.trainRunsEdit, *self._paths.values()):
            edit.connect("currentPathChanged(QString)", self._on_path)
            edit.connect("validInputChanged(bool)", self._on_path)

    def set_parameters(self, parameters: ParameterNode | None) -> None:
        """Take the scene's choices."""
        self._parameters = None  # what is shown now is not written into the new ones
        for name, edit in self._paths.items():
            if parameters is not None:
                edit.currentPath = getattr(parameters, name)
        self._parameters = parameters

    def choices(self) -> dict[str, Any]:
        """Return the section's parameters by name."""
        chosen = self._parameters
        return {} if chosen is None else {name: getattr(chosen, name) for name in CHOICES}

    def restore(self, choices: dict[str, Any]) -> None:
        """Show the choices of a run that has outlived its scene."""
        for name, value in choices.items():
            setattr(self._parameters, name, value)
        self.set_parameters(self._parameters)

    def set_environment(self, environment: Environment | None) -> None:
        """Take what the worker's Python has."""
        self._environment = environment

    @property
    def task(self) -> str:
        """``pretrain`` or ``finetune``."""
        known = self._parameters is not None and self._parameters.trainTask == FINETUNE
        return FINETUNE if known else PRETRAIN

    @property
    def from_scene(self) -> bool:
        """Whether the data are the scene's."""
        return self._parameters is not None and self._parameters.trainSource == SCENE

    @property
    def name(self) -> str:
        """Of the run, and of the model."""
        typed = self._parameters.trainName.strip() if self._parameters is not None else ""
        return typed or DEFAULT_NAMES[self.task]

    def run(self) -> training_runs.TrainingRun:
        """Return the run of this name as far as it has come."""
        return training_runs.read_run(training_runs.runs_folder() / self.name)

    def labels(self) -> tuple[str, ...]:
        """Return the labels to learn; empty where the data decide."""
        if self.task == PRETRAIN or self._parameters is None:
            return ()
        typed = [one.strip() for one in self._parameters.trainLabels.split(",") if one.strip()]
        if not typed and self.from_scene:
            typed = shared_names(find_pairs())
        return tuple(dict.fromkeys(typed))

    def pairs(self) -> list[ScenePair]:
        """Return what of the scene can be learnt from."""
        if self.task == PRETRAIN:
            return find_volumes()
        wanted = set(self.labels())
        return [pair for pair in find_pairs() if wanted and wanted <= set(pair.segments())]

    def exported(self) -> bool:
        """Whether a begun run has written the scene's data already: they are not written again."""
        run = self.run()
        return self.from_scene and run.begun and (run.folder / "data" / DATASET_NAME).is_file()

    def request(self) -> TrainingRequest:
        """Return what the fields say; `why_not` is empty."""
        chosen, folder = self._parameters, training_runs.runs_folder() / self.name
        return TrainingRequest(
            task=self.task,
            data=folder / "data" if self.from_scene else Path(chosen.trainFolder),
            out=folder,
            name=self.name,
            models_folder=models.user_folder(),
            recipe=chosen.trainRecipeFile or chosen.trainRecipe,
            labels=self.labels(),
            start=chosen.trainStart,
            steps=chosen.trainSteps,
            device=chosen.trainDevice,
            patch_size=chosen.maskPatch,
            spatial_ratio=chosen.maskSpatialRatio,
            bins=chosen.maskBins,
            intensity_ratio=chosen.maskIntensityRatio,
        )

    def why_not(self) -> str:
        """Say what is missing for a start; an empty text where nothing is."""
        if self._parameters is None:
            return _("Open the module to choose.")
        return self._wrong_data() or self._wrong_name() or self._wrong_choice()

    def refresh(self, *, locked: bool) -> None:
        """Offer what this machine has; ``locked`` while a run goes on."""
        ui, chosen = self._ui, self._parameters
        offers = {
            "trainTask": _tasks(),
            "trainSource": self._sources(),
            "trainStart": _starts(),
            "trainDevice": device_entries(self._environment, FOR_TRAINING),
            "trainRecipe": self._recipes(),
        }
        for name, entries in offers.items():
            self._combos[name].fill(entries, getattr(chosen, name) if chosen is not None else "")
        for task, names in ONLY_FOR.items():
            for name in names:
                self._show_row(name, task == self.task)
        self._show_row("trainFolderEdit", not self.from_scene)
        ui.trainNameEdit.setPlaceholderText(DEFAULT_NAMES[self.task])
        ui.trainLabelsEdit.setPlaceholderText(self._all_labels())
        ui.trainDataLabel.text = self._data_in_words()
        ui.trainMoreBox.title = _("Recipe and masks") if self.task == PRETRAIN else _("Recipe")
        own = bool(ui.trainRecipeEdit.currentPath)
        ui.trainRecipeCombo.enabled = not own
        ui.trainRecipeCombo.toolTip = (
            _("Your own recipe is used.")
            if own
            else _("Network, losses, learning rate and augmentation, as published.")
        )
        for name in FIELDS:
            getattr(ui, name).enabled = not locked

    # What is missing

    def _wrong_data(self) -> str:
        if self.from_scene:
            if self.exported() or self.pairs():
                return ""
            if self.task == PRETRAIN:
                return _("Load a chest CT first, or choose a folder.")
            typed = ", ".join(self.labels())
            if typed and find_pairs():
                return _("No segmentation has all of these: {labels}.").format(labels=typed)
            return _("Load CTs with their segmentations first, or choose a folder.")
        folder = self._parameters.trainFolder
        if not folder:
            return _("Choose the folder of CTs.")
        return "" if Path(folder).is_dir() else _("The folder of CTs does not exist.")

    def _wrong_name(self) -> str:
        name, run = self.name, self.run()
        if not training_runs.NAME.fullmatch(name):
            return _("The name may hold letters, digits, spaces, '.', '-' and '_' only.")
        if run.begun and run.task not in ("", self.task):
            return _("'{name}' is a run of the other task; give another name.").format(name=name)
        found = next((one for one in models.list_models() if one.name == name), None)
        taken = self.task == FINETUNE and found is not None
        if taken and not (found.removable and run.begun):
            return _("There is a model '{name}' already; give another name.").format(name=name)
        if run.finished and (self.task == PRETRAIN or taken):
            return _("The run '{name}' is finished; give another name.").format(name=name)
        return ""

    def _wrong_choice(self) -> str:
        chosen = self._parameters
        recipe = chosen.trainRecipeFile
        if recipe and not Path(recipe).is_file():
            return _("Your own recipe does not exist.")
        if self.task == FINETUNE and chosen.trainStart and not Path(chosen.trainStart).is_dir():
            return _("What to start from is not on this machine; choose another.")
        return ""

    # What is shown

    def _data_in_words(self) -> str:
        if self._parameters is None:
            return ""
        if not self.from_scene:
            return self._folder_in_words(Path(self._parameters.trainFolder or "."))
        pairs = self.pairs()
        names = [
            pair.volume.GetName()
            if pair.segmentation is None
            else f"{pair.volume.GetName()} + {pair.segmentation.GetName()}"
            for pair in pairs
        ]
        if not pairs and self.task == PRETRAIN:
            return _("The scene has no CT.")
        if not pairs:
            return _("The scene has no CT with a segmentation of it.")
        return "; ".join(names[:4]) + ("; ..." if len(names) > 4 else "")

    def _folder_in_words(self, folder: Path) -> str:
        if not self._parameters.trainFolder:
            return ""
        if self.task == PRETRAIN:
            return _("All CTs in it are learnt from; labels are not needed.")
        labels = labels_of_folder(folder)
        if labels:
            return _("It describes these labels: {labels}.").format(labels=", ".join(labels))
        return _("Labels are looked for in its folders 'labels' or 'masks'.")

    def _all_labels(self) -> str:
        if self._parameters is None:
            return ""
        names = (
            shared_names(find_pairs())
            if self.from_scene
            else labels_of_folder(Path(self._parameters.trainFolder or "."))
            if self._parameters.trainFolder
            else []
        )
        return ", ".join(names) or _("All that the CTs have in common")

    def _sources(self) -> list[Entry]:
        words = _("CTs of the scene") if self.task == PRETRAIN else _("Segmentations of the scene")
        return [Entry(FOLDER, _("A folder")), Entry(SCENE, words)]

    def _recipes(self) -> list[Entry]:
        return [
            Entry("", _("Standard")),
            *(Entry(name, name.rpartition("/")[2]) for name in published_recipes(self.task)),
        ]

    def _show_row(self, name: str, on: bool) -> None:
        for part in (name, f"{name}Label"):
            getattr(self._ui, part).setVisible(on)

    # What the user does

    def _combo(self, widget: Any, name: str) -> ValueCombo:
        def choose(value: str) -> None:
            if self._parameters is not None:
                setattr(self._parameters, name, value)
                if name == "trainTask":
                    self._parameters.trainRecipe = ""
                self._changed()

        return ValueCombo(widget, choose)

    def read_paths(self) -> None:
        """Take the paths from their widgets: one that was cleared has sent no signal."""
        training_runs.choose_runs_folder(str(self._ui.trainRunsEdit.currentPath or ""))
        if self._parameters is not None:
            for name, edit in self._paths.items():
                setattr(self._parameters, name, str(edit.currentPath or ""))

    def _on_path(self, _changed: object) -> None:
        if self._parameters is not None:
            self.read_paths()
            self._changed()


def _tasks() -> list[Entry]:
    return [
        Entry(PRETRAIN, _("Pre-train, without labels")),
        Entry(FINETUNE, _("Fine-tune on labels")),
    ]


def _starts() -> list[Entry]:
    runs = [
        Entry(
            str(run.folder),
            _("Pre-training '{name}', {steps} steps").format(name=run.folder.name, steps=run.step),
        )
        for run in training_runs.finished_pretrainings()
    ]
    known = [
        Entry(str(model.folder), _("Model '{title}'").format(title=model.title))
        for model in models.list_models()
    ]
    return [Entry("", _("From scratch")), *runs, *known]
