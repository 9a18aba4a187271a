"""Schedules, averages, and gradients in parts."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed import HashStore

from isdmae_train import distributed, loop
from isdmae_train.config.runs import LoopConfig


def settings(**changes: object) -> LoopConfig:
    return LoopConfig(**{"steps": 100, "batch": 4, "warm_up": 10, "learning_rate": 1.0, **changes})


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_a_schedule_rises_over_the_warm_up_and_falls_to_zero(schedule: str) -> None:
    rates = [loop.learning_rate(step, settings(schedule=schedule)) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[100] == pytest.approx(0.0)
    assert sorted(rates[10:], reverse=True) == rates[10:]
    half = {"cosine": 0.5, "poly": 0.5**0.9}[schedule]
    assert rates[55] == pytest.approx(half)


def test_a_batch_in_parts_gives_the_gradients_of_the_whole() -> None:
    inputs = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    batch = {"image": inputs, "case": ["a", "b", "c", "d"]}
    weights = []
    for accumulate in (1, 2, 4):
        network, config = net(), settings(accumulate=accumulate)
        descent = loop.Descent(network, config, torch.float32)
        for step in range(3):
            firsts = []
            for part, first in descent.parts(batch, step):
                firsts.append(first)
                assert len(part["image"]) == len(part["case"]) == 4 // accumulate
                descent.add(descent.model(part["image"]).square().mean())
            assert firsts == list(range(4 * step, 4 * step + 4, 4 // accumulate))
            descent.step(step)
        weights.append(network[0].weight.detach().clone())
        assert set(descent.values()) == {"loss", "gradient_norm"}
    assert torch.allclose(weights[0], weights[1], atol=1e-5)
    assert torch.allclose(weights[0], weights[2], atol=1e-5)


def test_the_average_lags_behind_the_weights_and_catches_up_with_them() -> None:
    network = nn.Linear(1, 1)
    average = loop.Average(network, 0.9)
    nn.init.constant_(network.weight, 1.0)
    start = average.tensors["weight"].item()
    average.follow(network, step=0)
    early = average.tensors["weight"].item()
    assert early == pytest.approx(0.1 * start + 0.9 * 1.0)
    for step in range(1, 200):
        average.follow(network, step)
    assert average.tensors["weight"].item() == pytest.approx(1.0, abs=1e-4)


def test_losses_are_scaled_for_half_precision_and_a_step_with_overflow_is_left_out() -> None:
    network = net()
    descent = loop.Descent(network, settings(warm_up=1), torch.float16)
    before = network[0].weight.detach().clone()
    scale = descent.scaler.get_scale()
    assert scale > 1
    descent.add(descent.model(torch.full((4, 3), 1e38)).square().sum() * 1e38)
    descent.step(1)
    assert torch.equal(network[0].weight, before)
    assert descent.scaler.get_scale() < scale
    descent.add(descent.model(torch.ones(4, 3)).square().mean())
    descent.step(2)
    assert not torch.equal(network[0].weight, before)


def test_processes_of_a_machine_share_its_processors_and_wait_ten_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, groups = [], []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    own = set(range(16))

    def take(_process: int, processors: set[int]) -> None:
        own.intersection_update(processors)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: own, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", take, raising=False)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda kind, **options: groups.append(options)
    )
    monkeypatch.setattr(
        torch.distributed, "rendezvous", lambda url, timeout: iter([(HashStore(), 1, 3)])
    )
    loop.start(settings(device="cpu"))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    for rank, count in (("1", "3"), ("7", "64")):
        own = set(range(16))
        monkeypatch.setenv("LOCAL_RANK", rank)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", count)
        loop.start(settings(device="cpu"))
        assert own == {"1": {5, 6, 7, 8, 9}, "7": {7}}[rank]
    assert threads == [16, 5, 1]
    assert [group["timeout"] for group in groups] == [timedelta(minutes=10)] * 2
    own = set(range(16))
    distributed.join(torch.device("cpu"))
    assert groups[-1]["timeout"] >= timedelta(hours=1), "an evaluation waits for its slowest share"


def broken_gradient(descent: loop.Descent) -> None:
    """Add the gradient of a finite loss that is not finite itself: the root has none at 0."""
    descent.add((descent.model(torch.ones(4, 3)) * 0.0).abs().sqrt().sum())


def test_a_gradient_that_is_not_finite_leaves_the_weights_and_names_the_slices() -> None:
    network = net()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    descent = loop.Descent(network, settings(ema=0.9), torch.float32)
    broken_gradient(descent)
    with pytest.raises(loop.DivergedError, match=r"gradient is nan at step 7 \(slices a\[3\], b\)"):
        descent.step(7, ["a[3]", "b"])
    assert descent.average is not None
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(descent.average.tensors[name], before[name])


def test_a_gradient_that_no_scale_makes_finite_ends_a_run_in_half_precision() -> None:
    descent = loop.Descent(net(), settings(), torch.float16)
    for _ in range(16):
        broken_gradient(descent)
        descent.step(1, ["a"])
    assert descent.scaler.get_scale() == 1.0
    broken_gradient(descent)
    with pytest.raises(loop.DivergedError, match=r"slices a\)"):
        descent.step(1, ["a"])


@pytest.mark.parametrize("part", ["weights", "average"])
def test_weights_that_are_not_finite_are_never_written(tmp_path: Path, part: str) -> None:
    network = net()
    descent = loop.Descent(network, settings(ema=0.9), torch.float32)
    assert descent.average is not None
    held = network.state_dict() if part == "weights" else descent.average.tensors
    held["2.bias"].fill_(torch.inf)
    with pytest.raises(loop.DivergedError, match=r"weights 2\.bias are not finite at step 5"):
        descent.save_when_due(tmp_path / "checkpoints", 5, {}, now=True)
    assert not list(tmp_path.iterdir())
