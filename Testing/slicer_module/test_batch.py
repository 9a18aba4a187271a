"""Several CTs: each named, one that fails does not end the others, a stopped batch goes on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isdmae import io
from isdmae.phantom import Phantom
from panel_under_test import PanelUnderTest

SCENE, FOLDER = range(2)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(tmp_path: Path, small_phantom: Phantom) -> Path:
    """Two good scans, one broken, one file that is no scan; a name that is not ASCII."""
    source = tmp_path / "Ünï cödé 测试"
    source.mkdir()
    for name in ("a.nrrd", "c b.nii.gz"):
        io.write_image_atomic(source / name, io.to_sitk(small_phantom.ct))
    (source / "b.nii.gz").write_text("no image")
    (source / "notes.txt").write_text("no scan")
    return source


def start(panel: PanelUnderTest, source: int, target: Path, folder: Path | None = None) -> None:
    panel.ui.modelCombo.setCurrentIndex(panel.ui.modelCombo.findData("tiny"))
    panel.ui.batchSourceCombo.setCurrentIndex(source)
    if folder is not None:
        panel.ui.batchInputEdit.currentPath = str(folder)
    panel.ui.batchOutputEdit.currentPath = str(target)
    assert panel.ui.batchButton.enabled, panel.ui.batchButton.toolTip
    panel.ui.batchButton.click()


def test_a_folder(panel: PanelUnderTest, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    start(panel, FOLDER, target, folder)
    panel.wait(lambda: not panel.panel.batch.running)
    assert "2 of 3 segmented, 1 failed" in panel.ui.batchLabel.text
    rows = rows_of(target / "results.csv")
    scans = ["a.nrrd", "a.nrrd", "b.nii.gz", "c b.nii.gz", "c b.nii.gz"]
    assert [row["scan"] for row in rows] == scans
    assert rows[0]["segment"] == "left lung"
    assert rows[2]["status"] not in ("done", "empty")
    assert "b.nii.gz" in rows[2]["message"]
    assert sorted(path.name for path in target.iterdir()) == [
        "a.seg.nrrd", "c b.seg.nrrd", "results.csv"
    ]  # fmt: skip

    (folder / "b.nii.gz").unlink()
    io.write_image_atomic(folder / "d.nrrd", io.to_sitk(io.read(folder / "a.nrrd").volume))
    start(panel, FOLDER, target, folder)
    panel.wait(lambda: not panel.panel.batch.running)
    assert "1 of 1 segmented" in panel.ui.batchLabel.text
    scans = {row["scan"] for row in rows_of(target / "results.csv")}
    assert scans == {"a.nrrd", "c b.nii.gz", "d.nrrd"}


def test_all_cts_of_the_scene(panel: PanelUnderTest, ct: Any, tmp_path: Path) -> None:
    import slicer

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert empty is not None
    start(panel, SCENE, tmp_path)
    panel.wait(lambda: not panel.panel.batch.running)
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert [node.GetName() for node in nodes] == ["chest tiny"]
    statuses = {row["scan"]: row["status"] for row in rows_of(tmp_path / "results.csv")}
    assert statuses["empty"] == "empty-volume"
    assert statuses["chest"] in ("done", "empty")


def test_the_share_of_each_lung_has_columns_and_older_tables_go_on(
    panel: PanelUnderTest, tmp_path: Path
) -> None:
    from ISDMAESegmentationLib.batch import Batch, Item

    results, ended = tmp_path / "results.csv", []
    results.write_text(
        "scan,status,segment,volume_ml,mean_hu,seconds,message\na,done,lesion,7.5,-600.0,2.0,\n",
        encoding="utf-8",
    )
    lesion = {"name": "lesion", "volume_ml": 9.0, "mean_hu": -500.0}
    shares = ({"left lung": 1.25, "right lung": 0.0}, {})
    report = {
        "status": "done",
        "notices": [],
        "segments": [{**lesion, "percent_of": share} for share in shares],
    }
    items = [
        Item("b", lambda progress, heard, failed: heard(report)),
        Item("c", lambda progress, heard, failed: 1 / 0),
    ]
    Batch(panel.panel.logic.client, items, results, lambda _: None, ended.append).start()
    panel.wait(lambda: ended)
    rows = rows_of(results)
    assert [row["scan"] for row in rows] == ["a", "b", "b", "c"]
    assert [row["percent_left_lung"] for row in rows] == ["", "1.25", "", ""]
    assert [row["percent_right_lung"] for row in rows] == ["", "0.0", "", ""]
    assert [row["volume_ml"] for row in rows] == ["7.5", "9.0", "9.0", ""]
    assert rows[3]["status"] == "scan-failed"
    assert "division" in rows[3]["message"]


def test_cancel_stops_the_batch(panel: PanelUnderTest, long_ct: Any, tmp_path: Path) -> None:
    start(panel, SCENE, tmp_path)
    panel.wait(lambda: panel.panel.logic.client.pid)
    panel.ui.batchButton.click()
    panel.wait(lambda: not panel.panel.batch.running, 10)
    assert panel.ui.batchLabel.text.startswith("Stopped. 0 of 1")
    assert rows_of(tmp_path / "results.csv") == []


def test_the_button_says_what_is_missing(panel: PanelUnderTest, tmp_path: Path) -> None:
    panel.ui.batchSourceCombo.setCurrentIndex(FOLDER)
    assert panel.ui.batchButton.toolTip == "Choose the folder of CTs."
    empty = tmp_path / "empty"
    empty.mkdir()
    panel.ui.batchInputEdit.currentPath = str(empty)
    assert panel.ui.batchButton.toolTip == "Choose a folder for the results."
    assert not panel.ui.batchButton.enabled
    panel.ui.batchOutputEdit.currentPath = str(tmp_path / "out")
    panel.ui.batchButton.click()
    assert "There is no CT to segment" in panel.ui.batchLabel.text
    assert np.all([not panel.running, not panel.panel.batch.running])


def test_a_reload_ends_the_batch(panel: PanelUnderTest, long_ct: Any, tmp_path: Path) -> None:
    start(panel, SCENE, tmp_path)
    panel.wait(lambda: panel.panel.logic.client.pid)
    panel.widget = panel.harness.reload(panel.widget)
    panel.harness.spin(0.2)
    assert not panel.panel.batch.running
