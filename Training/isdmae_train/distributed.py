"""One run in several processes, as `torchrun` starts them: each takes its share of every batch.

The result is that of one process with the same batch: sums behind means, the statistics of batch
norms, and the other images of a contrast are those of the whole batch (Li et al. 2020, arXiv
2006.15704, for the rest). A process that runs alone is a group of one, and all of this costs
nothing.

    torchrun --nproc-per-node 4 -m isdmae_train pretrain --recipe FILE.yaml
"""

from __future__ import annotations

import gc
import json
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from isdmae.compute import available_threads
from isdmae.errors import InputError

SLOWEST_SHARE = timedelta(hours=6)
"""An evaluation waits once, at its end, for the process whose scans take longest."""
SLOWEST_STEP = timedelta(minutes=10)
"""A training waits at every step."""


def started_by_torchrun() -> bool:
    """Whether this process is one of a group that torchrun has started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def join(device: torch.device, patience: timedelta = SLOWEST_SHARE) -> torch.device:
    """Join the group where torchrun has started one; returns this process's device.

    NCCL joins GPUs, one for each process of a machine; Gloo joins processors. Each process keeps
    to its share of the machine's processors. One that waits for the others longer than ``patience``
    ends with an error, and with it all.
    """
    if not started_by_torchrun():
        return device
    on_gpu = device.type == "cuda"
    if on_gpu:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        share = available_threads() // int(os.environ["LOCAL_WORLD_SIZE"])
        take_processors(int(os.environ["LOCAL_RANK"]), max(1, share))
        store, number, count = next(dist.rendezvous("env://", timeout=patience))
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            # torchrun keeps it over a restart (PyTorch 2.13), with the addresses of who has ended.
            attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
            store = dist.PrefixStore(f"restart-{attempt}", store)
        dist.init_process_group(
            "nccl" if on_gpu else "gloo", store=store, rank=number, world_size=count,
            timeout=patience,
        )  # fmt: skip
    return device


def take_processors(number: int, count: int) -> None:
    """Keep this process, the ``number``-th of several, to ``count`` of the machine's processors.

    By these it counts its threads (`available_threads`). Linux alone can do it.
    """
    if hasattr(os, "sched_setaffinity"):
        own = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {own[(number * count + n) % len(own)] for n in range(count)})


def leave() -> None:
    """Leave the group together, if there is one.

    What still holds the group goes first: its threads must not outlive it to the end of Python.
    """
    if dist.is_initialized():
        dist.barrier()
        gc.collect()
        dist.destroy_process_group()


def rank() -> int:
    """Return the number of this process in its group; the first one writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share_of(samples: int) -> tuple[int, int]:
    """Return which of ``samples`` are this process's: the first one, and how many.

    Raises
    ------
    InputError
        ``batch-not-shared`` where they cannot be shared evenly.
    """
    count, rest = divmod(samples, size())
    if rest or not count:
        raise InputError(
            "batch-not-shared",
            f"A batch, or a part of one, of {samples} cannot be shared evenly among {size()} "
            "processes.",
            "Choose a batch whose parts (`accumulate`) are multiples of the number of processes.",
        )
    return rank() * count, count


def shared(network: nn.Module) -> nn.Module:
    """Return what to call in training: the network, its gradients averaged over the processes.

    Its batch norms are replaced, in place, by such that see the whole batch.
    """
    if size() == 1:
        return network
    _see_the_whole_batch(network)
    return DistributedDataParallel(network)


def total(value: Tensor) -> Tensor:
    """Return the sum over the processes, without gradient."""
    if size() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value


def gathered(rows: Tensor) -> Tensor:
    """Return the rows of all processes, (B, ...) of the whole batch; gradients flow to each."""
    if size() == 1:
        return rows
    everyone = rows.new_zeros(size() * len(rows), *rows.shape[1:])
    everyone[rank() * len(rows) : (rank() + 1) * len(rows)] = rows
    result: Tensor = Sum.apply(everyone)
    return result


def anyone(flag: bool) -> bool:
    """Tell whether ``flag`` holds in any process, so that all do the same at the same step."""
    if size() == 1:
        return flag
    return bool(total(torch.tensor(float(flag), device=_own_device())).item())


def collected(mine: list[Any]) -> list[Any]:
    """Return the items (plain data) of all processes, in order of the processes."""
    if size() == 1:
        return mine
    text = torch.frombuffer(bytearray(json.dumps(mine).encode()), dtype=torch.uint8)
    device = _own_device()
    lengths = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(size())]
    dist.all_gather(lengths, torch.tensor([len(text)], device=device))
    longest = max(int(length) for length in lengths)
    padded = torch.zeros(longest, dtype=torch.uint8, device=device)
    padded[: len(text)] = text.to(device)
    texts = [torch.zeros_like(padded) for _ in range(size())]
    dist.all_gather(texts, padded)
    parts = (
        json.loads(bytes(one[: int(length)].cpu().tolist()))
        for one, length in zip(texts, lengths, strict=True)
    )
    return [item for part in parts for item in part]


def _own_device() -> torch.device:
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


class Sum(torch.autograd.Function):
    """The sum over the processes; so is its gradient."""

    @staticmethod
    def forward(_context: Any, mine: Tensor) -> Tensor:
        """Add up."""
        mine = mine.clone()
        dist.all_reduce(mine)
        return mine

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        """Add up, too: what one process gave, all have used."""
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


class WholeBatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes; takes the place of PyTorch's, on any device."""

    def _check_input_dim(self, _input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        dims = [0, *range(2, x.ndim)]
        values = x.float()
        here = x.new_full((1,), x.numel() / x.shape[1], dtype=torch.float32)
        sums = torch.cat([values.sum(dims), (values * values).sum(dims), here])
        sums = Sum.apply(sums)
        channels, count = x.shape[1], sums[-1].detach()
        mean = sums[:channels] / count
        variance = (sums[channels:-1] / count - mean * mean).clamp(min=0.0)
        with torch.no_grad():
            self.num_batches_tracked += 1
            momentum = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), momentum)
        shape = [1, channels, *[1] * (x.ndim - 2)]
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (values * scale.view(shape) + shift.view(shape)).to(x.dtype)


def _see_the_whole_batch(module: nn.Module) -> None:
    """Replace every batch norm below ``module`` by a `WholeBatchNorm` of the same tensors."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            norm = WholeBatchNorm(child.num_features, child.eps, child.momentum)
            norm.weight, norm.bias = child.weight, child.bias
            for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(norm, buffer, getattr(child, buffer))
            setattr(module, name, norm)
        else:
            _see_the_whole_batch(child)
