"""Every choice that is saved with the scene, typed."""

from __future__ import annotations

from typing import Annotated

from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLMarkupsROINode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
)
from slicer.parameterNodeWrapper import Decimals, SingleStep, WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class ParameterNode:
    """The panel's choices.

    Models, devices, recipes and runs are plain text with combo boxes filled by hand, since what
    there is to choose from differs from machine to machine, and a scene may name one that is absent
    here.
    """

    volume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    region: vtkMRMLMarkupsROINode
    points: vtkMRMLMarkupsFiducialNode
    model: str = "lungs"
    device: str = "auto"
    trachea: bool = False
    trainSource: str = "folder"
    trainFolder: str = ""
    trainTask: str = "pretrain"
    trainLabels: str = ""
    trainStart: str = ""
    trainName: str = ""
    trainSteps: Annotated[int, WithinRange(0, 1_000_000)] = 0
    trainDevice: str = "auto"
    trainRecipe: str = ""
    trainRecipeFile: str = ""
    maskPatch: Annotated[int, WithinRange(2, 128)] = 16
    maskSpatialRatio: Annotated[float, WithinRange(0.05, 0.95), SingleStep(0.05), Decimals(2)] = 0.6
    maskBins: Annotated[int, WithinRange(2, 64)] = 8
    maskIntensityRatio: Annotated[float, WithinRange(0.05, 0.95), SingleStep(0.05), Decimals(2)] = (
        0.5
    )
