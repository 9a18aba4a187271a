"""What the worker's Python has: asked of it by ``-m isdmae info``, without blocking."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from .failure import Failure
from .one_shot import Answer, OneShot
from .worker_command import WorkerCommand


@dataclass(frozen=True)
class Environment:
    """The answer: ``facts`` of `isdmae.machine.describe`, or why there are none."""

    facts: dict[str, Any] | None
    failure: Failure | None

    @property
    def usable(self) -> bool:
        """Whether segmentation can run there."""
        return self.facts is not None

    def summary(self) -> str:
        """One or two sentences for the panel."""
        if self.facts is None:
            return str(self.failure)
        return _("Python {python}, PyTorch {torch}. {device}").format(
            python=self.facts["python"], torch=self.facts["torch"], device=self.device_summary()
        )

    def device_summary(self) -> str:
        """What computes, and why not a GPU."""
        if self.facts is None:
            return _("Not known yet.")
        chosen = self.facts["auto_device"]
        if chosen != "cpu":
            return _("A GPU ({device}) was found and works.").format(device=chosen)
        why = " ".join(device["reason"] for device in self.facts["devices"] if device["reason"])
        threads = self.facts["threads"]
        processor = (
            _("Processor with one thread.")
            if threads == 1
            else _("Processor with {threads} threads.").format(threads=threads)
        )
        return f"{processor} {why}"


class EnvironmentCheck:
    """Runs one check at a time; a new one replaces the old."""

    def __init__(self, command: Callable[[], WorkerCommand]) -> None:
        self._one_shot = OneShot(command)

    def start(self, told: Callable[[Environment], None]) -> None:
        """Ask the worker's Python what it has; ``told`` hears the answer once."""
        self._one_shot.start(
            ["-m", "isdmae", "info", "--json"], lambda answer: told(understand(answer))
        )

    def stop(self) -> None:
        """Forget the check in progress; nobody is told."""
        self._one_shot.stop()


def understand(answer: Answer) -> Environment:
    """Turn the answer of ``isdmae info --json`` into an environment."""
    try:
        facts = json.loads(answer.output.splitlines()[-1]) if answer.code == 0 else None
    except (ValueError, IndexError):
        facts = None
    if isinstance(facts, dict):
        return Environment(facts, None)
    return Environment(None, explain(answer.errors))


def explain(errors: str) -> Failure:
    """Turn what the worker's Python printed before it failed into words."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    last = lines[-1] if lines else _("no message")
    for package in ("torch", "safetensors", "SimpleITK", "scipy", "numpy"):
        if f"No module named '{package}'" in last:
            return Failure(
                "packages-missing",
                _("The package {package} is missing in the worker's Python.").format(
                    package=package
                ),
                _("Click Segment and accept the installation, or use Install under Advanced."),
            )
    return Failure(
        "python-unusable",
        _("The worker's Python cannot run isdmae: {last}.").format(last=last.rstrip(".")),
        _("Choose another Python under Advanced, or clear the field to use Slicer's own."),
    )
