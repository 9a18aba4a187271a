"""From the scene to the worker: the CT as a file, region of interest and points as numbers.

Slicer's world is RAS, ours is LPS; the functions here are the only place where that matters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from .failure import refuse

RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def check_volume(volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
    """Refuse what cannot be segmented before anything is started.

    Raises
    ------
    SegmentationError
        ``no-volume``, ``empty-volume``, ``colour-image`` or ``non-linear-transform``.
    """
    if volume is None:
        raise refuse("no-volume", _("No CT is chosen."), _("Load a chest CT and choose it."))
    image = volume.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise refuse(
            "empty-volume",
            _("'{name}' holds no voxels.").format(name=volume.GetName()),
            _("Load the CT again, or choose another one."),
        )
    if image.GetNumberOfScalarComponents() != 1:
        raise refuse(
            "colour-image",
            _("'{name}' is a colour image, not a CT.").format(name=volume.GetName()),
            _("Choose the CT itself."),
        )
    transform = volume.GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        raise refuse(
            "non-linear-transform",
            _("'{name}' lies under a non-linear transform.").format(name=volume.GetName()),
            _("Harden the transform on the CT (Transforms module), or take it out of it."),
        )


def scene_cts() -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Return the scene's volumes that can be CTs: label maps, colour images and hidden are not."""
    return [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()
    ]


def write_volume(volume: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """Write the CT as uncompressed NRRD in its own space, without touching the node.

    ``slicer.util.saveNode`` would leave a storage node on the user's CT that points to our file.

    Raises
    ------
    SegmentationError
        ``not-written`` where the disk does not take it.
    """
    storage = slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(0)
    if not storage.WriteData(volume):
        raise refuse(
            "not-written",
            _("The CT could not be handed to the worker: writing to {folder} failed.").format(
                folder=path.parent
            ),
            _("Free some disk space, or choose another temporary folder in Slicer's settings."),
        )


def ijk_to_ras(volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return the 4 x 4 matrix of the node itself, without its parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def surround(volume: slicer.vtkMRMLScalarVolumeNode, roi: slicer.vtkMRMLMarkupsROINode) -> None:
    """Make a new region as large as the CT, for the user to shrink by its handles."""
    roi.CreateDefaultDisplayNodes()
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    low, high = bounds[0::2], bounds[1::2]
    roi.SetCenterWorld((low + high) / 2)
    roi.SetSize(high - low)


def region_of_interest(
    roi: slicer.vtkMRMLMarkupsROINode, volume: slicer.vtkMRMLScalarVolumeNode
) -> dict[str, Any]:
    """Return the fields of `isdmae.region.Region`, in the space of the written file.

    Raises
    ------
    SegmentationError
        ``empty-region`` where the region has not been drawn, ``sheared-region`` where it is no
        box in that space.
    """
    size, centre = np.zeros(3), np.zeros(3)
    roi.GetSizeWorld(size)
    roi.GetCenterWorld(centre)
    if roi.GetNumberOfControlPoints() == 0 or not np.all(size > 0):
        raise refuse(
            "empty-region",
            _("The region of interest has not been drawn yet."),
            _("Choose 'Create new' in its field: a box round the CT, to shrink by its handles."),
        )
    to_local = np.linalg.inv(_parent_to_world(volume))
    world_axes = slicer.util.arrayFromVTKMatrix(roi.GetObjectToWorldMatrix())[:3, :3]
    edges = to_local[:3, :3] @ (world_axes / np.linalg.norm(world_axes, axis=0) * size)
    lengths = np.linalg.norm(edges, axis=0)
    axes = (edges / lengths).T * RAS_TO_LPS
    if not np.allclose(axes @ axes.T, np.eye(3), atol=1e-3):
        raise refuse(
            "sheared-region",
            _("In the space of '{name}' the region is no box: a transform shears it.").format(
                name=volume.GetName()
            ),
            _(
                "Take the CT and the region out of the transform (Transforms module), or segment "
                "the whole CT."
            ),
        )
    middle = (to_local @ (*centre, 1.0))[:3] * RAS_TO_LPS
    return {
        "centre_mm": middle.tolist(),
        "size_mm": lengths.tolist(),
        "axes": axes.tolist(),
    }


def points_in_file(
    markups: slicer.vtkMRMLMarkupsFiducialNode, volume: slicer.vtkMRMLScalarVolumeNode
) -> list[list[float]]:
    """Return the placed points as `isdmae.job.PredictJob.points`, in the space of the written file.

    Raises
    ------
    SegmentationError
        ``no-points`` where none is placed.
    """
    to_local = np.linalg.inv(_parent_to_world(volume))
    points = []
    for number in range(markups.GetNumberOfControlPoints()):
        if markups.GetNthControlPointPositionStatus(number) == markups.PositionDefined:
            world = np.zeros(3)
            markups.GetNthControlPointPositionWorld(number, world)
            points.append(((to_local @ (*world, 1.0))[:3] * RAS_TO_LPS).tolist())
    if not points:
        raise refuse(
            "no-points",
            _("'{name}' holds no point.").format(name=markups.GetName()),
            _("Place a point in each nodule."),
        )
    return points


def world_of(
    point_mm: list[float], node: slicer.vtkMRMLTransformableNode
) -> tuple[float, float, float]:
    """Return where in the world (RAS) a point of a report lies, by the node it was found for."""
    x, y, z = (_parent_to_world(node) @ (*(point_mm * RAS_TO_LPS), 1.0))[:3]
    return float(x), float(y), float(z)


def _parent_to_world(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)
