"""From a volume and a model to a labelmap on the volume's own grid.

Shapes: B batch of axial slices, C channels or classes, H W pixels.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .bundle import Bundle, find_bundle
from .checks import Notice, prepare_hu
from .device import DeviceChoice, choose_device, has_bf16
from .errors import Cancelled, InputError, ResourceError, says_memory_is_short
from .labels import LEFT, RIGHT, Label
from .networks.blocks import fuse_for_prediction
from .postprocess import CleaningCounts, clean, volumes_ml
from .preprocess import AIR_HU, SliceGrid, hu_to_pictures, slice_batch, to_channels
from .region import Region
from .volume import Array, Volume, to_lps_order

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Called with the stage and the share of all work that is done, 0..1."""
Stop = Callable[[], bool]
"""Asked between batches; True cancels."""

CPU_BATCH = 4
GPU_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A result and how it came about.

    ``labelmap`` is uint8 on the grid of the input; ``status`` is "empty" where nothing was found.
    """

    labelmap: Volume
    labels: tuple[Label, ...]
    volumes_ml: dict[str, float]
    status: str
    bundle: Bundle
    notices: tuple[Notice, ...]
    seconds: dict[str, float]
    device: DeviceChoice
    precision: str
    threads: int
    cleaning: CleaningCounts


@dataclass
class Stopwatch:
    """Seconds spent in each named stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent


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
    """

    def __init__(
        self, model: str | Path = "lungs", *, device: str = "auto", precision: str = "auto"
    ) -> None:
        if precision not in ("auto", "float32"):
            raise ValueError(f"Unknown precision '{precision}': 'auto' or 'float32'.")
        self.bundle = find_bundle(model)
        if self.bundle.info.network.spatial_dims != 2:
            raise InputError(
                "not-2d", "This version predicts with 2D models only.", "Choose a 2D model."
            )
        self.device = choose_device(device)
        self._wish = precision
        self._network = fuse_for_prediction(self.bundle.load_network())
        self._place(self.device)

    def _place(self, choice: DeviceChoice) -> None:
        self.device = choice
        half = self._wish == "auto" and has_bf16(choice.device)
        self.dtype = torch.bfloat16 if half else torch.float32
        self._network.to(choice.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def segment(
        self,
        volume: Volume,
        *,
        region: Region | None = None,
        force: bool = False,
        progress: Progress | None = None,
        stop: Stop | None = None,
    ) -> Segmentation:
        """Segment one volume.

        Parameters
        ----------
        volume : Volume
            A CT in HU, or a picture (one slice, ``is_hu`` False).
        region : Region, optional
            Label nothing outside it. Only the slices that it meets are computed, each as a whole,
            so the network sees what lies around the region.
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
            Where the memory is not enough even for one slice.
        Cancelled
            Where ``stop`` said so.
        """
        report = progress or (lambda stage, share: None)
        watch = Stopwatch()
        threads = available_threads()
        torch.set_num_threads(threads)
        with watch("check and orient"):
            self._refuse_kind(volume)
            checked, notices = prepare_hu(volume, force=force) if volume.is_hu else (volume, [])
            turned, order = to_lps_order(checked)
            span = slice(0, len(turned.array)) if region is None else region.box(turned)[0]
        labels = self._label_slices(turned, span, watch, report, stop or (lambda: False))
        with watch("clean"):
            report("clean", 0.95)
            cleaned, counts = clean(
                turned.with_array(labels),
                self.bundle.info.postprocess,
                slices=span.stop - span.start,
            )
            if region is not None:
                # After the cleaning: a part of a lung in a small region is no speck.
                inside = region.mask(turned)
                cleaned = cleaned.with_array(np.where(inside, cleaned.array, 0).astype(np.uint8))
            back = np.ascontiguousarray(order.undo(cleaned.array))
        if stop is not None and stop():
            raise Cancelled()
        labelmap = volume.with_array(back)
        report("done", 1.0)
        return Segmentation(
            labelmap=labelmap,
            labels=self.bundle.info.labels,
            volumes_ml=volumes_ml(labelmap, self.bundle.info.labels),
            status="done" if back.any() else "empty",
            bundle=self.bundle,
            notices=(*notices, *result_notices(cleaned, self.bundle.info.labels)),
            seconds={stage: round(spent, 3) for stage, spent in watch.seconds.items()},
            device=self.device,
            precision=str(self.dtype).removeprefix("torch."),
            threads=threads,
            cleaning=counts,
        )

    def _refuse_kind(self, volume: Volume) -> None:
        kind = "ct" if volume.is_hu else "picture"
        if kind not in self.bundle.info.takes:
            raise InputError(
                "wrong-kind",
                f"The model '{self.bundle.info.name}' does not take a {kind}.",
                f"Give it a {' or a '.join(self.bundle.info.takes)}, or choose another model.",
            )

    def _label_slices(
        self, turned: Volume, span: slice, watch: Stopwatch, report: Progress, stop: Stop
    ) -> Array:
        grid = SliceGrid.of(turned, self.bundle.info.preprocess, self.bundle.info.network.stride)
        labels = np.zeros(turned.shape, dtype=np.uint8)
        batch = CPU_BATCH if self.device.device.type == "cpu" else GPU_BATCH
        start = span.start
        while start < span.stop:
            if stop():
                raise Cancelled()
            done = (start - span.start) / (span.stop - span.start)
            report("segment", 0.05 + 0.9 * done)
            end = min(span.stop, start + batch)
            try:
                labels[start:end] = self._label_batch(turned, grid, start, end, watch)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                batch = self._make_room(batch)
                continue
            start = end
        return labels

    @torch.inference_mode()
    def _label_batch(
        self, turned: Volume, grid: SliceGrid, start: int, end: int, watch: Stopwatch
    ) -> Array:
        with watch("prepare slices"):
            slices = slice_batch(turned, start, end).to(self.device.device)
            resampled = grid.forward(slices, AIR_HU if turned.is_hu else 0.0)
            as_picture = turned.is_hu and self.bundle.info.preprocess.ct_as_picture
            if as_picture:
                resampled = hu_to_pictures(resampled)
            is_hu = turned.is_hu and not as_picture
            channels = to_channels(resampled, is_hu, self.bundle.info.preprocess)
            channels = channels.to(self.dtype, memory_format=torch.channels_last)
        with watch("network"):
            logits: Tensor = self._network(channels)
        with watch("back to the grid"):
            result: Array = grid.back(logits.float()).argmax(dim=1).to(torch.uint8).cpu().numpy()
        return result

    def _make_room(self, batch: int) -> int:
        """Go one step down the ladder: half the batch, then from the GPU to the CPU."""
        if self.device.device.type == "cuda":
            torch.cuda.empty_cache()
        if batch > 1:
            log.warning("memory is short: %d instead of %d slices at once", batch // 2, batch)
            return batch // 2
        if self.device.device.type != "cpu":
            reason = f"the {self.device.device.type} memory is too small; going on with the CPU"
            log.warning("%s", reason)
            self._place(DeviceChoice(torch.device("cpu"), reason))
            return CPU_BATCH
        raise ResourceError(
            "out-of-memory",
            "The memory is not enough for a single slice.",
            "Close other programs, or crop the scan.",
        )


def segment(
    volume: Volume,
    model: str | Path = "lungs",
    *,
    device: str = "auto",
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
    return predictor.segment(volume, force=force, progress=progress, stop=stop)


def result_notices(labelmap: Volume, labels: tuple[Label, ...]) -> list[Notice]:
    """Warn where a result (in LPS order) is empty or its sides contradict the axes."""
    if not labelmap.array.any():
        return [
            Notice(
                "nothing-found",
                "None of the model's structures was found.",
                "Check that the scan shows the chest and is the right way up.",
            )
        ]
    if not labelmap.is_hu:
        return [
            Notice(
                "picture-sides",
                "A picture does not say which side is left; the usual display is assumed "
                "(the patient's right lung on the viewer's left).",
                "Swap the sides if the picture is mirrored.",
            )
        ]
    centres = {
        label.modifier: float(np.mean(np.nonzero((labelmap.array == label.value).any((0, 1)))[0]))
        for label in labels
        if label.modifier in (LEFT, RIGHT) and (labelmap.array == label.value).any()
    }
    if len(centres) == 2 and centres[LEFT] <= centres[RIGHT]:
        return [
            Notice(
                "sides-contradict",
                "The left lung lies to the right of the right lung.",
                "Check the scan's orientation before you use the sides.",
            )
        ]
    return []


def available_threads() -> int:
    """Return the number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_out_of_memory(error: BaseException) -> bool:
    """Tell memory exhaustion from every other error, on the CPU and on GPUs."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or says_memory_is_short(error)
