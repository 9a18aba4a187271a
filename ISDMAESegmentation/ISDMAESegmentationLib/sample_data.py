"""The synthetic chest CT as an entry of the Sample Data module: made here, not downloaded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .failure import refuse
from .one_shot import Answer, OneShot
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
        customDownloader=lambda source: make_synthetic_chest(),
        uris=[],
        fileNames=[],
        nodeNames=[],
        loadFiles=[],
        loadFileTypes=[],
        checksums=[],
    )


def make_synthetic_chest() -> slicer.vtkMRMLScalarVolumeNode:
    """Make the phantom in the worker's Python and load it into the scene.

    Raises
    ------
    SegmentationError
        ``no-sample`` where it could not be made.
    """
    with tempfile.TemporaryDirectory(prefix="isdmae-", dir=slicer.app.temporaryPath) as folder:
        path = Path(folder) / "chest.nrrd"
        answer = _run_and_wait(["-m", "isdmae", "phantom", str(path)])
        if answer.code != 0:
            raise refuse(
                "no-sample",
                _("The synthetic chest could not be made: {reason}.").format(
                    reason=answer.errors.strip().splitlines()[-1] if answer.errors.strip() else "?"
                ),
                _("Open ISDMAE Segmentation > Advanced and check the worker's Python."),
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
