"""The module ``slicer.ScriptedLoadableModule``: the base classes of a scripted module."""

from __future__ import annotations

import importlib
import logging
import unittest
from pathlib import Path

import ctk
import qt
import slicer

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


class ScriptedLoadableModule:
    """What a module says about itself."""

    def __init__(self, parent: object) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.categories, parent.dependencies = "", [], []
        parent.contributors, parent.helpText, parent.acknowledgementText = [], "", ""
        for suffix in (".svg", ".png"):
            icon = Path(parent.path).parent / "Resources" / "Icons" / f"{self.moduleName}{suffix}"
            if icon.is_file():
                parent.icon = qt.QIcon(str(icon))
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        """A file of the module's Resources folder."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        """A sentence with a link, for the help text."""
        url = slicer.app.moduleDocumentationUrl(self.moduleName)
        return f'<p>For more information see the <a href="{docPage or url}">documentation</a>.</p>'

    def runTest(self, msec: int = 100, **kwargs: object) -> None:
        """Run the module's own test class."""
        module = importlib.import_module(self.__module__)
        case = getattr(module, f"{self.moduleName}Test")()
        case.messageDelay = msec
        case.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The module's panel."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue(
            "Developer/DeveloperMode", False, converter=slicer.util.toBool
        )
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        else:
            self.parent = parent
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect(
            "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
        )

    def resourcePath(self, filename: str) -> str:
        """A file of the module's Resources folder."""
        folder = Path(slicer.util.modulePath(self.moduleName)).parent
        return str(folder / "Resources" / filename)

    def setup(self) -> None:
        """Create the widgets: with developer mode on, a Reload button."""
        if not self.developerMode:
            return
        self.reloadCollapsibleButton = ctk.ctkCollapsibleButton()
        self.reloadCollapsibleButton.text = "Reload && Test"
        self.layout.addWidget(self.reloadCollapsibleButton)
        form = qt.QFormLayout(self.reloadCollapsibleButton)
        self.reloadButton = qt.QPushButton("Reload")
        self.reloadButton.connect("clicked()", self.onReload)
        form.addRow(self.reloadButton)

    def cleanup(self) -> None:
        """Called before the module goes; for the derived class."""

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect(
                "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
            )

    def onReload(self) -> None:
        """Execute the file again and replace the panel."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def onTest(self, **kwargs: object) -> None:
        """Run the module's own tests."""
        slicer.selfTests[self.moduleName](**kwargs)

    def onReloadAndTest(self, **kwargs: object) -> None:
        """Reload, then test."""
        self.onReload()
        self.onTest(**kwargs)


class ScriptedLoadableModuleLogic:
    """What the module does, without the panel."""

    def __init__(self, parent: object = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        """The node that keeps the parameters; created where there is none."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node:
                if node.GetAttribute("ModuleName") != self.moduleName:
                    node.SetAttribute("ModuleName", self.moduleName)
                return node
        elif nodes := self.getAllParameterNodes():
            return nodes[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[slicer.vtkMRMLScriptedModuleNode]:
        """Every parameter node of this module."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        """A parameter node that is not in the scene yet."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's own tests."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int = 0) -> None:
        """Say what the test does, without waiting."""
        logging.info(message)
        slicer.app.processEvents()

    def takeScreenshot(self, name: str, description: str, type: int = -1) -> None:  # noqa: A002
        """Nothing: screenshots are off by default."""
        self.delayDisplay(description)

    def runTest(self) -> None:
        """For the derived class."""
        logging.warning("No test is defined in %s", type(self).__name__)
