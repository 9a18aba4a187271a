"""The lock files: what an environment of the released version holds, each file with its hashes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
RESOURCES = ROOT / "ISDMAESegmentation" / "Resources"
LOCKS = (RESOURCES / "locked.txt", RESOURCES / "locked-training.txt")


@dataclass(frozen=True)
class Pin:
    """One version of one package, and the SHA-256 of every file that may be installed for it."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the name as package indexes compare it."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """Return the version.

        Raises
        ------
        ValueError
            Where anything but one exact version is asked for.
        """
        (only,) = self.requirement.specifier
        if only.operator != "==" or "*" in only.version:
            raise ValueError(f"{self.requirement} is not pinned")
        return only.version

    def text(self) -> str:
        """Return it for a requirements file, for every machine: without its marker."""
        return " \\\n    ".join(
            [f"{self.name}=={self.version}", *(f"--hash={one}" for one in self.hashes)]
        )


def read_lock(path: Path) -> list[Pin]:
    """Return the pins of a requirements file with hashes."""
    lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    entries = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [
        Pin(
            Requirement(re.split(r"\s--hash=", entry)[0].strip()),
            tuple(re.findall(r"--hash=(\S+)", entry)),
        )
        for entry in entries
    ]


def read_constraints() -> list[Pin]:
    """Return the versions that the tests run with; they have no hashes."""
    lines = (ROOT / "Testing" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Pin(Requirement(line), ()) for line in lines if line and not line.startswith("#")]


def declared(project: Path) -> list[Requirement]:
    """Return what a project's ``pyproject.toml`` asks for, less the project's other package."""
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    body = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    if body is None:
        raise ValueError(f"{project} has no dependencies")
    found = [Requirement(text) for text in re.findall(r'"([^"]+)"', body.group(1))]
    return [one for one in found if one.name != "isdmae"]
