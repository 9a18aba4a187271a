"""The module ``slicer.packaging``: it answers and records, and installs nothing."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from packaging.requirements import Requirement

from . import recorded

installed: list[tuple[str, ...]] = []
"""What pip_install() was asked to install."""

always_installed: set[str] = set()
"""Names that pip_check() takes for installed; a test may add some."""


def load_requirements(path: str | Path) -> list[Requirement]:
    """The requirements of a file, without comments."""
    lines = (line.split("#")[0].strip() for line in Path(path).read_text("utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def pip_check(requirement: str | Requirement | list) -> bool:
    """Whether every requirement is met in this Python."""
    if isinstance(requirement, (list, tuple)):
        return all(pip_check(one) for one in requirement)
    wanted = Requirement(str(requirement))
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    if wanted.name in always_installed:
        return True
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return wanted.specifier.contains(version, prereleases=True)


def pip_ensure(
    requirements: list,
    constraints: str | None = None,
    skip_packages: list | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list | None:
    """Ask, and "install", what is missing.

    With the default ``skip_in_testing`` nothing happens, as in Slicer with --testing.

    Raises
    ------
    RuntimeError
        Where the user declines.
    """
    if skip_in_testing:
        return None
    wanted = requirements if isinstance(requirements, (list, tuple)) else [requirements]
    kept = [r for r in wanted if Requirement(str(r)).name not in (skip_packages or ())]
    missing = [str(r) for r in kept if not pip_check(r)]
    if not missing:
        return []
    question = f"{requester or 'A module'} needs {', '.join(missing)}"
    if prompt_install and not recorded.show("pip_ensure", question, False):
        raise RuntimeError(f"Installation of {', '.join(missing)} was declined")
    pip_install(missing, constraints, skip_packages=skip_packages)
    return [str(r) for r in wanted if r not in kept]


def pip_install(
    requirements: str | list,
    constraints: str | None = None,
    no_deps_requirements: list | None = None,
    skip_packages: list | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    parent: object = None,
    logCallback: object = None,
    completedCallback: object = None,
) -> None:
    """Record what would be installed; afterwards pip_check() says that it is there."""
    names = requirements.split() if isinstance(requirements, str) else requirements
    texts = tuple(str(name) for name in names)
    installed.append(texts)
    always_installed.update(Requirement(text).name for text in texts if not text.startswith("-"))
    if completedCallback is not None:
        completedCallback(0)


def pip_uninstall(requirements: str | list, **_: object) -> None:
    """Record nothing: refused."""
    raise RuntimeError("the harness does not uninstall packages")


def isPipInstallInProgress() -> bool:
    """Never."""
    return False


def reset() -> None:
    """Forget what was installed."""
    installed.clear()
    always_installed.clear()
