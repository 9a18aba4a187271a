"""What the pre-training and the fine-tuning loop share: device, schedule, one optimiser step."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from isdmae.device import choose_device, has_bf16
from isdmae.errors import Cancelled, IsdmaeError
from isdmae.inference import available_threads

from . import distributed
from .checkpoint import resume, save_checkpoint
from .config.runs import LoopConfig
from .data import Batch
from .reporter import current


class DivergedError(IsdmaeError):
    """The loss, its gradient or a weight is not finite any more."""


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
    """Choose device and compute type, and seed everything that is not drawn from (seed, step).

    Half precision is bfloat16 where the hardware has it, else float16 on a GPU, never on a CPU.
    Under torchrun the process joins its group, and those of a machine share its processors.
    """
    torch.manual_seed(config.seed)
    device = distributed.join(choose_device(config.device).device, distributed.SLOWEST_STEP)
    torch.set_num_threads(available_threads())
    distributed.share_of(config.part)
    if not config.bf16:
        return device, torch.float32
    if has_bf16(device):
        return device, torch.bfloat16
    return device, torch.float16 if device.type == "cuda" else torch.float32


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then a cosine or a polynomial of power 0.9 to zero at ``config.steps``."""
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    done = (step - config.warm_up) / max(1, config.steps - config.warm_up)
    if config.schedule == "poly":
        return float(config.learning_rate * (1 - done) ** 0.9)
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


class Descent:
    """A network on its way down: gradients of all parts and processes, one step, checkpoints.

    Parameters
    ----------
    network : nn.Module
        On its device.
    config : LoopConfig
        Batch, rates, averages.
    dtype : torch.dtype
        What the network is computed in; float16 needs its losses scaled.
    """

    def __init__(self, network: nn.Module, config: LoopConfig, dtype: torch.dtype) -> None:
        self.network = network
        self.model = distributed.shared(network)
        self.config = config
        self.optimizer = make_optimizer(network, config)
        self.device = next(network.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype == torch.float16)
        self.average = Average(network, config.ema) if config.ema else None
        self._seen: dict[str, list[Tensor]] = defaultdict(list)
        self._data: Mapping[str, str] = {}
        self._saved = time.monotonic()

    def parts(self, batch: Batch, step: int) -> Iterator[tuple[Batch, int]]:
        """Cut this process's share of a batch into that of each of ``config.accumulate`` parts.

        The gradients of all but the last one, whose sums it sends, stay in this process: forward
        and backward of a part belong into the body of the loop over them.

        Yields
        ------
        Batch
            As `isdmae_train.data.batches` yields it, with fewer samples.
        int
            The index of its first sample in the run.
        """
        config = self.config
        first, each = distributed.share_of(config.part)
        for number in range(config.accumulate):
            own = slice(number * each, (number + 1) * each)
            part = {name: values[own] for name, values in batch.items()}
            last = number == config.accumulate - 1
            with contextlib.nullcontext() if last else self._unshared():
                yield part, step * config.batch + number * config.part + first

    def add(self, loss: Tensor, terms: Mapping[str, Tensor] | None = None) -> None:
        """Add the gradients of one part's loss; ``terms`` are kept for the log."""
        self.scaler.scale(loss / self.config.accumulate).backward()
        for name, value in {"loss": loss, **(terms or {})}.items():
            self._seen[name].append(value.detach())

    def _unshared(self) -> Any:
        """Leave the gradients in this process: the last part sends the sums."""
        model = self.model
        sharing = isinstance(model, DistributedDataParallel)
        return model.no_sync() if sharing else contextlib.nullcontext()

    def step(self, step: int, cases: Sequence[str] = ()) -> float:
        """Take step number ``step`` with the gradients of ``cases``; returns the learning rate.

        Raises
        ------
        DivergedError
            Where the gradient is not finite; the weights are as they were. With losses scaled for
            float16 such a step is left out, until there is no scale left to lower.
        """
        rate = learning_rate(step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.unscale_(self.optimizer)
        self._norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        if not torch.isfinite(self._norm) and self.scaler.get_scale() <= 1.0:
            raise _diverged(f"The norm of the gradient is {self._norm.item()}", step, cases)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.follow(self.network, step)
        self._last, self._seen = self._seen, defaultdict(list)
        return rate

    def values(self) -> dict[str, float]:
        """Return the loss and the terms of the last step, means over parts and processes.

        With the norm of the gradient before clipping. Every process must ask.
        """
        means = torch.stack([torch.stack(values).mean().float() for values in self._last.values()])
        means = distributed.total(means) / distributed.size()
        values = dict(zip(self._last, means.tolist(), strict=True))
        return values | {"gradient_norm": self._norm.item()}

    def resume(self, folder: Path, plain: Any, defaults: Any, data: Mapping[str, str]) -> int:
        """Go on from the newest checkpoint; see `isdmae_train.checkpoint.resume`.

        ``data`` is written into the next ones.
        """
        self._data = data
        average = None if self.average is None else self.average.tensors
        done, scaler = resume(
            folder,
            self.network,
            self.optimizer,
            plain,
            defaults=defaults,
            data=data,
            average=average,
        )
        if scaler:
            self.scaler.load_state_dict(scaler)
        return done

    def save_when_due(self, folder: Path, step: int, plain: Any, *, now: bool) -> None:
        """Write a checkpoint every `checkpoint_minutes`, or ``now``; the first process alone.

        Raises
        ------
        DivergedError
            Where a weight or its average is not finite; nothing is written.
        """
        due = time.monotonic() - self._saved > 60 * self.config.checkpoint_minutes
        if distributed.rank() == 0 and (due or now):
            average = None if self.average is None else self.average.tensors
            for name, value in (*self.network.state_dict().items(), *(average or {}).items()):
                if not torch.isfinite(value).all():
                    raise _diverged(f"The weights {name} are not finite", step)
            save_checkpoint(
                folder,
                step,
                self.network,
                self.optimizer,
                plain,
                data=self._data,
                average=average,
                scaler=self.scaler.state_dict(),
            )
            self._saved = time.monotonic()


class Average:
    """Exponential moving average of weights and statistics (Polyak and Juditsky 1992).

    It starts with the newest weights and becomes as slow as ``decay`` says after some steps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> None:
        """Move towards the weights after step number ``step``."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.tensors[name].lerp_(value, 1 - decay)
            else:
                self.tensors[name].copy_(value)


def check_complete(step: int, steps: int) -> None:
    """Raise Cancelled where a run was stopped before its last step; its checkpoint is written."""
    if step < steps:
        raise Cancelled(
            "stopped",
            f"Stopped at step {step} of {steps}.",
            "The same command goes on from there.",
        )


def check_finite(loss: Tensor, step: int, cases: Sequence[str]) -> None:
    """Stop at the first loss that is not finite, naming the slices in the batch."""
    if not torch.isfinite(loss):
        raise _diverged(f"The loss is {loss.item()}", step, cases)


def _diverged(what: str, step: int, cases: Sequence[str] = ()) -> DivergedError:
    named = f" (slices {', '.join(cases)})" if cases else ""
    return DivergedError(
        "diverged",
        f"{what} at step {step}{named}.",
        "Lower the learning rate, or look at these slices; the last checkpoint is good."
        if cases
        else "Lower the learning rate; the last checkpoint is good.",
    )
