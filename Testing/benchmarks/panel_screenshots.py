"""Pictures of the panel: a segmentation with its result in the views, and a pre-training.

    python Testing/benchmarks/panel_screenshots.py [--ct SCAN] [--out FOLDER]

Made on the test harness (real MRML, real Qt widgets, the real worker), not in Slicer itself, whose
own style differs a little. Without ``--ct`` the synthetic chest is shown.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing"))

from isdmae import io  # noqa: E402
from isdmae.phantom import PhantomConfig, make_phantom  # noqa: E402
from panel_under_test import PanelUnderTest, add_ct  # noqa: E402
from slicer_harness import harness  # noqa: E402

log = logging.getLogger(__name__)
VIEW = (420, 330)
STEPS = 300
# Smaller pictures and batches than the published recipe, so that a picture takes a minute.
RECIPE = "data: {size: 160}\nloop: {batch: 4, workers: 0, warm_up: 20, learning_rate: 0.002}\n"


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
    with tempfile.TemporaryDirectory() as folder:
        take(volume, options.out, Path(folder))


def take(volume: io.Volume, out: Path, folder: Path) -> None:
    """Before, during, after, the folded sections, and a training."""
    import qt

    from slicer_harness import screenshot, views

    qt.QSettings().setValue("ISDMAESegmentation/WorkerPython", sys.executable)
    qt.QSettings().setValue("ISDMAESegmentation/ModelsFolder", str(folder / "models"))
    panel = PanelUnderTest(harness)
    ct = add_ct(volume, "Chest CT")
    panel.ui.volumeSelector.setCurrentNode(ct)
    panel.wait(lambda: "threads" in panel.ui.deviceLabel.text)

    def save(name: str, *, with_views: bool = False) -> None:
        path = out / f"{name}.png"
        shown = ct if with_views else None
        screenshot.save(panel.parent, path, volume=shown, view_size=VIEW)
        log.info("%s, at least %d px wide", path, screenshot.minimum_width_px(panel.parent))

    save("before", with_views=True)
    panel.ui.segmentButton.click()
    panel.wait(lambda: "left" in panel.ui.progressBar.format)
    save("during", with_views=True)
    panel.wait(lambda: not panel.running)
    panel.ui.show3DButton.checked = True
    save("after", with_views=True)
    panel.ui.reportButton.setChecked(True)
    save("report")
    panel.ui.segmentSection.collapsed = True
    panel.ui.trainSection.collapsed = False
    take_training(panel, folder, save)
    panel.ui.trainSection.collapsed = True
    panel.ui.batchSection.collapsed = False
    panel.ui.advancedSection.collapsed = False
    # The folders of the machine that made the picture are nobody's business.
    panel.ui.pythonEdit.currentPath = panel.ui.modelsEdit.currentPath = ""
    save("advanced")
    views.close()
    panel.panel.logic.stop()
    harness.unload(panel.widget)


def take_training(panel: PanelUnderTest, folder: Path, save: Callable[[str], None]) -> None:
    """The choices unfolded, a pre-training on its way, and what fine-tuning asks for."""
    ui = panel.ui
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    ui.trainSourceCombo.setCurrentIndex(ui.trainSourceCombo.findData("scene"))
    ui.trainRunsEdit.currentPath = ""
    ui.trainMoreBox.collapsed = False
    save("train-choices")
    ui.trainMoreBox.collapsed = True
    ui.trainRunsEdit.currentPath = str(folder / "runs")
    ui.trainRecipeEdit.currentPath = str(recipe)
    ui.trainStepsSpin.value = STEPS
    ui.trainStartButton.click()
    panel.wait(lambda: f"Step {STEPS * 2 // 3}" in ui.trainProgressBar.format, 600)
    save("train")
    panel.wait(lambda: not panel.panel.training.running, 600)
    ui.trainTaskCombo.setCurrentIndex(ui.trainTaskCombo.findData("finetune"))
    save("train-finetune")


if __name__ == "__main__":
    main()
