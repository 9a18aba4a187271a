"""The worker's Python, models, packages: what is said and what is refused."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isdmae.bundle import Bundle
from panel_under_test import PanelUnderTest, is_alive


def test_the_workers_python_is_asked_and_named(panel: PanelUnderTest) -> None:
    panel.wait(lambda: panel.ui.environmentLabel.text.startswith("Python 3."))
    assert "PyTorch 2." in panel.ui.environmentLabel.text
    assert not panel.ui.installButton.enabled
    assert panel.ui.pythonEdit.currentPath == sys.executable


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n",
         "The package torch is missing"),
        ("#!/bin/sh\necho 'something else' >&2\nexit 3\n", "cannot run isdmae: something else"),
        ("not a program", "cannot run isdmae"),
    ],
)  # fmt: skip
def test_a_python_that_cannot_do_it_is_explained(
    panel: PanelUnderTest, tmp_path: Path, ct: Any, content: str | None, words: str
) -> None:
    python = tmp_path / "python"
    if content is not None:
        python.write_text(content)
        python.chmod(0o755)
    panel.ui.pythonEdit.currentPath = str(python)
    panel.ui.checkButton.click()
    panel.wait(lambda: words in panel.ui.environmentLabel.text)
    panel.ui.volumeSelector.setCurrentNode(ct)
    panel.ui.segmentButton.click()
    assert words in panel.status
    assert not panel.running


def test_the_test_inside_slicer_is_skipped_where_pytorch_is_missing(
    panel: PanelUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"No module named 'torch'\" >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setenv("ISDMAE_PYTHON", str(python))
    folder = Path(panel.module.__file__).parent / "Testing" / "Python"
    monkeypatch.syspath_prepend(str(folder))
    from ISDMAESegmentationPanelTest import ISDMAESegmentationPanelTest

    result = unittest.TestResult()
    ISDMAESegmentationPanelTest("test_click_gives_segments").run(result)
    assert [reason for _test, reason in result.skipped] == [
        "The package torch is missing in the worker's Python. "
        "Click Segment and accept the installation, or use Install under Advanced."
    ], (result.errors, result.failures)


def test_a_model_is_added_verified_and_removed(
    panel: PanelUnderTest, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    models = [panel.ui.modelCombo.itemText(n) for n in range(panel.ui.modelCombo.count)]
    shipped = len(models) - 1
    assert {"Lungs", "Tiny"} <= set(models)
    panel.panel.advanced.add_model(tiny_bundle.folder)
    assert "There is a model 'tiny' already" in panel.ui.modelActionLabel.text

    panel.ui.modelsEdit.currentPath = str(tmp_path / "others")
    assert panel.ui.modelCombo.count == shipped
    panel.panel.advanced.add_model(tmp_path / "nothing")
    assert "holds no model" in panel.ui.modelActionLabel.text
    panel.panel.advanced.add_model(tiny_bundle.folder)
    assert panel.ui.modelCombo.currentText == "Tiny"
    panel.ui.verifyModelButton.click()
    panel.wait(lambda: "good (SHA-256" in panel.ui.modelActionLabel.text)

    weights = tmp_path / "others" / "tiny" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    panel.ui.verifyModelButton.click()
    panel.wait(lambda: "SHA-256" in panel.ui.modelActionLabel.text and "good" not in
               panel.ui.modelActionLabel.text)  # fmt: skip

    panel.ui.removeModelButton.click()
    assert panel.ui.modelCombo.count == shipped + 1, "declined, as nobody answered"
    panel.harness.recorded.answers.append(True)
    panel.ui.removeModelButton.click()
    assert panel.ui.modelCombo.count == shipped
    assert not weights.parent.exists()
    assert not panel.ui.removeModelButton.enabled
    assert "came with the extension" in panel.ui.removeModelButton.toolTip


def test_a_model_in_a_folder_that_cannot_be_written_is_said_in_words(
    panel: PanelUnderTest, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    panel.ui.modelsEdit.currentPath = str(blocked / "models")
    panel.panel.advanced.add_model(tiny_bundle.folder)
    assert "The model could not be copied: Not a directory." in panel.ui.modelActionLabel.text

    panel.ui.modelsEdit.currentPath = str(tmp_path / "others")
    panel.panel.advanced.add_model(tiny_bundle.folder)
    weights = tmp_path / "others" / "tiny" / "model.safetensors"
    weights.unlink()
    (weights / "not to be deleted").mkdir(parents=True)
    panel.harness.recorded.answers.append(True)
    panel.ui.removeModelButton.click()
    assert "The model could not be removed: " in panel.ui.modelActionLabel.text
    assert "remove it again" in panel.ui.modelActionLabel.text
    panel.panel.segment.refresh()
    assert panel.ui.modelCombo.currentText == "Tiny"


def test_the_worker_is_stopped_by_hand(panel: PanelUnderTest, ct: Any) -> None:
    assert not panel.ui.stopWorkerButton.enabled
    panel.segment(ct)
    pid = panel.panel.logic.client.pid
    assert "Ready" in panel.ui.workerLabel.text
    panel.ui.logButton.setChecked(True)
    assert "is ready" in panel.ui.logText.plainText
    panel.ui.stopWorkerButton.click()
    assert not is_alive(pid)
    assert "Not running" in panel.ui.workerLabel.text


def test_what_is_missing_in_slicers_own_python_is_asked_for(
    panel: PanelUnderTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import slicer

    from ISDMAESegmentationLib import install
    from ISDMAESegmentationLib.failure import SegmentationError

    monkeypatch.setattr(slicer.packaging, "pip_check", lambda requirement: False)
    with pytest.raises(SegmentationError, match="Extension Manager, search PyTorch"):
        install.install_packages()
    install.choose_wheels_folder(str(tmp_path))
    with pytest.raises(SegmentationError, match="holds no wheel files"):
        install.install_packages()
    (tmp_path / "torch-2.whl").write_text("")
    with pytest.raises(SegmentationError, match="Nothing was installed"):
        install.install_packages()
    install.choose_wheels_folder("")


def test_an_old_slicer_is_told_so(panel: PanelUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    from ISDMAESegmentationLib import install
    from ISDMAESegmentationLib.failure import SegmentationError

    monkeypatch.delattr(slicer, "packaging")
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    with pytest.raises(SegmentationError, match=r"This Slicer \(.*Use Slicer 5\.12"):
        install.install_packages()


@pytest.mark.parametrize("pip", ["fails", "leaves it out", "is declined"])
def test_a_pip_that_fails_is_said_in_words(
    panel: PanelUnderTest, monkeypatch: pytest.MonkeyPatch, pip: str
) -> None:
    import slicer

    from ISDMAESegmentationLib import install
    from ISDMAESegmentationLib.failure import SegmentationError

    def ensure(requirements: list[object], constraints: str, **_: object) -> None:
        pinned = Path(constraints).read_text(encoding="utf-8")
        assert f"numpy=={np.__version__}\n" in pinned
        assert f"torch=={importlib.metadata.version('torch')}\n" in pinned
        assert [str(one).partition(">")[0] for one in requirements] == ["safetensors"]
        if pip == "fails":
            raise subprocess.CalledProcessError(1, "pip install")
        if pip == "is declined":
            raise RuntimeError("User declined package installation")

    monkeypatch.setattr(slicer.packaging, "pip_check", lambda one: str(one) == install.TORCH)
    monkeypatch.setattr(slicer.packaging, "pip_ensure", ensure)
    expected = {
        "fails": "could not be installed: .*pip install",
        "leaves it out": "could not be installed: safetensors",
        "is declined": "Nothing was installed",
    }
    with pytest.raises(SegmentationError, match=expected[pip]):
        install.install_packages()


def test_wheels_are_used_where_only_a_small_package_is_missing(
    panel: PanelUnderTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import slicer

    from ISDMAESegmentationLib import install

    calls: list[list[str]] = []
    monkeypatch.setattr(
        slicer.packaging, "pip_check", lambda one: str(one) == install.TORCH or calls
    )
    monkeypatch.setattr(
        slicer.packaging, "pip_install", lambda names, constraints: calls.append(names)
    )
    (tmp_path / "safetensors-1.whl").write_text("")
    install.choose_wheels_folder(str(tmp_path))
    panel.harness.recorded.answers.append(True)
    install.install_packages()
    assert calls == [["--no-index", "--find-links", str(tmp_path), "safetensors>=0.4.3"]]


def test_an_old_pytorch_is_named(panel: PanelUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    from ISDMAESegmentationLib import install
    from ISDMAESegmentationLib.failure import SegmentationError

    monkeypatch.setattr(slicer.packaging, "pip_check", lambda one: str(one) == "torch")
    version = importlib.metadata.version("torch")
    with pytest.raises(SegmentationError, match=f"{re.escape(version)} is too old.*Uninstall"):
        install.install_packages()


def test_while_packages_are_installed_nothing_else_begins(
    panel: PanelUnderTest, monkeypatch: pytest.MonkeyPatch, ct: Any
) -> None:
    """Slicer handles clicks while pip runs: the second one is refused, and the scene may change."""
    import slicer

    from ISDMAESegmentationLib import install
    from ISDMAESegmentationLib.environment_check import Environment, explain

    seen: list[str] = []

    def pip(requirements: list[object], **_: object) -> None:
        panel.ui.segmentButton.click()
        seen.append(panel.status)
        slicer.mrmlScene.RemoveNode(ct)
        monkeypatch.setattr(slicer.packaging, "pip_check", lambda one: True)

    panel.ui.volumeSelector.setCurrentNode(ct)
    monkeypatch.setattr(slicer.packaging, "pip_check", lambda one: str(one) == install.TORCH)
    monkeypatch.setattr(slicer.packaging, "pip_ensure", pip)
    missing = Environment(None, explain("ModuleNotFoundError: No module named 'safetensors'"))
    panel.panel.advanced._environment = missing
    monkeypatch.setattr("ISDMAESegmentationLib.advanced_panel.named_python", lambda: "")
    monkeypatch.setattr(panel.panel.advanced, "_take_python", lambda: False)
    panel.ui.segmentButton.click()
    assert seen == ["Packages are being installed. Wait until that has ended."]
    assert not panel.running
    assert panel.status.startswith("No CT is chosen.")


def test_a_python_that_is_cleared_is_not_used_any_more(panel: PanelUnderTest, ct: Any) -> None:
    from ISDMAESegmentationLib.worker_command import named_python

    panel.ui.volumeSelector.setCurrentNode(ct)
    panel.ui.pythonEdit.clear()
    assert named_python() == sys.executable
    panel.ui.segmentButton.click()
    assert named_python() == ""


@pytest.mark.parametrize("refused", [False, True])
def test_a_process_is_killed_without_its_word_or_permission(
    panel: PanelUnderTest, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    import qt

    from ISDMAESegmentationLib import process_tree

    def forbidden(_pid: int) -> int:
        raise PermissionError

    monkeypatch.setattr(process_tree, "WAIT_MS", 200)
    monkeypatch.setattr(os, "getpgid", forbidden)
    process = qt.QProcess()
    process.start(sys.executable, ["-c", "import time; time.sleep(60)"])
    assert process.waitForStarted(5000)
    process_tree.kill_tree(process, process.processId() if refused else 0)
    assert process.waitForFinished(2000) or process.state() == qt.QProcess.NotRunning


def test_a_folder_that_is_cleared_is_the_default_again(
    panel: PanelUnderTest, tmp_path: Path
) -> None:
    from ISDMAESegmentationLib import install, models, training_runs

    ui = panel.ui
    panel.harness.enter(panel.widget)
    for edit, chosen in (
        (ui.modelsEdit, models.user_folder),
        (ui.wheelsEdit, install.wheels_folder),
        (ui.trainRunsEdit, training_runs.runs_folder),
    ):
        edit.currentPath = str(tmp_path)
        assert str(chosen()) == str(tmp_path)
        edit.clear()
        assert str(chosen()) != str(tmp_path)


def test_a_worker_that_cannot_start_is_told_at_once(
    panel: PanelUnderTest, ct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ISDMAESegmentationLib.failure import SegmentationError
    from ISDMAESegmentationLib.worker_client import Listener

    client = panel.panel.logic.client
    monkeypatch.setattr(
        type(client),
        "_start",
        lambda self: self._fail("worker-not-started", "It could not be started.", "Check it."),
    )
    told: list[object] = []
    with pytest.raises(SegmentationError, match="could not be started"):
        client.predict({}, Listener(lambda *_: None, told.append, told.append))
    assert not told
    assert not client.busy


def test_large_files_stay_out_of_a_roaming_profile(
    panel: PanelUnderTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Windows, simulated: a clinic copies the roaming profile at every log-in."""
    import qt

    from ISDMAESegmentationLib import models, training_runs

    settings = Path(qt.QSettings().fileName()).parent
    models.choose_user_folder("")
    training_runs.choose_runs_folder("")
    assert models.user_folder() == settings / "ISDMAE-models"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert models.user_folder() == tmp_path / settings.name / "ISDMAE-models"
    assert training_runs.runs_folder() == tmp_path / settings.name / "ISDMAE-runs"
    models.choose_user_folder(str(tmp_path / "mine"))
    assert models.user_folder() == tmp_path / "mine"
