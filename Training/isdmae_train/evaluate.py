"""`evaluate`: a bundle against truth, by patient, with a fixed rule and every miss counted."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from isdmae import io
from isdmae.atomic import write_text_atomic
from isdmae.device import choose_device
from isdmae.errors import Cancelled, InputError, IsdmaeError
from isdmae.inference import Predictor, Stop
from isdmae.labels import Label
from isdmae.volume import Array, Volume, to_lps_order

from . import distributed
from .author_score import NOTE, AuthorScore
from .calibration import Calibration
from .cases import TOGETHER, Case, cases_of
from .config.results import EvaluateConfig
from .metrics import Mask, score_masks
from .score_table import (
    PatientScore,
    Score,
    by_patient,
    make_score,
    markdown,
    summarise_patients,
    write_csv,
)
from .worst_cases import WINDOW_HU, OneSlice, WorstCases

log = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig, *, stop: Stop | None = None) -> dict[str, Any]:
    """Predict, compare, and write the tables and the worst cases to ``config.out``.

    Whole scans are scored on their own grid in mm. Every picture is scored by itself in pixels,
    and the stack of a case's pictures once more by its Dice. Nothing is left out: where neither
    truth nor prediction holds a structure it scores 1. The label is the largest of the network's
    outputs; no threshold is tuned. A patient's score is the mean over its images, and the summary
    is over patients.

    Parameters
    ----------
    config : EvaluateConfig
        The model, and the images with truth.
    stop : callable, optional
        Asked between batches; True raises Cancelled.

    Returns
    -------
    dict
        What ``summary.json`` holds: ``structures`` as `score_table.summarise_patients` returns
        them, ``tolerance``, ``left_out`` and, where asked for, ``author_compatible`` and
        ``calibration``.

    Raises
    ------
    InputError
        Where the choice of images is wrong, or none of them could be scored; ``no-common-label``
        where model and truth name different structures; ``images-skipped`` where some images could
        not be scored, after the tables of the others were written.
    """
    cases = cases_of(config)
    distributed.join(choose_device(config.device).device)
    if distributed.size() > 1 and (config.author_compatible or config.calibration):
        raise InputError(
            "not-distributed",
            "The author-compatible score and the calibration look at all images in one process.",
            "Start without torchrun, or leave these options out.",
        )
    evaluator = Evaluator(config, cases)
    scores, left_out = _score_each(cases, evaluator, stop)
    patients = by_patient(scores)
    summary: dict[str, Any] = {
        "model": evaluator.predictor.bundle.info.name,
        "tolerance": config.tolerance_mm,
        "structures": summarise_patients(patients, config.seed),
        "left_out": left_out,
    }
    if evaluator.author is not None:
        summary["author_compatible"] = {"note": NOTE, **evaluator.author.result(config.seed)}
    if evaluator.calibration is not None:
        config.out.mkdir(parents=True, exist_ok=True)
        summary["calibration"] = evaluator.calibration.write(config.out, config.seed)
    _write(config.out, scores, patients, summary, evaluator.worst)
    if left_out:
        raise InputError(
            "images-skipped",
            f"{len(left_out)} of {len(cases)} images are not in the table: {'; '.join(left_out)}.",
            "Mend them or leave them out.",
        )
    return summary


class Evaluator:
    """A model and the rules by which its results are scored.

    Raises
    ------
    InputError
        ``no-common-label`` where no case knows any structure that the model finds; ``axial-only``
        where probabilities are asked for of CTs of which the model averages several views.
    """

    def __init__(
        self, config: EvaluateConfig, cases: Sequence[Case], predictor: Predictor | None = None
    ) -> None:
        self.predictor = predictor or Predictor(
            config.model,
            device=config.device,
            views=config.views or None,
            mirror=config.mirror,
        )
        self.seconds = 0.0
        """Spent on segmenting, so far."""
        self.tolerance = config.tolerance_mm
        self.worst = WorstCases(config.worst)
        self._labels = common_labels(self.predictor.bundle.info.labels, cases)
        self.author, self.calibration = None, None
        if config.author_compatible or config.calibration:
            _refuse_views(self.predictor, cases)
        if config.author_compatible:
            self.author = AuthorScore(self.predictor)
        if config.calibration:
            self.calibration = Calibration(self.predictor)

    def score(self, case: Case, stop: Stop | None = None) -> list[Score]:
        """Segment one case and score every structure that its truth knows."""
        images = [io.read(path).volume for path in case.paths]
        truth = case.truth()
        _refuse_other_size(next(iter(truth.values())), images)
        classes = self._classes(case)
        found = self._segment(images, stop)
        masks = {
            name: (np.isin(found, values), _truth_of(name, truth))
            for name, values in classes.items()
        }
        if self.author is not None or self.calibration is not None:
            self._add_chances(case, images, {n: pair[1] for n, pair in masks.items()}, classes)
        score = self._score_scan if case.is_hu else self._score_pictures
        return [one for name, pair in masks.items() for one in score(case, name, *pair, images)]

    def _classes(self, case: Case) -> dict[str, list[int]]:
        """Return for each structure to be scored the model's label values that mean it."""
        classes = {label.name: [label.value] for label in self._labels if label.name in case.known}
        if TOGETHER in case.known or (len(classes) > 1 and len(classes) == len(self._labels)):
            classes[TOGETHER] = [label.value for label in self._labels]
        if not classes:
            raise _nothing_in_common(self._labels, case.known)
        return classes

    def _segment(self, images: list[Volume], stop: Stop | None) -> Array:
        """Return the labelmap (K, H, W) of a CT, or of pictures."""
        images = self._as_seen(images)
        begun = time.perf_counter()
        found = [self.predictor.segment(one, stop=stop).labelmap.array for one in images]
        self.seconds += time.perf_counter() - begun
        return np.concatenate(found) if len(found) > 1 else found[0]

    def _as_seen(self, images: list[Volume]) -> list[Volume]:
        """Return pictures each by itself, or their stack for a model that sees neighbours."""
        info = self.predictor.bundle.info
        sees_neighbours = info.network.spatial_dims == 3 or info.preprocess.neighbours > 0
        if not sees_neighbours or len(images) < 2:
            return images
        return [Volume(array=np.concatenate([one.array for one in images]), is_hu=False)]

    def _add_chances(
        self,
        case: Case,
        images: list[Volume],
        truth: Mapping[str, Mask],
        classes: Mapping[str, list[int]],
    ) -> None:
        start = 0
        for image in self._as_seen(images):
            here = slice(start, start + len(image.array))
            part = {name: mask[here] for name, mask in truth.items()}
            if self.author is not None:
                self.author.add(image, part, classes)
            if self.calibration is not None:
                self.calibration.add(case.patient, image, part, classes)
            start = here.stop

    def _score_scan(
        self, case: Case, name: str, found: Mask, truth: Mask, images: list[Volume]
    ) -> list[Score]:
        scan = images[0]
        scores = score_masks(found, truth, spacing=scan.spacing_mm[::-1], tolerance=self.tolerance)
        empty = not (found.any() or truth.any())
        score = make_score(case.patient, case.name, name, "scan", "mm", scores, empty=empty)
        wrong = int((found ^ truth).sum())
        self.worst.offer(score, wrong, lambda: worst_slice(scan, found, truth))
        return [score]

    def _score_pictures(
        self, case: Case, name: str, found: Mask, truth: Mask, images: list[Volume]
    ) -> list[Score]:
        scores = []
        for k, image in enumerate(images):
            here, there = found[k], truth[k]
            values = score_masks(here, there, spacing=(1.0, 1.0), tolerance=self.tolerance)
            empty = not (here.any() or there.any())
            picture = Path(case.paths[k]).name
            title = f"{case.name}/{picture}" if case.in_stack else case.name
            score = make_score(case.patient, title, name, "slice", "px", values, empty=empty)
            shown = OneSlice(
                image=image.array[0], found=here, truth=there,
                window=(float(image.array.min()), float(image.array.max())),
            )  # fmt: skip
            self.worst.offer(score, int((here ^ there).sum()), lambda shown=shown: shown)
            scores.append(score)
        if case.in_stack:
            values = score_masks(found, truth, spacing=(1.0, 1.0, 1.0), tolerance=self.tolerance)
            empty = not (found.any() or truth.any())
            scores.append(
                make_score(case.patient, case.name, name, "case", "px", values, empty=empty)
            )
        return scores


