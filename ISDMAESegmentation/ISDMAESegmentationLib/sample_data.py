"""The synthetic chest CT as an entry of the Sample Data module: made here, not downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .failure import SegmentationError, refuse
from .one_shot import Answer, OneShot
from .temporary import temporary_folder
from .waiting import wait_for
from .worker_command import MODULE_FOLDER, worker_command

SAMPLE_NAME = "ISDMAESyntheticChest"
NODE_NAME = "Synthetic chest CT"


def register() -> None:
    """Add the entry; called when the application has started."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="ISDMAESegmentation",
        sampleName=SAMPLE_NAME,
        thumbnailFileName=str(MODULE_FOLDER / "Resources" / "Icons" / f"{SAMPLE_NAME}.png"),
        customDownloader=_on_sample_button,
        uris=[],
        fileNames=[],
        nodeNames=[],
        loadFiles=[],
        loadFileTypes=[],
        checksums=[],
    )


def _on_sample_button(_source: object) -> None:
    """Make the sample and show it; the Sample Data module would only print what went wrong."""
    try:
        node = make_synthetic_chest()
    except SegmentationError as error:
        slicer.util.errorDisplay(str(error))
        return
    slicer.util.setSliceViewerLayers(background=node, fit=True)


def make_synthetic_chest() -> slicer.vtkMRMLScalarVolumeNode:
    """Make the phantom in the worker's Python and load it into the scene.

    Raises
    ------
    SegmentationError
        ``no-sample`` where it could not be made.
    """
    with temporary_folder() as folder:
        path = folder / "chest.nrrd"
        answer = _run_and_wait(["-m", "isdmae", "phantom", str(path)])
        if answer.code != 0 or not path.is_file():
            lines = answer.errors.strip().splitlines() or ["?"]
            raise refuse(
                "no-sample",
                _("The synthetic chest could not be made: {reason}.").format(
                    reason=lines[-1].rstrip(".")
                ),
                _("Open Chest CT Segmentation (ISD-MAE) > Advanced and check the worker's Python."),
            )
        return _load(path)


def _run_and_wait(arguments: list[str]) -> Answer:
    answers: list[Answer] = []
    one_shot = OneShot(worker_command)
    one_shot.start(arguments, answers.append)
    wait_for(lambda: answers)
    return answers[0]


def _load(path: Path) -> Any:
    storage = slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(str(path))
    name = slicer.mrmlScene.GenerateUniqueName(NODE_NAME)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    storage.ReadData(node)
    node.CreateDefaultDisplayNodes()
    return node
