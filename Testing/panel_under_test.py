"""The panel as tests drive it: what a user does in one word each, and CTs for the scene."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from isdmae.volume import Volume

MODULE = Path(__file__).resolve().parents[1] / "ISDMAESegmentation" / "ISDMAESegmentation.py"
LONGEST_S = 120


class PanelUnderTest:
    """A loaded module, with what a user does in one word each."""

    def __init__(self, harness: Any) -> None:
        self.harness = harness
        self.module, self.widget, self.parent = harness.load_module(MODULE)
        harness.enter(self.widget)

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def panel(self) -> Any:
        return self.widget.panel

    @property
    def running(self) -> bool:
        return self.panel.segment.running

    @property
    def status(self) -> str:
        return self.ui.statusLabel.text

    def wait(self, condition: Any, seconds: float = LONGEST_S) -> Any:
        return self.harness.spin_until(condition, seconds)

    def segment(self, ct: Any) -> Any:
        """Choose a CT, click, wait, and return the segmentation node."""
        self.ui.volumeSelector.setCurrentNode(ct)
        self.ui.segmentButton.click()
        self.wait(lambda: not self.running)
        return self.ui.segmentationSelector.currentNode()

    def begin(self, ct: Any) -> None:
        """Choose a CT, click, and wait until the network computes."""
        self.ui.volumeSelector.setCurrentNode(ct)
        self.ui.segmentButton.click()
        self.wait(lambda: self.ui.progressBar.value > 4)


def add_ct(volume: Volume, name: str = "chest") -> Any:
    """Put a CT into the scene as Slicer's own readers do: RAS, a display node."""
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    slicer.util.updateVolumeFromArray(node, np.array(volume.array))
    node.CreateDefaultDisplayNodes()
    assert isinstance(node.GetImageData(), vtk.vtkImageData)
    return node


def is_alive(pid: int) -> bool:
    """Whether a process with this id runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.is_file() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def temporary_folders() -> list[Path]:
    import slicer

    return list(Path(slicer.app.temporaryPath).glob("isdmae-*"))


def segmentation_nodes() -> list[Any]:
    import slicer

    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
