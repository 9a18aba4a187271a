"""One prediction from file to files: the same path for the command line and for the worker."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from . import __version__
from .atomic import atomic_path, refuse_target, suffix_of, write_text_atomic
from .bundle import find_bundle
from .checks import AIR_HU, Notice
from .compute import Progress, Stop, Stopwatch
from .errors import Cancelled, InputError
from .inference import Predictor, Segmentation
from .io import ReadResult, read, write_labelmap
from .labelmap_file import VOLUME_SUFFIXES, refuse_sibling, refuse_suffix
from .parts import bounding_box
from .points import Point
from .region import Region
from .schema import to_plain
from .views import View
from .volume import Array, Volume


@dataclass(frozen=True, kw_only=True)
class PredictJob:
    """What to segment, with what, and where the results go."""

    input: Path
    outputs: tuple[Path, ...]
    """Labelmaps; each suffix names its format (.nii.gz, .nrrd, .mha, .seg.nrrd; .png)."""
    box: Path | None = None
    """For a program on the same machine: the labels cropped to their box, uint8 (k, j, i), as .npy;
    the report's ``box`` says where in the scan it lies."""
    model: str = "lungs"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32"] = "auto"
    preview: Path | None = None
    report: Path | None = None
    views: tuple[View, ...] | None = None
    """Views to average; by default what the model says."""
    mirror: bool = False
    """Average with the result for the mirror image."""
    region: Region | None = None
    """Segment this part of the scan only."""
    points: tuple[Point, ...] = ()
    """For a model of points: LPS positions in mm."""
    search: bool = False
    """For a model of points: look for candidates instead; experimental."""
    trachea: bool = False
    """For a model of both lungs: add trachea and main bronchi."""
    series_uid: str | None = None
    allow_gaps: bool = False
    force: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.outputs and self.box is None:
            raise ValueError("at least one output is needed")


