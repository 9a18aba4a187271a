"""Packages for Slicer's own Python: asked for, explained, never behind the user's back.

PyTorch comes through the PyTorch extension, everything else through ``slicer.packaging``.
Slicer's own packages (numpy, SimpleITK, scipy) are never named, so they are never replaced.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from .failure import refuse
from .temporary import temporary_folder
from .worker_command import MODULE_FOLDER

REQUIREMENTS = MODULE_FOLDER / "Resources" / "requirements.txt"
TRAINING_REQUIREMENTS = MODULE_FOLDER / "Resources" / "requirements-training.txt"
# What comes with Slicer or with the PyTorch extension is never changed by pip.
KEPT = ["numpy", "scipy", "SimpleITK", "torch"]
TORCH = "torch>=2.2"
WHEELS_SETTING = "ISDMAESegmentation/WheelsFolder"


def install_packages() -> None:
    """Install what is missing, after asking; returns when everything is there.

    Raises
    ------
    SegmentationError
        ``old-slicer``, ``no-pytorch-extension``, ``old-torch``, ``declined``, ``not-installed`` or
        ``installing``: what happened and what else can be done.
    """
    packaging = _packaging()
    with _one_at_a_time():
        if not wheels_folder():
            _install_torch(packaging)
        _ensure(packaging, [TORCH, *packaging.load_requirements(str(REQUIREMENTS))])


def install_training_packages() -> None:
    """Install what training needs beyond that, after asking; errors as `install_packages`."""
    packaging = _packaging()
    with _one_at_a_time():
        _ensure(packaging, packaging.load_requirements(str(TRAINING_REQUIREMENTS)))


def training_package_names() -> list[str]:
    """Return the names of these packages, for people who install them themselves."""
    lines = TRAINING_REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [line.partition(">")[0].strip() for line in lines if not line.startswith("#")]


def _ensure(packaging, requirements: Sequence) -> None:
    missing = [one for one in requirements if not packaging.pip_check(one)]
    if not missing:
        return
    if wheels_folder():
        install_from_wheels(Path(wheels_folder()), [str(one) for one in missing])
    else:
        with _kept_as_they_are() as constraints:
            _run_pip(
                lambda: packaging.pip_ensure(
                    missing, constraints=constraints, requester="ISDMAE Segmentation"
                )
            )
    # A package that pip could not get is only a line in its log where others came through.
    absent = ", ".join(str(one) for one in missing if not packaging.pip_check(one))
    if absent:
        raise _not_installed(absent)


@contextlib.contextmanager
def _kept_as_they_are() -> Iterator[str]:
    """Yield a constraints file that holds the packages of `KEPT` at their installed versions."""
    lines = []
    for name in KEPT:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            lines.append(f"{name}=={importlib.metadata.version(name)}\n")
    with temporary_folder() as folder:
        path = folder / "constraints.txt"
        path.write_text("".join(lines), encoding="utf-8")
        yield str(path)


_running = False


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Refuse a second installation: Slicer handles clicks while pip runs."""
    global _running  # noqa: PLW0603 - one Python, one pip
    if _running:
        raise refuse(
            "installing",
            _("Packages are being installed."),
            _("Wait until that has ended."),
        )
    _running = True
    try:
        yield
    finally:
        _running = False


@contextlib.contextmanager
def _please_wait(words: str) -> Iterator[None]:
    """Show that something long is going on, in front of everything that could be clicked."""
    dialog = qt.QProgressDialog(words, "", 0, 0, slicer.util.mainWindow())
    dialog.setCancelButton(None)
    dialog.setWindowTitle("ISDMAE Segmentation")
    dialog.setWindowModality(qt.Qt.ApplicationModal)
    dialog.show()
    slicer.app.processEvents()
    try:
        yield
    finally:
        dialog.close()
        dialog.deleteLater()


def wheels_folder() -> str:
    """Return the folder of wheel files for machines without a network, or an empty text."""
    return str(slicer.util.settingsValue(WHEELS_SETTING, "") or "")


def choose_wheels_folder(folder: str) -> None:
    """Remember the folder of wheel files; an empty text means the network."""
    qt.QSettings().setValue(WHEELS_SETTING, folder)


def install_from_wheels(folder: Path, names: Sequence[str]) -> None:
    """Install packages from wheel files only, without a network.

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
            _("Get {names} with 'pip download' on a machine that has a network and copy the files"
              " there.").format(names=", ".join(names)),
        )  # fmt: skip
    question = _("Install {names} from {folder} into Slicer's Python?").format(
        names=", ".join(names), folder=folder
    )
    if not slicer.util.confirmOkCancelDisplay(question):
        raise _declined()
    with _kept_as_they_are() as constraints:
        _run_pip(
            lambda: packaging.pip_install(
                ["--no-index", "--find-links", str(folder), *names], constraints=constraints
            )
        )


def _packaging():
    try:
        # ``import slicer.packaging`` would make ``slicer`` a local name, unknown where it fails.
        from slicer import packaging

        return packaging
    except ImportError as error:
        raise refuse(
            "old-slicer",
            _("This Slicer ({version}) cannot install Python packages for an extension.").format(
                version=slicer.app.applicationVersion
            ),
            _("Use Slicer 5.12 or newer, or name a Python of your own under Advanced."),
        ) from error


def _install_torch(packaging) -> None:
    if packaging.pip_check(TORCH):
        return
    if packaging.pip_check("torch"):
        raise refuse(
            "old-torch",
            _("PyTorch {version} is too old.").format(version=importlib.metadata.version("torch")),
            _("PyTorch Util module > Uninstall PyTorch, restart Slicer, and click again. Or name a"
              " Python of your own under Advanced."),
        )  # fmt: skip
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
    with _please_wait(_("Installing PyTorch. This takes some minutes.")):
        _run_pip(lambda: PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False))
    if not packaging.pip_check(TORCH):
        raise _not_installed("PyTorch")


def _run_pip(install: Callable[[], object]) -> None:
    """Turn what pip and the import of a new package raise into words."""
    try:
        install()
    except Exception as error:
        if isinstance(error, RuntimeError) and "declined" in str(error):
            raise _declined() from error
        raise _not_installed(str(error)) from error


def _not_installed(what: str) -> Exception:
    return refuse(
        "not-installed",
        _("The packages could not be installed: {what}.").format(what=what.strip().rstrip(".")),
        _("Slicer's log says why; check network and disk space, or that the wheels fit this"
          " Python."),
    )  # fmt: skip


def _declined() -> Exception:
    return refuse(
        "declined",
        _("Nothing was installed."),
        _("Accept the installation, or name a Python that has the packages under Advanced."),
    )
