"""The harness itself: what Slicer would refuse raises, and what it does is imitated."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from slicer_harness import harness
from slicer_harness.fixtures import DEMO, add_volume
from slicer_harness.missing import reason_to_skip

pytestmark = [
    pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip())),
    pytest.mark.usefixtures("slicer_app"),
]


class TestParameterNode:
    """Typed parameters, kept the same as the panel, and saved with the scene."""

    @pytest.fixture
    def parameters(self, demo):
        return demo._parameters

    def test_defaults(self, parameters):
        assert parameters.threshold == -500
        assert parameters.device == "cpu"
        assert parameters.speed.name == "FAST"
        assert parameters.folder == Path()
        assert (parameters.mask.ratio, parameters.mask.blocks) == (0.75, 4)
        assert parameters.inputVolume is None

    @pytest.mark.parametrize(
        ("name", "value", "error"),
        [
            ("threshold", 2.5, TypeError),
            ("threshold", 5000, ValueError),
            ("threshold", None, ValueError),
            ("folder", "/tmp", TypeError),
            ("device", "tpu", ValueError),
            ("surface", 1, TypeError),
            ("mask.ratio", 1.5, ValueError),
            ("mask.ratoi", 0.5, ValueError),
            ("no_such_field", 1, ValueError),
        ],
    )
    def test_wrong_values_raise(self, parameters, name, value, error):
        with pytest.raises(error):
            parameters.setValue(name, value)

    def test_a_node_of_another_class_raises(self, parameters):
        with pytest.raises(TypeError):
            parameters.segmentation = add_volume()

    def test_a_misspelt_field_is_accepted_silently(self, parameters):
        parameters.treshold = 7
        assert parameters.threshold == -500

    def test_the_panel_reaches_the_parameters(self, demo, parameters):
        volume = add_volume()
        demo.ui.inputSelector.setCurrentNode(volume)
        demo.ui.thresholdSpinBox.value = -300
        demo.ui.deviceComboBox.currentText = "cuda"
        demo.ui.speedComboBox.currentText = "Exact"
        demo.ui.ratioSlider.value = 0.4
        demo.ui.surfaceCheckBox.checked = True
        demo.ui.noteLineEdit.text = "Lunge rechts, größer"
        demo.ui.folderLineEdit.currentPath = "/data"
        assert parameters.inputVolume is volume
        assert (parameters.threshold, parameters.device) == (-300, "cuda")
        assert parameters.speed.name == "EXACT"
        assert parameters.mask.ratio == 0.4
        assert parameters.surface is True
        assert parameters.note == "Lunge rechts, größer"
        assert parameters.folder == Path("/data")

    def test_the_parameters_reach_the_panel(self, demo, parameters):
        parameters.threshold = 100
        parameters.mask.ratio = 0.3
        parameters.folder = Path("/data")
        assert demo.ui.thresholdSpinBox.value == 100
        assert demo.ui.ratioSlider.value == 0.3
        assert demo.ui.ratioSlider.maximum == 1
        assert demo.ui.folderLineEdit.currentPath == "/data"

    def test_clearing_a_path_does_not_reach_the_parameter(self, demo, parameters):
        demo.ui.folderLineEdit.currentPath = "/data"
        valid = []
        demo.ui.folderLineEdit.connect("validInputChanged(bool)", valid.append)
        demo.ui.folderLineEdit.currentPath = ""
        assert parameters.folder == Path("/data")
        assert valid == [False]

    def test_disconnected_widgets_change_nothing(self, demo, parameters):
        demo.setParameterNode(None)
        demo.ui.thresholdSpinBox.value = 5
        assert parameters.threshold == -500

    def test_a_derived_widget_is_refused(self, parameters):
        import qt

        class MyComboBox(qt.QComboBox):
            pass

        with pytest.raises(RuntimeError, match="MyComboBox"):
            parameters.connectParametersToGui({"device": MyComboBox()})

    def test_a_slider_needs_both_ends(self, parameters):
        import ctk

        with pytest.raises(RuntimeError, match="unbounded"):
            parameters.connectParametersToGui({"mask.blocks": ctk.ctkSliderWidget()})

    @pytest.mark.parametrize("suffix", [".mrb", ".mrml"])
    def test_saved_and_loaded(self, demo, parameters, tmp_path, suffix):
        parameters.inputVolume = add_volume()
        parameters.threshold = 100
        parameters.mask.ratio = 0.3
        parameters.note = "größer"
        harness.save_scene(tmp_path / f"scene{suffix}")
        harness.close_scene()
        demo.initializeParameterNode()
        assert demo._parameters.threshold == -500
        harness.load_scene(tmp_path / f"scene{suffix}")
        assert demo._parameters.inputVolume is None  # until the module looks again
        demo.initializeParameterNode()
        assert demo._parameters.inputVolume.GetName() == "CT"
        assert demo._parameters.threshold == 100
        assert demo._parameters.mask.ratio == 0.3
        assert demo._parameters.note == "größer"
        assert demo.ui.inputSelector.currentNode().GetName() == "CT"


CHILD = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"answer": asked["question"] * 2}), flush=True)
print("lines end", file=sys.stderr)
"""


