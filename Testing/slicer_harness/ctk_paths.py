"""Stand-ins for CTK's path widgets."""

from __future__ import annotations

import os

import qt
from PySide6.QtCore import Signal

from . import recorded
from .stand_in import computed, stand_in, stored


@stand_in
class ctkPathLineEdit(qt.QWidget):
    """A path to type or to browse for. Clearing it sends no currentPathChanged."""

    validInputChanged = Signal(bool)
    currentPathChanged = Signal(str)

    Dirs, Drives, Files, NoSymLinks = 0x1, 0x4, 0x2, 0x8
    Readable, Writable, Executable, Hidden = 0x10, 0x20, 0x40, 0x100
    AdjustToContents, AdjustToContentsOnFirstShow, AdjustToMinimumContentsLength = 0, 1, 2

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._edit, self._browse_button = qt.QComboBox(), qt.QToolButton()
        self._edit.editable = True
        self._edit.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        self._edit.setInsertPolicy(qt.QComboBox.NoInsert)
        self._browse_button.text = "..."
        layout.addWidget(self._edit, 1)
        layout.addWidget(self._browse_button)
        self._edit.editTextChanged.connect(self._changed)
        self._browse_button.clicked.connect(lambda: self.browse())

    def _take_width(self) -> None:
        """By default at least as wide as the whole path, as CTK's: it widens a panel."""
        metrics = self._edit.fontMetrics()
        if self.minimumContentsLength:
            text = self.minimumContentsLength * metrics.horizontalAdvance("X")
        elif self.sizeAdjustPolicy == self.AdjustToMinimumContentsLength:
            text = 0
        else:
            text = metrics.boundingRect(self._edit.currentText).width() + 8
        self._edit.setMinimumWidth(text + 30)

    def showEvent(self, event: qt.QShowEvent) -> None:
        """Properties were set meanwhile."""
        self._take_width()

    def _changed(self, text: str) -> None:
        was_valid = self.__dict__.get("_valid", False)
        self._valid = bool(text)
        if self._valid:
            self.currentPathChanged.emit(text)
        if self._valid != was_valid:
            self.validInputChanged.emit(self._valid)

    def setCurrentPath(self, path: str) -> None:
        """Show a path."""
        self._edit.setEditText(path)

    def browse(self) -> None:
        """Ask for a path; the answer comes from the queue."""
        chosen = recorded.show("ctkPathLineEdit.browse", self.windowTitle, "")
        if chosen:
            self.setCurrentPath(str(chosen))

    def clear(self) -> None:
        """Empty the text."""
        self.setCurrentPath("")

    def isValid(self) -> bool:
        """Whether there is any text."""
        return bool(self._edit.currentText)

    def addCurrentPathToHistory(self) -> None:
        """Remember the path in the list of the combo box."""
        if self._edit.findText(self._edit.currentText) < 0:
            self._edit.addItem(self._edit.currentText)

    def comboBox(self) -> qt.QComboBox:
        """The inner combo box."""
        return self._edit

    currentPath = computed(str, lambda self: self._edit.currentText, setCurrentPath)
    filters = stored("QVariant", 0)
    nameFilters = stored("QStringList", ())
    label = stored(str, "")
    settingKey = stored(str, "")
    showBrowseButton = computed(
        bool,
        lambda self: not self._browse_button.isHidden(),
        lambda self, on: self._browse_button.setVisible(on),
    )
    showHistoryButton = stored(bool, True)
    sizeAdjustPolicy = stored("QVariant", 0)
    minimumContentsLength = stored(int, 0)
    currentFileExtension = computed(
        str,
        lambda self: os.path.splitext(self._edit.currentText)[1],  # noqa: PTH122
    )
    currentText = computed(str, lambda self: self._edit.currentText)


@stand_in
class ctkDirectoryButton(qt.QWidget):
    """A button that shows a folder."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._directory = os.getcwd()  # noqa: PTH109
        self._button = qt.QPushButton(self._directory)
        layout.addWidget(self._button)
        self._button.clicked.connect(lambda: self.browse())

    def setDirectory(self, folder: str) -> None:
        """Show a folder, made absolute."""
        folder = os.path.abspath(folder)  # noqa: PTH100
        if folder != self._directory:
            self._directory = folder
            self._button.text = folder
            self.directoryChanged.emit(folder)

    def browse(self) -> None:
        """Ask for a folder; the answer comes from the queue."""
        chosen = recorded.show("ctkDirectoryButton.browse", self.caption, "")
        if chosen:
            self.setDirectory(str(chosen))
            self.directorySelected.emit(str(chosen))

    directory = computed(str, lambda self: self._directory, setDirectory)
    caption = stored(str, "")
    text = stored(str, "")
    displayAbsolutePath = stored(bool, True)
    acceptMode = stored("QVariant", 0)
