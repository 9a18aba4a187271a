"""One segmentation of one CT of the scene, from the click to the segments."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from .failure import Failure, SegmentationError
from .models import locate
from .scene_segmentation import Labels, check_output, fill, output_node
from .scene_volume import check_volume, points_in_file, region_of_interest, write_volume
from .temporary import make_folder
from .worker_client import Listener, WorkerClient

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRequest:
    """What to segment, with which model, into which segmentation (None makes a new one)."""

    volume: slicer.vtkMRMLScalarVolumeNode
    model: str = "lungs"
    device: str = "auto"
    segmentation: slicer.vtkMRMLSegmentationNode | None = None
    region: slicer.vtkMRMLMarkupsROINode | None = None
    force: bool = False
    points: slicer.vtkMRMLMarkupsFiducialNode | None = None
    trachea: bool = False
    search: bool = False


@dataclass(frozen=True)
class RunListener:
    """Who is told: progress, then exactly one of the other two."""

    progress: Callable[[str, float, float | None], None]
    done: Callable[[slicer.vtkMRMLSegmentationNode, dict[str, Any]], None]
    failed: Callable[[Failure], None]


class Run:
    """Writes the CT, asks the worker, fills the segmentation, removes its temporary folder.

    Parameters
    ----------
    client : WorkerClient
        The worker.
    request : RunRequest
        What to do.
    listener : RunListener
        Who hears of it.
    before_fill : callable, optional
        Called with the segmentation node just before it is changed (to save an undo state).

    Raises
    ------
    SegmentationError
        Where the request cannot be fulfilled; nothing has been changed then.
    """

    def __init__(
        self,
        client: WorkerClient,
        request: RunRequest,
        listener: RunListener,
        before_fill: Callable[[slicer.vtkMRMLSegmentationNode], None] | None = None,
    ) -> None:
        check_volume(request.volume)
        check_output(request.segmentation, request.volume)
        self._client, self._listener = client, listener
        self._before_fill = before_fill or (lambda node: None)
        self._volume_id = request.volume.GetID()
        segmentation = request.segmentation
        self._segmentation_id = None if segmentation is None else segmentation.GetID()
        self._folder = make_folder()
        self._observers: list[int] = []
        try:
            client.predict(self._job(request), Listener(self._progress, self._done, self._failed))
        except Exception:
            self._clean_up()
            raise
        self._watch_scene()

    def cancel(self) -> None:
        """Stop within two seconds; the listener hears ``cancelled``."""
        self._client.cancel()

    def _job(self, request: RunRequest) -> dict[str, Any]:
        source = self._folder / "ct.nrrd"
        write_volume(request.volume, source)
        job: dict[str, Any] = {
            "input": str(source),
            "outputs": [],
            "box": str(self._folder / "labels.npy"),
            "model": locate(request.model),
            "device": request.device,
            "force": request.force,
        }
        if request.region is not None:
            job["region"] = region_of_interest(request.region, request.volume)
        if request.points is not None:
            job["points"] = points_in_file(request.points, request.volume)
        if request.trachea:
            job["trachea"] = True
        if request.search:
            job["search"] = True
        return job

    def _watch_scene(self) -> None:
        scene = slicer.mrmlScene
        self._observers = [
            scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, self._on_scene_close),
            # Once it has gone, and the panel has another CT: that is not the one of the message.
            scene.AddObserver(slicer.vtkMRMLScene.NodeRemovedEvent, self._on_removal),
        ]

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_removal(self, _caller: object, _event: str, node: slicer.vtkMRMLNode) -> None:
        if node.GetID() == self._volume_id:
            self._give_up("volume-removed", _("The CT was removed from the scene."))
        elif self._segmentation_id is not None and node.GetID() == self._segmentation_id:
            self._give_up("segmentation-removed", _("The segmentation was removed from the scene."))

    def _on_scene_close(self, _caller: object, _event: str) -> None:
        self._give_up("scene-closed", _("The scene was closed."))

    def _give_up(self, code: str, reason: str) -> None:
        message = _("{reason} The run was stopped.").format(reason=reason)
        self._client.stop(Failure(code, message, _("Choose a CT and start again.")))

    def _progress(self, stage: str, share: float, seconds_left: float | None) -> None:
        self._listener.progress(stage, share, seconds_left)

    def _failed(self, failure: Failure) -> None:
        self._clean_up()
        self._listener.failed(failure)

    def _done(self, report: dict[str, Any]) -> None:
        try:
            labels = np.load(self._folder / "labels.npy", allow_pickle=False)
        except (OSError, ValueError) as error:
            self._failed(
                Failure(
                    "result-unreadable",
                    _("The worker's result could not be read: {error}.").format(error=error),
                    _("Check the space on the disk of the temporary folder, and start again."),
                )
            )
            return
        self._clean_up()
        try:
            node = self._show(labels, report)
        except SegmentationError as error:
            self._failed(error.failure)
            return
        except Exception as error:
            # Whatever it was, the panel must not wait for ever.
            log.exception("the result could not be brought into the scene")
            self._failed(
                Failure(
                    "result-not-shown",
                    _("The result could not be brought into the scene: {error}.").format(
                        error=error
                    ),
                    _("Choose 'Create new segmentation' and start again."),
                )
            )
            return
        self._listener.done(node, report)

    def _show(self, labels: np.ndarray, report: dict[str, Any]) -> slicer.vtkMRMLSegmentationNode:
        scene = slicer.mrmlScene
        volume = scene.GetNodeByID(self._volume_id)
        wanted = self._segmentation_id
        existing = None if wanted is None else scene.GetNodeByID(wanted)
        check_output(existing, volume)  # again: a transform may have come meanwhile
        node = output_node(volume, existing, report["model"]["title"].lower())
        self._before_fill(node)
        offset_i, offset_j, offset_k = report["box"]["offset_ijk"]
        fill(node, volume, Labels(labels, (offset_i, offset_j, offset_k)), report)
        return node

    def _clean_up(self) -> None:
        for tag in self._observers:
            slicer.mrmlScene.RemoveObserver(tag)
        self._observers = []
        shutil.rmtree(self._folder, ignore_errors=True)
