"""From a volume and a model to a labelmap on the volume's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .airway import label_trachea
from .body import enlarged, size_factor, size_notices
from .bundle import Bundle, BundleInfo, find_bundle
from .candidates import Candidate, find_candidates
from .checks import Notice, check_ct
from .compute import LoadedNetwork, Progress, Stop, Watcher, available_threads
from .device import DeviceChoice
from .errors import Cancelled, InputError
from .findings import result_notices, shares_of
from .grids import SliceGrid
from .labels import LARGE_AIRWAYS, Label, numbered
from .lung_extent import scales_for
from .parts import bounding_box
from .points import Point, longest_diameter_mm
from .pointwise import coarse_notices, label_points, search_points
from .postprocess import (
    CleaningCounts,
    clean_in_place,
    remove_aerated,
    speck_slices,
    volumes_ml,
)
from .region import Region
from .request import Request, refuse
from .slicewise import label_slices
from .sliding import label_cubes
from .views import View, label_views, usable_views
from .volume import Array, Volume, to_lps_order


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search for candidates: how many were looked at, and those that are shown."""

    looked_at: int
    kept: tuple[Candidate, ...]


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A result and how it came about.

    ``labelmap`` is uint8 on the grid of the input. ``status`` is "empty" where none of the
    structures was found; lungs in which a model of lesions finds none are a result, "done".
    """

    labelmap: Volume
    labels: tuple[Label, ...]
    volumes_ml: dict[str, float]
    """Of each label by name; empty for pictures, whose pixels have no known size."""
    shares: dict[str, dict[str, float]]
    """Of a model that looks within another one, on a whole CT: for each label what share (0..1) of
    each structure of the other one it takes, such as lesion of the left lung. Of a region it is
    empty: how large a lung is that reaches out of it is not known."""
    diameters_mm: dict[str, float]
    """Of points: the longest axial diameter of what was found at each."""
    points: tuple[Point, ...]
    """Those given, or found by a search, one for each label; LPS in mm."""
    search: Search | None
    status: str
    bundle: Bundle
    first: Bundle | None
    """The model whose result this one needed first."""
    notices: tuple[Notice, ...]
    seconds: dict[str, float]
    device: DeviceChoice
    precision: str
    threads: int
    cleaning: CleaningCounts
    views: tuple[View, ...]
    """The views that were averaged; of a 3D model none."""
    mirror: bool


@dataclass(frozen=True)
class _Found:
    """What a network found in an LPS-ordered volume: uint8 (k, j, i), not cleaned yet."""

    labels: Array
    surroundings: Array | None
    """The structures within which it was looked for."""
    points: tuple[Point, ...]
    notices: list[Notice]
    """Of what lies at points."""
    search: Search | None = None

    def within(self, inside: Array) -> _Found:
        """Return the same without what lies outside; bool (k, j, i)."""
        around = None if self.surroundings is None else self.surroundings * inside
        return replace(self, labels=self.labels * inside, surroundings=around)


class Predictor:
    """A model, loaded and ready, on one device.

    Parameters
    ----------
    model : str or Path
        Name or folder of a bundle.
    device : str
        "auto", "cpu", "cuda" or "mps".
    precision : str
        "auto" computes the network in bfloat16 where the hardware has it; "float32" never does.
    views : sequence of str, optional
        2D models: "axial", "coronal", "sagittal", those whose results are averaged; by default
        what the model says. Left out where slices are too thick for them.
    mirror : bool
        Average with the result for the mirror image, left and right labels changed back; twice
        the time.
    overlap : float
        3D models: share of a cube, 0 up to below 1, that the next one covers, too.

    Raises
    ------
    InputError
        Where there is no such model, or it does not fit the views.
    """

    def __init__(
        self,
        model: str | Path = "lungs",
        *,
        device: str = "auto",
        precision: str = "auto",
        views: Sequence[View] | None = None,
        mirror: bool = False,
        overlap: float = 0.5,
    ) -> None:
        if precision not in ("auto", "float32"):
            raise ValueError(f"Unknown precision '{precision}': 'auto' or 'float32'.")
        if not 0.0 <= overlap < 1.0:
            raise ValueError(f"An overlap lies in 0 up to below 1, not {overlap}.")
        self.bundle = find_bundle(model)
        self.views = self._views(self.bundle.info.views if views is None else tuple(views))
        self.overlap = overlap
        self.network = LoadedNetwork(self.bundle, device, precision, mirror=mirror)
        self._asked = (device, precision)
        self._searched: Predictor | None = None
        first = self.bundle.info.looks_first
        self._around = Predictor(first, device=device, precision=precision) if first else None
        why = "" if self._around is None else _unfit(self._around.bundle.info, self.bundle.info)
        if why:
            raise InputError(
                "bad-bundle",
                f"The model '{first}', which this one needs first, {why}.",
                "Export the model again, with one that stands by itself.",
            )

    @property
    def device(self) -> DeviceChoice:
        """Where it computes at the moment."""
        return self.network.device

    def _views(self, views: tuple[View, ...]) -> tuple[View, ...]:
        if self.bundle.info.network.spatial_dims == 3:
            if set(views) - {"axial"}:
                raise InputError(
                    "views-of-3d",
                    "A 3D model sees all directions at once; it has no other views.",
                    "Leave the views out, or choose a 2D model.",
                )
            return ()
        if self.bundle.info.crop_edge is not None and set(views) - {"axial"}:
            raise InputError(
                "views-of-points",
                "A model of points sees axial crops; it has no other views.",
                "Leave the views out, or choose a model of whole scans.",
            )
        if not views or len(set(views)) != len(views):
            raise ValueError(f"Views are one or more different ones, not {views}.")
        return views

    def segment(
        self,
        volume: Volume,
        *,
        region: Region | None = None,
        points: Sequence[Point] = (),
        search: bool = False,
        trachea: bool = False,
        force: bool = False,
        progress: Progress | None = None,
        stop: Stop | None = None,
    ) -> Segmentation:
        """Segment one volume.

        Parameters
        ----------
        volume : Volume
            A CT in HU, or a picture or a stack of pictures (``is_hu`` False).
        region : Region, optional
            Label nothing outside it. Only the slices that it meets are computed, each as a whole
            (3D: the region and half a cube about it), so the network sees what lies around the
            region. Several views are computed of the whole scan. Of points and a search it says
            which places count; what lies there is not cut at its border.
        points : sequence of tuple of float
            For a model of points (see `BundleInfo.crop_edge`) and a CT: LPS positions in mm. The
            result has a label for each, in their order. A picture is a crop round its point.
        search : bool
            For a model of points that says within what it searches, and a CT: look for candidates
            there instead of at given points. Experimental; see `isdmae.candidates`.
        trachea : bool
            For a model of both lungs and a whole CT: add trachea and main bronchi by region
            growing (`isdmae.airway`). What the lungs have swallowed of them is taken from them.
        force : bool
            Skip the check that the values are HU.
        progress, stop : callable, optional
            See `Progress` and `Stop`.

        Returns
        -------
        Segmentation
            The labelmap lies on the grid of ``volume``.

        Raises
        ------
        InputError
            Where a check refuses the volume or the model does not take its kind.
        ResourceError
            Where the memory is not enough even for one slice, or one cube.
        Cancelled
            Where ``stop`` said so.
        """
        watcher = Watcher(
            progress=progress or (lambda stage, share: None), stop=stop or (lambda: False)
        )
        request = Request(region=region, points=tuple(points), search=search, trachea=trachea)
        watch = watcher.watch
        threads = available_threads()
        torch.set_num_threads(threads)
        with watch("check and orient"):
            refuse(request, self.bundle.info, volume)
            checked, notices = check_ct(volume, force=force) if volume.is_hu else (volume, [])
            turned, order = to_lps_order(checked)
            limits = request.limits
            span = slice(0, len(turned.array)) if limits is None else limits.box(turned)[0]
            views, left_out = usable_views(turned, self.bundle.info.preprocess, self.views)
        found = self._find(turned, span, request, views, watcher)
        with watch("check and orient"):
            first = self._searched if request.search else self._around
            used = [self] if first is None else [self, first]
            notices += size_notices(max(one._size_factor(turned) for one in used))
        with watch("clean"):
            watcher.progress("clean", 0.95)
            # What lies at a point is one part, and no speck, however small.
            counts = (
                CleaningCounts() if request.at_places else self._clean(found.labels, turned, span)
            )
        airways = _add_trachea(turned, found.labels, watcher) if trachea else []
        with watch("clean"):
            if limits is not None:
                # After the cleaning: a part of a lung in a small region is no speck.
                found = found.within(limits.mask(turned))
            cleaned = turned.with_array(found.labels)
            back = np.ascontiguousarray(order.undo(cleaned.array))
            structures = self._structures(request, len(found.points))
            shares = {} if limits is not None else self._shares(found, structures)
            diameters = (
                longest_diameter_mm(cleaned.array, cleaned.spacing_mm) if found.points else {}
            )
            box = bounding_box(cleaned.array)
            shown = cleaned.crop(box) if box else cleaned
            volumes = volumes_ml(shown, structures) if volume.is_hu else {}
            lung_ml = (
                None
                if found.surroundings is None
                else np.count_nonzero(found.surroundings) * turned.voxel_ml
            )
            of_result = (
                found.notices
                if request.at_places
                else result_notices(shown, structures, lung_ml=lung_ml)
            )
        if stop is not None and stop():
            raise Cancelled()
        watcher.progress("clean", 1.0)
        return Segmentation(
            labelmap=volume.with_array(back),
            labels=structures,
            volumes_ml=volumes,
            shares=shares,
            diameters_mm={
                label.name: diameters[label.value]
                for label in structures
                if label.value in diameters
            },
            points=found.points,
            search=found.search,
            status="done" if box or lung_ml else "empty",
            bundle=self.bundle,
            first=self._first_of(request),
            notices=(*notices, *left_out, *of_result, *airways),
            seconds={stage: round(spent, 3) for stage, spent in watch.seconds.items()},
            device=self.device,
            precision=str(self.network.dtype).removeprefix("torch."),
            threads=threads,
            cleaning=counts,
            views=views,
            mirror=self.network.mirror,
        )

    def _find(
        self,
        turned: Volume,
        span: slice,
        request: Request,
        views: tuple[View, ...],
        watcher: Watcher,
    ) -> _Found:
        """Return what the network finds in an LPS-ordered volume, as it comes."""
        if request.search:
            return self._search(turned, request.region, watcher)
        around: Array | None = None
        part = watcher
        if self._around is not None and (turned.is_hu or self.bundle.info.lung_model):
            around = self._around.surroundings(turned, span, request.limits, watcher.part(0.0, 0.5))
            part = watcher.part(0.5, 0.5)
        surroundings = around if turned.is_hu and self.bundle.info.within else None
        notices: list[Notice] = []
        if request.points and self.bundle.info.crop_edge is not None:
            edge = self.bundle.info.crop_edge
            labels, odd = label_points(turned, request.points, edge, self.network, part)
            notices = [*coarse_notices(turned), *odd.values()]
        else:
            scales = None if around is None else self._scales(around)
            labels = self._label(turned, span, request.limits, views, part, surroundings, scales)
        if surroundings is not None:
            labels[surroundings == 0] = 0
        return _Found(labels, surroundings, request.points, notices)

    def _search(self, turned: Volume, region: Region | None, watcher: Watcher) -> _Found:
        """Return candidates, numbered by falling blobness, and what is to be said of them."""
        info = self.bundle.info
        if self._searched is None:
            device, precision = self._asked
            self._searched = Predictor(info.search_within, device=device, precision=precision)
        whole = slice(0, len(turned.array))
        lungs = self._searched.surroundings(turned, whole, None, watcher.part(0.0, 0.4))
        with watcher.watch("search"):
            watcher.progress("search", 0.4)
            spots = find_candidates(turned, lungs)
            if region is not None:
                spots = [one for one in spots if region.holds(one.point_mm)]
        edge = info.crop_edge or 0
        part = watcher.part(0.6, 0.4)
        labels, kept, notice = search_points(turned, lungs, spots, edge, self.network, part)
        search = Search(looked_at=len(spots), kept=tuple(kept))
        notices = [*(coarse_notices(turned) if kept else []), notice]
        return _Found(labels, None, tuple(one.point_mm for one in kept), notices, search)

    def _first_of(self, request: Request) -> Bundle | None:
        first = self._searched if request.search else self._around
        return None if first is None else first.bundle

    def _shares(self, found: _Found, structures: tuple[Label, ...]) -> dict[str, dict[str, float]]:
        if self._around is None or found.surroundings is None:
            return {}
        around = self._around.bundle.info.labels
        return shares_of(found.labels, found.surroundings, structures, around)

    def _structures(self, request: Request, places: int) -> tuple[Label, ...]:
        """Return what the values of the result mean; ``places`` is how many points there are."""
        first, *others = self.bundle.info.labels
        if request.search:
            return numbered(replace(first, name="candidate"), places)
        if request.points:
            return numbered(first, places)
        return (first, *others, LARGE_AIRWAYS) if request.trachea else (first, *others)

    def _label(
        self,
        turned: Volume,
        span: slice,
        region: Region | None,
        views: tuple[View, ...],
        watcher: Watcher,
        inside: Array | None = None,
        scales: Sequence[float] | None = None,
    ) -> Array:
        if self.network.dims == 3:
            return label_cubes(turned, region, self.network, watcher, overlap=self.overlap)
        step = speck_slices(turned, self.bundle.info.postprocess)
        turned = enlarged(turned, self._size_factor(turned))
        if views == ("axial",):
            config = self.bundle.info.preprocess
            largest = max(scales) if scales else 1.0
            grid = SliceGrid.of(turned, config, self.bundle.info.network.stride, scale=largest)
            self.network.log_plan(span.stop - span.start, grid.padded, turned.array.size)
            return label_slices(
                turned, span, self.network, watcher, step=step, inside=inside, scales=scales
            )
        return label_views(turned, views, self.network, watcher)

    def slice_scales(self, turned: Volume) -> Sequence[float] | None:
        """Return how many times larger the network sees each slice of a volume in LPS order.

        None for models that do not look at the size of the lungs.
        """
        if self._around is None or not self.bundle.info.lung_model:
            return None
        whole = slice(0, len(turned.array))
        return self._scales(self._around.surroundings(turned, whole, None, Watcher()))

    def _scales(self, around: Array) -> Sequence[float] | None:
        info = self.bundle.info
        size = info.preprocess.picture_size
        return scales_for(around, info.lung_extent, size) if info.lung_model else None

    def _size_factor(self, turned: Volume) -> float:
        """Return how many times larger than it is the network sees a CT in LPS order."""
        info = self.bundle.info
        whole = self.network.dims == 2 and info.crop_edge is None
        return size_factor(turned, info.smallest_body_cm2) if whole else 1.0

    def surroundings(
        self, turned: Volume, span: slice, region: Region | None, watcher: Watcher
    ) -> Array:
        """Return this model's cleaned labels of an LPS-ordered volume: uint8 (k, j, i)."""
        views, _ = usable_views(turned, self.bundle.info.preprocess, self.views)
        labels = self._label(turned, span, region, views, watcher)
        self._clean(labels, turned, span)
        return labels

    def _clean(self, labels: Array, turned: Volume, span: slice) -> CleaningCounts:
        """Apply the model's rules in place to the labels of the slices ``span``."""
        rules = self.bundle.info.postprocess
        if not turned.is_hu and not self._sees_neighbours:
            return self._clean_pictures(labels, turned)
        counts = clean_in_place(labels, turned, rules, slices=span.stop - span.start)
        if rules.least_hu is None or not turned.is_hu:
            return counts
        return replace(counts, aerated=remove_aerated(labels, turned, rules.least_hu))

    @property
    def _sees_neighbours(self) -> bool:
        return self.network.dims == 3 or self.bundle.info.preprocess.neighbours > 0

    def _clean_pictures(self, labels: Array, stack: Volume) -> CleaningCounts:
        """Apply the rules in place to each picture by itself: a stack is no other than its parts.

        So it is, too, of pictures that show different patients.
        """
        rules = self.bundle.info.postprocess
        each = [clean_in_place(labels[k : k + 1], stack, rules) for k in range(len(labels))]
        return CleaningCounts(
            moved=sum(one.moved for one in each),
            removed=sum(one.removed for one in each),
            filled=sum(one.filled for one in each),
        )


