"""What is asked of a model beside the image, and whether model and image are for it."""

from __future__ import annotations

from dataclasses import dataclass

from .bundle import BundleInfo
from .errors import InputError
from .labels import LUNGS
from .points import Point
from .region import Region
from .volume import Volume


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to look for; see `isdmae.inference.Predictor.segment`."""

    region: Region | None = None
    points: tuple[Point, ...] = ()
    search: bool = False
    trachea: bool = False

    @property
    def at_places(self) -> bool:
        """Whether it is about single places, given or to be found, and not the whole scan."""
        return self.search or bool(self.points)

    @property
    def limits(self) -> Region | None:
        """The region outside which nothing is labelled.

        None at places: there a region only says which of them count, and what lies at one is
        labelled as a whole, since half a nodule has neither the volume nor the diameter of it.
        """
        return None if self.at_places else self.region


def refuse(request: Request, info: BundleInfo, volume: Volume) -> None:
    """Raise InputError where the model, or the image, is not for what is asked, naming a remedy."""
    _refuse_kind(info, volume)
    if request.search:
        _refuse_search(request, info, volume)
    else:
        _refuse_points(request, info, volume)
    if request.trachea:
        _refuse_trachea(request, info, volume)
    if request.region is not None:
        _refuse_region(request.region, request.points, volume)


def _refuse_kind(info: BundleInfo, volume: Volume) -> None:
    kind = "ct" if volume.is_hu else "picture"
    if kind not in info.takes:
        raise InputError(
            "wrong-kind",
            f"The model '{info.name}' does not take a {kind}.",
            f"Give it a {' or a '.join(info.takes)}, or choose another model.",
        )


def _refuse_search(request: Request, info: BundleInfo, volume: Volume) -> None:
    if not info.search_within or not volume.is_hu:
        raise InputError(
            "cannot-search",
            f"The model '{info.name}' cannot search this image for candidates.",
            "Choose a model of points that can, such as 'nodule', and a CT.",
        )
    if request.points:
        raise InputError(
            "search-and-points",
            "A search finds its points by itself, and points were given.",
            "Leave out the points or the search.",
        )


def _refuse_points(request: Request, info: BundleInfo, volume: Volume) -> None:
    if info.crop_edge is None:
        if request.points:
            raise InputError(
                "points-unwanted",
                f"The model '{info.name}' looks at whole scans; it has no use for points.",
                "Leave the points out, or choose a model that asks for them.",
            )
    elif request.points and not volume.is_hu:
        raise InputError(
            "points-unwanted",
            "A picture is taken as a crop round its point, which is its middle.",
            "Leave the points out, or give the CT itself.",
        )
    elif not request.points and volume.is_hu:
        raise InputError(
            "no-points",
            f"The model '{info.name}' finds what lies at points, and there is none.",
            "Place a point in each nodule.",
        )


def _refuse_trachea(request: Request, info: BundleInfo, volume: Volume) -> None:
    found = {(label.value, label.name) for label in info.labels}
    if found != {(label.value, label.name) for label in LUNGS} or not volume.is_hu:
        raise InputError(
            "trachea-unwanted",
            "The trachea is found beside a left and a right lung, in a CT only.",
            "Leave it out, or choose the lung model and a CT.",
        )
    if request.region is not None:
        raise InputError(
            "trachea-in-region",
            "The trachea is followed from the top of the whole scan, not within a region.",
            "Leave out the trachea or the region.",
        )


def _refuse_region(region: Region, points: tuple[Point, ...], volume: Volume) -> None:
    region.box(volume)  # refuses one beside the scan
    beside = [str(number) for number, one in enumerate(points, start=1) if not region.holds(one)]
    if beside:
        raise InputError(
            "point-outside-region",
            f"Outside the region of interest: point {', '.join(beside)}.",
            "Turn the region off, or move the points into it.",
        )
