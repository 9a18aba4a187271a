"""One picture of a panel beside the views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import qt

from . import harness, views

PANEL_WIDTH_PX = 390
"""The width of the module column in a small Slicer window."""


def panel_picture(
    panel: qt.QWidget, *, width_px: int = PANEL_WIDTH_PX, height_px: int | None = None
) -> np.ndarray:
    """Draw a panel at a given width.

    Parameters
    ----------
    panel : QWidget
        ``widget.parent``.
    width_px : int
        As wide as the module column is.
    height_px : int, optional
        As high as the panel wants to be by default.

    Returns
    -------
    ndarray, (height, width, 3), uint8
        Wider than ``width_px`` where the panel does not fit: compare with ``minimum_width_px``.
    """
    panel.resize(width_px, height_px or 10)
    panel.show()
    harness.spin(0)
    wanted = height_px or max(panel.layout().heightForWidth(width_px), panel.sizeHint.height())
    width = max(width_px, minimum_width_px(panel))
    # Twice: Qt's forms keep the height of wrapped text that was squeezed once, until they are
    # given another width.
    for one in (width + 1, width):
        panel.resize(one, wanted)
        harness.spin(0.05)
    image = panel.grab().toImage().convertToFormat(qt.QImage.Format_RGB888)
    return to_array(image)


def minimum_width_px(panel: qt.QWidget) -> int:
    """The width below which the panel would be cut off."""
    return panel.minimumSizeHint.width()


def to_array(image: qt.QImage) -> np.ndarray:
    """A picture of Qt as (height, width, 3), uint8."""
    width, height = image.width(), image.height()
    lines = np.frombuffer(image.constBits(), np.uint8).reshape(height, image.bytesPerLine())
    return lines[:, : 3 * width].reshape(height, width, 3).copy()


def beside(left: np.ndarray, right: np.ndarray, *, background: int = 239) -> np.ndarray:
    """Two pictures side by side, the lower one filled up."""
    height = max(left.shape[0], right.shape[0])
    filled = []
    for picture in (left, right):
        missing = height - picture.shape[0]
        filled.append(np.pad(picture, ((0, missing), (0, 0), (0, 0)), constant_values=background))
    return np.hstack(filled)


def save(
    panel: qt.QWidget,
    path: str | Path,
    *,
    volume: object = None,
    width_px: int = PANEL_WIDTH_PX,
    height_px: int | None = None,
    view_size: tuple[int, int] = (400, 400),
    at_ras: tuple[float, float, float] | None = None,
) -> np.ndarray:
    """Write the panel, beside the four views of a volume where one is given, as PNG.

    >>> screenshot.save(widget.parent, "before.png", volume=ct)       # doctest: +SKIP
    """
    picture = panel_picture(panel, width_px=width_px, height_px=height_px)
    if volume is not None:
        picture = beside(picture, views.four_up(volume, size=view_size, at_ras=at_ras))
    views.save_png(picture, path)
    return picture
