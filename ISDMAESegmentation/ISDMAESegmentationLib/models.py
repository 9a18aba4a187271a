"""The models that the panel offers, read from their ``model.json``.

Nothing in a model is executed, and its weights are not touched here: the worker checks their hash
before it loads them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .failure import refuse
from .worker_command import MODULE_FOLDER

SETTING = "ISDMAESegmentation/ModelsFolder"
INFO_NAME = "model.json"
WEIGHTS_NAME = "model.safetensors"
# In the order of removal: as long as anything else is left, the model is listed.
BUNDLE_FILES = (WEIGHTS_NAME, "README.md", INFO_NAME)
LARGEST_INFO_BYTES = 1_000_000
LUNGS = ["left lung", "right lung"]


@dataclass(frozen=True)
class Model:
    """What the panel says of a model."""

    name: str
    folder: Path
    title: str
    description: str
    licence: str
    non_commercial: bool
    result: str
    """The best known accuracy in one phrase, or an empty text."""
    needs_points: bool
    """Whether it finds what lies at points."""
    suggests_points: bool
    """Whether it can look for places that may be worth a point."""
    finds_lungs: bool
    """Whether it finds a left and a right lung, beside which the trachea can be shown."""
    removable: bool

    def summary(self) -> str:
        """One sentence each on what it finds, its accuracy and its licence."""
        use = _("Non-commercial use only.") if self.non_commercial else ""
        licence = _("Licence: {licence}.").format(licence=self.licence)
        return " ".join(part for part in (self.description, self.result, licence, use) if part)


def default_folder() -> Path:
    """Return the models that came with the extension."""
    return MODULE_FOLDER / "Resources" / "Models"


def data_folder() -> Path:
    """Return where large files of ours lie: beside Slicer's settings.

    On Windows the settings are in the roaming profile, which a clinic copies over the network at
    every log-in; there the local profile is taken.
    """
    settings = Path(qt.QSettings().fileName()).parent
    local = os.environ.get("LOCALAPPDATA", "") if sys.platform == "win32" else ""
    return Path(local) / settings.name if local else settings


def user_folder() -> Path:
    """Return where the user's own models lie on this machine."""
    named = str(slicer.util.settingsValue(SETTING, "") or "")
    return Path(named) if named else data_folder() / "ISDMAE-models"


def choose_user_folder(folder: str) -> None:
    """Remember another folder for the user's own models; an empty text means the default."""
    qt.QSettings().setValue(SETTING, folder)


def list_models() -> list[Model]:
    """Return all readable models, those of the extension first, each name once."""
    found: dict[str, Model] = {}
    for folder, removable in ((default_folder(), False), (user_folder(), True)):
        for info in sorted(folder.glob(f"*/{INFO_NAME}")):
            model = _read(info, removable)
            if model is not None:
                found.setdefault(model.name, model)
    return list(found.values())


def locate(name: str) -> str:
    """Return the folder of the model ``name``; anything else is returned as it is."""
    return next((str(model.folder) for model in list_models() if model.name == name), name)


def needs_points(name: str) -> bool:
    """Return whether the model ``name`` finds what lies at points."""
    return any(model.name == name and model.needs_points for model in list_models())


def finds_lungs(name: str) -> bool:
    """Return whether the model ``name`` finds a left and a right lung, and nothing else."""
    return any(model.name == name and model.finds_lungs for model in list_models())


def add_model(source: Path) -> Model:
    """Copy a bundle (its folder, or a file in it) into the user's folder.

    Raises
    ------
    SegmentationError
        ``bad-model`` where it is no bundle, ``model-exists`` where the name is taken,
        ``not-copied`` where the folder cannot be written.
    """
    folder = source if source.is_dir() else source.parent
    model = _read(folder / INFO_NAME, removable=True)
    if model is None or not (folder / WEIGHTS_NAME).is_file():
        raise refuse(
            "bad-model",
            _("'{name}' holds no model: model.json and model.safetensors are needed.").format(
                name=folder.name
            ),
            _("Choose the folder that isdmae-train export has written."),
        )
    target = user_folder() / model.name
    if target.exists() or any(other.name == model.name for other in list_models()):
        raise refuse(
            "model-exists",
            _("There is a model '{name}' already.").format(name=model.name),
            _("Remove it first, or export this one under another name."),
        )
    _copy(folder, target)
    return next(other for other in list_models() if other.name == model.name)


def remove_model(model: Model) -> None:
    """Delete one of the user's models: the bundle's own files, and the folder if it is empty.

    Raises
    ------
    SegmentationError
        ``not-removable`` where it came with the extension, ``not-removed`` where a file stays.
    """
    if not model.removable:
        raise refuse(
            "not-removable",
            _("'{title}' came with the extension.").format(title=model.title),
            _("It goes when the extension is uninstalled."),
        )
    try:
        for name in BUNDLE_FILES:
            (model.folder / name).unlink(missing_ok=True)
        if not any(model.folder.iterdir()):
            model.folder.rmdir()
    except OSError as error:
        raise refuse(
            "not-removed",
            _("The model could not be removed: {error}.").format(error=error.strerror or error),
            _("Stop the worker, check that {folder} can be written, and remove it again.").format(
                folder=model.folder
            ),
        ) from error


def _copy(folder: Path, target: Path) -> None:
    """Copy under a temporary name first: a reader never meets half a model."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        for name in BUNDLE_FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, temporary / name)
        temporary.rename(target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise refuse(
            "not-copied",
            _("The model could not be copied: {error}.").format(error=error.strerror or error),
            _("Check the models folder under Advanced."),
        ) from error


def _read(path: Path, removable: bool) -> Model | None:
    """Return the model of a ``model.json``, None where it cannot be read."""
    try:
        if path.stat().st_size > LARGEST_INFO_BYTES:
            return None
        info = json.loads(path.read_text(encoding="utf-8"))
        return Model(
            name=str(info["name"]),
            folder=path.parent,
            title=str(info["title"]),
            description=str(info["description"]),
            licence=str(info["licence"]),
            non_commercial=bool(info["non_commercial"]),
            result=_best_result(info.get("results", [])),
            needs_points=info.get("crop_edge") is not None,
            suggests_points=bool(info.get("search_within")),
            finds_lungs=[label["name"] for label in info["labels"]] == LUNGS,
            removable=removable,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _best_result(results: list[dict[str, Any]]) -> str:
    """Return the first result of the card: it stands for the model on unseen patients."""
    if not results:
        return ""
    first = results[0]
    return _("{metric} {value:.3f} on {data}.").format(
        metric=first["metric"], value=float(first["value"]), data=first["data"]
    )
