"""CTs of the scene with their segmentations, written as a folder that can be trained on.

The layout is nnU-Net's: ``imagesTr/case-01_0000.nrrd``, ``labelsTr/case-01.nrrd`` and
``dataset.json``.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _

from .failure import Failure, SegmentationError, refuse
from .scene_segmentation import ct_of
from .scene_volume import check_volume, scene_cts, write_volume

log = logging.getLogger(__name__)

DATASET_NAME = "dataset.json"


@dataclass(frozen=True)
class ScenePair:
    """A CT, and the segmentation that was made on it (None for a CT without)."""

    volume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode | None

    def segments(self) -> dict[str, str]:
        """Return the id of each segment by its name."""
        if self.segmentation is None:
            return {}
        held = self.segmentation.GetSegmentation()
        ids = [held.GetNthSegmentID(n) for n in range(held.GetNumberOfSegments())]
        return {held.GetSegment(one).GetName().strip(): one for one in ids}


def find_pairs() -> list[ScenePair]:
    """Return every segmentation of the scene that has segments and knows its CT."""
    cts, pairs = scene_cts(), []
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        volume = ct_of(node)
        if volume in cts:
            pair = ScenePair(volume, node)
            pairs += [pair] if pair.segments() else []
    return pairs


def find_volumes() -> list[ScenePair]:
    """Return every CT of the scene, alone: pre-training needs no labels."""
    return [ScenePair(node, None) for node in scene_cts() if node.GetImageData() is not None]


def shared_names(pairs: Sequence[ScenePair]) -> list[str]:
    """Return the segment names that all pairs have, in the order of the first."""
    if not pairs:
        return []
    others = [pair.segments() for pair in pairs[1:]]
    return [name for name in pairs[0].segments() if all(name in one for one in others)]


class PairExport:
    """Writes pairs one segment at a time, so that Slicer stays usable.

    Parameters
    ----------
    pairs : sequence of ScenePair
        What to write. A pair that lacks one of ``labels`` would teach that it is not there.
    labels : sequence of str
        Segment names; the n-th becomes label value n. Empty writes the CTs alone.
    folder : Path
        Is replaced.
    progress : callable
        Hears how many parts are done, of how many.
    done, failed : callable
        Exactly one of them is called, unless `cancel` was.
    """

    def __init__(
        self,
        pairs: Sequence[ScenePair],
        labels: Sequence[str],
        folder: Path,
        progress: Callable[[int, int], None],
        done: Callable[[], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self._pairs, self._labels, self._folder = tuple(pairs), tuple(labels), folder
        self._progress, self._done, self._failed = progress, done, failed
        self._total = len(self._pairs) * (1 + len(self._labels))
        self._finished = 0
        self._parts: Iterator[None] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        self._parts = self._write()
        qt.QTimer.singleShot(0, self._next)

    def cancel(self) -> None:
        """Write no more; nobody is told."""
        self._parts = None

    def _next(self) -> None:
        if self._parts is None:
            return
        try:
            next(self._parts)
        except StopIteration:
            self._parts = None
            self._done()
        except SegmentationError as error:
            self._parts = None
            self._failed(error.failure)
        except OSError as error:
            self._parts = None
            self._failed(_not_written(self._folder, error))
        except Exception:  # what Slicer raises of a node that is gone has no class of its own
            log.exception("the scene could not be written")
            self._parts = None
            self._failed(
                Failure(
                    "scene-changed",
                    _("A CT or segmentation was changed or removed while it was written."),
                    _("Start again."),
                )
            )
        else:
            self._finished += 1
            self._progress(self._finished, self._total)
            qt.QTimer.singleShot(0, self._next)

    def _write(self) -> Iterator[None]:
        shutil.rmtree(self._folder, ignore_errors=True)
        for name in ("imagesTr", "labelsTr"):
            (self._folder / name).mkdir(parents=True)
        for number, pair in enumerate(self._pairs, start=1):
            case = f"case-{number:02d}"
            check_volume(pair.volume)
            write_volume(pair.volume, self._folder / "imagesTr" / f"{case}_0000.nrrd")
            yield
            if self._labels:
                yield from self._write_labels(pair, self._folder / "labelsTr" / f"{case}.nrrd")
        self._describe()

    def _write_labels(self, pair: ScenePair, path: Path) -> Iterator[None]:
        segments = pair.segments()
        shape = pair.volume.GetImageData().GetDimensions()[::-1]
        labels = np.zeros(shape, np.uint8)
        for value, name in enumerate(self._labels, start=1):
            inside = slicer.util.arrayFromSegmentBinaryLabelmap(
                pair.segmentation, segments[name], pair.volume
            )
            if inside is not None:
                labels[inside > 0] = value
            yield
        if not labels.any():
            raise refuse(
                "empty-segments",
                _("The segments of '{name}' are empty.").format(name=pair.segmentation.GetName()),
                _("Draw them, or remove the segmentation from the scene."),
            )
        write_volume(_labels_node(pair.volume, labels), path)

    def _describe(self) -> None:
        values = {name: value for value, name in enumerate(self._labels, start=1)}
        facts = {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, **values},
            "numTraining": len(self._pairs),
            "file_ending": ".nrrd",
        }
        text = json.dumps(facts, indent=2, ensure_ascii=False)
        (self._folder / DATASET_NAME).write_text(text + "\n", encoding="utf-8")


def labels_of_folder(folder: Path) -> list[str]:
    """Return the labels that a folder's ``dataset.json`` names, if there is one."""
    try:
        named = json.loads((folder / DATASET_NAME).read_text(encoding="utf-8"))["labels"]
        # nnU-Net writes name: value, the Medical Segmentation Decathlon value: name.
        names = named if not all(str(key).isdigit() for key in named) else named.values()
        return [str(name) for name in names if str(name) != "background"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _labels_node(
    volume: slicer.vtkMRMLScalarVolumeNode, labels: np.ndarray
) -> slicer.vtkMRMLLabelMapVolumeNode:
    """Return a node outside the scene with ``labels`` on the grid of ``volume``."""
    node = slicer.vtkMRMLLabelMapVolumeNode()
    place = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(place)
    node.SetIJKToRASMatrix(place)
    slicer.util.updateVolumeFromArray(node, labels)
    return node


def _not_written(folder: Path, error: OSError) -> Failure:
    return Failure(
        "not-written",
        _("The scans could not be written to {folder}: {error}.").format(
            folder=folder, error=error.strerror or error
        ),
        _("Free some disk space, or choose another runs folder."),
    )
