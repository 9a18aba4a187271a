"""Pictures of the panel before, during and after a run, with the views of the real result.

    python Testing/benchmarks/panel_screenshots.py [--ct SCAN] [--out FOLDER]

Made on the test harness (real MRML, real Qt widgets, the real worker), not in Slicer itself, whose
own style differs a little. Without ``--ct`` the synthetic chest is shown.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing"))

from isdmae import io  # noqa: E402
from isdmae.phantom import PhantomConfig, make_phantom  # noqa: E402
from panel_under_test import PanelUnderTest, add_ct  # noqa: E402
from slicer_harness import harness  # noqa: E402

log = logging.getLogger(__name__)
VIEW = (420, 330)


def main() -> None:
    """Drive the panel once and write the pictures."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "Resources" / "Screenshots")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    volume = io.read(options.ct).volume if options.ct else make_phantom(PhantomConfig()).ct
    harness.boot()
    with tempfile.TemporaryDirectory() as models:
        take(volume, options.out, models)


def take(volume: io.Volume, out: Path, models: str) -> None:
    """Before, during, after, and the two folded sections."""
    import qt

    from slicer_harness import screenshot, views

    qt.QSettings().setValue("ISDMAESegmentation/WorkerPython", sys.executable)
    qt.QSettings().setValue("ISDMAESegmentation/ModelsFolder", models)
    panel = PanelUnderTest(harness)
    ct = add_ct(volume, "Chest CT")
    panel.ui.volumeSelector.setCurrentNode(ct)
    panel.wait(lambda: "threads" in panel.ui.deviceLabel.text)

    def save(name: str, *, with_views: bool = True) -> None:
        path = out / f"{name}.png"
        shown = ct if with_views else None
        screenshot.save(panel.parent, path, volume=shown, view_size=VIEW)
        log.info("%s, at least %d px wide", path, screenshot.minimum_width_px(panel.parent))

    save("before")
    panel.ui.segmentButton.click()
    panel.wait(lambda: "left" in panel.ui.progressBar.format)
    save("during")
    panel.wait(lambda: not panel.running)
    panel.ui.show3DButton.checked = True
    save("after")
    panel.ui.reportButton.setChecked(True)
    save("report", with_views=False)
    panel.ui.segmentSection.collapsed = True
    panel.ui.batchSection.collapsed = False
    panel.ui.advancedSection.collapsed = False
    # The folders of the machine that made the picture are nobody's business.
    panel.ui.pythonEdit.currentPath = panel.ui.modelsEdit.currentPath = ""
    save("advanced", with_views=False)
    views.close()
    panel.panel.logic.stop()
    harness.unload(panel.widget)


if __name__ == "__main__":
    main()
