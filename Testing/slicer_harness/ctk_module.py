"""The module ``ctk``: stand-ins for the widgets of the Common Toolkit."""

from __future__ import annotations

import sys
from types import ModuleType

import qt

from . import ctk_buttons, ctk_inputs, ctk_paths, recorded
from .stand_in import stand_in


@stand_in
class ctkMessageBox(qt.QMessageBox):
    """A message box with a "don't show again" box; never shown."""

    dontShowAgainSettingsKey = ""


@stand_in
class ctkFittedTextBrowser(qt.QTextBrowser):
    """A text browser as high as its text."""


def install() -> ModuleType:
    """Create ``ctk`` and put it into sys.modules."""
    module = ModuleType("ctk", "Stand-ins for CTK.")
    own = [ctkMessageBox, ctkFittedTextBrowser]
    for source in (ctk_buttons, ctk_inputs, ctk_paths):
        own += [kind for name, kind in vars(source).items() if name.startswith("ctk")]
    for kind in own:
        setattr(module, kind.__name__, kind)
    ctkMessageBox.exec_ = lambda self: recorded.show("ctkMessageBox", self.text, 0)
    sys.modules["ctk"] = module
    return module
