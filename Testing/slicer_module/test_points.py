"""A model of points in the panel: place, segment, place anew; transforms; from a script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from isdmae.bundle import Bundle
from isdmae.labels import NODULE
from isdmae.phantom import PhantomConfig, make_phantom
from panel_under_test import PanelUnderTest, add_ct
from slicer_harness.fixtures import slicer_app  # noqa: F401 - a fixture
from tiny_model import write_point_bundle


@pytest.fixture
def point_model(panel: PanelUnderTest, tiny_bundle: Bundle) -> Bundle:
    """A model of points beside the tiny one; it sees 24 pixels of 0.7 mm."""
    seen = {"picture_size": 16, "middle": 24}
    return write_point_bundle(tiny_bundle.folder.parent / "points", preprocess=seen)


def choose(panel: PanelUnderTest, model: str) -> None:
    panel.panel.segment.refresh()
    combo = panel.ui.modelCombo
    combo.setCurrentIndex(combo.findData(model))


def transform(name: str, angle: float, *shift: float) -> Any:
    import slicer
    import vtk

    turn = vtk.vtkTransform()
    turn.RotateZ(angle)
    turn.Translate(*shift)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(turn.GetMatrix())
    return node


def world_of(ct: Any, k: int, j: int, i: int) -> np.ndarray:
    import slicer
    import vtk

    place, matrix = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(place)
    if ct.GetParentTransformNode() is not None:
        ct.GetParentTransformNode().GetMatrixTransformToWorld(matrix)
    total = slicer.util.arrayFromVTKMatrix(matrix) @ slicer.util.arrayFromVTKMatrix(place)
    return (total @ (i, j, k, 1.0))[:3]


def add_point(node: Any, world: np.ndarray) -> None:
    import vtk

    node.AddControlPointWorld(vtk.vtkVector3d(*world))


def found(node: Any, segment_id: str, ct: Any) -> np.ndarray:
    import slicer

    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, ct) > 0


def column(ct: Any, k: int, j: int, i: int) -> np.ndarray:
    """What the model finds at a point: the middle of its crops, as far as they reach."""
    reach, half = round(25 / ct.GetSpacing()[2]), int(12 * 0.7 / ct.GetSpacing()[0])
    expected = np.zeros(ct.GetImageData().GetDimensions()[::-1], bool)
    expected[k - reach : k + reach + 1, j - half : j + half + 1, i - half : i + half + 1] = True
    return expected


def test_place_segment_and_place_anew(panel: PanelUnderTest, ct: Any, point_model: Bundle) -> None:
    import slicer

    ui = panel.ui
    assert ui.pointsSelector.isHidden()
    ui.volumeSelector.setCurrentNode(ct)
    choose(panel, "points")
    assert not ui.pointsSelector.isHidden()
    assert not ui.segmentButton.enabled
    assert panel.status.startswith("Place a point in each nodule first")

    interaction = slicer.app.applicationLogic().GetInteractionNode()
    ui.placeButton.click()
    points = ui.pointsSelector.currentNode()
    assert points.GetName() == "Nodules"
    assert ui.placeButton.checked
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlaceNodeID() == points.GetID()
    # CT and points lie under different transforms; what counts is where they meet in the world.
    ct.SetAndObserveTransformNodeID(transform("ct", 30, 20, -35, 11).GetID())
    points.SetAndObserveTransformNodeID(transform("points", -70, 3, 8, -200).GetID())
    places = [(20, 40, 30), (8, 50, 70)]
    for place in places:
        add_point(points, world_of(ct, *place))
    assert ui.segmentButton.enabled
    interaction.SwitchToViewTransformMode()  # as the right mouse button does
    assert not ui.placeButton.checked

    node = panel.segment(ct)
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    for number, place in enumerate(places, start=1):
        assert np.array_equal(found(node, f"nodule_{number}", ct), column(ct, *place))
    report = json.loads(node.GetAttribute("ISDMAE.report"))
    table = ui.resultTable
    assert not table.isColumnHidden(5)
    for row, segment in enumerate(report["segments"]):
        assert table.item(row, 2).text() == segment["name"]
        assert table.item(row, 3).text() == f"{segment['volume_ml']:.2f}"
        assert table.item(row, 5).text() == f"{segment['diameter_mm']:.1f}"

    # A click on its row shows a nodule in the slice views.
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    table.cellClicked.emit(1, 2)
    shown = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 3]
    assert np.allclose(shown, world_of(ct, *places[1]), atol=1e-3)

    # Without its first point, the second is the first, and no other nodule is left.
    points.RemoveNthControlPoint(0)
    assert panel.segment(ct) is node
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert np.array_equal(found(node, "nodule_1", ct), column(ct, *places[1]))
    points.RemoveNthControlPoint(0)
    assert not ui.segmentButton.enabled

    choose(panel, "tiny")
    assert ui.pointsSelector.isHidden()
    assert ui.segmentButton.enabled
    panel.segment(ct)
    assert table.isColumnHidden(5)


def test_a_nodule_without_its_point_goes_after_another_models_run_too(
    panel: PanelUnderTest, ct: Any, point_model: Bundle
) -> None:
    import slicer

    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "N")
    add_point(points, world_of(ct, 20, 40, 30))
    add_point(points, world_of(ct, 8, 50, 70))
    logic = panel.panel.logic
    node = logic.segment(ct, "points", points=points)
    segmentation = node.GetSegmentation()
    segmentation.AddEmptySegment("mine", "nodule 3", (1.0, 0.0, 0.0))
    logic.segment(ct, "tiny", segmentation=node)
    points.RemoveNthControlPoint(1)
    logic.segment(ct, "points", segmentation=node, points=points)
    ids = {segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())}
    assert ids == {"nodule_1", "mine", "left_lung", "right_lung"}


def test_suggested_points_come_with_outlines_and_can_be_segmented_again(
    panel: PanelUnderTest,
) -> None:
    import slicer

    phantom = make_phantom(
        PhantomConfig(shape=(60, 128, 128), spacing_mm=(2.7, 2.7, 5.0), seed=104)
    )
    ct = add_ct(phantom.ct)
    ui = panel.ui
    choose(panel, "tiny")
    assert ui.suggestButton.isHidden()
    choose(panel, "nodule")
    assert not ui.suggestButton.isHidden()
    ui.volumeSelector.setCurrentNode(None)
    assert not ui.suggestButton.enabled
    assert ui.suggestButton.toolTip == "Choose a chest CT first."
    ui.volumeSelector.setCurrentNode(ct)
    assert ui.suggestButton.enabled
    assert not ui.segmentButton.enabled
    ct.SetAndObserveTransformNodeID(transform("ct", 30, 20, -35, 11).GetID())
    parts, _ = ndimage.label(phantom.lesions.array == NODULE.value)
    k, j, i = np.argwhere(parts == np.argmax(np.bincount(parts[parts > 0]))).mean(axis=0)
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    region.SetSize(30, 30, 30)
    region.SetCenter(*world_of(ct, k, j, i))
    ui.regionSelector.setCurrentNode(region)

    ui.suggestButton.click()
    assert panel.running
    assert not ui.suggestButton.enabled
    panel.wait(lambda: not panel.running)
    assert "Look through the whole CT." in panel.status
    node = ui.segmentationSelector.currentNode()
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    suggested = found(node, "candidate_1", ct)
    assert suggested[round(k), round(j), round(i)]
    points = ui.pointsSelector.currentNode()
    assert points.GetName() == "Nodule candidates"
    assert points.GetNumberOfControlPoints() == 1
    assert points.GetNthControlPointLabel(0) == "1"
    place = np.zeros(3)
    points.GetNthControlPointPositionWorld(0, place)
    assert np.linalg.norm(place - world_of(ct, k, j, i)) < 5

    assert panel.segment(ct) is node
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert np.array_equal(found(node, "nodule_1", ct), suggested)

    # What was made of given points is not replaced by candidates.
    ui.suggestButton.click()
    panel.wait(lambda: not panel.running)
    other = ui.segmentationSelector.currentNode()
    assert other is not node
    assert np.array_equal(found(other, "candidate_1", ct), suggested)
    assert np.array_equal(found(node, "nodule_1", ct), suggested)
    again = ui.pointsSelector.currentNode()
    assert again is not points
    assert not points.GetDisplayVisibility()
    assert again.GetDisplayVisibility()
    ui.pointsSelector.setCurrentNode(points)  # nobody places points into a list that is not seen
    assert points.GetDisplayVisibility()

    # Whichever list is chosen, the marks of no earlier search stay over the new ones.
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "own")
    own.CreateDefaultDisplayNodes()
    ui.pointsSelector.setCurrentNode(own)
    ui.suggestButton.click()
    panel.wait(lambda: not panel.running)
    assert ui.pointsSelector.currentNode() not in (own, points, again)
    assert not points.GetDisplayVisibility()
    assert not again.GetDisplayVisibility()
    assert own.GetDisplayVisibility()


def test_a_search_that_finds_nothing_says_so_and_leaves_all_as_it_was(
    panel: PanelUnderTest, ct: Any, tiny_bundle: Bundle
) -> None:
    import slicer

    number_of_nodes = slicer.mrmlScene.GetNumberOfNodesByClass
    # It takes the middle of each crop, which no nodule fills: no candidate is kept.
    folder = tiny_bundle.folder.parent / "seeker"
    write_point_bundle(folder, preprocess={"picture_size": 16, "middle": 24}, search_within="lungs")
    choose(panel, "seeker")
    panel.ui.placeButton.click()
    points = panel.ui.pointsSelector.currentNode()
    add_point(points, world_of(ct, 20, 40, 30))
    node = panel.segment(ct)
    before = found(node, "nodule_1", ct)
    assert before.any()
    for list_is_chosen in (True, False):
        if not list_is_chosen:
            panel.ui.pointsSelector.setCurrentNode(None)
            choose(panel, "tiny")
            assert panel.segment(ct) is node
            choose(panel, "seeker")
        report, undo = node.GetAttribute("ISDMAE.report"), panel.ui.undoButton.enabled
        assert undo is not list_is_chosen
        displays = number_of_nodes("vtkMRMLSegmentationDisplayNode")
        panel.ui.suggestButton.click()
        panel.wait(lambda: not panel.running)
        assert "The search proposes nothing" in panel.status
        assert panel.ui.segmentationSelector.currentNode() is node
        assert number_of_nodes("vtkMRMLSegmentationNode") == 1
        assert number_of_nodes("vtkMRMLSegmentationDisplayNode") == displays
        assert np.array_equal(found(node, "nodule_1", ct), before)
        assert node.GetAttribute("ISDMAE.report") == report
        assert panel.ui.undoButton.enabled is undo
        assert panel.ui.pointsSelector.currentNode() is (points if list_is_chosen else None)
    panel.ui.volumeSelector.setCurrentNode(None)
    assert panel.status == "Choose a chest CT first."


def test_placing_ends_with_the_module_and_with_another_list(
    panel: PanelUnderTest, ct: Any, point_model: Bundle
) -> None:
    import slicer

    interaction = slicer.app.applicationLogic().GetInteractionNode()
    choose(panel, "points")
    panel.ui.placeButton.click()
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "others")
    panel.ui.pointsSelector.setCurrentNode(other)
    assert not panel.ui.placeButton.checked
    assert interaction.GetCurrentInteractionMode() != interaction.Place
    panel.ui.placeButton.click()
    slicer.mrmlScene.RemoveNode(other)
    assert interaction.GetCurrentInteractionMode() != interaction.Place
    panel.ui.placeButton.click()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    panel.harness.leave(panel.widget)
    assert interaction.GetCurrentInteractionMode() != interaction.Place


def test_several_cts_are_not_for_a_model_of_points(
    panel: PanelUnderTest, ct: Any, point_model: Bundle, tmp_path: Any
) -> None:
    panel.ui.batchOutputEdit.currentPath = str(tmp_path)
    choose(panel, "points")
    assert not panel.ui.batchButton.enabled
    assert "needs points in each CT" in panel.ui.batchLabel.text


def test_from_a_script(panel: PanelUnderTest, ct: Any, point_model: Bundle) -> None:
    import slicer

    from ISDMAESegmentationLib.failure import SegmentationError

    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "N")
    logic = panel.panel.logic
    with pytest.raises(SegmentationError, match="'N' holds no point"):
        logic.segment(ct, "points", points=points)
    with pytest.raises(SegmentationError, match="finds what lies at points"):
        logic.segment(ct, "points")
    add_point(points, world_of(ct, 20, 40, 30))
    add_point(points, np.zeros(3))
    points.UnsetNthControlPointPosition(1)  # in the list, but not placed
    node = logic.segment(ct, "points", points=points)
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert np.array_equal(found(node, "nodule_1", ct), column(ct, 20, 40, 30))
    add_point(points, np.array([9e3, 0, 0]))
    with pytest.raises(SegmentationError, match="lies outside the scan"):
        logic.segment(ct, "points", points=points)


def test_files_that_slicer_writes_are_read(slicer_app: Any, tmp_path: Path) -> None:  # noqa: F811
    import slicer
    import vtk

    from isdmae.point_file import read_points

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "with, comma")
    for place in ((1.5, -2, 3), (5, 6, 7), (-10, 20, -30.25)):
        node.AddControlPoint(vtk.vtkVector3d(*place))
    node.UnsetNthControlPointPosition(1)
    for name, storage in (
        ("a.mrk.json", slicer.vtkMRMLMarkupsJsonStorageNode()),
        ("a.fcsv", slicer.vtkMRMLMarkupsFiducialStorageNode()),
    ):
        storage.SetFileName(str(tmp_path / name))
        assert storage.WriteData(node)
    export = slicer.modules.markups.logic().ExportControlPointsToCSV
    assert export(node, str(tmp_path / "a.csv"))
    for name in ("a.mrk.json", "a.fcsv", "a.csv"):
        assert read_points(tmp_path / name) == ((-1.5, 2.0, 3.0), (10.0, -20.0, -30.25)), name
    # and a list without a heading, as old versions wrote it, as Slicer itself reads it
    (tmp_path / "old.fcsv").write_text("1,10,20,30,0,0,0,1,1,1,0,F,,\n")
    again = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "again")
    storage = slicer.vtkMRMLMarkupsFiducialStorageNode()
    storage.SetFileName(str(tmp_path / "old.fcsv"))
    assert storage.ReadData(again)
    ras = np.zeros(3)
    again.GetNthControlPointPosition(0, ras)
    assert read_points(tmp_path / "old.fcsv") == (tuple(ras * (-1, -1, 1)),)
