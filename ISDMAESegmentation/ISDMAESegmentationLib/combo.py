"""A combo box that is filled by hand from what this machine has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import qt
from slicer.i18n import tr as _


@dataclass(frozen=True)
class Entry:
    """One choice: its value, the text shown, and why it cannot be chosen ("" where it can)."""

    value: str
    text: str
    why_not: str = ""


class ValueCombo:
    """Shows entries and speaks of their values."""

    def __init__(self, combo: qt.QComboBox, chosen: Callable[[str], None]) -> None:
        self._combo, self._chosen = combo, chosen
        self._filled: tuple[tuple[Entry, ...], str] | None = None
        combo.connect("currentIndexChanged(int)", self._on_index)

    @property
    def value(self) -> str:
        """The chosen value, or an empty text."""
        data = self._combo.currentData
        return "" if data is None else str(data)

    def fill(self, entries: Sequence[Entry], value: str) -> None:
        """Offer ``entries`` and choose ``value``; one that is absent is shown as such."""
        if value and value not in [entry.value for entry in entries]:
            entries = [*entries, Entry(value, f"{value} (?)", _("It is not on this machine."))]
        if (tuple(entries), value) == self._filled and self.value == value:
            return  # it may be open
        self._filled = (tuple(entries), value)
        self._combo.blockSignals(True)
        self._combo.clear()
        for row, entry in enumerate(entries):
            self._combo.addItem(entry.text, entry.value)
            if entry.why_not:
                self._combo.setItemData(row, entry.why_not, qt.Qt.ToolTipRole)
                self._combo.model().item(row).setEnabled(False)
        self._combo.setCurrentIndex(self._combo.findData(value))
        self._combo.blockSignals(False)

    def _on_index(self, _index: int) -> None:
        self._chosen(self.value)
