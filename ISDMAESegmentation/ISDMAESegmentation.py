"""The Slicer module: title, panel, scripting interface. Everything else is in the Lib folder."""

from __future__ import annotations

import importlib
import sys

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

LIBRARY = "ISDMAESegmentationLib"


class ISDMAESegmentation(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Chest CT Segmentation (ISD-MAE)")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["The ISDMAE Segmentation authors"]
        from ISDMAESegmentationLib import about

        parent.helpText = about.help_text()
        parent.acknowledgementText = about.acknowledgement_text()
        slicer.app.connect("startupCompleted()", self.register_sample_data)

    @staticmethod
    def register_sample_data() -> None:
        """Offer the synthetic chest in the Sample Data module."""
        from ISDMAESegmentationLib.sample_data import register

        register()


class ISDMAESegmentationWidget(ScriptedLoadableModuleWidget):
    """The panel; `ISDMAESegmentationLib.widget.Panel` does the work."""

    panel = None

    def setup(self) -> None:
        """Build the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        from ISDMAESegmentationLib.widget import Panel

        widget = slicer.util.loadUI(self.resourcePath("UI/ISDMAESegmentation.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = ISDMAESegmentationLogic()
        self.panel = Panel(self.ui, self.logic.getParameterNode)
        widget.setMRMLScene(slicer.mrmlScene)
        if getattr(self.parent, "isEntered", False):  # after a reload nobody calls enter()
            self.panel.enter()

    def enter(self) -> None:
        """The module is shown."""
        self.panel.enter()

    def exit(self) -> None:
        """Another module is shown."""
        self.panel.leave()

    def cleanup(self) -> None:
        """The application quits or the module is reloaded."""
        if self.panel is not None:
            self.panel.close()

    def onReload(self) -> None:
        """Reload the library with the module, which Slicer alone would not."""
        for name in [name for name in sys.modules if name.partition(".")[0] == LIBRARY]:
            del sys.modules[name]
        importlib.invalidate_caches()
        ScriptedLoadableModuleWidget.onReload(self)


class ISDMAESegmentationLogic(ScriptedLoadableModuleLogic):
    """For scripts: ``ISDMAESegmentationLogic().segment(volumeNode)``."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._segmentation = None

    def getParameterNode(self):
        """Return the typed choices of the scene."""
        from ISDMAESegmentationLib.parameter_node import ParameterNode

        return ParameterNode(super().getParameterNode())

    def segment(self, volumeNode, model="lungs", **options):
        """Segment a CT and return the segmentation node; see `SegmentationLogic.segment`."""
        from ISDMAESegmentationLib.segmentation_logic import SegmentationLogic

        if self._segmentation is None:
            self._segmentation = SegmentationLogic()
        return self._segmentation.segment(volumeNode, model, **options)

    def stop(self) -> None:
        """End the worker that `segment` has started."""
        if self._segmentation is not None:
            self._segmentation.close()
            self._segmentation = None


class ISDMAESegmentationTest(ScriptedLoadableModuleTest):
    """Self-tests, run in the application; they live in Testing/Python."""

    def runTest(self) -> None:
        """Run every test of the module."""
        from ISDMAESegmentationLib.self_test import run_self_test

        self.setUp()
        run_self_test(self.delayDisplay)
