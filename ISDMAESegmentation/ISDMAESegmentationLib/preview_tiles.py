"""What pre-training sees and draws: five small pictures with a word below each."""

from __future__ import annotations

from pathlib import Path

import qt
from slicer.i18n import tr as _

SIDE_PX = 100


class PreviewTiles:
    """Shows the strip that a run writes, cut into its five pictures."""

    def __init__(self, area: qt.QWidget) -> None:
        self._area = area
        self._tiles: list[qt.QLabel] = []
        grid = area.layout()
        # Each reconstruction lies below the picture that it was made from.
        places = (
            (0, 0, _("original")),
            (0, 1, _("blocks hidden")),
            (0, 2, _("intensities hidden")),
            (1, 1, _("drawn from it")),
            (1, 2, _("drawn from it")),
        )
        for row, column, caption in places:
            tile, words = qt.QLabel(), qt.QLabel(caption)
            tile.setFixedSize(SIDE_PX, SIDE_PX)
            grid.addWidget(tile, 2 * row, column)
            grid.addWidget(words, 2 * row + 1, column)
            self._tiles.append(tile)
        legend = qt.QLabel(_("Above: what the network sees. Below: what it draws."))
        legend.setWordWrap(True)
        grid.addWidget(legend, 2, 0)
        area.setVisible(False)

    @property
    def shown(self) -> bool:
        """Whether there are pictures."""
        return not self._area.isHidden()

    def clear(self) -> None:
        """Forget the pictures of the former run."""
        self._area.setVisible(False)

    def show(self, path: Path) -> None:
        """Read the strip at ``path``; one that cannot be read, or has other parts, is left out."""
        picture = qt.QImage()
        try:
            known = picture.loadFromData(path.read_bytes())
        except OSError:
            return
        side = picture.height()
        if not known or picture.width() != len(self._tiles) * side:
            return
        for number, tile in enumerate(self._tiles):
            part = qt.QPixmap.fromImage(picture.copy(number * side, 0, side, side))
            tile.setPixmap(part.scaled(SIDE_PX, SIDE_PX))
        self._area.setVisible(True)
