"""Batches: memory that is short, devices that are too small, and the time of each stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from isdmae import compute
from isdmae.bundle import Bundle
from isdmae.compute import Stopwatch, is_out_of_memory
from isdmae.device import DeviceChoice
from isdmae.errors import ResourceError
from isdmae.inference import Predictor
from isdmae.phantom import Phantom
from isdmae.volume import Volume


def test_stages_of_several_threads_add_up_to_the_time_that_passes() -> None:
    watch = Stopwatch({"read": 1.0})
    start = time.perf_counter()
    with watch.together(), ThreadPoolExecutor(4) as pool:
        for stage in ("network", "network", "network", "back"):
            pool.submit(_sleep, watch, stage)
    passed = time.perf_counter() - start
    assert watch.seconds["read"] == 1.0
    assert watch.seconds["network"] + watch.seconds["back"] == pytest.approx(passed, rel=0.05)
    assert watch.seconds["network"] > watch.seconds["back"]


def _sleep(watch: Stopwatch, stage: str) -> None:
    with watch(stage):
        time.sleep(0.05)


def failing(network: Callable[..., torch.Tensor], most: int) -> Callable[..., torch.Tensor]:
    """A network on a machine whose memory holds ``most`` slices."""

    def forward(channels: torch.Tensor) -> torch.Tensor:
        if len(channels) > most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return network(channels)

    return forward


def test_with_too_little_memory_it_takes_fewer_slices_at_once(
    predictor: Predictor, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor.network, "network", failing(predictor.network.network, 1))
    assert predictor.segment(small_phantom.ct).labelmap.same_grid(small_phantom.ct)


def test_without_memory_for_one_slice_it_says_so(
    predictor: Predictor, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor.network, "network", failing(predictor.network.network, 0))
    with pytest.raises(ResourceError, match="single slice") as caught:
        predictor.segment(small_phantom.ct)
    assert caught.value.exit_code == 3


def test_memory_that_is_short_from_the_first_is_told_in_words(
    predictor: Predictor, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "FIRST_BYTES", 1 << 60)
    with pytest.raises(ResourceError, match="not enough for a single slice") as caught:
        predictor.segment(small_phantom.ct)
    assert caught.value.code == "out-of-memory"


@pytest.mark.parametrize("error", [MemoryError, torch.cuda.OutOfMemoryError])
def test_memory_that_runs_out_at_any_batch_changes_no_label(
    tiny_bundle: Bundle,
    small_phantom: Phantom,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    """As beside another program that takes the memory in between: once, at each call in turn."""
    predictor = Predictor(tiny_bundle.folder, device="cpu", precision="float32")
    forward, ct = predictor.network.network, small_phantom.ct
    some = Volume(array=ct.array[12:20], spacing_mm=ct.spacing_mm, origin_mm=ct.origin_mm)
    calls, fatal = 0, 0

    def failing_once(channels: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == fatal:
            raise error("out of memory")
        return forward(channels)

    monkeypatch.setattr(predictor.network, "network", failing_once)
    undisturbed = predictor.segment(some).labelmap.array
    assert undisturbed.any()
    batches, fatal = calls, 1
    assert batches >= 4
    while fatal <= batches:
        calls = 0
        assert np.array_equal(predictor.segment(some).labelmap.array, undisturbed)
        assert calls > batches, "a batch was done again"
        fatal += 1


def test_a_gpu_that_is_too_small_hands_over_to_the_cpu(predictor: Predictor) -> None:
    """Without a GPU at hand: the ladder itself, from the GPU's last step down."""
    network = predictor.network
    network.device = DeviceChoice(torch.device("cuda"), "A GPU.")
    assert network.workers == 1
    assert network.make_room(32) == 16
    assert network.make_room(1) == compute.CPU_BATCH[2]
    assert network.device.device.type == "cpu"
    assert "cuda memory is too small" in network.device.reason


def test_a_defect_is_not_taken_for_missing_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate"))
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for x"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def test_other_errors_pass_through(
    predictor: Predictor, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(channels: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(predictor.network, "network", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        predictor.segment(small_phantom.ct)
