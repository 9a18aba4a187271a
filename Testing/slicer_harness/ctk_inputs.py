"""Stand-ins for CTK's sliders, spin boxes and combo boxes."""

from __future__ import annotations

import qt
from PySide6.QtCore import Signal

from .stand_in import computed, stand_in, stored


def _forward(name: str, kind: type) -> object:
    """A property of the inner spin box."""

    def read(self: qt.QWidget) -> object:
        return getattr(self._box, name)

    def write(self: qt.QWidget, value: object) -> None:
        setattr(self._box, name, value)

    return computed(kind, read, write)


@stand_in
class ctkComboBox(qt.QComboBox):
    """A combo box with a text for "nothing chosen"."""

    defaultText = stored(str, "")
    defaultIcon = stored(qt.QIcon, qt.QIcon())
    elideMode = stored(int, 0)


@stand_in
class ctkSearchBox(qt.QLineEdit):
    """A line edit with a magnifying glass."""

    showSearchIcon = stored(bool, True)
    alwaysShowClearIcon = stored(bool, False)


@stand_in
class ctkDoubleSpinBox(qt.QWidget):
    """A spin box that can show more decimals than it was given."""

    valueChanged = Signal(float)
    decimalsChanged = Signal(int)
    editingFinished = Signal()

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._box = qt.QDoubleSpinBox()
        layout.addWidget(self._box)
        self._box.valueChanged.connect(self.valueChanged.emit)
        self._box.editingFinished.connect(self.editingFinished.emit)

    def setValue(self, value: float) -> None:
        """Set the value, within the range."""
        self._box.value = value

    def setRange(self, minimum: float, maximum: float) -> None:
        """Set both ends."""
        self._box.setRange(minimum, maximum)

    value = _forward("value", float)
    minimum = _forward("minimum", float)
    maximum = _forward("maximum", float)
    singleStep = _forward("singleStep", float)
    decimals = _forward("decimals", int)
    suffix = _forward("suffix", str)
    prefix = _forward("prefix", str)


@stand_in
class ctkSliderWidget(qt.QWidget):
    """A slider with a spin box; the value set by code is kept exactly."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._value, self._low, self._high, self._step = 0.0, 0.0, 99.0, 1.0
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider, self._box = qt.QSlider(qt.Qt.Horizontal), qt.QDoubleSpinBox()
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._slider.valueChanged.connect(lambda n: self.setValue(self._low + n * self._step))
        self._box.valueChanged.connect(self.setValue)
        self._show()

    def setValue(self, value: float) -> None:
        """Set the value, within the range."""
        value = min(max(float(value), self._low), self._high)
        if value != self._value:
            self._value = value
            self._show()
            self.valueChanged.emit(value)

    def setMinimum(self, value: float) -> None:
        """Set the lower end."""
        self._low = float(value)
        self._fit()

    def setMaximum(self, value: float) -> None:
        """Set the upper end."""
        self._high = float(value)
        self._fit()

    def setRange(self, minimum: float, maximum: float) -> None:
        """Set both ends."""
        self._low, self._high = float(minimum), float(maximum)
        self._fit()

    def setSingleStep(self, step: float) -> None:
        """Set the step of the slider: 1 unless told, too coarse for a range of 0 to 1."""
        self._step = float(step)
        self._show()

    def _fit(self) -> None:
        self._show()
        self.setValue(self._value)

    def _show(self) -> None:
        for widget in (self._slider, self._box):
            widget.blockSignals(True)
        self._slider.setRange(0, round((self._high - self._low) / self._step))
        self._slider.value = round((self._value - self._low) / self._step)
        self._box.setRange(self._low, self._high)
        self._box.singleStep = self._step
        self._box.value = self._value
        for widget in (self._slider, self._box):
            widget.blockSignals(False)

    value = computed(float, lambda self: self._value, setValue)
    minimum = computed(float, lambda self: self._low, setMinimum)
    maximum = computed(float, lambda self: self._high, setMaximum)
    singleStep = computed(float, lambda self: self._step, setSingleStep)
    decimals = _forward("decimals", int)
    suffix = _forward("suffix", str)
    prefix = _forward("prefix", str)
    pageStep = stored(float, 10.0)
    tickInterval = stored(float, 0.0)
    tracking = stored(bool, True)
    spinBoxVisible = stored(bool, True)


@stand_in
class ctkDoubleSlider(ctkSliderWidget):
    """A slider for decimal numbers."""


@stand_in
class ctkRangeWidget(qt.QWidget):
    """Two ends of a range."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)

    minimum = stored(float, 0.0)
    maximum = stored(float, 99.0)
    singleStep = stored(float, 1.0)
    decimals = stored(int, 2)
    suffix = stored(str, "")
    minimumValue = stored(float, 0.0, "_tell")
    maximumValue = stored(float, 99.0, "_tell")

    def setValues(self, low: float, high: float) -> None:
        """Set both values."""
        self.minimumValue, self.maximumValue = low, high

    def setRange(self, low: float, high: float) -> None:
        """Set the limits of both values."""
        self.minimum, self.maximum = low, high

    def _tell(self) -> None:
        self.valuesChanged.emit(self.minimumValue, self.maximumValue)
