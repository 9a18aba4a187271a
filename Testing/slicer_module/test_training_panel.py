"""The Train section with the real process: tiny pictures, few steps, a phantom or two."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isdmae import io
from isdmae.bundle import find_bundle
from isdmae.labels import LUNGS
from isdmae.phantom import Phantom
from panel_under_test import PanelUnderTest, add_ct, is_alive

RECIPE = "data: {size: 64}\nloop: {batch: 2, workers: 0, bf16: false, warm_up: 2}\n"


@pytest.fixture
def train(panel: PanelUnderTest, tmp_path: Path) -> PanelUnderTest:
    """The panel with folders of its own and a recipe that is quick."""
    import qt

    qt.QSettings().setValue("ISDMAESegmentation/ModelsFolder", str(tmp_path / "models"))
    panel.ui.trainRunsEdit.currentPath = str(tmp_path / "runs")
    recipe = tmp_path / "quick.yaml"
    recipe.write_text(RECIPE)
    panel.ui.trainRecipeEdit.currentPath = str(recipe)
    panel.ui.trainNameEdit.text = "first"
    return panel


@pytest.fixture
def folder(tmp_path: Path, small_phantom: Phantom) -> Path:
    """A folder of one CT without labels."""
    path = tmp_path / "Ünï scans"
    path.mkdir()
    io.write_image_atomic(path / "ct.nrrd", io.to_sitk(small_phantom.ct))
    return path


def choose(combo: Any, value: str) -> None:
    combo.setCurrentIndex(combo.findData(value))


def steps_of(panel: PanelUnderTest) -> int:
    """The step that the bar says."""
    words = panel.ui.trainProgressBar.format.split()
    return int(words[words.index("Step") + 1]) if "Step" in words else 0


def begin(panel: PanelUnderTest, folder: Path, steps: int) -> None:
    """Pre-train on a folder, and wait for the first steps."""
    panel.ui.trainFolderEdit.currentPath = str(folder)
    panel.ui.trainStepsSpin.value = steps
    assert panel.ui.trainStartButton.enabled, panel.ui.trainStartButton.toolTip
    panel.ui.trainStartButton.click()
    panel.wait(lambda: steps_of(panel) >= 3 or not training(panel).running)
    assert training(panel).running, panel.ui.trainStatusLabel.text


def training(panel: PanelUnderTest) -> Any:
    return panel.panel.training


def finish(panel: PanelUnderTest) -> str:
    panel.wait(lambda: not training(panel).running)
    return panel.ui.trainStatusLabel.text


def chart_nodes() -> list[Any]:
    import slicer

    return slicer.util.getNodesByClass("vtkMRMLPlotChartNode")


def test_pretrain_pause_resume_stop_and_go_on(train: PanelUnderTest, folder: Path) -> None:
    ui, client = train.ui, training(train).client
    begin(train, folder, 60)
    assert not ui.trainStartButton.enabled
    assert ui.trainStartButton.toolTip == "A training is running."
    assert not ui.trainFolderEdit.enabled
    assert "left" in ui.trainProgressBar.format

    ui.trainPauseButton.click()
    train.harness.spin(0.5)
    paused = ui.trainProgressBar.format
    train.harness.spin(0.4)
    assert ui.trainProgressBar.format == paused
    assert paused.startswith("Paused. Step")
    assert ui.trainPauseButton.text == "Resume"
    ui.trainPauseButton.click()
    at = steps_of(train)
    train.wait(lambda: steps_of(train) > at)

    pid = client.pid
    ui.trainStopButton.click()
    assert ui.trainStopButton.text == "Stop now"
    words = finish(train)
    assert words.startswith("Stopped at step")
    assert words.endswith("of 60. Resume goes on from there.")
    assert not is_alive(pid)
    stopped = training(train)._form.run().step
    assert 3 <= stopped < 60

    assert ui.trainStartButton.text == "Resume"
    ui.trainStartButton.click()
    assert finish(train) == "'first' is pre-trained; fine-tuning can start from it."
    rows = training(train)._plot.rows
    assert rows[:, 0].tolist() == list(range(1, 61)), "the steps before and after the stop"
    assert np.isfinite(rows).all()
    (chart,) = chart_nodes()
    assert chart.GetNumberOfPlotSeriesNodes() == rows.shape[1] - 1 >= 3
    assert not ui.trainPlotArea.isHidden()
    assert training(train)._preview.shown
    tile = training(train)._preview._tiles[0]
    assert tile.pixmap.width() == tile.pixmap.height() > 60
    assert ui.trainStartButton.toolTip == "The run 'first' is finished; give another name."

    choose(ui.trainTaskCombo, "finetune")
    starts = [ui.trainStartCombo.itemText(n) for n in range(ui.trainStartCombo.count)]
    assert starts[:2] == ["From scratch", "Pre-training 'first', 60 steps"]
    assert "Model 'Lungs'" in starts[2:]


def add_pair(phantom: Phantom, name: str) -> tuple[Any, Any]:
    """A CT with its lungs as segments, as our own result has them."""
    from ISDMAESegmentationLib.scene_segmentation import Labels, fill, output_node

    ct = add_ct(phantom.ct, name)
    node = output_node(ct, None, "truth")
    segments = [
        {"id": one.segment_id, "name": one.name, "value": one.value, "colour": one.colour,
         "terminology": one.terminology()}
        for one in LUNGS
    ]  # fmt: skip
    report = {"model": {"name": "m", "version": "1"}, "segments": segments}
    fill(node, ct, Labels(phantom.lungs.array, (0, 0, 0)), report)
    return ct, node


def test_fine_tune_on_the_scene_and_segment_with_the_new_model(
    train: PanelUnderTest, small_phantom: Phantom, oblique_phantom: Phantom, tmp_path: Path
) -> None:
    ui = train.ui
    ct, _ = add_pair(small_phantom, "upright")
    add_pair(oblique_phantom, "oblique")
    choose(ui.trainTaskCombo, "finetune")
    choose(ui.trainSourceCombo, "scene")
    assert ui.trainDataLabel.text == "upright + upright truth; oblique + oblique truth"
    assert ui.trainLabelsEdit.placeholderText == "left lung, right lung"
    ui.trainStepsSpin.value = 4
    ui.trainStartButton.click()
    assert "is ready, and chosen" in finish(train)

    data = tmp_path / "runs" / "first" / "data"
    facts = json.loads((data / "dataset.json").read_text())
    assert facts["labels"] == {"background": 0, "left lung": 1, "right lung": 2}
    for number, phantom in enumerate((small_phantom, oblique_phantom), start=1):
        scan = io.read(data / "imagesTr" / f"case-{number:02d}_0000.nrrd").volume
        labels = io.read(data / "labelsTr" / f"case-{number:02d}.nrrd").volume
        assert scan.same_grid(phantom.ct, tolerance=1e-4)
        assert labels.same_grid(phantom.ct, tolerance=1e-4)
        assert np.array_equal(scan.array, phantom.ct.array)
        assert np.array_equal(labels.array, phantom.lungs.array)

    info = find_bundle(tmp_path / "models" / "first").info
    assert info.licence == "for you to set"
    assert info.results == ()
    assert "the user's own data (2 scans)" in info.training_sets[0].name
    assert ui.modelCombo.currentText == "First"
    node = train.segment(ct)
    assert node is not None or "found" in train.status
    assert "First" in train.ui.modelCombo.currentText


def test_closing_the_scene_does_not_end_a_run_and_a_crash_is_reported(
    train: PanelUnderTest, folder: Path
) -> None:
    begin(train, folder, 2000)
    pid = training(train).client.pid
    train.wait(chart_nodes)
    train.harness.close_scene()
    assert training(train).running
    train.wait(chart_nodes)
    at = steps_of(train)
    train.wait(lambda: steps_of(train) > at)
    os.kill(pid, signal.SIGKILL)
    words = finish(train)
    assert words.startswith("The training ended unexpectedly")
    assert "trainer-crashed" in train.ui.trainStatusLabel.toolTip
    assert train.ui.trainStartButton.enabled


def test_reload_stops_with_a_checkpoint(train: PanelUnderTest, folder: Path) -> None:
    from ISDMAESegmentationLib.training_runs import read_run, runs_folder

    begin(train, folder, 2000)
    pid = training(train).client.pid
    train.widget = train.harness.reload(train.widget)
    assert not is_alive(pid)
    assert read_run(runs_folder() / "first").begun
    assert chart_nodes() == []
    train.harness.enter(train.widget)
    assert train.ui.trainStartButton.text == "Resume", train.ui.trainStartButton.toolTip


def test_a_second_click_on_stop_ends_it_at_once(train: PanelUnderTest, folder: Path) -> None:
    begin(train, folder, 2000)
    pid = training(train).client.pid
    os.kill(pid, signal.SIGSTOP)  # a step that does not come to its end
    train.ui.trainStopButton.click()
    train.ui.trainStopButton.click()
    assert training(train).client.stopping, "the second of a double click is no second thought"
    train.harness.spin(0.5)
    begun = time.monotonic()
    train.ui.trainStopButton.click()
    assert not training(train).running
    assert time.monotonic() - begun < 2
    assert not is_alive(pid)
    assert train.ui.trainStatusLabel.text == "The training was ended."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("echo \"ModuleNotFoundError: No module named 'cv2'\" >&2; exit 1",
         "lacks a package for training: cv2. Install blosc2, opencv-python-headless"),
        ("echo 'Killed' >&2; exit 137", "ended unexpectedly (code 137). Killed"),
    ],
)  # fmt: skip
def test_a_python_that_cannot_train_is_explained(
    train: PanelUnderTest, folder: Path, tmp_path: Path, content: str, words: str
) -> None:
    python = tmp_path / "python"
    good = f'exec "{sys.executable}" "$@"'
    python.write_text(f'#!/bin/sh\ncase "$*" in *isdmae_train*) {content};; esac\n{good}\n')
    python.chmod(0o755)
    train.ui.pythonEdit.currentPath = str(python)
    train.ui.trainFolderEdit.currentPath = str(folder)
    train.wait(lambda: train.ui.trainStartButton.enabled)
    train.ui.trainStartButton.click()
    assert words in finish(train)


def test_an_empty_folder_is_explained_in_the_words_of_the_backend(
    train: PanelUnderTest, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    train.ui.trainFolderEdit.currentPath = str(empty)
    train.ui.trainStartButton.click()
    assert "holds no scan" in finish(train)
    assert "nothing-prepared" in train.ui.trainStatusLabel.toolTip


def test_the_section_says_what_is_missing(train: PanelUnderTest, tmp_path: Path) -> None:
    ui = train.ui

    def reason() -> str:
        assert not ui.trainStartButton.enabled
        assert ui.trainStatusLabel.text == ui.trainStartButton.toolTip
        return ui.trainStartButton.toolTip

    assert reason() == "Choose the folder of CTs."
    assert ui.trainPauseButton.toolTip == ui.trainStopButton.toolTip == "Nothing is being trained."
    ui.trainFolderEdit.currentPath = str(tmp_path / "absent")
    assert reason() == "The folder of CTs does not exist."
    choose(ui.trainSourceCombo, "scene")
    assert reason() == "Load a chest CT first, or choose a folder."
    choose(ui.trainTaskCombo, "finetune")
    assert reason() == "Load CTs with their segmentations first, or choose a folder."
    assert ui.maskPatchSpin.isHidden()
    choose(ui.trainSourceCombo, "folder")
    ui.trainFolderEdit.currentPath = str(tmp_path)
    ui.trainNameEdit.text = "a/b"
    assert "may hold letters" in reason()
    ui.trainNameEdit.text = "lungs"
    assert reason() == "There is a model 'lungs' already; give another name."
    ui.trainNameEdit.text = ""
    assert ui.trainStartButton.enabled
    assert ui.trainNameEdit.placeholderText == "my-model"
    ui.trainRecipeEdit.currentPath = str(tmp_path / "absent.yaml")
    assert reason() == "Your own recipe does not exist."


def test_a_segmentation_removed_while_it_is_written_is_said(
    train: PanelUnderTest, ct: Any, tmp_path: Path
) -> None:
    import slicer

    from ISDMAESegmentationLib.scene_pairs import PairExport, find_pairs

    node = train.segment(ct)
    failures: list[Any] = []

    def remove(done: int, total: int) -> None:
        if done == 1:
            slicer.mrmlScene.RemoveNode(node)

    export = PairExport(
        find_pairs(), ["left lung"], tmp_path / "data", remove, lambda: None, failures.append
    )
    export.start()
    train.wait(lambda: failures)
    assert failures[0].code == "scene-changed"


def test_labels_that_no_segmentation_has_are_named(
    train: PanelUnderTest, small_phantom: Phantom
) -> None:
    ui = train.ui
    choose(ui.trainTaskCombo, "finetune")
    choose(ui.trainSourceCombo, "scene")
    add_pair(small_phantom, "chest")
    train.wait(lambda: ui.trainStartButton.enabled)
    ui.trainLabelsEdit.text = "left lung, tumour"
    assert ui.trainStartButton.toolTip == "No segmentation has all of these: left lung, tumour."
    ui.trainLabelsEdit.text = "right lung"
    assert training(train)._form.request().arguments()[-2:] == ["--labels", "right lung"]


def test_choices_are_saved_with_the_scene(train: PanelUnderTest, tmp_path: Path) -> None:
    ui = train.ui
    choose(ui.trainTaskCombo, "finetune")
    ui.trainFolderEdit.currentPath = str(tmp_path)
    ui.trainLabelsEdit.text = "left lung"
    ui.trainStepsSpin.value = 70
    ui.maskSpatialSlider.value = 0.75
    train.harness.save_scene(tmp_path / "scene.mrb")
    train.harness.close_scene()
    assert ui.trainLabelsEdit.text == ""
    assert ui.trainTaskCombo.currentText == "Pre-train, without labels"
    train.harness.load_scene(tmp_path / "scene.mrb")
    assert ui.trainTaskCombo.currentText == "Fine-tune on labels"
    assert ui.trainFolderEdit.currentPath == str(tmp_path)
    assert (ui.trainLabelsEdit.text, ui.trainStepsSpin.value) == ("left lung", 70)
    assert ui.maskSpatialSlider.value == pytest.approx(0.75)


def test_packages_for_training_are_asked_for(
    train: PanelUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    from ISDMAESegmentationLib import install
    from ISDMAESegmentationLib.failure import SegmentationError

    asked: dict[str, Any] = {}

    def decline(requirements: list[Any], **options: Any) -> None:
        pinned = Path(options["constraints"]).read_text(encoding="utf-8").splitlines()
        asked.update(pinned=pinned, names=[str(one) for one in requirements])
        raise RuntimeError("The user declined.")

    monkeypatch.setattr(slicer.packaging, "pip_check", lambda requirement: False)
    monkeypatch.setattr(slicer.packaging, "pip_ensure", decline)
    with pytest.raises(SegmentationError, match=r"Nothing was installed\. Accept the installation"):
        install.install_training_packages()
    assert [name.split(">")[0] for name in asked["names"]] == [
        "blosc2", "opencv-python-headless", "pyyaml", "tqdm", "tyro"
    ]  # fmt: skip
    kept = [line.partition("==")[0] for line in asked["pinned"]]
    assert kept == ["numpy", "scipy", "SimpleITK", "torch"]
