"""The harness itself: what Slicer would refuse raises, and what it does is imitated."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from slicer_harness import harness
from slicer_harness.fixtures import fail_on_slot_errors, slicer_app  # noqa: F401  a fixture
from slicer_harness.missing import reason_to_skip

pytestmark = [
    pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip())),
    pytest.mark.usefixtures("slicer_app"),
]

DEMO = Path(harness.__file__).parent / "demo" / "HarnessDemo.py"


@pytest.fixture
def demo():
    """The demo module's panel, entered."""
    _, widget, _ = harness.load_module(DEMO)
    harness.enter(widget)
    return widget


def add_volume(name="CT"):
    """An ellipsoid of 40 HU in air, 30 x 40 x 40 voxels."""
    import slicer

    k, j, i = np.mgrid[-1:1:30j, -1:1:40j, -1:1:40j]
    values = np.where((i / 0.8) ** 2 + (j / 0.6) ** 2 + (k / 0.7) ** 2 < 1, 40, -1000)
    volume = slicer.util.addVolumeFromArray(
        values.astype(np.int16), ijkToRAS=np.diag([-4.0, -4.0, 8.0, 1.0]), name=name
    )
    volume.CreateDefaultDisplayNodes()
    return volume


def widget_from_ui(tmp_path, body):
    """Load a .ui file whose top widget has the given children."""
    import slicer

    path = tmp_path / "Panel.ui"
    path.write_text(
        f'<ui version="4.0"><widget class="qMRMLWidget" name="Panel">{body}</widget></ui>',
        encoding="utf-8",
    )
    return slicer.util.loadUI(str(path))


class TestAttributes:
    """Properties are attributes, and nothing else can be read or written."""

    def test_properties_are_attributes_and_methods_stay_methods(self):
        import qt

        button = qt.QPushButton("Apply")
        button.checkable = True
        button.setChecked(True)
        assert (button.text, button.checked, button.enabled) == ("Apply", True, True)
        assert button.isEnabled()
        assert button.className() == "QPushButton"
        assert button.sizeHint.width() > 0

    def test_calling_a_property_fails(self):
        import qt

        with pytest.raises(TypeError):
            qt.QPushButton("Apply").text()

    @pytest.mark.parametrize("class_name", ["QPushButton", "QTimer", "QImage", "QTableWidgetItem"])
    def test_unknown_attributes_raise(self, class_name):
        import qt

        thing = getattr(qt, class_name)()
        with pytest.raises(AttributeError):
            thing.txet = "Apply"
        with pytest.raises(AttributeError):
            _ = thing.txet

    def test_stand_ins_refuse_unknown_attributes_too(self):
        import ctk
        import slicer

        for thing in (ctk.ctkSliderWidget(), slicer.qMRMLNodeComboBox(), slicer.app):
            with pytest.raises(AttributeError, match="valeu"):
                thing.valeu = 1

    def test_methods_and_read_only_properties_cannot_be_set(self):
        import qt

        button = qt.QPushButton()
        with pytest.raises(AttributeError, match="overwrite"):
            button.setText = None
        with pytest.raises(AttributeError, match="only be read"):
            button.width = 3

    def test_loose_conversions(self):
        import qt

        button, spin = qt.QPushButton(), qt.QSpinBox()
        spin.value = 33.7
        assert spin.value == 33
        spin.value = np.int64(12)
        assert spin.value == 12
        button.text = None
        assert button.text == "None"
        button.text = 5
        assert button.text == "5"
        button.checkable = "no"
        assert button.checkable is True
        with pytest.raises(ValueError, match="does not accept"):
            spin.value = "many"

    def test_a_deleted_object_raises(self):
        import qt

        button = qt.QPushButton()
        button.delete()
        with pytest.raises(ValueError, match="destroyed"):
            _ = button.text

    def test_lists_come_back_as_tuples(self):
        import qt
        import slicer

        combo = slicer.qMRMLNodeComboBox()
        combo.nodeTypes = ["vtkMRMLModelNode"]
        assert combo.nodeTypes == ("vtkMRMLModelNode",)
        item = qt.QTableWidgetItem()
        item.setData(qt.Qt.UserRole, ["a", "b"])
        assert item.data(qt.Qt.UserRole) == ("a", "b")
        qt.QSettings().setValue("List", ["a", "b"])
        assert qt.QSettings().value("List") == ("a", "b")
        assert qt.QSettings().value("Absent") is None


