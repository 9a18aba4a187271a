"""Packages for Slicer's own Python: asked for, explained, never behind the user's back.

PyTorch comes through the PyTorch extension, everything else through ``slicer.packaging``.
Slicer's own packages (numpy, SimpleITK, scipy) are never named, so they are never replaced.
"""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from .failure import refuse
from .worker_command import MODULE_FOLDER

REQUIREMENTS = MODULE_FOLDER / "Resources" / "requirements.txt"
TRAINING_REQUIREMENTS = MODULE_FOLDER / "Resources" / "requirements-training.txt"
# What comes with Slicer or with the PyTorch extension is never changed by pip.
KEPT = ["numpy", "scipy", "SimpleITK", "torch"]
WHEELS_SETTING = "ISDMAESegmentation/WheelsFolder"


def install_packages() -> None:
    """Install what is missing, after asking; returns when everything is there.

    Raises
    ------
    SegmentationError
        ``old-slicer``, ``no-pytorch-extension``, ``declined`` or ``not-installed``: what happened
        and what else can be done.
    """
    packaging = _packaging()
    _install_torch(packaging)
    _ensure(packaging, REQUIREMENTS)


def install_training_packages() -> None:
    """Install what training needs beyond that, after asking; errors as `install_packages`."""
    _ensure(_packaging(), TRAINING_REQUIREMENTS)


def training_package_names() -> list[str]:
    """Return the names of these packages, for people who install them themselves."""
    lines = TRAINING_REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [line.partition(">")[0].strip() for line in lines if not line.startswith("#")]


def _ensure(packaging, file: Path) -> None:
    requirements = packaging.load_requirements(str(file))
    if all(packaging.pip_check(requirement) for requirement in requirements):
        return
    try:
        packaging.pip_ensure(requirements, skip_packages=KEPT, requester="ISDMAE Segmentation")
    except RuntimeError as error:
        raise refuse(
            "declined",
            _("The packages were not installed: {reason}").format(reason=str(error).strip()),
            _("Accept the installation, or name a Python that has them under Advanced."),
        ) from error


def wheels_folder() -> str:
    """Return the folder of wheel files for machines without a network, or an empty text."""
    return str(slicer.util.settingsValue(WHEELS_SETTING, "") or "")


def choose_wheels_folder(folder: str) -> None:
    """Remember the folder of wheel files; an empty text means the network."""
    qt.QSettings().setValue(WHEELS_SETTING, folder)


def install_from_wheels(folder: Path) -> None:
    """Install torch and the requirements from wheel files only, without a network.

    Raises
    ------
    SegmentationError
        ``no-wheels`` where the folder holds none, ``declined`` or ``not-installed``.
    """
    packaging = _packaging()
    if not any(folder.glob("*.whl")):
        raise refuse(
            "no-wheels",
            _("'{folder}' holds no wheel files.").format(folder=folder),
            _("Download torch and safetensors with 'pip download' on a machine that has a network"
              " and copy the files there."),
        )  # fmt: skip
    names = ["torch", *(str(name) for name in packaging.load_requirements(str(REQUIREMENTS)))]
    question = _("Install {names} from {folder} into Slicer's Python?").format(
        names=", ".join(names), folder=folder
    )
    if not slicer.util.confirmOkCancelDisplay(question):
        raise _declined()
    try:
        packaging.pip_install(["--no-index", "--find-links", str(folder), *names])
    except Exception as error:
        raise refuse(
            "not-installed",
            _("pip failed: {error}").format(error=error),
            _("Check that the wheels fit this Python and this system."),
        ) from error


def _packaging():
    try:
        import slicer.packaging
    except ImportError as error:
        raise refuse(
            "old-slicer",
            _("This Slicer ({version}) cannot install Python packages for an extension.").format(
                version=slicer.app.applicationVersion
            ),
            _("Use Slicer 5.12 or newer, or name a Python of your own under Advanced."),
        ) from error
    return slicer.packaging


def _install_torch(packaging) -> None:
    if packaging.pip_check("torch"):
        return
    if wheels_folder():
        install_from_wheels(Path(wheels_folder()))
        return
    if not hasattr(slicer.modules, "pytorchutils"):
        raise refuse(
            "no-pytorch-extension",
            _("PyTorch is missing, and so is the extension that installs it."),
            _("View > Extension Manager, search PyTorch, Install, restart. Or name a Python of"
              " your own under Advanced."),
        )  # fmt: skip
    import PyTorchUtils

    question = _(
        "Segmentation needs PyTorch (about 1 GB for the processor, 3 GB for a GPU). Install it into"
        " Slicer's Python now?"
    )
    if not slicer.util.confirmOkCancelDisplay(question):
        raise _declined()
    # It asks nothing more, and imports torch into Slicer at its end.
    PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False)
    if not packaging.pip_check("torch"):
        raise refuse(
            "not-installed",
            _("PyTorch could not be installed."),
            _("Slicer's log says why; the PyTorch Utils module offers other versions."),
        )


def _declined() -> Exception:
    return refuse(
        "declined",
        _("Nothing was installed."),
        _("Segmentation needs PyTorch: accept the installation, or name a Python that has it under"
          " Advanced."),
    )  # fmt: skip
