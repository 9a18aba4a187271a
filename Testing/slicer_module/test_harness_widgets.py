"""The harness's widgets: attributes, signals and .ui files as PythonQt has them."""

from __future__ import annotations

import numpy as np
import pytest

from slicer_harness import harness
from slicer_harness.fixtures import add_volume, fail_on_slot_errors
from slicer_harness.missing import reason_to_skip

pytestmark = [
    pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip())),
    pytest.mark.usefixtures("slicer_app"),
]


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
