"""The panel: builds the sections and binds them to the parameter node. Wiring only."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

from .advanced_panel import AdvancedPanel
from .batch_panel import BatchPanel
from .environment_check import Environment
from .install import install_training_packages
from .parameter_node import ParameterNode
from .scene_volume import scene_cts
from .segment_panel import SegmentPanel
from .segmentation_logic import SegmentationLogic
from .training_panel import TrainingPanel
from .worker_command import named_python

REFRESH_MS = 200


class Panel(VTKObservationMixin):
    """Everything below the module's title.

    Parameters
    ----------
    ui : object
        The widgets of ISDMAESegmentation.ui by name.
    parameters_of_scene : callable
        Returns the scene's ``ParameterNode``. It is asked once a scene: what observes it cannot
        all be disconnected again.
    """

    def __init__(self, ui: Any, parameters_of_scene: Any) -> None:
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self._parameters_of_scene = parameters_of_scene
        self._bound: ParameterNode | None = None
        self._gui_tag: Any = None
        self._asked = False
        self._refreshing = False
        self.logic = SegmentationLogic(self._on_worker_changed)
        self.segment = SegmentPanel(ui, self.logic, self._make_ready)
        self.batch = BatchPanel(ui, self.logic, self._make_ready)
        self.training = TrainingPanel(ui, self._make_ready_to_train, self._on_models)
        self.advanced = AdvancedPanel(
            ui, self.logic, self.training.client, self._on_environment, self._on_models
        )
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_start_close)
        self.addObserver(scene, scene.EndCloseEvent, self._on_scene_end_close)
        self.addObserver(scene, scene.EndImportEvent, self._on_scene_end_import)
        self.addObserver(scene, scene.NodeAddedEvent, self._on_scene_nodes)
        self.addObserver(scene, scene.NodeRemovedEvent, self._on_scene_nodes)
        self._entered = False

    def enter(self) -> None:
        """The module is shown: bind to the scene, look once at the worker's Python."""
        self._entered = True
        self.bind()
        self.segment.enter()
        if not self._asked:
            self._asked = True
            self.advanced.check()

    def leave(self) -> None:
        """Another module is shown; a run goes on and its result is waiting at the return."""
        self._entered = False
        self.segment.leave()

    def close(self) -> None:
        """The panel goes away: nothing of ours lives on."""
        self._set_parameters(None)
        self.removeObservers()
        self.segment.close()
        self.batch.close()
        self.training.close()
        self.advanced.close()
        self.logic.close()

    def bind(self) -> None:
        """Bind to the scene's parameter node and propose the first CT where none is chosen."""
        if self._bound is not None:
            self._propose_ct(self._bound)
        else:
            self._bind_anew()

    def _bind_anew(self) -> None:
        parameters = self._parameters_of_scene()
        self._propose_ct(parameters)
        self._set_parameters(parameters)

    @staticmethod
    def _propose_ct(parameters: ParameterNode) -> None:
        if parameters.volume is None:
            cts = scene_cts()
            if cts:
                parameters.volume = cts[0]

    def _set_parameters(self, parameters: ParameterNode | None) -> None:
        self._unbind()
        if parameters is not None:
            self._bound = parameters
            # Not connectGui: in some versions of Slicer it returns no tag to disconnect by.
            self._gui_tag = parameters.connectParametersToGui(
                {
                    "volume": self.ui.volumeSelector,
                    "segmentation": self.ui.segmentationSelector,
                    "region": self.ui.regionSelector,
                    "points": self.ui.pointsSelector,
                    "trachea": self.ui.tracheaBox,
                    "trainLabels": self.ui.trainLabelsEdit,
                    "trainName": self.ui.trainNameEdit,
                    "trainSteps": self.ui.trainStepsSpin,
                    "maskPatch": self.ui.maskPatchSpin,
                    "maskSpatialRatio": self.ui.maskSpatialSlider,
                    "maskBins": self.ui.maskBinsSpin,
                    "maskIntensityRatio": self.ui.maskIntensitySlider,
                }
            )
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._on_parameters_changed)
        for section in (self.segment, self.batch, self.training, self.advanced):
            section.set_parameters(parameters)

    def _unbind(self) -> None:
        bound, self._bound = self._bound, None
        if bound is not None:
            bound.disconnectGui(self._gui_tag)
            self.removeObserver(bound, vtk.vtkCommand.ModifiedEvent, self._on_parameters_changed)

    def _on_parameters_changed(self, _caller: object = None, _event: object = None) -> None:
        self.segment.refresh()
        self.batch.refresh()
        self.training.refresh()
        self.advanced.refresh()

    def _on_scene_start_close(self, _caller: object, _event: str) -> None:
        self._set_parameters(None)

    def _on_scene_end_close(self, _caller: object, _event: str) -> None:
        if self._entered:
            self.bind()

    def _on_scene_end_import(self, _caller: object, _event: str) -> None:
        # The wrapper does not see nodes that came with the scene: a new one does. Nothing has gone,
        # so what the sections do goes on.
        if self._bound is not None:
            self._bind_anew()

    def _on_scene_nodes(self, _caller: object, _event: str) -> None:
        # Many nodes may come at once, with a scene or a DICOM study.
        if self._bound is not None and not self._refreshing:
            self._refreshing = True
            qt.QTimer.singleShot(REFRESH_MS, self._refresh_training)

    def _refresh_training(self) -> None:
        self._refreshing = False
        if self._bound is not None:
            self.training.refresh()

    def _on_worker_changed(self) -> None:
        # The sections are made after the logic.
        for name in ("segment", "batch", "advanced"):
            section = getattr(self, name, None)
            if section is not None:
                section.refresh()

    def _on_environment(self, environment: Environment | None) -> None:
        self.segment.set_environment(environment)
        self.training.set_environment(environment)

    def _on_models(self) -> None:
        self.segment.refresh()

    def _make_ready(self) -> None:
        self.advanced.make_ready()

    def _make_ready_to_train(self) -> None:
        self.advanced.make_ready()
        if not named_python():
            install_training_packages()
