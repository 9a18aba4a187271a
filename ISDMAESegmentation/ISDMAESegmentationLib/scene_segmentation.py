"""From the worker to the scene: labels become segments, and the user's own are left alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk

from .failure import refuse
from .scene_volume import ijk_to_ras

REPORT_ATTRIBUTE = "ISDMAE.report"
CHANGED_ATTRIBUTE = "ISDMAE.changed"
"""Of a node whose segments are no longer those that its report measures."""
MODEL_TAG = "ISDMAE.model"


@dataclass(frozen=True)
class Labels:
    """A box of labels: uint8 (k, j, i), and where in the CT its first voxel lies."""

    array: np.ndarray
    offset_ijk: tuple[int, int, int]


def is_of_other_ct(
    node: slicer.vtkMRMLSegmentationNode, ct: slicer.vtkMRMLScalarVolumeNode
) -> bool:
    """Return whether ``node`` holds segments of another CT than ``ct``, which may be gone."""
    if node.GetSegmentation().GetNumberOfSegments() == 0:
        return False
    reference = ct_of(node)
    if reference is None:  # of a file, or of a CT that was removed after the run
        return stored_report(node) is not None
    return reference is not ct


def ct_of(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the CT that a segmentation belongs to, None where it is not in the scene."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return node.GetNodeReference(role)


def check_output(
    node: slicer.vtkMRMLSegmentationNode | None, ct: slicer.vtkMRMLScalarVolumeNode
) -> None:
    """Refuse a segmentation whose own segments would suffer, before anything is started.

    Raises
    ------
    SegmentationError
        ``other-ct`` where they are of another CT; ``not-voxels`` where they are surfaces or
        contours, which would lose detail as voxels; ``other-transform`` where it lies elsewhere
        than ``ct``.
    """
    if node is None or node.GetSegmentation().GetNumberOfSegments() == 0:
        return
    anew = _("Choose 'Create new segmentation'.")
    if is_of_other_ct(node, ct):
        words = _("'{name}' belongs to another CT than '{ct}'.")
        raise refuse("other-ct", words.format(name=node.GetName(), ct=ct.GetName()), anew)
    if node.GetSegmentation().GetSourceRepresentationName() != _labelmap_name():
        words = _("'{name}' holds surfaces or contours, not voxels.").format(name=node.GetName())
        raise refuse("not-voxels", words, anew)
    if node.GetParentTransformNode() is not ct.GetParentTransformNode():
        words = _("'{name}' lies under another transform than the CT.").format(name=node.GetName())
        remedy = _("Put both under the same transform (Transforms module). Or: {anew}")
        raise refuse("other-transform", words, remedy.format(anew=anew))


def output_node(
    ct: slicer.vtkMRMLScalarVolumeNode,
    node: slicer.vtkMRMLSegmentationNode | None,
    what: str,
) -> slicer.vtkMRMLSegmentationNode:
    """Return ``node``, or a new one named after ``ct`` and ``what``, ready to take segments.

    It has a display node, the CT's geometry and transform, and stands beside the CT in the subject
    hierarchy. An existing node keeps its place there, and was checked by `check_output`.
    """
    new = node is None
    if node is None:
        name = slicer.mrmlScene.GenerateUniqueName(f"{ct.GetName()} {what}")
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    if node.GetSegmentation().GetNumberOfSegments() == 0:
        node.GetSegmentation().SetSourceRepresentationName(_labelmap_name())
        node.SetAndObserveTransformNodeID(ct.GetTransformNodeID())
    if new:
        _place_beside(node, ct)
    return node


def _place_beside(node: slicer.vtkMRMLSegmentationNode, ct: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Put ``node`` into the patient and study of ``ct``, as DICOM export needs it."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    ct_item = hierarchy.GetItemByDataNode(ct)
    if not ct_item:
        return
    parent, item = hierarchy.GetItemParent(ct_item), hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def fill(
    node: slicer.vtkMRMLSegmentationNode,
    ct: slicer.vtkMRMLScalarVolumeNode,
    labels: Labels,
    report: dict[str, Any],
) -> None:
    """Put the labels into ``node``, replacing the segments with the same ids only.

    Of earlier runs of the same model in it, segments that this one does not have are removed:
    nodules whose point is gone.

    All segments share one image, which costs no copy for each. A 3D surface that exists is made
    anew. The run report goes with the node and into each segment's tags.

    Parameters
    ----------
    node, ct : MRML nodes
        See `output_node`.
    labels : Labels
        Of the CT's own grid.
    report : dict
        The worker's report; ``segments`` gives value, id, name, colour and terminology.
    """
    image = _shared_image(labels, ct)
    segmentation = node.GetSegmentation()
    had_surface = segmentation.ContainsRepresentation(_surface_name())
    model = f"{report['model']['name']} {report['model']['version']}"
    modify = node.StartModify()
    try:
        _remove_former(segmentation, report)
        for entry in report["segments"]:
            _put_segment(segmentation, entry, image, model)
        node.SetAttribute(REPORT_ATTRIBUTE, json.dumps(report, ensure_ascii=False))
        node.RemoveAttribute(CHANGED_ATTRIBUTE)
    finally:
        node.EndModify(modify)
    if had_surface:
        segmentation.CreateRepresentation(_surface_name(), True)


def _remove_former(segmentation: slicer.vtkSegmentation, report: dict[str, Any]) -> None:
    kept = {entry["id"] for entry in report["segments"]}
    count = segmentation.GetNumberOfSegments()
    for segment_id in [segmentation.GetNthSegmentID(number) for number in range(count)]:
        made_by = vtk.reference("")
        segmentation.GetSegment(segment_id).GetTag(MODEL_TAG, made_by)
        if segment_id not in kept and str(made_by).startswith(f"{report['model']['name']} "):
            segmentation.RemoveSegment(segment_id)


def stored_report(node: slicer.vtkMRMLSegmentationNode | None) -> dict[str, Any] | None:
    """Return the report of the run that filled ``node``, None where there is none."""
    text = node.GetAttribute(REPORT_ATTRIBUTE) if node is not None else None
    try:
        report = json.loads(text) if text else None
    except ValueError:
        return None
    segments = report.get("segments") if isinstance(report, dict) else None
    known = isinstance(segments, list) and all(
        isinstance(entry, dict) and "id" in entry for entry in segments
    )
    return report if known else None


def _surface_name() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()


def _labelmap_name() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def _shared_image(
    labels: Labels, ct: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkOrientedImageData:
    """Return the box as an image in the CT's own space (without its parent transform)."""
    place = ijk_to_ras(ct)
    place[:3, 3] = (place @ (*labels.offset_ijk, 1))[:3]
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(labels.array.shape[::-1])
    flat = np.ascontiguousarray(labels.array, dtype=np.uint8).ravel()
    scalars = numpy_to_vtk(flat, deep=1, array_type=vtk.VTK_UNSIGNED_CHAR)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(place))
    return image


def _put_segment(
    segmentation: slicer.vtkSegmentation,
    entry: dict[str, Any],
    image: slicer.vtkOrientedImageData,
    model: str,
) -> None:
    segment = segmentation.GetSegment(entry["id"])
    new = segment is None
    if segment is None:
        segment = slicer.vtkSegment()
        segment.SetName(entry["name"])
        segment.SetNameAutoGenerated(False)
        segment.SetColor(*(channel / 255 for channel in entry["colour"]))
        segment.SetColorAutoGenerated(False)
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry["terminology"])
    segment.SetTag(MODEL_TAG, model)
    segment.SetLabelValue(entry["value"])
    segment.AddRepresentation(_labelmap_name(), image)
    if new and not segmentation.AddSegment(segment, entry["id"]):
        raise RuntimeError(entry["name"])