def _refuse_views(predictor: Predictor, cases: Sequence[Case]) -> None:
    preprocess = predictor.bundle.info.preprocess
    others = [view for view in predictor.views if view != "axial"]
    if others and not preprocess.ct_as_picture and any(case.is_hu for case in cases):
        raise InputError(
            "axial-only",
            "The calibration and the author-compatible score look at the probabilities of axial "
            f"slices; the model averages them with {' and '.join(others)} ones.",
            "Add --views axial, or leave the option out.",
        )


def common_labels(labels: Sequence[Label], cases: Sequence[Case]) -> list[Label]:
    """Return the model's labels that some case knows by name; all where the truth has no names."""
    known = {name for case in cases for name in case.known}
    if TOGETHER in known:
        return list(labels)
    common = [label for label in labels if label.name in known]
    if not common:
        raise _nothing_in_common(labels, sorted(known))
    return common


def _nothing_in_common(labels: Sequence[Label], known: Sequence[str]) -> InputError:
    return InputError(
        "no-common-label",
        f"The model finds {', '.join(label.name for label in labels)}; the truth knows "
        f"{', '.join(known) or 'nothing'}.",
        "Choose a model of these structures; names must agree letter by letter.",
    )


def _truth_of(name: str, truth: Mapping[str, Mask]) -> Mask:
    if name in truth:
        return truth[name]
    together: Mask = np.logical_or.reduce(list(truth.values()))
    return together


