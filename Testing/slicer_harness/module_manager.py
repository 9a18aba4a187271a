"""Stand-ins for the module manager, the main window and the module objects."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from PySide6.QtCore import Signal

from .mrml_widgets import qMRMLWidget
from .stand_in import stand_in


class LogicModule:
    """A module written in C++, of which only the logic is there."""

    def __init__(self, name: str, logic: object) -> None:
        self.name, self.title, self.path = name, name, ""
        self._logic = logic

    def logic(self) -> object:
        """The real logic of slicer-core."""
        return self._logic


class qSlicerScriptedLoadableModule:
    """The C++ side of a scripted module: what its Python class gets as ``parent``."""

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, path
        self.title, self.categories, self.dependencies, self.contributors = "", (), (), ()
        self.helpText = self.acknowledgementText = ""
        self.icon, self.hidden, self.index, self.widgetRepresentationCreationEnabled = (
            None, False, -1, True,
        )  # fmt: skip
        self.defaultDocumentationLink = ""
        self._widget: qSlicerScriptedLoadableModuleWidget | None = None

    def logic(self) -> object:
        """The C++ logic, of no use to a scripted module."""
        return slicer.vtkSlicerScriptedLoadableModuleLogic()

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        """The panel; created, and set up, at the first call."""
        if self._widget is None:
            self._widget = qSlicerScriptedLoadableModuleWidget()
            self._widget.create(self.name)
        return self._widget

    def has_widget(self) -> bool:
        """Whether the panel was created."""
        return self._widget is not None


@stand_in
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel's outer widget: ``parent`` of the module's widget class."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self.__dict__["isEntered"] = False
        self._widget, self._name = None, ""
        self.setLayout(qt.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    def create(self, name: str) -> None:
        """Instantiate the module's widget class and set it up."""
        self._name = name
        self.reload()

    def reload(self) -> None:
        """Instantiate the widget class anew; enter() is not called."""
        import sys

        kind = getattr(sys.modules[self._name], f"{self._name}Widget")
        self._widget = kind(self)
        setattr(slicer.modules, f"{self._name}Widget", self._widget)
        self._widget.setup()

    def self(self) -> object:
        """The module's widget object."""
        return self._widget

    def enter(self) -> None:
        """The panel is shown; not repeated while it is."""
        if not self.__dict__["isEntered"]:
            self.__dict__["isEntered"] = True
            self._call("enter")

    def exit(self) -> None:
        """Another panel is shown."""
        if self.__dict__["isEntered"]:
            self.__dict__["isEntered"] = False
            self._call("exit")

    def _call(self, name: str) -> None:
        method: Callable | None = getattr(self._widget, name, None)
        if method is not None:
            method()


@stand_in
class FactoryManager(qt.QObject):
    """Knows which modules were loaded."""

    def loadedModuleNames(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(slicer.moduleNames.__dict__)

    def isLoaded(self, name: str) -> bool:
        """Whether a module was loaded."""
        return name in slicer.moduleNames.__dict__


@stand_in
class ModuleManager(qt.QObject):
    """Finds modules by name."""

    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._factory = FactoryManager()

    def module(self, name: str) -> object:
        """A module, None where there is none."""
        return getattr(slicer.modules, name.lower(), None)

    def factoryManager(self) -> FactoryManager:
        """The factory manager."""
        return self._factory


@stand_in
class ModuleSelector(qt.QObject):
    """Chooses the panel; a module without a category cannot be chosen."""

    moduleSelected = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._selected = ""

    def selectModule(self, name: str) -> None:
        """Leave one panel and enter another.

        Raises
        ------
        KeyError
            Where no module has the name.
        """
        module = slicer.app.moduleManager().module(name)
        if module is None:
            raise KeyError(f"no module is called {name}")
        if not getattr(module, "categories", ("C++",)) or name == self._selected:
            return
        previous = slicer.app.moduleManager().module(self._selected) if self._selected else None
        if isinstance(previous, qSlicerScriptedLoadableModule):
            previous.widgetRepresentation().exit()
        self._selected = name
        if isinstance(module, qSlicerScriptedLoadableModule):
            module.widgetRepresentation().enter()
        self.moduleSelected.emit(name)

    @property
    def selectedModule(self) -> str:
        """The name of the module whose panel is shown."""
        return self._selected


@stand_in
class MainWindow(qt.QMainWindow):
    """The main window; it is never shown."""

    def __init__(self) -> None:
        super().__init__()
        self.objectName = "qSlicerMainWindow"
        self._selector = ModuleSelector()

    def moduleSelector(self) -> ModuleSelector:
        """What chooses the panel."""
        return self._selector
