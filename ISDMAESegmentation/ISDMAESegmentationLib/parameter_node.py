"""Every choice that is saved with the scene, typed."""

from __future__ import annotations

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import parameterNodeWrapper


@parameterNodeWrapper
class ParameterNode:
    """The panel's choices.

    ``model`` and ``device`` are plain text with combo boxes filled by hand, since what there is to
    choose from differs from machine to machine, and a scene may name a model that is absent here.
    """

    volume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    region: vtkMRMLMarkupsROINode
    model: str = "lungs"
    device: str = "auto"
