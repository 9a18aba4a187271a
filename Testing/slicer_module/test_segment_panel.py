"""The panel in a real Qt window, on real MRML, with the real worker process."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isdmae import io
from isdmae.labels import LUNGS
from isdmae.phantom import Phantom
from isdmae.volume import Volume
from panel_under_test import PanelUnderTest, add_ct, is_alive, segmentation_nodes, temporary_folders


def expected_labels(volume: Volume, folder: Path) -> np.ndarray:
    """What the command line finds, in a process of its own, as the worker is."""
    scan, result = folder / "scan.nrrd", folder / "expected.nrrd"
    io.write_image_atomic(scan, io.to_sitk(volume))
    command = [sys.executable, "-m", "isdmae", "predict", str(scan), "-o", str(result)]
    subprocess.run(command, check=True, capture_output=True)
    return io.read(result).volume.array


def array_of(node: Any, segment_id: str, ct: Any) -> np.ndarray:
    import slicer

    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, ct) > 0


def test_without_a_ct_the_button_says_why(panel: PanelUnderTest) -> None:
    assert not panel.ui.segmentButton.enabled
    assert panel.ui.segmentButton.toolTip == panel.status == "Choose a chest CT first."
    assert "Left and right lung" in panel.ui.modelLabel.text
    assert "Apache-2.0" in panel.ui.modelLabel.text
    panel.wait(lambda: "Processor" in panel.ui.deviceLabel.text)
    assert "cuda" in panel.ui.deviceLabel.text


def test_a_click_gives_the_segments_of_the_model(
    panel: PanelUnderTest, ct: Any, small_phantom: Phantom, tmp_path: Path
) -> None:
    import slicer

    seen: list[str] = []
    panel.ui.volumeSelector.setCurrentNode(ct)
    assert panel.ui.segmentButton.enabled
    panel.ui.segmentButton.click()
    assert panel.ui.segmentButton.text == "Cancel"
    panel.wait(lambda: seen.append(panel.ui.progressBar.format) or not panel.running)
    node = panel.ui.segmentationSelector.currentNode()
    assert any("Finding structures" in text for text in seen)
    assert panel.ui.segmentButton.text == "Segment"
    assert panel.status.startswith("Done in")

    expected = expected_labels(small_phantom.ct, tmp_path)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == len(LUNGS)
    for label in LUNGS:
        found = array_of(node, label.segment_id, ct)
        assert np.array_equal(found, expected == label.value)
        segment = segmentation.GetSegment(label.segment_id)
        assert segment.GetName() == label.name
        assert np.allclose(np.array(segment.GetColor()) * 255, label.colour, atol=0.5)
        assert (
            tag_of(segment, slicer.vtkSegment.GetTerminologyEntryTagName()) == label.terminology()
        )
        assert tag_of(segment, "ISDMAE.model").startswith("lungs ")
    assert node.GetName() == "chest lungs"
    table = panel.ui.resultTable
    assert [table.item(row, 2).text() for row in range(2)] == ["left lung", "right lung"]
    report = json.loads(node.GetAttribute("ISDMAE.report"))
    assert len(report["model"]["sha256"]) == 64
    assert table.item(0, 3).text() == f"{report['segments'][0]['volume_ml']:.0f}"
    assert temporary_folders() == []
    assert ct.GetStorageNode() is None


def tag_of(segment: Any, name: str) -> str:
    import vtk

    value = vtk.reference("")
    segment.GetTag(name, value)
    return str(value)


def test_an_oblique_ct_under_a_transform(
    panel: PanelUnderTest, oblique_phantom: Phantom, tmp_path: Path
) -> None:
    import slicer
    import vtk

    ct = add_ct(oblique_phantom.ct, "oblique")
    turn = vtk.vtkTransform()
    turn.RotateZ(30)
    turn.Translate(20, -35, 11)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(turn.GetMatrix())
    ct.SetAndObserveTransformNodeID(transform.GetID())
    node = panel.segment(ct)
    assert node.GetTransformNodeID() == transform.GetID()
    expected = expected_labels(oblique_phantom.ct, tmp_path)
    for label in LUNGS:
        assert np.array_equal(array_of(node, label.segment_id, ct), expected == label.value)
    # The segments lie in the same place of the world as the voxels of the CT.
    bounds, ct_bounds = np.zeros(6), np.zeros(6)
    node.GetRASBounds(bounds)
    ct.GetRASBounds(ct_bounds)
    assert np.all(bounds[::2] >= ct_bounds[::2] - 1)
    assert np.all(bounds[1::2] <= ct_bounds[1::2] + 1)


def test_a_non_linear_transform_is_refused_in_words(panel: PanelUnderTest, ct: Any) -> None:
    import slicer
    import vtk

    warp = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for place in ((0, 0, 0), (90, 0, 0), (0, 90, 0), (0, 0, 90)):
        points.InsertNextPoint(*place)
    warp.SetSourceLandmarks(points)
    warp.SetTargetLandmarks(points)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformFromParent(warp)
    ct.SetAndObserveTransformNodeID(transform.GetID())
    panel.ui.volumeSelector.setCurrentNode(ct)
    panel.ui.segmentButton.click()
    assert not panel.running
    assert "non-linear transform. Harden the transform" in panel.status
    assert segmentation_nodes() == []


def test_a_region_that_is_no_box_in_the_cts_space_is_refused_in_words(
    panel: PanelUnderTest, ct: Any
) -> None:
    import slicer

    from ISDMAESegmentationLib.scene_volume import region_of_interest

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    stretch = np.diag([1.0, 1.2, 1.0, 1.0])
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(stretch))
    ct.SetAndObserveTransformNodeID(transform.GetID())
    panel.ui.volumeSelector.setCurrentNode(ct)
    panel.ui.regionSelector.addNode()
    roi = panel.ui.regionSelector.currentNode()
    assert np.allclose(np.abs(region_of_interest(roi, ct)["axes"]), np.eye(3))
    shear = np.eye(4)
    shear[0, 1] = 0.2
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shear))
    panel.ui.segmentButton.click()
    assert not panel.running
    assert "the region is no box: a transform shears it. Take the CT" in panel.status


def test_what_the_worker_cannot_read_ends_the_job(panel: PanelUnderTest) -> None:
    from ISDMAESegmentationLib.failure import Failure
    from ISDMAESegmentationLib.worker_client import Listener

    client, told = panel.panel.logic.client, []
    too_long = {"input": "x" * 1_000_000}
    client.predict(too_long, Listener(lambda *_: None, told.append, told.append))
    panel.wait(lambda: not client.busy)
    assert isinstance(told[0], Failure)
    assert told[0].code == "bad-message"


def test_what_is_said_of_a_ct_goes_with_it(panel: PanelUnderTest) -> None:
    import slicer

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    for another in (
        lambda: panel.ui.volumeSelector.setCurrentNode(None),
        panel.harness.close_scene,
    ):
        panel.ui.volumeSelector.setCurrentNode(empty)
        panel.ui.segmentButton.click()
        assert panel.status.startswith("'empty' holds no voxels.")
        another()
        assert panel.status == "Choose a chest CT first."


def stages_sent() -> set[str]:
    """What isdmae names as the stage of its progress."""
    stages = set()
    for path in (Path(io.__file__).parent).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and len(node.args) == 2:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                first = node.args[0]
                if name in ("progress", "report") and isinstance(first, ast.Constant):
                    stages.add(first.value)
    return stages


def test_every_stage_of_the_worker_has_words(panel: PanelUnderTest) -> None:
    from ISDMAESegmentationLib.text import stage_in_words

    assert {"search", "segment", "load model", "done"} <= stages_sent()
    assert [stage for stage in stages_sent() if stage_in_words(stage) == stage] == []


def test_a_second_run_keeps_what_the_user_added(panel: PanelUnderTest, ct: Any) -> None:
    node = panel.segment(ct)
    segmentation = node.GetSegmentation()
    segmentation.AddEmptySegment("mine", "tumour", (1.0, 0.0, 0.0))
    segmentation.GetSegment("left_lung").SetName("my left lung")
    before = array_of(node, "left_lung", ct)
    assert panel.segment(ct) is node
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    assert ids == ["left_lung", "right_lung", "mine"]
    assert segmentation.GetSegment("left_lung").GetName() == "my left lung"
    assert np.array_equal(array_of(node, "left_lung", ct), before)
    assert len(segmentation_nodes()) == 1


def test_undo_brings_the_former_segments_back(panel: PanelUnderTest, ct: Any) -> None:
    import slicer

    node = panel.segment(ct)
    assert not panel.ui.undoButton.enabled
    edited = array_of(node, "left_lung", ct)
    edited[:] = False
    edited[3:6, 10:20, 10:20] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited.astype(np.uint8), node, "left_lung", ct)
    panel.segment(ct)
    assert array_of(node, "left_lung", ct).sum() != edited.sum()
    panel.ui.undoButton.click()
    assert np.array_equal(array_of(node, "left_lung", ct), edited)
    assert not panel.ui.undoButton.enabled


def test_a_region_limits_the_segments(panel: PanelUnderTest, ct: Any) -> None:
    import slicer

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    panel.ui.regionSelector.setCurrentNode(roi)
    panel.ui.volumeSelector.setCurrentNode(ct)
    panel.ui.segmentButton.click()
    assert "has not been drawn yet" in panel.status

    bounds = np.zeros(6)
    ct.GetRASBounds(bounds)
    low, high = bounds[::2], bounds[1::2]
    centre, size = (low + high) / 2, (high - low) * (0.5, 1.1, 0.4)
    roi.SetCenter(centre)
    roi.SetSize(size)
    node = panel.segment(ct)
    ijk_to_ras = slicer.util.arrayFromVTKMatrix(_matrix(ct))
    for label in LUNGS:
        places = np.argwhere(array_of(node, label.segment_id, ct))[:, ::-1]
        assert len(places)
        world = places @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]
        assert np.all(np.abs(world - centre) <= size / 2 + 1e-3)


def _matrix(ct: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    return matrix


def test_the_result_lies_in_the_study_of_the_ct(panel: PanelUnderTest, ct: Any) -> None:
    import slicer

    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "a study")
    hierarchy.CreateItem(study, ct)
    node = panel.segment(ct)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_what_a_dicom_segmentation_is_made_from_is_there(panel: PanelUnderTest, ct: Any) -> None:
    """The image it refers to with its UIDs, one study for both, a code for each segment."""
    import slicer

    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "a patient")
    study = hierarchy.CreateStudyItem(patient, "a study")
    hierarchy.CreateItem(study, ct)
    ct.SetAttribute("DICOM.instanceUIDs", "1.2.3.1 1.2.3.2")
    node = panel.segment(ct)
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is ct
    assert node.GetNodeReference(role).GetAttribute("DICOM.instanceUIDs") == "1.2.3.1 1.2.3.2"
    item = hierarchy.GetItemByDataNode(node)
    assert hierarchy.GetItemAncestorAtLevel(item, "Patient") == patient
    assert hierarchy.GetItemAncestorAtLevel(item, "Study") == study
    segmentation = node.GetSegmentation()
    for number in range(segmentation.GetNumberOfSegments()):
        entry = tag_of(
            segmentation.GetNthSegment(number), slicer.vtkSegment.GetTerminologyEntryTagName()
        )
        category, kind = entry.split("~")[1:3]
        assert category.split("^")[0] == kind.split("^")[0] == "SCT"
        assert all(category.split("^")[1:3])
        assert all(kind.split("^")[1:3])


def test_values_that_are_not_hu_are_asked_about(panel: PanelUnderTest) -> None:
    array = np.random.default_rng(0).integers(0, 255, (6, 40, 40)).astype(np.int16)
    ct = add_ct(Volume(array=array, spacing_mm=(8.0, 8.0, 8.0)), "not HU")
    panel.harness.recorded.answers.append(False)
    assert panel.segment(ct) is None
    assert "not Hounsfield units" in panel.status
    panel.harness.recorded.answers.append(True)
    panel.segment(ct)
    assert "not Hounsfield units" not in panel.status


def test_the_scene_keeps_choices_and_report(panel: PanelUnderTest, ct: Any, tmp_path: Path) -> None:
    panel.segment(ct)
    rows = [panel.ui.resultTable.item(row, 3).text() for row in range(2)]
    panel.harness.save_scene(tmp_path / "scene.mrb")
    panel.harness.close_scene()
    assert not panel.ui.resultTable.isVisible()
    panel.harness.load_scene(tmp_path / "scene.mrb")
    node = panel.ui.segmentationSelector.currentNode()
    assert node.GetName() == "chest lungs"
    assert panel.ui.volumeSelector.currentNode().GetName() == "chest"
    assert [panel.ui.resultTable.item(row, 3).text() for row in range(2)] == rows


def test_a_report_of_an_older_version_is_shown(panel: PanelUnderTest, ct: Any) -> None:
    import slicer

    from ISDMAESegmentationLib.scene_segmentation import stored_report

    node = panel.segment(ct)
    report = stored_report(node)
    for entry in report["segments"]:
        del entry["percent_of"], entry["diameter_mm"], entry["point_mm"]
    del report["versions"], report["machine"], report["notices"], report["model"]["licence"]
    node.SetAttribute("ISDMAE.report", json.dumps(report))
    slicer.mrmlScene.RemoveNode(node.GetDisplayNode())
    panel.panel.segment.refresh()
    assert panel.ui.resultTable.rowCount == 2
    facts = [panel.ui.reportTable.item(n, 0).text() for n in range(panel.ui.reportTable.rowCount)]
    assert facts == ["Model", "Model SHA-256", "Time"]


def test_the_share_of_each_lung_is_shown_where_it_is_known(panel: PanelUnderTest, ct: Any) -> None:
    from ISDMAESegmentationLib.scene_segmentation import stored_report

    node, table = panel.segment(ct), panel.ui.resultTable
    assert table.isColumnHidden(6)
    report = stored_report(node)
    report["segments"][1]["percent_of"] = {"left lung": 4.28, "right lung": 8.74}
    report["segments"][0]["volume_ml"] = None  # as of a picture
    node.SetAttribute("ISDMAE.report", json.dumps(report))
    panel.panel.segment.refresh()
    assert not table.isColumnHidden(6)
    assert table.horizontalHeaderItem(6).text() == "% of lung"
    assert [table.item(row, 6).text() for row in range(2)] == ["–", "left 4.3, right 8.7"]
    assert table.item(1, 6).toolTip() == "4.3 % of the left lung\n8.7 % of the right lung"
    assert table.item(0, 3).text() == "–"


@pytest.mark.parametrize(("status", "begins"), [("done", "Done in 3.0 s. No"), ("empty", "No")])
def test_lungs_without_a_lesion_are_no_failure(
    panel: PanelUnderTest, ct: Any, status: str, begins: str
) -> None:
    notice = {"code": "x", "message": "No lesion was found.", "remedy": "Look all the same."}
    report = {"status": status, "seconds": {"network": 3.0}, "notices": [notice], "segments": []}
    panel.panel.segment._on_done(panel.segment(ct), report)
    assert panel.status.startswith(begins)
    assert panel.ui.statusLabel.toolTip == ""


def test_a_label_map_is_not_proposed_as_the_ct(panel: PanelUnderTest) -> None:
    import slicer

    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    panel.harness.leave(panel.widget)
    panel.harness.enter(panel.widget)
    assert panel.ui.volumeSelector.currentNode() is None
    panel.harness.leave(panel.widget)
    ct = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "a CT")
    panel.harness.enter(panel.widget)
    assert panel.ui.volumeSelector.currentNode() is ct


def test_the_editor_opens_on_the_result(panel: PanelUnderTest, ct: Any) -> None:
    node = panel.segment(ct)
    panel.ui.editButton.setChecked(True)
    editor = panel.panel.segment._editor._editor
    assert editor.segmentationNode() is node
    assert editor.sourceVolumeNode() is ct
    panel.harness.leave(panel.widget)
    assert editor.activeEffect() is None
    panel.harness.enter(panel.widget)
    panel.ui.editButton.setChecked(False)
    assert panel.ui.editorArea.isHidden()


def test_the_scripting_interface(panel: PanelUnderTest, ct: Any) -> None:
    logic = panel.module.ISDMAESegmentationLogic()
    node = logic.segment(ct, model="tiny")
    assert node.GetName() == "chest tiny"
    pid = logic._segmentation.client.pid
    assert is_alive(pid)
    logic.stop()
    assert not is_alive(pid)