def _unfit(first: BundleInfo, info: BundleInfo) -> str:
    """Say why a model cannot look before the one of ``info``; empty where it can."""
    if first.looks_first:
        return "needs a third first"
    if first.crop_edge is not None:
        return "needs points"
    if info.lung_model and not set(info.takes) <= set(first.takes):
        return f"does not take every {' and '.join(info.takes)}"
    return ""


def _add_trachea(ct: Volume, labels: Array, watcher: Watcher) -> list[Notice]:
    """Write trachea and main bronchi into the labels of the lungs (k, j, i), in LPS order."""
    with watcher.watch("trachea"):
        watcher.progress("trachea", 0.96)
        found = label_trachea(ct, labels)
        if found is None:
            return [
                Notice(
                    "no-trachea",
                    "The trachea was not found, or its air ran into the lungs.",
                    "Check that the scan reaches above the lungs; paint the trachea by hand.",
                )
            ]
        labels[found] = LARGE_AIRWAYS.value
    return []


def segment(
    volume: Volume,
    model: str | Path = "lungs",
    *,
    device: str = "auto",
    trachea: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Segmentation:
    """Segment a volume with a model; for many volumes keep a `Predictor`.

    Examples
    --------
    >>> from isdmae import segment
    >>> from isdmae.phantom import PhantomConfig, make_phantom
    >>> phantom = make_phantom(PhantomConfig(shape=(8, 96, 112), spacing_mm=(3.2, 3.2, 30.0)))
    >>> result = segment(phantom.ct, device="cpu")
    >>> sorted(result.volumes_ml)
    ['left lung', 'right lung']
    """
    predictor = Predictor(model, device=device)
    return predictor.segment(volume, trachea=trachea, force=force, progress=progress, stop=stop)
