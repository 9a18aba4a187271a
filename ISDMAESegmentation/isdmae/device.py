"""Which processor computes, and in which precision."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from .errors import ResourceError

DEVICES = ("auto", "cpu", "cuda", "mps")
GPUS = ("mps",) if sys.platform == "darwin" else ("cuda",)
"""The kind of GPU that this operating system can have."""
CPU_BF16_FLAGS = ("avx512_bf16", "amx_bf16")


@dataclass(frozen=True)
class DeviceChoice:
    """The device, and in words why it was chosen."""

    device: torch.device
    reason: str


def choose_device(wish: str = "auto") -> DeviceChoice:
    """Return a device that has just run a real kernel.

    Parameters
    ----------
    wish : str
        "auto" takes a GPU that works, else the CPU; "cpu", "cuda" and "mps" are binding.

    Raises
    ------
    ResourceError
        ``no-device`` where the wished device is absent or fails.
    ValueError
        Where the wish is unknown.
    """
    if wish not in DEVICES:
        raise ValueError(f"Unknown device '{wish}': one of {', '.join(DEVICES)}.")
    if wish == "cpu":
        return DeviceChoice(torch.device("cpu"), "CPU, as chosen")
    reasons = []
    for name in GPUS if wish == "auto" else (wish,):
        failure = why_not(name)
        if failure is None:
            return DeviceChoice(torch.device(name), f"{name}: a test computation succeeded")
        reasons.append(failure)
    if wish != "auto":
        raise ResourceError("no-device", reasons[0], "Choose the device 'auto' or 'cpu'.")
    return DeviceChoice(torch.device("cpu"), "CPU; " + " ".join(reasons))


def why_not(name: str) -> str | None:
    """Return why "cuda" or "mps" cannot be used, or None where it can."""
    backend = torch.cuda if name == "cuda" else torch.backends.mps
    if not backend.is_available():
        return f"This PyTorch ({torch.__version__}) finds no {name} device."
    try:
        x = torch.ones(1, 2, 8, 8, device=name)
        torch.nn.functional.conv2d(x, torch.ones(2, 2, 3, 3, device=name)).sum().item()
        # Older macOS lacks it; a run that stumbles in the middle would be worse than a slow one.
        cubes = torch.ones(2, 2, 3, 3, 3, device=name)
        torch.nn.functional.conv3d(torch.ones(1, 2, 4, 8, 8, device=name), cubes).sum().item()
    except RuntimeError as error:
        return f"The {name} device was found but fails: {str(error).splitlines()[0]}."
    return None


def has_bf16(device: torch.device) -> bool:
    """Tell whether bfloat16 is computed in hardware; elsewhere it would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type == "cpu":
        flags = _cpu_flags()
        return any(flag in flags for flag in CPU_BF16_FLAGS)
    return False


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {word for line in lines if line.startswith("flags") for word in line.split()}
