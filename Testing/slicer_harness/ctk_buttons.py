"""Stand-ins for CTK's buttons and boxes."""

from __future__ import annotations

import qt
from PySide6.QtCore import Property, Signal

from .stand_in import computed, stand_in, stored

_HEADER_HEIGHT = 24
_NO_MAXIMUM = 16777215


@stand_in
class ctkCollapsibleButton(qt.QWidget):
    """A titled section that folds its children away."""

    clicked = Signal(bool)
    toggled = Signal(bool)
    contentsCollapsed = Signal(bool)

    def __init__(self, title: object = None, parent: qt.QWidget | None = None) -> None:
        super().__init__(title if isinstance(title, qt.QWidget) else parent)
        self._header = qt.QToolButton(self)
        self._header.checkable = self._header.checked = True
        self._header.setToolButtonStyle(qt.Qt.ToolButtonTextBesideIcon)
        self._header.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
        self._header.clicked.connect(self.clicked.emit)
        self._header.toggled.connect(self._fold)
        self.setContentsMargins(4, _HEADER_HEIGHT + 2, 4, 2)
        if isinstance(title, str):
            self._header.text = title
        self._show_children(True)

    def _fold(self, is_open: bool) -> None:
        self._show_children(is_open)
        self.toggled.emit(is_open)
        self.contentsCollapsed.emit(not is_open)

    def _show_children(self, is_open: bool) -> None:
        self._header.setArrowType(qt.Qt.DownArrow if is_open else qt.Qt.RightArrow)
        self.maximumHeight = _NO_MAXIMUM if is_open else _HEADER_HEIGHT + 2
        for child in self.children():
            if isinstance(child, qt.QWidget) and child is not self._header:
                if is_open and child.property("_folded_away"):
                    child.setVisible(True)
                elif not is_open and not child.isHidden():
                    child.setVisible(False)
                    child.setProperty("_folded_away", True)

    def resizeEvent(self, event: qt.QResizeEvent) -> None:
        """Keep the header as wide as the section."""
        self._header.setGeometry(0, 0, self.width, _HEADER_HEIGHT)

    def showEvent(self, event: qt.QShowEvent) -> None:
        """Children that were added later fold too."""
        self._show_children(self._header.checked)

    def click(self) -> None:
        """Fold or unfold, as a click on the header does."""
        self._header.click()

    def setChecked(self, on: bool) -> None:
        """Unfold or fold."""
        self._header.checked = on

    def isChecked(self) -> bool:
        """Whether the section is open."""
        return self._header.checked

    def setText(self, text: str) -> None:
        """Set the title."""
        self._header.text = text

    def setCollapsed(self, collapsed: bool) -> None:
        """Fold or unfold."""
        self._header.checked = not collapsed

    text = computed(str, lambda self: self._header.text, setText)
    checked = computed(bool, isChecked, setChecked)
    collapsed = computed(bool, lambda self: not self._header.checked, setCollapsed)
    checkable = stored(bool, True)
    collapsedHeight = stored(int, 0)
    contentsFrameShape = stored(int, 0)
    contentsLineWidth = stored(int, 1)
    flat = stored(bool, False)
    buttonTextAlignment = stored(int, 0)


@stand_in
class ctkCollapsibleGroupBox(qt.QGroupBox):
    """A checkable group box that folds when it is unchecked."""

    def __init__(self, title: object = None, parent: qt.QWidget | None = None) -> None:
        super().__init__(title if isinstance(title, qt.QWidget) else parent)
        if isinstance(title, str):
            self.title = title
        self.checkable = True
        self.toggled.connect(self._fold)

    def _fold(self, is_open: bool) -> None:
        self.maximumHeight = _NO_MAXIMUM if is_open else _HEADER_HEIGHT
        for child in self.children():
            if isinstance(child, qt.QWidget):
                child.setVisible(is_open)

    def setCollapsed(self, collapsed: bool) -> None:
        """Fold or unfold."""
        self.checked = not collapsed

    collapsed = Property(bool, lambda self: not self.checked, setCollapsed)
    collapsedHeight = stored(int, 14)


@stand_in
class ctkCheckBox(qt.QCheckBox):
    """A check box."""


@stand_in
class ctkPushButton(qt.QPushButton):
    """A push button."""


@stand_in
class ctkCheckablePushButton(ctkPushButton):
    """A push button with a check box."""


@stand_in
class ctkMenuButton(qt.QPushButton):
    """A push button with a menu beside it."""


@stand_in
class ctkColorPickerButton(qt.QPushButton):
    """A button that shows a colour; its dialog is never opened."""

    colorChanged = Signal(qt.QColor)

    def setColor(self, color: qt.QColor) -> None:
        """Show a colour."""
        color = qt.QColor(color)
        if color != self._chosen:
            self.__dict__["_color"] = color
            self.colorChanged.emit(color)

    @property
    def _chosen(self) -> qt.QColor:
        return self.__dict__.get("_color", qt.QColor("black"))

    color = computed(qt.QColor, lambda self: self._chosen, setColor)
    displayColorName = stored(bool, True)
    dialogOptions = stored(int, 0)
