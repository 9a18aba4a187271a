"""A model's network on a device: what it gives for an image, and what to do when memory is short.

Shapes: B batch, N a slice and its neighbours, C classes, S spatial axes ((H, W) or (D, H, W)).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .bundle import Bundle
from .device import DeviceChoice, choose_device, has_bf16
from .errors import Cancelled, ResourceError, says_memory_is_short
from .labels import mirrored_classes
from .networks.blocks import fuse_for_prediction
from .preprocess import to_channels

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Called with the stage and the share of all work that is done, 0..1."""
Stop = Callable[[], bool]
"""Asked between batches; True cancels."""

CPU_BATCH = {2: 2, 3: 1}
GPU_BATCH = {2: 32, 3: 4}
"""Slices (2D) or cubes (3D) at once."""
MOST_WORKERS = 16
"""Batches at once on a CPU."""
BATCH_BYTES, FIRST_BYTES = 60_000_000, 140_000_000
"""What a batch of the default model takes, and what the first one takes once."""
PROCESS_BYTES, VOXEL_BYTES = 0.9e9, 5.2
"""Peak memory of a prediction by the default model on a CPU: all told without a scan, and what each
voxel of the scan adds; two batches at once, fitted to 300 and 1,000 slices of 512 x 512 (`make
bench`)."""
MEMORY_FORMAT = {2: torch.channels_last, 3: torch.channels_last_3d}