def worst_slice(scan: Volume, found: Mask, truth: Mask) -> OneSlice:
    """Return the axial slice of a CT with the most wrong voxels; both masks are bool (K, J, I)."""
    turned, order = to_lps_order(scan)
    found, truth = order.apply(found), order.apply(truth)
    k = int((found ^ truth).sum(axis=(1, 2)).argmax())
    dx, dy, _ = turned.spacing_mm
    return OneSlice(
        image=turned.array[k], found=found[k], truth=truth[k], window=WINDOW_HU, pixel_mm=(dy, dx)
    )


def _refuse_other_size(truth: Mask, images: list[Volume]) -> None:
    shape = (sum(image.shape[0] for image in images), *images[0].shape[1:])
    if truth.shape != shape or any(image.shape[1:] != shape[1:] for image in images):
        raise InputError(
            "size-differs",
            f"The truth has {_size(truth.shape)} voxels and the image {_size(shape)}.",
            "Give the truth on the image's own grid.",
        )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[::-1]))


def _score_each(
    cases: Sequence[Case], evaluator: Evaluator, stop: Stop | None
) -> tuple[list[Score], list[str]]:
    scores: list[Score] = []
    left_out: list[str] = []
    mine = cases[distributed.rank() :: distributed.size()]
    for case in tqdm(mine, desc="evaluate", unit="case", disable=distributed.rank() > 0):
        try:
            scores += evaluator.score(case, stop)
        except Cancelled:
            raise
        except IsdmaeError as error:
            left_out.append(f"{case.name}: {error}")
    if distributed.size() > 1:
        scores = [Score(**row) for row in distributed.collected([asdict(one) for one in scores])]
        places = {case.name: place for place, case in enumerate(cases)}
        scores.sort(key=lambda one: places[one.image.partition("/")[0]])
        left_out = distributed.collected(left_out)
    if not scores:
        raise InputError(
            "nothing-evaluated",
            f"None of {len(cases)} images could be scored.",
            f"The first: {left_out[0]}",
        )
    return scores, left_out


def _write(
    out: Path,
    scores: list[Score],
    patients: list[PatientScore],
    summary: Mapping[str, Any],
    worst: WorstCases,
) -> None:
    worst.write(out / "worst")
    if distributed.rank():
        return
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "scores.csv", scores)
    write_csv(out / "patients.csv", patients)
    author = {n: v for n, v in summary.get("author_compatible", {}).items() if n != "note"}
    table = markdown(summary["structures"], summary["tolerance"], author)
    if author:
        table += f"\nThe last column: {NOTE}.\n"
    for name, curve in summary.get("calibration", {}).items():
        table += (
            f"\nCalibration error of {name}: {curve['error']:.3f} [{curve['low']:.3f}, "
            f"{curve['high']:.3f}]; see the reliability plot.\n"
        )
    write_text_atomic(out / "table.md", table, overwrite=True)
    # The last to be written: its presence says that the rest is there.
    text = json.dumps(summary, indent=2) + "\n"
    write_text_atomic(out / "summary.json", text, overwrite=True)
    log.info("\n%s", table)