class TestProcess:
    """QProcess with a real child."""

    def test_json_lines(self):
        import json

        import qt

        process, buffer, ended = qt.QProcess(), bytearray(), []
        process.connect(
            "readyReadStandardOutput()",
            lambda: buffer.extend(process.readAllStandardOutput().data()),
        )
        process.connect(
            "finished(int,QProcess::ExitStatus)", lambda code, how: ended.append((code, how))
        )
        process.start(sys.executable, ["-u", "-c", CHILD])
        assert process.state() in (qt.QProcess.Starting, qt.QProcess.Running)
        process.write('{"question": "ä"}\n')
        process.write(b'{"question": "b"}\n')
        process.closeWriteChannel()
        harness.spin_until(lambda: ended, 10)
        answers = [json.loads(line)["answer"] for line in buffer.split(b"\n") if line]
        assert answers == ["ää", "bb"]
        assert ended == [(0, 0)]
        assert ended[0][1] == qt.QProcess.NormalExit
        assert process.state() == qt.QProcess.NotRunning
        assert process.readAllStandardError().data() == b"lines end\n"
        process.delete()

    def test_a_missing_program_reports_only_an_error(self):
        import qt

        process, seen = qt.QProcess(), []
        process.connect("errorOccurred(QProcess::ProcessError)", seen.append)
        process.connect("finished(int)", lambda code: seen.append("finished"))
        process.start("/no/such/program", [])
        harness.spin_until(lambda: seen, 5)
        assert seen == [qt.QProcess.FailedToStart]
        assert str(seen[0]) == "0"

    def test_what_pythonqt_refuses(self):
        import qt

        process = qt.QProcess()
        with pytest.raises(TypeError):
            process.write(bytearray(b"{}"))
        with pytest.raises(TypeError):
            bytes(process.readAllStandardOutput())
        with pytest.raises(TypeError):
            bytes(qt.QByteArray(b"abc"))
        with pytest.raises(AttributeError):
            process.setUnixProcessParameters(None)

    def test_the_launcher_and_the_environment(self):
        import shutil

        import slicer

        assert shutil.which("PythonSlicer") == slicer.app.pythonSlicer()
        environment = slicer.app.startupEnvironment()
        assert environment.contains("PATH")
        lines = []
        slicer.util.launchConsoleProcess(
            ["PythonSlicer", "-c", "print('hello')"], blocking=False, logCallback=lines.append
        )
        harness.spin_until(lambda: lines, 10)
        assert lines == ["hello"]

    def test_the_longest_gap_of_the_event_loop(self):
        import time

        import qt

        qt.QTimer.singleShot(5, lambda: time.sleep(0.1))
        with harness.longest_event_loop_gap_ms() as gap:
            harness.spin(0.2)
        assert 95 < gap.ms < 1000


class TestModule:
    """A module from loading to quitting."""

    def test_the_template_life_cycle(self, demo):
        assert demo.calls == ["setup", "enter"]
        assert not demo.ui.applyButton.enabled
        harness.leave(demo)
        add_volume()
        harness.enter(demo)
        assert demo.calls == ["setup", "enter", "exit", "enter"]
        assert demo.ui.applyButton.enabled

    def test_apply(self, demo):
        import slicer

        demo.ui.inputSelector.setCurrentNode(add_volume())
        demo.ui.applyButton.click()
        segmentation = demo._parameters.segmentation
        volume = slicer.util.getNode("CT")
        labels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "body", volume)
        assert labels.sum() == (slicer.util.arrayFromVolume(volume) > -500).sum()
        assert demo.ui.segmentsTable.segmentCount() == 1

    def test_reload_cleans_up_and_sets_up_but_does_not_enter(self, demo):
        renewed = harness.reload(demo)
        assert renewed is not demo
        assert demo.calls[-1] == "cleanup"
        assert renewed.calls == ["setup"]
        assert renewed.parent.isEntered

    def test_quitting_cleans_up_and_then_tells(self, demo):
        import slicer

        slicer.app.connect("aboutToQuit()", lambda: demo.calls.append("aboutToQuit"))
        harness.quit_application()
        assert demo.calls[-2:] == ["cleanup", "aboutToQuit"]

    def test_closing_the_scene(self, demo):
        add_volume()
        harness.close_scene()
        assert demo._parameters is not None
        assert demo._parameters.inputVolume is None

    def test_without_a_category_it_cannot_be_selected(self, demo):
        import slicer

        harness.leave(demo)
        slicer.modules.harnessdemo.categories = ()
        slicer.util.selectModule("HarnessDemo")
        assert not demo.parent.isEntered
        with pytest.raises(RuntimeError, match="no category"):
            harness.enter(demo)

    def test_modules_and_their_logics(self, demo):
        import slicer

        assert slicer.modules.terminologies.logic().IsA("vtkSlicerTerminologiesModuleLogic")
        assert slicer.util.getModuleLogic("HarnessDemo") is demo.logic
        assert slicer.util.modulePath("HarnessDemo") == str(DEMO.resolve())
        assert "HarnessDemo" in slicer.util.moduleNames()
        assert "HarnessDemo" in slicer.selfTests