@dataclass
class Stopwatch:
    """Seconds spent in each named stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    @contextmanager
    def together(self) -> Iterator[None]:
        """Scale the seconds of stages that several threads spend at once to those that pass."""
        before, start = dict(self.seconds), time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - start
            spent = {name: s - before.get(name, 0.0) for name, s in self.seconds.items()}
            scale = min(1.0, passed / max(sum(spent.values()), 1e-9))
            for name, seconds in spent.items():
                self.seconds[name] = before.get(name, 0.0) + scale * seconds


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """Who is told how far a prediction is, and who may end it."""

    progress: Progress = lambda stage, share: None
    stop: Stop = lambda: False
    watch: Stopwatch = field(default_factory=Stopwatch)

    def part(self, first: float, share: float) -> Watcher:
        """Return a watcher of a part of the work, from ``first`` on and ``share`` of the whole."""
        return Watcher(
            progress=lambda stage, done: self.progress(stage, first + share * done),
            stop=self.stop,
            watch=self.watch,
        )

    def batches(
        self,
        network: LoadedNetwork,
        count: int,
        work: Callable[[int, int], None],
        *,
        done: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """Call ``work(start, end)`` for all of ``count`` items, fewer at once if memory is short.

        On a CPU a 2D network labels a batch on every processor, in a thread of its own that never
        waits for another: threads that share one convolution wait for the slowest at each layer,
        and took up to ten times as long wherever another program (3D Slicer, for one) kept a
        processor busy. So ``work`` must write to places of its own.

        ``done`` is the share of the prediction that is done before and after.

        Raises
        ------
        Cancelled
            Where ``stop`` said so.
        ResourceError
            Where the memory is not enough for one item, even on the CPU.
        """
        left = deque([(0, count)] if count else [])
        batch, workers, finished = network.batch, _fitting(network), 0
        running: dict[Future[None], tuple[int, int]] = {}
        with self.watch.together(), ThreadPoolExecutor(workers) as pool:
            while left or running:
                if self.stop():
                    raise Cancelled()
                share = done[0] + (done[1] - done[0]) * finished / count
                self.progress("segment", 0.05 + 0.9 * share)
                while left and len(running) < workers:
                    start, end = left.popleft()
                    if end - start > batch:
                        left.appendleft((start + batch, end))
                    span = start, min(end, start + batch)
                    running[pool.submit(_compute, work, span, network.threads(workers))] = span
                shorts = []
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    span = running.pop(future)
                    error = future.exception()
                    if error is None:
                        finished += span[1] - span[0]
                    elif isinstance(error, (MemoryError, RuntimeError)) and is_out_of_memory(error):
                        shorts.append(span)
                    else:
                        raise error
                left.extendleft(shorts)
                if shorts and workers > 1:
                    workers //= 2
                    log.warning("memory is short: going on with %d at once", workers)
                elif shorts:
                    batch = network.make_room(batch)


def _fitting(network: LoadedNetwork) -> int:
    """Return how many of the network's batches at once there is memory for.

    To ask costs nothing, as nothing is written to it. Convolutions on a CPU do not always report
    that their memory is not granted, they may end the process.

    Raises
    ------
    ResourceError
        Where it is not even enough for one.
    """
    workers = network.workers
    while True:
        try:
            np.empty(FIRST_BYTES + workers * BATCH_BYTES, np.uint8)
        except MemoryError as error:
            if workers == 1:
                raise network.too_little_memory() from error
            workers //= 2
        else:
            return workers


def _compute(work: Callable[[int, int], None], span: tuple[int, int], threads: int) -> None:
    torch.set_num_threads(threads)
    with torch.inference_mode():
        work(*span)


class LoadedNetwork:
    """The network of a bundle, ready on a device.

    Parameters
    ----------
    bundle : Bundle
        The model.
    device, precision, mirror
        As in `isdmae.inference.Predictor`.
    """

    def __init__(self, bundle: Bundle, device: str, precision: str, *, mirror: bool) -> None:
        self.info = bundle.info
        self.dims = bundle.info.network.spatial_dims
        self.mirror = mirror
        self.classes = len(bundle.info.labels) + 1
        self._twins = mirrored_classes(bundle.info.labels)
        self._wish = precision
        self.network: Callable[[Tensor], Tensor] = fuse_for_prediction(bundle.load_network())
        self._module = self.network
        self._place(choose_device(device))

    def _place(self, choice: DeviceChoice) -> None:
        self.device = choice
        half = self._wish == "auto" and has_bf16(choice.device)
        self.dtype = torch.bfloat16 if half else torch.float32
        self._module.to(choice.device, self.dtype, memory_format=MEMORY_FORMAT[self.dims])  # type: ignore[call-overload]

    @property
    def batch(self) -> int:
        """How many items to begin with."""
        return (CPU_BATCH if self.device.device.type == "cpu" else GPU_BATCH)[self.dims]

    @property
    def workers(self) -> int:
        """How many batches are computed at once; see `Watcher.batches`."""
        alone = self.device.device.type != "cpu" or self.dims == 3
        return 1 if alone else min(available_threads(), MOST_WORKERS)

    def threads(self, workers: int) -> int:
        """Return how many threads each of so many workers computes with."""
        return max(1, available_threads() // workers)

    def log_plan(self, count: int, size: Sequence[int], voxels: int | None = None) -> None:
        """Say in one line what is going to be computed, before it is.

        Parameters
        ----------
        count : int
            Slices or cubes, at most: those that show nothing are left out.
        size : sequence of int
            Their pixels or voxels, ([D,] H, W).
        voxels : int, optional
            Of the whole scan, where its slices are labelled one by one: then the memory is known.
        """
        items, side = {2: ("slices", "pixels"), 3: ("cubes", "voxels")}[self.dims]
        processor = self.device.device.type
        words = [
            f"plan: {count} {items} of {' x '.join(map(str, reversed(size)))} {side}",
            f"{self.workers} x {self.batch} at once",
            f"{processor}, {str(self.dtype).removeprefix('torch.')}",
        ]
        if processor == "cpu" and voxels is not None:
            needed = PROCESS_BYTES + VOXEL_BYTES * voxels + (self.workers - 2) * BATCH_BYTES
            words.append(f"about {needed / 1e9:.1f} GB of memory")
        log.info("%s", ", ".join(words))

    def scores(self, image: Tensor, *, is_hu: bool, mirrored: bool = True) -> Tensor:
        """Compute what the largest of tells the class.

        Parameters
        ----------
        image : Tensor
            float32 (B, N, \\*S) on any device, as `isdmae.preprocess.to_channels` takes it.
        is_hu : bool
            Whether it is in HU.
        mirrored : bool
            False where the last axis does not run from right to left.

        Returns
        -------
        Tensor
            float32 (B, C, \\*S): logits; with ``mirror`` the mean of the probabilities for the
            image and for its mirror image, left and right labels changed back.
        """
        image = image.to(self.device.device)
        logits = self._logits(image, is_hu)
        if not (self.mirror and mirrored):
            return logits
        twin = self._logits(image.flip(-1), is_hu).flip(-1)[:, self._twins]
        return (logits.softmax(dim=1) + twin.softmax(dim=1)) / 2

    def probabilities(self, image: Tensor, *, is_hu: bool, mirrored: bool = True) -> Tensor:
        """Compute `scores` as probabilities in any case."""
        scores = self.scores(image, is_hu=is_hu, mirrored=mirrored)
        return scores if self.mirror and mirrored else scores.softmax(dim=1)

    def _logits(self, image: Tensor, is_hu: bool) -> Tensor:
        channels = to_channels(image, is_hu, self.info.preprocess)
        channels = channels.to(self.dtype, memory_format=MEMORY_FORMAT[self.dims])
        return self.network(channels).float()

    def make_room(self, batch: int) -> int:
        """Go one step down the ladder: half the batch, then from the GPU to the CPU."""
        items = {2: "slices", 3: "cubes"}[self.dims]
        if self.device.device.type == "cuda":
            torch.cuda.empty_cache()
        if batch > 1:
            log.warning("memory is short: %d instead of %d %s at once", batch // 2, batch, items)
            return batch // 2
        if self.device.device.type != "cpu":
            reason = f"the {self.device.device.type} memory is too small; going on with the CPU"
            log.warning("%s", reason)
            self._place(DeviceChoice(torch.device("cpu"), reason))
            return self.batch
        raise self.too_little_memory()

    def too_little_memory(self) -> ResourceError:
        """Return what is to be raised where not even one item can be computed."""
        item = {2: "slice", 3: "cube"}[self.dims]
        return ResourceError(
            "out-of-memory",
            f"The memory is not enough for a single {item}.",
            "Close other programs, or crop the scan.",
        )


def available_threads() -> int:
    """Return the number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_out_of_memory(error: BaseException) -> bool:
    """Tell memory exhaustion from every other error, on the CPU and on GPUs."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or says_memory_is_short(error)