class Runner:
    """Runs jobs one after the other and keeps the last model loaded."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._predictor: Predictor | None = None

    def predictor(
        self,
        model: str,
        device: str,
        precision: str,
        views: tuple[View, ...] | None = None,
        mirror: bool = False,
    ) -> Predictor:
        """Return the model on the device, loaded now or before."""
        key = (str(find_bundle(model).folder.resolve()), device, precision, views, mirror)
        if self._predictor is None or key != self._key:
            self._predictor = Predictor(
                model, device=device, precision=precision, views=views, mirror=mirror
            )
            self._key = key
        return self._predictor

    def run(
        self, job: PredictJob, *, progress: Progress | None = None, stop: Stop | None = None
    ) -> dict[str, Any]:
        """Do one job and return its report.

        Every output is refused before anything is computed, and appears under its name only
        when it is complete.

        Raises
        ------
        IsdmaeError
            See `isdmae.errors`; nothing half-written is left.
        """
        refuse_outputs(job)
        watch = Stopwatch()
        report = progress or (lambda stage, share: None)
        with watch("load model"):
            report("load model", 0.0)
            predictor = self.predictor(job.model, job.device, job.precision, job.views, job.mirror)
        with watch("read"):
            report("read", 0.01)
            scan = read(job.input, series_uid=job.series_uid, allow_gaps=job.allow_gaps)
        for path in job.outputs:
            refuse_suffix(path, scan.volume.shape[::-1])
        result = predictor.segment(
            scan.volume,
            region=job.region,
            points=job.points,
            search=job.search,
            trachea=job.trachea,
            force=job.force,
            progress=lambda stage, share: report(stage, 0.96 * share),
            stop=stop,
        )
        with watch("write"):
            report("write", 0.97)
            # Not between outputs: a run that is cancelled has written nothing.
            if stop is not None and stop():
                raise Cancelled()
            for path in job.outputs:
                write_labelmap(path, result.labelmap, result.labels, overwrite=job.overwrite)
            if job.box is not None:
                write_box(job.box, result.labelmap.array, overwrite=job.overwrite)
        if job.preview is not None:
            from .preview import write_preview  # brings SciPy, which nothing else here needs

            with watch("preview"):
                write_preview(
                    job.preview,
                    scan.volume,
                    result.labelmap,
                    result.labels,
                    near=bool(result.points),
                    overwrite=job.overwrite,
                )
        content = make_report(job, scan, result, watch.seconds)
        if job.report is not None:
            content["voxels_sha256"] = {
                "input": voxels_sha256(scan.volume.array),
                "labels": voxels_sha256(result.labelmap.array),
            }
            text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            write_text_atomic(job.report, text, overwrite=job.overwrite)
        report("done", 1.0)
        return content


def refuse_outputs(job: PredictJob) -> None:
    """Raise InputError for an output that cannot be written, before the work is done."""
    others = (job.box, job.preview, job.report)
    targets = [*job.outputs, *(path for path in others if path is not None)]
    resolved = [path.resolve() for path in targets]
    if len(set(resolved)) != len(targets):
        raise InputError("same-output", "Two outputs have one name.", "Give each its own name.")
    if job.input.resolve() in resolved:
        raise InputError(
            "same-output", "An output would replace the scan itself.", "Give it another name."
        )
    for path in job.outputs:
        if suffix_of(path) not in VOLUME_SUFFIXES:
            refuse_suffix(path, (1, 1, 1))
    if job.preview is not None and suffix_of(job.preview) != ".png":
        raise InputError(
            "unknown-format", f"The preview {job.preview.name} is no PNG.", "Name it .png."
        )
    for path in targets:
        refuse_target(path, job.overwrite)
    for path in job.outputs:
        refuse_sibling(path, job.outputs)


def label_box(labels: Array) -> tuple[slice, slice, slice]:
    """Return the box (k, j, i) that holds every label; one voxel where there is none."""
    return bounding_box(labels) or (slice(0, 1), slice(0, 1), slice(0, 1))


def write_box(path: Path, labels: Array, *, overwrite: bool) -> None:
    """Write the labels of their box as .npy; errors as in `isdmae.atomic.atomic_path`."""
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(labels[label_box(labels)]), allow_pickle=False)


def voxels_sha256(voxels: Array) -> str:
    """Return the SHA-256 of values (k, j, i), so that two runs can be compared without the scan."""
    return hashlib.sha256(np.ascontiguousarray(voxels).data).hexdigest()


def describe_segments(scan: Volume, result: Segmentation) -> list[dict[str, Any]]:
    """Return each label with its codes and measures.

    ``mean_hu`` is None without voxels or HU; ``percent_of`` says how much of the structures it was
    looked for in it takes; ``diameter_mm`` and ``point_mm`` are those of what lies at a point, and
    ``blobness`` is that of a candidate.
    ``volume_ml`` is that of a CT. The pixels of a picture have no known size: ``area_px`` counts
    them, and ``percent_of_picture`` says how much of the picture (a stack: of all of it) they are.
    """
    box = label_box(result.labelmap.array)
    labels, voxels = result.labelmap.array[box], scan.array[box]
    segments = []
    points: Sequence[Point | None] = result.points or [None] * len(result.labels)
    spots = [one.blobness for one in result.search.kept] if result.search else []
    for label, point in zip(result.labels, points, strict=True):
        inside = labels == label.value
        mean = mean_hu(voxels[inside]) if scan.is_hu else None
        area = None if scan.is_hu else int(np.count_nonzero(inside))
        volume_ml = result.volumes_ml.get(label.name)
        diameter = result.diameters_mm.get(label.name)
        segments.append(
            {
                "value": label.value,
                "id": label.segment_id,
                "name": label.name,
                "colour": list(label.colour),
                "terminology": label.terminology(),
                "volume_ml": None if volume_ml is None else round(volume_ml, 3),
                "area_px": area,
                "percent_of_picture": (
                    None if area is None else round(100 * area / result.labelmap.array.size, 2)
                ),
                "mean_hu": mean,
                "diameter_mm": None if diameter is None else round(diameter, 1),
                "point_mm": to_plain(point),
                "blobness": round(spots[label.value - 1], 1) if spots else None,
                "percent_of": {
                    name: round(100 * share, 2)
                    for name, share in result.shares.get(label.name, {}).items()
                },
            }
        )
    return segments


def describe_search(result: Segmentation) -> dict[str, Any] | None:
    """Return how many candidates a search looked at and kept; None where there was none."""
    if result.search is None:
        return None
    kept = len(result.search.kept)
    return {"experimental": True, "looked_at": result.search.looked_at, "kept": kept}


def mean_hu(voxels: Array) -> float | None:
    """Return the mean of the finite voxels, padding read as air; None where there is none."""
    finite = voxels[np.isfinite(voxels)].astype(np.float64)
    return round(float(np.maximum(finite, AIR_HU).mean()), 1) if finite.size else None


def make_report(
    job: PredictJob, scan: ReadResult, result: Segmentation, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Return all that a third person needs to repeat the run; nothing that names the patient.

    ``options`` holds fields of a `PredictJob`, as they came out: on what it was computed in the
    end, and the views that the scan allowed.
    """
    import SimpleITK
    import torch

    volume, bundle = scan.volume, result.bundle
    notices: list[Notice] = [*scan.notices, *result.notices]
    box = label_box(result.labelmap.array)
    return {
        "status": result.status,
        "segments": describe_segments(volume, result),
        "search": describe_search(result),
        "box": {
            "offset_ijk": [part.start for part in reversed(box)],
            "size_ijk": [part.stop - part.start for part in reversed(box)],
        },
        "notices": to_plain(notices),
        "input": {
            # Series UID and description stay out: the one identifies, the other may name a person.
            **{name: scan.source[name] for name in ("format", "modality") if name in scan.source},
            "shape_kji": list(volume.shape),
            "spacing_mm_ijk": list(volume.spacing_mm),
            "orientation": volume.orientation,
            "oblique_deg": round(volume.obliquity_deg, 3),
            "is_hu": volume.is_hu,
        },
        "model": {
            "name": bundle.info.name,
            "title": bundle.info.title,
            "version": bundle.info.version,
            "licence": bundle.info.licence,
            "non_commercial": bundle.info.non_commercial,
            "sha256": bundle.info.weights.sha256,
            "first": None
            if result.first is None
            else {
                "name": result.first.info.name,
                "version": result.first.info.version,
                "sha256": result.first.info.weights.sha256,
            },
        },
        "options": {
            "force": job.force,
            "allow_gaps": job.allow_gaps,
            "region": to_plain(job.region),
            "points": to_plain(job.points),
            "search": job.search,
            "trachea": job.trachea,
            "views": list(result.views),
            "mirror": result.mirror,
            "device": result.device.device.type,
            "precision": "float32" if result.precision == "float32" else "auto",
        },
        "machine": {
            "device": str(result.device.device),
            "device_reason": result.device.reason,
            "precision": result.precision,
            "threads": result.threads,
            "system": platform.platform(),
        },
        "cleaning_voxels": to_plain(result.cleaning),
        "seconds": {name: round(value, 3) for name, value in {**seconds, **result.seconds}.items()},
        "versions": {
            "isdmae": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "simpleitk": SimpleITK.Version.VersionString(),
        },
    }
