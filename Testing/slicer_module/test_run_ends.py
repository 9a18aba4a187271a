"""Runs that end before their time: cancelled, killed, or without what they worked on."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from panel_under_test import PanelUnderTest, is_alive, segmentation_nodes, temporary_folders


def test_cancel_ends_within_two_seconds_and_changes_nothing(
    panel: PanelUnderTest, long_ct: Any
) -> None:
    panel.begin(long_ct)
    # The late end of an earlier worker is not that of this one.
    panel.panel.logic.client._on_finished(9, 1)
    assert panel.running
    assert panel.panel.logic.client.running
    begun = time.monotonic()
    panel.ui.segmentButton.click()
    panel.wait(lambda: not panel.running)
    assert time.monotonic() - begun < 3
    assert "cancelled" in panel.status
    assert panel.ui.segmentButton.enabled
    assert segmentation_nodes() == []
    assert temporary_folders() == []


def test_a_killed_worker_is_reported_and_starts_again(
    panel: PanelUnderTest, long_ct: Any, ct: Any
) -> None:
    panel.begin(long_ct)
    first = panel.panel.logic.client.pid
    os.kill(first, signal.SIGKILL)
    panel.wait(lambda: not panel.running)
    assert "ended unexpectedly" in panel.status
    assert "worker-crashed" in panel.ui.statusLabel.toolTip
    assert temporary_folders() == []
    assert panel.segment(ct) is not None
    assert panel.panel.logic.client.pid not in (0, first)


def test_closing_the_scene_ends_the_run_and_the_worker(panel: PanelUnderTest, long_ct: Any) -> None:
    panel.begin(long_ct)
    pid = panel.panel.logic.client.pid
    panel.harness.close_scene()
    assert not panel.running
    assert not is_alive(pid)
    assert "The scene was closed" in panel.status
    assert temporary_folders() == []
    assert not panel.ui.segmentButton.enabled


@pytest.mark.parametrize("what", ["volume", "segmentation"])
def test_deleting_what_it_works_on_ends_the_run(
    panel: PanelUnderTest, long_ct: Any, what: str
) -> None:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.begin(long_ct)
    slicer.mrmlScene.RemoveNode(long_ct if what == "volume" else node)
    panel.wait(lambda: not panel.running, 5)
    assert "was removed from the scene" in panel.status
    assert not panel.panel.logic.client.running
    assert temporary_folders() == []


def test_several_clicks_queue_nothing(panel: PanelUnderTest, ct: Any) -> None:
    panel.ui.volumeSelector.setCurrentNode(ct)
    for _ in range(3):
        panel.ui.segmentButton.click()
    panel.wait(lambda: not panel.running)
    panel.harness.spin(0.5)
    assert not panel.running
    assert panel.status.startswith("Done")
    assert len(segmentation_nodes()) == 1


def test_cancel_before_the_worker_has_spoken(panel: PanelUnderTest, ct: Any) -> None:
    panel.ui.volumeSelector.setCurrentNode(ct)
    panel.ui.segmentButton.click()
    panel.harness.spin(0.5)
    panel.ui.segmentButton.click()
    panel.wait(lambda: not panel.running, 5)
    assert "cancelled" in panel.status
    assert segmentation_nodes() == []
    assert temporary_folders() == []


def test_a_result_that_cannot_be_shown_ends_the_run(
    panel: PanelUnderTest, ct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ISDMAESegmentationLib import run

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(run, "fill", broken)
        panel.segment(ct)
    assert "could not be brought into the scene: a defect" in panel.status
    assert "result-not-shown" in panel.ui.statusLabel.toolTip
    assert not panel.running
    assert temporary_folders() == []
    assert panel.segment(ct) is not None
    assert panel.status.startswith("Done")


def test_reload_leaves_nothing_behind(panel: PanelUnderTest, long_ct: Any) -> None:
    panel.begin(long_ct)
    pid = panel.panel.logic.client.pid
    panel.widget = panel.harness.reload(panel.widget)
    assert not is_alive(pid)
    assert temporary_folders() == []
    panel.harness.enter(panel.widget)
    assert not panel.running
