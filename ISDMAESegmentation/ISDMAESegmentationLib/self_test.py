"""The test that runs inside the application: from the sample CT to segments, without the panel."""

from __future__ import annotations

import os
import unittest
from collections.abc import Callable

import slicer

from .failure import SegmentationError
from .sample_data import make_synthetic_chest
from .scene_segmentation import stored_report
from .segmentation_logic import SegmentationLogic
from .worker_command import name_python, named_python

# A test asks nobody whether it may install PyTorch, so the worker's Python can be named here.
PYTHON_VARIABLE = "ISDMAE_PYTHON"


def run_self_test(say: Callable[[str], None]) -> None:
    """Make the synthetic chest, segment it, and check what a user would see.

    Raises
    ------
    AssertionError
        Where the result is not what it must be.
    unittest.SkipTest
        Where the worker's Python lacks a package: a test asks nobody whether it may install it.
    """
    slicer.mrmlScene.Clear()
    chosen = named_python()
    name_python(os.environ.get(PYTHON_VARIABLE, chosen))
    logic = SegmentationLogic()
    try:
        say("Making the synthetic chest")
        ct = make_synthetic_chest()
        say("Segmenting it")
        node = logic.segment(ct)
    except SegmentationError as error:
        if error.failure.code in ("packages-missing", "no-sample") and "No module" in str(error):
            raise unittest.SkipTest(str(error)) from error
        raise
    finally:
        logic.close()
        name_python(chosen)
    _check(node, ct)
    say("The test passed")


def _check(node: slicer.vtkMRMLSegmentationNode, ct: slicer.vtkMRMLScalarVolumeNode) -> None:
    report = stored_report(node)
    _expect(report is not None, "the run report is missing")
    names = [segment["name"] for segment in report["segments"]]
    _expect(names == ["left lung", "right lung"], f"unexpected segments {names}")
    for segment in report["segments"]:
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment["id"], ct)
        voxel_ml = ct.GetSpacing()[0] * ct.GetSpacing()[1] * ct.GetSpacing()[2] / 1000
        measured = mask.sum() * voxel_ml
        _expect(mask.shape == slicer.util.arrayFromVolume(ct).shape, "the grids differ")
        _expect(abs(measured - segment["volume_ml"]) < 1, "the volume in mL differs")
        _expect(measured > 500, f"{segment['name']} has only {measured:.0f} mL")
        mean = slicer.util.arrayFromVolume(ct)[mask > 0].mean()
        _expect(abs(mean - segment["mean_hu"]) < 1, "the mean HU differs")


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
