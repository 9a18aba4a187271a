"""Pictures of the panel: a segmentation with its result in the views, points, and a pre-training.

    python Testing/benchmarks/panel_screenshots.py [--ct SCAN] [--out FOLDER]

Made on the test harness (real MRML, real Qt widgets, the real worker), not in Slicer itself, whose
own style differs a little. Without ``--ct`` it is the synthetic chest, with points in its nodules.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing"))

from isdmae import io  # noqa: E402
from isdmae.labels import NODULE  # noqa: E402
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
    phantom = make_phantom(PhantomConfig())
    volume = io.read(options.ct).volume if options.ct else phantom.ct
    nodules = [] if options.ct else middles_ras(phantom.lesions, NODULE.value)
    harness.boot()
    with tempfile.TemporaryDirectory() as folder:
        take(volume, nodules, options.out, Path(folder))


def middles_ras(labels: io.Volume, value: int) -> list[np.ndarray]:
    """Return where in the scene each part of one label has its middle."""
    parts, count = ndimage.label(labels.array == value)
    middles = ndimage.center_of_mass(parts > 0, parts, range(1, count + 1))
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ labels.affine
    return [(to_ras @ (i, j, k, 1.0))[:3] for k, j, i in middles]


def take(volume: io.Volume, nodules: list[np.ndarray], out: Path, folder: Path) -> None:
    """Before, during, after, points, the folded sections, and a training."""
    import qt

    from slicer_harness import screenshot, views

    qt.QSettings().setValue("ISDMAESegmentation/WorkerPython", sys.executable)
    qt.QSettings().setValue("ISDMAESegmentation/ModelsFolder", str(folder / "models"))
    panel = PanelUnderTest(harness)
    ct = add_ct(volume, "Chest CT")
    panel.ui.volumeSelector.setCurrentNode(ct)
    panel.wait(lambda: "Processor" in panel.ui.deviceLabel.text)

    def save(name: str, *, with_views: bool = False, at_ras: np.ndarray | None = None) -> None:
        path = out / f"{name}.png"
        shown = ct if with_views else None
        screenshot.save(panel.parent, path, volume=shown, view_size=VIEW, at_ras=at_ras)
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
    panel.ui.reportButton.setChecked(False)
    if nodules:
        take_points(panel, nodules, save)
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


def take_points(
    panel: PanelUnderTest, nodules: list[np.ndarray], save: Callable[..., None]
) -> None:
    """A model of points: before any is placed, and its result."""
    import slicer
    import vtk

    ui = panel.ui
    lungs = ui.segmentationSelector.currentNode().GetDisplayNode()
    lungs.SetAllSegmentsOpacity3D(0.2)
    lungs.SetAllSegmentsVisibility2DFill(False)
    ui.segmentationSelector.setCurrentNode(None)
    ui.modelCombo.setCurrentIndex(ui.modelCombo.findData("nodule"))
    save("points-before")
    ui.placeButton.click()
    for place in nodules:
        ui.pointsSelector.currentNode().AddControlPointWorld(vtk.vtkVector3d(*place))
    slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()
    ui.segmentButton.click()
    panel.wait(lambda: not panel.running)
    ui.show3DButton.checked = True
    save("points-after", with_views=True, at_ras=nodules[0])
    ui.suggestButton.click()
    panel.wait(lambda: not panel.running)
    save("points-suggested", with_views=True, at_ras=nodules[0])
    ui.modelCombo.setCurrentIndex(ui.modelCombo.findData("lungs"))


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
