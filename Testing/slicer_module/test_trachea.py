"""The box for trachea and main bronchi: for lungs and whole CTs only, one CT or several."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import io
from isdmae.bundle import Bundle
from isdmae.phantom import Phantom
from panel_under_test import PanelUnderTest
from slicer_harness.fixtures import slicer_app  # noqa: F401 - a fixture
from tiny_model import write_point_bundle

TRACHEA = "trachea_and_main_bronchi"
SCENE, FOLDER = range(2)


@pytest.fixture
def point_model(panel: PanelUnderTest, tiny_bundle: Bundle) -> Bundle:
    return write_point_bundle(tiny_bundle.folder.parent / "points")


def choose(panel: PanelUnderTest, model: str) -> None:
    panel.panel.segment.refresh()
    combo = panel.ui.modelCombo
    combo.setCurrentIndex(combo.findData(model))


def segment_ids(node: Any) -> list[str]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]


def test_the_box_gives_a_third_segment_and_without_it_it_goes(
    panel: PanelUnderTest, ct: Any
) -> None:
    import slicer

    assert not panel.ui.tracheaBox.checked
    panel.ui.tracheaBox.checked = True
    node = panel.segment(ct)
    assert segment_ids(node) == ["left_lung", "right_lung", TRACHEA]
    trachea = slicer.util.arrayFromSegmentBinaryLabelmap(node, TRACHEA, ct) > 0
    assert slicer.util.arrayFromVolume(ct)[trachea].mean() < -750
    assert panel.ui.resultTable.item(2, 2).text() == "trachea and main bronchi"
    left = slicer.util.arrayFromSegmentBinaryLabelmap(node, "left_lung", ct) > 0
    assert not np.any(trachea & left)

    panel.ui.tracheaBox.checked = False
    assert panel.segment(ct) is node
    assert segment_ids(node) == ["left_lung", "right_lung"]
    assert not json.loads(node.GetAttribute("ISDMAE.report"))["options"]["trachea"]


def test_the_box_is_there_for_lungs_and_whole_cts_only(
    panel: PanelUnderTest, ct: Any, point_model: Bundle
) -> None:
    import slicer

    box = panel.ui.tracheaBox
    choose(panel, "lungs")
    assert box.isVisibleTo(box.parent())
    choose(panel, "points")
    assert not box.isVisibleTo(box.parent())
    choose(panel, "lungs")
    box.checked = True
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    panel.ui.regionSelector.setCurrentNode(roi)
    assert not box.enabled
    assert "whole CT" in box.toolTip
    bounds = np.zeros(6)
    ct.GetRASBounds(bounds)
    low, high = bounds[::2], bounds[1::2]
    roi.SetCenter((low + high) / 2)
    roi.SetSize(high - low)
    assert segment_ids(panel.segment(ct)) == ["left_lung", "right_lung"]
    panel.ui.regionSelector.setCurrentNode(None)
    assert box.enabled


@pytest.mark.parametrize("source", [SCENE, FOLDER])
def test_several_cts_get_it_too(
    panel: PanelUnderTest, ct: Any, small_phantom: Phantom, tmp_path: Path, source: int
) -> None:
    target = tmp_path / "out"
    panel.ui.tracheaBox.checked = True
    panel.ui.batchSourceCombo.setCurrentIndex(source)
    if source == FOLDER:
        scans = tmp_path / "scans"
        scans.mkdir()
        io.write_image_atomic(scans / "a.nrrd", io.to_sitk(small_phantom.ct))
        panel.ui.batchInputEdit.currentPath = str(scans)
    panel.ui.batchOutputEdit.currentPath = str(target)
    panel.ui.batchButton.click()
    panel.wait(lambda: not panel.panel.batch.running)
    with (target / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["segment"] for row in rows][-1] == "trachea and main bronchi"
    if source == FOLDER:
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(target / "a.seg.nrrd")))
        assert (labels == 3).any()


def test_a_script_asks_for_it(panel: PanelUnderTest, ct: Any) -> None:
    node = panel.panel.logic.segment(ct, trachea=True)
    assert TRACHEA in segment_ids(node)
