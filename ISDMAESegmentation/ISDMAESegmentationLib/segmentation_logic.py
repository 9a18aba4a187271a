"""The programming interface: segment a CT of the scene, or many, without the panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from .failure import Failure, SegmentationError
from .run import Run, RunListener, RunRequest
from .waiting import wait_for
from .worker_client import WorkerClient
from .worker_command import worker_command


class SegmentationLogic:
    """Owns the worker; one run at a time.

    Examples
    --------
    In Slicer's Python console::

        from ISDMAESegmentation import ISDMAESegmentationLogic
        segmentation = ISDMAESegmentationLogic().segment(slicer.util.getNode("CTChest"))
    """

    def __init__(self, state_changed: Callable[[], None] | None = None) -> None:
        self.client = WorkerClient(worker_command, state_changed)
        slicer.app.connect("aboutToQuit()", self.stop)

    def start(
        self,
        request: RunRequest,
        listener: RunListener,
        before_fill: Callable[[slicer.vtkMRMLSegmentationNode], None] | None = None,
    ) -> Run:
        """Begin a run and return at once; see `Run`."""
        return Run(self.client, request, listener, before_fill)

    def segment(
        self,
        volume: slicer.vtkMRMLScalarVolumeNode,
        model: str = "lungs",
        *,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        region: slicer.vtkMRMLMarkupsROINode | None = None,
        points: slicer.vtkMRMLMarkupsFiducialNode | None = None,
        trachea: bool = False,
        search: bool = False,
        device: str = "auto",
        force: bool = False,
    ) -> slicer.vtkMRMLSegmentationNode:
        """Segment one CT and return when it is done; the application stays alive meanwhile.

        Parameters
        ----------
        volume : vtkMRMLScalarVolumeNode
            A chest CT in HU.
        model : str
            Name or folder of a model.
        segmentation : vtkMRMLSegmentationNode, optional
            Where the segments go; its other segments stay, and must be of the same CT. Without
            one a new node is made.
        region : vtkMRMLMarkupsROINode, optional
            Label nothing outside it. Nodules are not cut by it: a point outside is refused, and
            candidates outside are left out.
        points : vtkMRMLMarkupsFiducialNode, optional
            For a model of points: one in the middle of each nodule.
        trachea : bool
            For a model of both lungs, without a region: add trachea and main bronchi.
        search : bool
            For a model of points, without points: look for candidates in the lungs (experimental;
            ``point_mm`` of each segment in the node's report says where).
        device : str
            "auto", "cpu", "cuda" or "mps".
        force : bool
            Skip the check that the values are HU.

        Raises
        ------
        SegmentationError
            What went wrong and what to do.
        """
        node: list[slicer.vtkMRMLSegmentationNode] = []
        failures: list[Failure] = []
        listener = RunListener(
            progress=lambda stage, share, left: None,
            done=lambda made, report: node.append(made),
            failed=failures.append,
        )
        request = RunRequest(
            volume, model, device, segmentation, region, force, points, trachea, search
        )
        self.start(request, listener)
        wait_for(lambda: node or failures)
        if failures:
            raise SegmentationError(failures[0])
        return node[0]

    def stop(self) -> None:
        """Kill the worker, whatever it does."""
        self.client.stop()

    def close(self) -> None:
        """Stop, and let go of the application; the logic is not used afterwards."""
        slicer.app.disconnect("aboutToQuit()", self.stop)
        self.stop()


def run_facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the run report as (what, value) rows for people.

    It may come from a scene that another version has saved: what it does not say is left out.
    """
    model, machine, versions, seconds = (
        report.get(part, {}) for part in ("model", "machine", "versions", "seconds")
    )
    facts = [
        (_("Model"), f"{model.get('name', '')} {model.get('version', '')}".strip()),
        (_("Model SHA-256"), model.get("sha256", "")[:16]),
        (_("Licence"), model.get("licence", "")),
        (_("Device"), machine.get("device_reason", "")),
        (_("Precision"), machine.get("precision", "")),
        (_("Time"), f"{sum(seconds.values()):.1f} s" if seconds else ""),
        ("isdmae", versions.get("isdmae", "")),
        ("PyTorch", versions.get("torch", "")),
        *[
            (_("Note"), f"{notice['message']} {notice['remedy']}")
            for notice in report.get("notices", [])
        ],
    ]
    return [(what, value) for what, value in facts if value]
