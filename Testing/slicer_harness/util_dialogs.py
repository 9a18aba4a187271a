"""The dialogs of ``slicer.util``: recorded, and answered from the queue.

Unanswered they return what Slicer returns with --testing.
"""

from __future__ import annotations

import logging

import qt
import slicer

from . import recorded


def install() -> None:
    """Replace the functions that open a dialog, and only those."""
    for function in (
        infoDisplay, warningDisplay, errorDisplay, messageBox, delayDisplay,
        confirmOkCancelDisplay, confirmYesNoDisplay, confirmRetryCloseDisplay, showStatusMessage,
    ):  # fmt: skip
        setattr(slicer.util, function.__name__, function)


def infoDisplay(
    text: str,
    windowTitle: str | None = None,
    parent: object = None,
    standardButtons: object = None,
    **kwargs: object,
) -> None:
    """A piece of information."""
    logging.info(text)
    recorded.show("infoDisplay", text, None, windowTitle=windowTitle, **kwargs)


def warningDisplay(
    text: str,
    windowTitle: str | None = None,
    parent: object = None,
    standardButtons: object = None,
    **kwargs: object,
) -> None:
    """A warning."""
    logging.warning(text)
    recorded.show("warningDisplay", text, None, windowTitle=windowTitle, **kwargs)


def errorDisplay(
    text: str,
    windowTitle: str | None = None,
    parent: object = None,
    standardButtons: object = None,
    **kwargs: object,
) -> None:
    """An error."""
    logging.error(text)
    recorded.show("errorDisplay", text, None, windowTitle=windowTitle, **kwargs)


def messageBox(text: str, parent: object = None, **kwargs: object) -> object:
    """A message with buttons; Ok by default."""
    return recorded.show("messageBox", text, qt.QMessageBox.Ok, **kwargs)


def confirmOkCancelDisplay(
    text: str,
    windowTitle: str | None = None,
    parent: object = None,
    **kwargs: object,
) -> bool:
    """A question; declined by default, as with --testing."""
    return bool(
        recorded.show("confirmOkCancelDisplay", text, False, windowTitle=windowTitle, **kwargs)
    )


def confirmYesNoDisplay(
    text: str,
    windowTitle: str | None = None,
    parent: object = None,
    **kwargs: object,
) -> bool:
    """A question; declined by default, as with --testing."""
    return bool(
        recorded.show("confirmYesNoDisplay", text, False, windowTitle=windowTitle, **kwargs)
    )


def confirmRetryCloseDisplay(
    text: str,
    windowTitle: str | None = None,
    parent: object = None,
    **kwargs: object,
) -> bool:
    """A question; declined by default, as with --testing."""
    return bool(
        recorded.show("confirmRetryCloseDisplay", text, False, windowTitle=windowTitle, **kwargs)
    )


def delayDisplay(
    message: str,
    autoCloseMsec: int = 1000,
    parent: object = None,
    **kwargs: object,
) -> None:
    """A message that goes by itself; nothing waits here."""
    logging.info(message)
    slicer.app.processEvents()


def showStatusMessage(message: str, duration: int = 0) -> bool:
    """A line at the bottom of the main window."""
    recorded.shown.append(recorded.Shown("showStatusMessage", str(message)))
    window = slicer.util.mainWindow()
    window.statusBar().showMessage(message, duration)
    return True
