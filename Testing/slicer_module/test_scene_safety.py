"""What a run must never do to the user's own work, and how the panel follows the scene."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isdmae.phantom import Phantom
from panel_under_test import PanelUnderTest, add_ct


def surface_node(source: str = "Closed surface") -> Any:
    """A segmentation with one sphere that is a surface, as an imported STL is."""
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "from a file")
    node.CreateDefaultDisplayNodes()
    node.GetSegmentation().SetSourceRepresentationName(source)
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(20)
    sphere.Update()
    segment = slicer.vtkSegment()
    segment.SetName("mine")
    segment.AddRepresentation(source, sphere.GetOutput())
    assert node.GetSegmentation().AddSegment(segment, "mine")
    return node


def choose_tiny(panel: PanelUnderTest) -> None:
    panel.ui.modelCombo.setCurrentIndex(panel.ui.modelCombo.findData("tiny"))


@pytest.mark.parametrize("source", ["Closed surface", "Planar contour"])
def test_segments_that_are_no_voxels_are_left_alone(
    panel: PanelUnderTest, ct: Any, source: str
) -> None:
    node = surface_node(source)
    panel.ui.volumeSelector.setCurrentNode(ct)
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.ui.segmentButton.click()
    assert not panel.running
    assert panel.status == (
        "'from a file' holds surfaces or contours, not voxels. Choose 'Create new segmentation'."
    )
    assert node.GetSegmentation().GetSourceRepresentationName() == source
    assert node.GetSegmentation().GetNumberOfSegments() == 1


def test_an_empty_segmentation_of_surfaces_takes_voxels(panel: PanelUnderTest, ct: Any) -> None:
    choose_tiny(panel)
    node = surface_node()
    node.GetSegmentation().RemoveAllSegments()
    panel.ui.segmentationSelector.setCurrentNode(node)
    assert panel.segment(ct) is node, panel.status
    assert node.GetSegmentation().GetSourceRepresentationName() == "Binary labelmap"
    assert node.GetSegmentation().GetNumberOfSegments() > 0


def test_segments_under_another_transform_are_not_moved(panel: PanelUnderTest, ct: Any) -> None:
    import slicer

    choose_tiny(panel)
    node = panel.segment(ct)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = 50
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    ct.SetAndObserveTransformNodeID(transform.GetID())
    panel.ui.segmentButton.click()
    assert not panel.running
    assert "lies under another transform than the CT" in panel.status
    assert node.GetParentTransformNode() is None
    node.SetAndObserveTransformNodeID(transform.GetID())
    assert panel.segment(ct) is node
    assert panel.status.startswith("Done"), panel.status


def test_the_segments_of_another_ct_are_left_alone(
    panel: PanelUnderTest, ct: Any, small_phantom: Phantom
) -> None:
    import slicer

    from ISDMAESegmentationLib.failure import SegmentationError

    choose_tiny(panel)
    first = panel.segment(ct)
    other = add_ct(small_phantom.ct, "other")
    second = panel.segment(other)
    assert second is not first
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert first.GetNodeReference(role) is ct
    assert second.GetNodeReference(role) is other
    with pytest.raises(SegmentationError, match="'chest tiny' belongs to another CT than 'other'"):
        panel.panel.logic.segment(other, "tiny", segmentation=first)
    slicer.mrmlScene.RemoveNode(ct)  # whose segments stay those of a CT that is gone
    panel.ui.segmentationSelector.setCurrentNode(first)
    assert panel.segment(other) not in (first, second)


def test_undo_never_takes_what_was_drawn_after_the_run(panel: PanelUnderTest, ct: Any) -> None:
    choose_tiny(panel)
    node = panel.segment(ct)
    panel.segment(ct)
    assert panel.ui.undoButton.enabled
    node.GetSegmentation().AddEmptySegment("mine", "tumour", (1.0, 0.0, 0.0))
    assert not panel.ui.undoButton.enabled
    assert "changed since" in panel.ui.undoButton.toolTip
    panel.panel.segment._undo.restore(node)
    assert node.GetSegmentation().GetSegment("mine") is not None


def test_numbers_of_segments_that_were_changed_are_said_to_be_of_the_run(
    panel: PanelUnderTest, ct: Any
) -> None:
    import slicer

    choose_tiny(panel)
    node, words = panel.segment(ct), panel.ui.changedLabel
    segment_id = node.GetSegmentation().GetNthSegmentID(0)
    node.GetSegmentation().GetSegment(segment_id).SetName("another name")
    node.CreateClosedSurfaceRepresentation()
    assert words.isHidden()
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, ct)
    array[:2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment_id, ct)
    assert not words.isHidden()
    panel.ui.segmentationSelector.setCurrentNode(None)
    assert words.isHidden()
    panel.ui.segmentationSelector.setCurrentNode(node)
    assert not words.isHidden()
    panel.segment(ct)
    assert words.isHidden()
    panel.ui.undoButton.click()  # back to what was changed
    assert not words.isHidden()
    panel.segment(ct)
    assert panel.ui.undoButton.enabled
    node.GetSegmentation().RemoveSegment(segment_id)
    assert not words.isHidden()


def test_an_open_editor_follows_the_result(panel: PanelUnderTest, ct: Any) -> None:
    choose_tiny(panel)
    first = panel.segment(ct)
    panel.ui.segmentationSelector.setCurrentNode(None)
    second = panel.segment(ct)
    assert second is not first
    panel.ui.editButton.setChecked(True)
    editor = panel.panel.segment._editor._editor
    panel.ui.segmentationSelector.setCurrentNode(first)
    assert editor.segmentationNode() is first
    panel.ui.segmentationSelector.setCurrentNode(None)
    assert not panel.ui.editButton.checked
    assert panel.ui.editorArea.isHidden()


def test_segments_are_edited_over_their_own_ct(
    panel: PanelUnderTest, ct: Any, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    choose_tiny(panel)
    first = panel.segment(ct)
    other = add_ct(small_phantom.ct, "other")
    panel.segment(other)
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", lambda **layers: shown.append(layers))
    panel.ui.segmentationSelector.setCurrentNode(first)
    panel.ui.editButton.setChecked(True)
    editor = panel.panel.segment._editor._editor
    assert editor.sourceVolumeNode() is ct
    assert shown == [{"background": ct}]
    panel.ui.editButton.setChecked(False)
    slicer.mrmlScene.RemoveNode(ct)
    panel.ui.editButton.setChecked(True)
    assert editor.sourceVolumeNode() is other, "the CT that is chosen, for want of its own"


def test_the_editors_own_undo_replaces_the_panels(panel: PanelUnderTest, ct: Any) -> None:
    choose_tiny(panel)
    panel.segment(ct)
    panel.segment(ct)
    assert panel.ui.undoButton.enabled
    panel.ui.editButton.setChecked(True)
    panel.segment(ct)
    assert not panel.ui.undoButton.enabled


def test_what_is_no_ct_is_not_offered(panel: PanelUnderTest) -> None:
    import slicer

    from ISDMAESegmentationLib.scene_pairs import find_volumes

    picture = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "screen")
    slicer.util.updateVolumeFromArray(picture, np.zeros((2, 3, 4, 3), np.uint8))
    hidden = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    hidden.UnRegister(None)
    hidden.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(hidden)
    slicer.util.updateVolumeFromArray(hidden, np.zeros((2, 3, 4), np.int16))
    panel.harness.leave(panel.widget)
    panel.harness.enter(panel.widget)
    assert panel.widget.panel._bound.volume is None
    assert find_volumes() == []


def test_a_new_region_surrounds_the_ct(panel: PanelUnderTest, ct: Any) -> None:
    panel.ui.volumeSelector.setCurrentNode(ct)
    panel.ui.regionSelector.addNode()
    roi = panel.ui.regionSelector.currentNode()
    region, volume = np.zeros(6), np.zeros(6)
    roi.GetRASBounds(region)
    ct.GetRASBounds(volume)
    assert np.allclose(region, volume, atol=0.01)
    choose_tiny(panel)
    assert panel.segment(ct) is not None, panel.status


def test_a_report_without_numbers_is_shown(panel: PanelUnderTest, ct: Any) -> None:
    choose_tiny(panel)
    node = panel.segment(ct)
    first = node.GetSegmentation().GetNthSegmentID(0)
    node.SetAttribute("ISDMAE.report", f'{{"model": {{}}, "segments": [{{"id": "{first}"}}]}}')
    panel.panel.segment.refresh()
    assert panel.ui.resultTable.item(0, 3).text() == "–"
    for broken in ('{"segments": 3}', '{"segments": ["x"]}', "[]", "{"):
        node.SetAttribute("ISDMAE.report", broken)
        panel.panel.segment.refresh()
        assert panel.ui.resultTable.isHidden()


def test_returning_to_the_module_adds_no_observers(panel: PanelUnderTest) -> None:
    bound = panel.widget.panel._bound
    for _ in range(3):
        panel.harness.leave(panel.widget)
        panel.harness.enter(panel.widget)
    assert panel.widget.panel._bound is bound


def test_an_imported_scene_ends_nothing(panel: PanelUnderTest, ct: Any, tmp_path: Path) -> None:
    import slicer

    choose_tiny(panel)
    node = panel.segment(ct)
    panel.segment(ct)
    panel.ui.editButton.setChecked(True)
    before = panel.widget.panel._bound
    told: list[Any] = []
    training = panel.panel.training
    set_parameters = training.set_parameters
    training.set_parameters = lambda parameters: (
        told.append(parameters),
        set_parameters(parameters),
    )
    try:
        slicer.mrmlScene.InvokeEvent(slicer.mrmlScene.EndImportEvent)
    finally:
        del training.set_parameters
    assert None not in told
    assert panel.widget.panel._bound is not before
    assert panel.ui.segmentationSelector.currentNode() is node
    assert panel.ui.editButton.checked


def test_a_transform_that_comes_during_the_run_moves_nothing(
    panel: PanelUnderTest, ct: Any
) -> None:
    import slicer

    choose_tiny(panel)
    node = panel.segment(ct)
    panel.ui.segmentButton.click()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    ct.SetAndObserveTransformNodeID(transform.GetID())
    panel.wait(lambda: not panel.running)
    assert "lies under another transform" in panel.status
    assert node.GetParentTransformNode() is None


def test_a_vanished_temporary_folder_is_made_again(panel: PanelUnderTest, ct: Any) -> None:
    import slicer

    choose_tiny(panel)
    folder = Path(slicer.app.temporaryPath)
    shutil.rmtree(folder)
    assert panel.segment(ct) is not None, panel.status
    shutil.rmtree(folder)
    folder.write_text("a file in its place")
    try:
        panel.ui.segmentButton.click()
        assert not panel.running
        assert panel.status.startswith("No temporary folder could be made: ")
    finally:
        folder.unlink()
        folder.mkdir()


def test_a_cleared_folder_ends_no_batch_in_the_current_one(
    panel: PanelUnderTest, ct: Any, tmp_path: Path
) -> None:
    choose_tiny(panel)
    panel.ui.batchOutputEdit.currentPath = str(tmp_path)
    assert panel.ui.batchButton.enabled
    panel.ui.batchOutputEdit.currentPath = ""
    assert not panel.ui.batchButton.enabled
    assert panel.ui.batchButton.toolTip == "Choose a folder for the results."


def test_a_scan_that_fails_in_an_unknown_way_does_not_end_the_batch(
    panel: PanelUnderTest,
    ct: Any,
    small_phantom: Phantom,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ISDMAESegmentationLib import batch

    whole = batch.Run

    def broken_once(client: Any, request: Any, listener: Any) -> None:
        if request.volume.GetName() == "first":
            raise ValueError("a defect")
        whole(client, request, listener)

    ct.SetName("second")
    add_ct(small_phantom.ct, "first")
    choose_tiny(panel)
    monkeypatch.setattr(batch, "Run", broken_once)
    panel.ui.batchOutputEdit.currentPath = str(tmp_path)
    panel.ui.batchButton.click()
    panel.wait(lambda: not panel.panel.batch.running)
    assert panel.ui.batchLabel.text.startswith("1 of 2 segmented, 1 failed")
    assert "scan-failed" in (tmp_path / "results.csv").read_text(encoding="utf-8")


def test_the_sample_button_shows_the_ct_or_says_why_not(
    panel: PanelUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    from ISDMAESegmentationLib import sample_data

    shown: list[Any] = []
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", lambda **layers: shown.append(layers))
    sample_data._on_sample_button(None)
    assert shown[0]["background"].GetName() == "Synthetic chest CT"
    told: list[str] = []
    monkeypatch.setattr(slicer.util, "errorDisplay", told.append)
    monkeypatch.setattr(sample_data, "worker_command", _no_python)
    sample_data._on_sample_button(None)
    assert "could not be made" in told[0]


def _no_python() -> None:
    from ISDMAESegmentationLib.failure import refuse

    raise refuse("no-python", "No Python.", "Name one.")
