"""What the pre-training and the fine-tuning loop share: device, schedule, one optimiser step."""

from __future__ import annotations

import math
import signal
import threading
from types import FrameType

import torch
from torch import Tensor, nn

from isdmae.device import choose_device, has_bf16
from isdmae.errors import Cancelled, IsdmaeError
from isdmae.inference import available_threads

from .config import LoopConfig
from .reporter import current


class DivergedError(IsdmaeError):
    """The loss is not finite any more."""


class StopRequest:
    """Remembers SIGINT, SIGTERM and a program's ``stop``: the loop ends with a checkpoint."""

    def __init__(self) -> None:
        self._control = current().control
        if threading.current_thread() is threading.main_thread():
            for name in (signal.SIGINT, signal.SIGTERM):
                signal.signal(name, self._ask)

    @property
    def asked(self) -> bool:
        """Whether to stop; a loop asks once a step, since the answer may change at any time."""
        return self._control.stopped

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._control.obey("stop")


def start(config: LoopConfig) -> tuple[torch.device, torch.dtype]:
    """Choose device and compute type, and seed everything that is not drawn from (seed, step)."""
    torch.manual_seed(config.seed)
    torch.set_num_threads(available_threads())
    device = choose_device(config.device).device
    dtype = torch.bfloat16 if config.bf16 and has_bf16(device) else torch.float32
    return device, dtype


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then a cosine to zero at ``config.steps``."""
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    done = (step - config.warm_up) / max(1, config.steps - config.warm_up)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(network: nn.Module, config: LoopConfig) -> torch.optim.AdamW:
    """AdamW; norms, biases and single numbers are not decayed (Loshchilov and Hutter 2019)."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def descend(
    loss: Tensor, network: nn.Module, optimizer: torch.optim.Optimizer, rate: float, clip: float
) -> None:
    """Take one optimiser step at learning rate ``rate`` with gradients clipped to ``clip``."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.step()


def check_complete(step: int, steps: int) -> None:
    """Raise Cancelled where a run was stopped before its last step; its checkpoint is written."""
    if step < steps:
        raise Cancelled(
            "stopped",
            f"Stopped at step {step} of {steps}.",
            "The same command goes on from there.",
        )


def check_finite(loss: Tensor, step: int, cases: list[str]) -> None:
    """Stop at the first loss that is not finite, naming the slices in the batch."""
    if not torch.isfinite(loss):
        raise DivergedError(
            "diverged",
            f"The loss is {loss.item()} at step {step} (slices {', '.join(cases)}).",
            "Lower the learning rate, or look at these slices; the last checkpoint is good.",
        )
