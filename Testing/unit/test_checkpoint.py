"""Checkpoints: exact, atomic, two kept, damage survived."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from isdmae.errors import InputError
from isdmae_train.checkpoint import list_checkpoints, network_weights, resume, save_checkpoint


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    net = network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for step in range(steps):
        x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    return net, optimizer


def test_network_and_optimiser_come_back_exactly(tmp_path: Path) -> None:
    net, optimizer = trained(3)
    save_checkpoint(tmp_path, 3, net, optimizer, {"seed": 0})
    other, fresh = trained(1)
    assert resume(tmp_path, other, fresh, {"seed": 0}) == 3
    for name, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    first, second = optimizer.state_dict(), fresh.state_dict()
    assert first["param_groups"] == second["param_groups"]
    for index, slots in first["state"].items():
        assert all(torch.equal(second["state"][index][name], slots[name]) for name in slots)


def test_two_are_kept_and_the_newest_counts(tmp_path: Path) -> None:
    net, optimizer = trained(1)
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, step, net, optimizer, {})
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "step-00000015.safetensors",
        "step-00000010.safetensors",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000010.safetensors",
        "step-00000015.safetensors",
    ]


def test_a_damaged_newest_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net, optimizer = trained(1)
    for step in (5, 10):
        save_checkpoint(tmp_path, step, net, optimizer, {})
    newest = list_checkpoints(tmp_path)[0]
    newest.write_bytes(newest.read_bytes()[:500])
    assert resume(tmp_path, net, optimizer, {}) == 5
    assert "step-00000010.safetensors is damaged" in caplog.text


def test_an_empty_folder_starts_at_zero_and_cannot_be_exported(tmp_path: Path) -> None:
    net, optimizer = trained(1)
    assert resume(tmp_path / "checkpoints", net, optimizer, {}) == 0
    with pytest.raises(InputError, match="no readable checkpoint"):
        network_weights(tmp_path)


def test_a_folder_with_another_run_is_not_overwritten(tmp_path: Path) -> None:
    net, optimizer = trained(1)
    save_checkpoint(tmp_path, 5, net, optimizer, {"seed": 0})
    with pytest.raises(InputError, match="another configuration"):
        resume(tmp_path, net, optimizer, {"seed": 1})