class TestDialogs:
    """Nothing waits for the user."""

    def test_shown_and_declined_by_default(self):
        import slicer

        slicer.util.errorDisplay("out of memory", detailedText="...")
        assert slicer.util.confirmOkCancelDisplay("Download 2 GB?") is False
        kinds = [shown.kind for shown in harness.recorded.shown]
        assert kinds == ["errorDisplay", "confirmOkCancelDisplay"]
        assert harness.recorded.shown[0].text == "out of memory"

    def test_queued_answers(self):
        import qt
        import slicer

        harness.recorded.answers.extend([True, "/data/ct.nrrd", qt.QMessageBox.Yes])
        assert slicer.util.confirmYesNoDisplay("Sure?") is True
        assert qt.QFileDialog.getOpenFileName(None, "Open") == "/data/ct.nrrd"
        assert qt.QMessageBox.question(None, "", "Sure?") == qt.QMessageBox.Yes
        assert qt.QDialog().exec_() == 0

    def test_try_with_error_display_raises_again(self):
        import slicer

        with pytest.raises(ZeroDivisionError), slicer.util.tryWithErrorDisplay("Failed"):
            _ = 1 / 0

    def test_settings_and_status(self):
        import slicer

        slicer.app.userSettings().setValue("ISDMAE/Device", "cpu")
        assert slicer.util.settingsValue("ISDMAE/Device", "auto") == "cpu"
        assert slicer.util.settingsValue("ISDMAE/Absent", 3, converter=int) == 3
        assert slicer.util.showStatusMessage("Ready") is True


class TestPackagesAndSamples:
    """slicer.packaging and SampleData."""

    def test_nothing_is_installed(self, tmp_path):
        from slicer import packaging

        (tmp_path / "requirements.txt").write_text("numpy>=1  # arrays\nno-such-package==1\n")
        requirements = packaging.load_requirements(tmp_path / "requirements.txt")
        assert packaging.pip_check("numpy>=1")
        assert not packaging.pip_check(requirements)
        assert packaging.pip_ensure(requirements) is None
        with pytest.raises(RuntimeError, match="declined"):
            packaging.pip_ensure(requirements, skip_in_testing=False)
        harness.recorded.answers.append(True)
        packaging.pip_ensure(requirements, skip_in_testing=False)
        assert packaging.installed == [("no-such-package==1",)]

    def test_a_local_sample_needs_the_six_lists(self):
        import SampleData

        register = SampleData.SampleDataLogic.registerCustomSampleDataSource
        with pytest.raises(TypeError, match="checksums"):
            register(category="ISD-MAE", sampleName="Chest", customDownloader=lambda s: "made")
        lists = ("uris", "fileNames", "nodeNames", "loadFiles", "loadFileTypes", "checksums")
        register(
            category="ISD-MAE", sampleName="Chest", customDownloader=lambda s: "made",
            **{name: [] for name in lists},
        )  # fmt: skip
        assert SampleData.press("Chest") == "made"
        with pytest.raises(IndexError):
            SampleData.downloadSample("Chest")


class TestFilesAndViews:
    """Reading, writing and drawing."""

    def test_a_volume_written_and_read(self, tmp_path):
        import slicer

        volume = add_volume()
        assert slicer.util.saveNode(volume, str(tmp_path / "ct.nrrd"))
        read = slicer.util.loadVolume(str(tmp_path / "ct.nrrd"), {"show": False})
        assert np.array_equal(
            slicer.util.arrayFromVolume(read), slicer.util.arrayFromVolume(volume)
        )
        with pytest.raises(RuntimeError):
            slicer.util.loadVolume(str(tmp_path / "absent.nrrd"), {})

    def test_panel_and_views_in_one_picture(self, demo, tmp_path):
        from slicer_harness import screenshot

        volume = add_volume()
        demo.ui.inputSelector.setCurrentNode(volume)
        demo.ui.surfaceCheckBox.checked = True
        demo.ui.applyButton.click()
        picture = screenshot.save(
            demo.parent, tmp_path / "panel.png", volume=volume, view_size=(200, 200)
        )
        assert (tmp_path / "panel.png").stat().st_size > 5000
        views_part = picture[:400, -400:]
        for rows in (slice(0, 200), slice(200, 400)):
            for columns in (slice(0, 200), slice(200, 400)):
                assert views_part[rows, columns].std() > 10
        assert screenshot.minimum_width_px(demo.parent) <= picture.shape[1] - 400
