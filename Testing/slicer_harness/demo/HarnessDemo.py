"""A small scripted module, on which the harness itself is tested."""

import enum
import pathlib
from typing import Annotated

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import (
    Choice,
    Decimals,
    Default,
    SingleStep,
    WithinRange,
    parameterNodeWrapper,
    parameterPack,
)
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Speed(enum.Enum):
    """How fast to work."""

    FAST = 1
    EXACT = 2

    def label(self):
        """The text in the combo box."""
        return self.name.capitalize()


@parameterPack
class Mask:
    """What is hidden."""

    ratio: Annotated[float, WithinRange(0, 1), SingleStep(0.05), Decimals(2), Default(0.75)]
    blocks: int = 4


@parameterNodeWrapper
class HarnessDemoParameterNode:
    """The module's parameters."""

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    threshold: Annotated[int, WithinRange(-1000, 3000)] = -500
    device: Annotated[str, Choice(["cpu", "cuda"])] = "cpu"
    speed: Speed
    surface: bool = False
    note: str
    folder: pathlib.Path
    mask: Mask


class HarnessDemo(ScriptedLoadableModule):
    """What the module says about itself."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Harness demo")
        parent.categories = ["Testing"]


class HarnessDemoWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel, in the order of Slicer's own module template."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.calls = []
        self._parameters, self._tag = None, None

    def setup(self):
        """Create the widgets."""
        ScriptedLoadableModuleWidget.setup(self)
        self.calls.append("setup")
        panel = slicer.util.loadUI(self.resourcePath("UI/HarnessDemo.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = HarnessDemoLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.initializeParameterNode()

    def cleanup(self):
        """Let go of everything."""
        self.calls.append("cleanup")
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        """The panel is shown."""
        self.calls.append("enter")
        self.initializeParameterNode()

    def exit(self):
        """The panel is hidden."""
        self.calls.append("exit")
        self.setParameterNode(None)

    def onStartClose(self, caller, event):
        """The scene is about to close."""
        self.setParameterNode(None)

    def onEndClose(self, caller, event):
        """The scene was closed."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Take the singleton parameter node, and the first volume."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameters.inputVolume:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            self._parameters.inputVolume = first

    def setParameterNode(self, parameters):
        """Connect the panel to a parameter node."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._tag)
            self.removeObserver(self._parameters, vtk.vtkCommand.ModifiedEvent, self.checkCanApply)
        self._parameters = parameters
        if parameters is not None:
            self._tag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.checkCanApply)
            self.checkCanApply()

    def checkCanApply(self, caller=None, event=None):
        """Apply needs a volume."""
        can = self._parameters is not None and self._parameters.inputVolume is not None
        self.ui.applyButton.enabled = can
        self.ui.statusLabel.text = _("Ready") if can else _("Select a volume")

    def onApply(self):
        """Segment."""
        with slicer.util.tryWithErrorDisplay(_("Failed to segment."), waitCursor=True):
            if self._parameters.segmentation is None:
                self.ui.outputSelector.addNode("vtkMRMLSegmentationNode")
            self.logic.process(self._parameters)
            self.ui.segmentsTable.setSegmentationNode(self._parameters.segmentation)
            self.ui.statusLabel.text = _("Done")


class HarnessDemoLogic(ScriptedLoadableModuleLogic):
    """Thresholding."""

    def getParameterNode(self):
        """The typed parameter node."""
        return HarnessDemoParameterNode(super().getParameterNode())

    def process(self, parameters):
        """Fill one segment with what is brighter than the threshold."""
        volume, output = parameters.inputVolume, parameters.segmentation
        output.CreateDefaultDisplayNodes()
        output.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segment = output.GetSegmentation().AddEmptySegment("body", "body", (0.8, 0.7, 0.5))
        bright = slicer.util.arrayFromVolume(volume) > parameters.threshold
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            bright.astype("uint8"), output, segment, volume
        )
        if parameters.surface:
            output.CreateClosedSurfaceRepresentation()