class TestSignals:
    """Signatures have to be right, and exceptions in slots are findings."""

    def test_arguments_are_trimmed(self):
        import qt

        button, seen = qt.QPushButton(), []
        button.checkable = True
        button.connect("clicked(bool)", lambda: seen.append("none"))
        button.connect("clicked(bool)", seen.append)
        button.clicked.connect(lambda on: seen.append(("bound", on)))
        button.click()
        assert seen == ["none", True, ("bound", True)]

    @pytest.mark.parametrize("signature", ["clikced(bool)", "clicked(int)", "clicked", ""])
    def test_a_misspelt_signal_raises(self, signature):
        import qt

        with pytest.raises(ValueError, match="signal"):
            qt.QPushButton().connect(signature, print)

    def test_a_misspelt_signal_of_a_stand_in_raises(self):
        import slicer

        combo = slicer.qMRMLNodeComboBox()
        with pytest.raises(ValueError, match="signal"):
            combo.connect("currentNodeChanged(vtkMRMLVolumeNode*)", print)
        assert combo.connect("currentNodeChanged(vtkMRMLNode*)", print)
        assert combo.connect("currentNodeChanged(bool)", print)

    def test_disconnect(self):
        import qt

        button, seen = qt.QPushButton(), []
        button.connect("clicked()", seen.append)
        assert button.disconnect("clicked()", seen.append)
        assert not button.disconnect("clicked()", seen.append)
        button.click()
        assert seen == []

    def test_an_exception_in_a_slot_is_kept_and_the_other_slots_run(self, capsys):
        import qt

        button, seen = qt.QPushButton(), []
        button.connect("clicked()", lambda: 1 / 0)
        button.connect("clicked()", lambda: seen.append(1))
        button.click()
        assert seen == [1]
        assert isinstance(harness.slot_errors.pop().exception, ZeroDivisionError)

    def test_a_slot_that_wants_too_much_is_kept(self):
        import qt

        button = qt.QPushButton()
        button.connect("clicked()", lambda one, two: None)
        button.click()
        assert isinstance(harness.slot_errors.pop().exception, TypeError)

    def test_exceptions_in_timers_and_observers_are_kept(self):
        import qt
        import slicer
        import vtk

        qt.QTimer.singleShot(0, lambda: 1 / 0)
        harness.spin_until(lambda: harness.slot_errors, 2)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: {}["absent"])
        node.Modified()
        kinds = [type(error.exception) for error in harness.slot_errors]
        harness.slot_errors.clear()
        assert kinds == [ZeroDivisionError, KeyError]

    def test_slot_errors_fail_the_test(self):
        import qt

        button = qt.QPushButton()
        button.clicked.connect(lambda: 1 / 0)
        button.click()
        with pytest.raises(pytest.fail.Exception, match="ZeroDivisionError"):
            fail_on_slot_errors()
        harness.slot_errors.clear()

    def test_signals_of_python_classes(self):
        import qt

        class Worker(qt.QObject):
            advanced = qt.Signal(int, str)

        worker, seen = Worker(), []
        worker.connect("advanced(int,QString)", seen.append)
        worker.advanced.connect(lambda step, text: seen.append(text))
        worker.advanced.emit(3, "three")
        assert seen == [3, "three"]


class TestUiFiles:
    """A .ui file that Slicer would load in part raises."""

    def test_a_class_without_a_stand_in_raises(self, tmp_path):
        with pytest.raises(RuntimeError, match="qMRMLNoSuchWidget"):
            widget_from_ui(tmp_path, '<widget class="qMRMLNoSuchWidget" name="a"/>')

    def test_the_segment_editor_is_made_in_python(self, tmp_path):
        with pytest.raises(RuntimeError, match="make it in Python"):
            widget_from_ui(tmp_path, '<widget class="qMRMLSegmentEditorWidget" name="a"/>')

    def test_an_unknown_property_raises(self, tmp_path):
        body = '<widget class="QLabel" name="a"><property name="txet"><string/></property></widget>'
        with pytest.raises(RuntimeError, match="txet"):
            widget_from_ui(tmp_path, body)

    def test_missing_and_broken_files_raise(self, tmp_path):
        import slicer

        with pytest.raises(RuntimeError, match="not found"):
            slicer.util.loadUI(str(tmp_path / "absent.ui"))
        (tmp_path / "broken.ui").write_text("<ui>")
        with pytest.raises(RuntimeError, match="broken"):
            slicer.util.loadUI(str(tmp_path / "broken.ui"))

    def test_widgets_become_variables(self, demo):
        import qt
        import slicer

        assert type(demo.ui.applyButton) is qt.QPushButton
        assert type(demo.ui.inputSelector) is slicer.qMRMLNodeComboBox
        assert demo.ui.inputSelector.mrmlScene() is slicer.mrmlScene


