"""Which device is chosen, and that it is said why."""

from __future__ import annotations

import pytest
import torch

from isdmae import device
from isdmae.device import choose_device, has_bf16, why_not
from isdmae.errors import ResourceError


def test_cpu_is_always_there() -> None:
    assert choose_device("cpu").device == torch.device("cpu")


def test_auto_names_the_reason_when_no_gpu_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    choice = choose_device("auto")
    assert choice.device.type == "cpu"
    assert "finds no cuda device" in choice.reason


def test_a_gpu_that_fails_its_test_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no kernel image is available\nlong trace")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", broken)
    assert why_not("cuda") == ("The cuda device was found but fails: no kernel image is available.")
    with pytest.raises(ResourceError, match="no kernel image"):
        choose_device("cuda")


def test_a_gpu_without_3d_convolution_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """As MPS on older macOS; the other computations succeed, here on the CPU."""
    ones = torch.ones

    def missing(*args: object, **kwargs: object) -> None:
        raise NotImplementedError("Conv3D is not supported on MPS")

    def ones_on_the_cpu(*size: int, device: str) -> torch.Tensor:
        return ones(*size)

    monkeypatch.setattr(device, "GPUS", ("mps",))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", ones_on_the_cpu)
    assert why_not("mps") is None
    monkeypatch.setattr(torch.nn.functional, "conv3d", missing)
    choice = choose_device("auto")
    assert choice.device.type == "cpu"
    assert "mps device was found but fails: Conv3D is not supported" in choice.reason


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown device"):
        choose_device("tpu")


def test_bfloat16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_cpu_flags", lambda: {"avx2"})
    assert not has_bf16(torch.device("cpu"))
    monkeypatch.setattr(device, "_cpu_flags", lambda: {"avx2", "amx_bf16"})
    assert has_bf16(torch.device("cpu"))
    assert not has_bf16(torch.device("mps"))
