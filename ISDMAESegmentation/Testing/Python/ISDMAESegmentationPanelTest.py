"""The panel in the real application: click, wait, look; cancel; scene closed in mid-run.

Run by ctest, or by hand::

    Slicer --testing --no-main-window --additional-module-paths ABSOLUTE/ISDMAESegmentation \\
      --python-code "import slicer.testing; slicer.testing.runUnitTest(
        ['ABSOLUTE/ISDMAESegmentation/Testing/Python'], 'ISDMAESegmentationPanelTest')"

The worker's Python is the one named in the environment variable ISDMAE_PYTHON (Slicer's own
without it), since a test asks nobody whether it may install PyTorch.
"""

from __future__ import annotations

import os
import time
import unittest

import slicer

LONGEST_S = 300


class ISDMAESegmentationPanelTest(unittest.TestCase):
    """Drives the widget as a user would."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        from ISDMAESegmentationLib.worker_command import name_python

        name_python(os.environ.get("ISDMAE_PYTHON", ""))
        self.widget = slicer.modules.isdmaesegmentation.widgetRepresentation().self()
        self.panel = self.widget.panel
        self.panel.advanced.check()
        self.wait(lambda: self.panel.advanced.environment is not None)
        failure = self.panel.advanced.environment.failure
        if failure is not None and failure.code == "packages-missing":
            self.skipTest(str(failure))
        self.assertIsNone(failure)
        # Without a main window there is no module selector, and nobody calls enter() and exit().
        self.shown = slicer.util.mainWindow() is not None
        if self.shown:
            slicer.util.selectModule("ISDMAESegmentation")
        else:
            self.widget.enter()

    def tearDown(self) -> None:
        self.panel.logic.stop()
        if not self.shown:
            self.widget.exit()
        slicer.mrmlScene.Clear()

    def wait(self, condition) -> None:
        end = time.monotonic() + LONGEST_S
        while not condition():
            self.assertLess(time.monotonic(), end, "nothing happened")
            slicer.app.processEvents()
            time.sleep(0.01)

    def sample(self):
        from ISDMAESegmentationLib.sample_data import make_synthetic_chest

        ct = make_synthetic_chest()
        self.widget.ui.volumeSelector.setCurrentNode(ct)
        self.assertTrue(self.widget.ui.segmentButton.enabled)
        return ct

    def test_click_gives_segments(self) -> None:
        self.sample()
        self.widget.ui.segmentButton.click()
        self.wait(lambda: not self.panel.segment.running)
        node = self.widget.ui.segmentationSelector.currentNode()
        self.assertIsNotNone(node, self.widget.ui.statusLabel.text)
        self.assertEqual(node.GetSegmentation().GetNumberOfSegments(), 2)
        self.assertEqual(self.widget.ui.resultTable.rowCount, 2)

    def test_cancel_leaves_the_scene_alone(self) -> None:
        self.sample()
        nodes = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
        self.widget.ui.segmentButton.click()
        begun = time.monotonic()
        self.wait(lambda: time.monotonic() - begun > 1)  # the second of a double click is ignored
        self.widget.ui.segmentButton.click()
        begun = time.monotonic()
        self.wait(lambda: not self.panel.segment.running)
        self.assertLess(time.monotonic() - begun, 3)
        after = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
        self.assertEqual(nodes, after)

    def test_closing_the_scene_ends_the_run(self) -> None:
        self.sample()
        self.widget.ui.segmentButton.click()
        slicer.mrmlScene.Clear()
        self.assertFalse(self.panel.segment.running)
        self.assertFalse(self.panel.logic.client.running)


if __name__ == "__main__":
    unittest.main()