class TestNodeComboBox:
    """Which node is selected, and when."""

    @pytest.fixture
    def combo(self):
        import slicer

        combo = slicer.qMRMLNodeComboBox()
        combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        combo.noneEnabled = True
        combo.showChildNodeTypes = False
        combo.setMRMLScene(slicer.mrmlScene)
        return combo

    def test_an_added_node_is_not_selected(self, combo):
        assert combo.currentText == "None"
        add_volume()
        assert combo.nodeCount() == 1
        assert combo.currentNode() is None
        assert combo.currentNodeID == ""

    def test_a_node_made_with_the_combo_is_selected(self, combo):
        seen = []
        combo.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
        node = combo.addNode()
        assert combo.currentNode() is node
        assert seen == [node]

    def test_without_none_a_node_that_exists_is_selected(self):
        import slicer

        volume = add_volume()
        combo = slicer.qMRMLNodeComboBox()
        combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        combo.setMRMLScene(slicer.mrmlScene)
        assert combo.currentNode() is volume

    def test_removing_the_selected_node_selects_another(self, combo):
        import slicer

        first, second = add_volume("first"), add_volume("second")
        combo.setCurrentNode(second)
        slicer.mrmlScene.RemoveNode(second)
        assert combo.currentNode() is first
        slicer.mrmlScene.RemoveNode(first)
        assert combo.currentNode() is None

    def test_texts_of_no_node(self, combo):
        combo.noneDisplay = "Create new segmentation on Apply"
        assert combo.currentText == "Create new segmentation on Apply"
        combo.noneDisplay = ""
        combo.noneEnabled = False
        assert combo.currentText == "Select a Volume"

    def test_child_types_and_hidden_nodes(self, combo):
        import slicer

        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        assert combo.nodeCount() == 0
        combo.showChildNodeTypes = True
        assert combo.nodeCount() == 1
        hidden = slicer.vtkMRMLScalarVolumeNode()
        hidden.SetHideFromEditors(True)
        slicer.mrmlScene.AddNode(hidden)
        late = add_volume("hidden too late")
        late.SetHideFromEditors(True)
        assert combo.nodeCount() == 2

    def test_closing_the_scene_empties_it(self, combo):
        combo.setCurrentNode(add_volume())
        harness.close_scene()
        assert combo.currentNode() is None
        assert combo.nodeCount() == 0


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


class TestImages:
    """Pictures in the panel."""

    def test_from_ppm(self):
        import qt

        rgb = np.full((5, 7, 3), 200, np.uint8)
        image = qt.QImage()
        assert image.loadFromData(b"P6 7 5 255\n" + rgb.tobytes())
        assert qt.QPixmap.fromImage(image).width() == 7

    def test_from_arrays_raises(self):
        import qt

        rgb = np.zeros((5, 7, 3), np.uint8)
        for source in (rgb, memoryview(rgb), qt.QByteArray(rgb.tobytes())):
            with pytest.raises(ValueError, match="QImage"):
                qt.QImage(source, 7, 5, qt.QImage.Format_RGB888)
        with pytest.raises(ValueError, match="bytesPerLine"):
            qt.QImage(rgb.tobytes(), 7, 5, 21, qt.QImage.Format_RGB888)


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


class TestSegmentWidgets:
    """Segments table, Show 3D and the Segment Editor."""

    @pytest.fixture
    def segmentation(self, demo):
        demo.ui.inputSelector.setCurrentNode(add_volume())
        demo.ui.applyButton.click()
        return demo._parameters.segmentation

    def test_show_3d_cannot_be_clicked(self, segmentation):
        import slicer

        button = slicer.qMRMLSegmentationShow3DButton()
        assert not button.enabled
        button.setSegmentationNode(segmentation)
        with pytest.raises(RuntimeError, match="blocks"):
            button.click()
        button.checked = True
        assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
        button.toggle()
        assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")

    def test_the_table_keeps_the_rows_of_a_removed_node(self, demo, segmentation):
        import slicer

        table = demo.ui.segmentsTable
        table.setSelectedSegmentIDs(["body"])
        assert table.selectedSegmentIDs() == ("body",)
        slicer.mrmlScene.RemoveNode(segmentation)
        assert table.segmentCount() == 1
        table.setSegmentationNode(None)
        assert table.segmentCount() == 0

    def test_the_editor_undoes(self, segmentation):
        import slicer

        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMRMLScene(slicer.mrmlScene)
        with pytest.raises(RuntimeError, match="setMRMLSegmentEditorNode"):
            editor.setSegmentationNode(segmentation)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        editor.setMRMLSegmentEditorNode(node)
        editor.setSegmentationNode(segmentation)
        editor.setActiveEffectByName("Paint")
        assert editor.activeEffect().name == "Paint"
        editor.saveStateForUndo()
        segmentation.GetSegmentation().RemoveSegment("body")
        editor.undo()
        assert segmentation.GetSegmentation().GetNumberOfSegments() == 1
        slicer.mrmlScene.RemoveNode(segmentation)
        assert editor.segmentationNode() is None
        assert editor.activeEffect() is None


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
