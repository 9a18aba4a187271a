"""Checkpoints: exact, atomic, two kept, damage survived."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from isdmae.errors import InputError
from isdmae_train.checkpoint import (
    KEPT,
    list_checkpoints,
    read_checkpoint,
    resume,
    save_checkpoint,
    trained_network,
)
from tiny_model import write_lungs_everywhere


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
    assert resume(tmp_path, other, fresh, {"seed": 0})[0] == 3
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
    assert resume(tmp_path, net, optimizer, {})[0] == 5
    assert "step-00000010.safetensors is damaged" in caplog.text


def test_the_name_of_a_model_will_do_for_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lungs_everywhere(tmp_path / "models" / "everywhere")
    monkeypatch.setenv("ISDMAE_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    assert trained_network(Path("everywhere"))[0]["head.bias"].tolist() == [0.0, 1.0, 0.0]
    (tmp_path / "everywhere").mkdir()  # what lies here goes before a model's name
    with pytest.raises(InputError, match="checkpoint"):
        trained_network(Path("everywhere"))


def test_an_empty_folder_starts_at_zero_and_cannot_be_exported(tmp_path: Path) -> None:
    net, optimizer = trained(1)
    assert resume(tmp_path / "checkpoints", net, optimizer, {})[0] == 0
    with pytest.raises(InputError, match="no readable checkpoint"):
        trained_network(tmp_path)


def test_a_folder_with_another_run_is_not_overwritten(tmp_path: Path) -> None:
    net, optimizer = trained(1)
    save_checkpoint(tmp_path, 5, net, optimizer, {"seed": 0})
    with pytest.raises(InputError, match="another configuration"):
        resume(tmp_path, net, optimizer, {"seed": 1})


def test_one_flipped_bit_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net, optimizer = trained(1)
    for step in (5, 10):
        save_checkpoint(tmp_path / "checkpoints", step, net, optimizer, {"loop": {"steps": 10}})
    newest = list_checkpoints(tmp_path / "checkpoints")[0]
    data = bytearray(newest.read_bytes())
    data[-7] ^= 0x40
    newest.write_bytes(data)
    _, metadata = trained_network(tmp_path)
    assert metadata["step"] == 5
    assert "do not match their SHA-256" in caplog.text
    assert "stopped at step 5 of 10" in caplog.text


def test_what_changes_no_weight_may_differ(tmp_path: Path) -> None:
    net, optimizer = trained(1)
    config = {"out": "a", "loop": {"steps": 9, "workers": 1}}
    save_checkpoint(tmp_path, 5, net, optimizer, config)
    again = {"out": "b", "loop": {"steps": 9, "workers": 4}}
    assert resume(tmp_path, net, optimizer, again)[0] == 5
    with pytest.raises(InputError, match="another configuration"):
        resume(tmp_path, net, optimizer, {"out": "a", "loop": {"steps": 8, "workers": 1}})


def flip_a_bit(path: Path) -> None:
    """Change the last byte, which belongs to a tensor; the file stays well-formed."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_checkpoint_without_a_checksum_is_read(tmp_path: Path) -> None:
    net, optimizer = trained(1)
    path = save_checkpoint(tmp_path, 5, net, optimizer, {"seed": 0})
    tensors, metadata = read_checkpoint(path)
    assert len(metadata.pop("sha256")) == 64
    save_file(tensors, path, {"state": json.dumps(metadata)})
    assert resume(tmp_path, net, optimizer, {"seed": 0})[0] == 5


def test_damaged_later_steps_do_not_push_out_the_good_ones(tmp_path: Path) -> None:
    net, optimizer = trained(1)
    for step in (5, 10):
        save_checkpoint(tmp_path, step, net, optimizer, {})
    flip_a_bit(list_checkpoints(tmp_path)[0])
    for step in (resume(tmp_path, net, optimizer, {})[0] + 1, 7):
        save_checkpoint(tmp_path, step, net, optimizer, {})
    assert [int(path.stem[5:]) for path in list_checkpoints(tmp_path)] == [7, 6][:KEPT]


def test_a_run_with_damaged_checkpoints_alone_does_not_begin_again(tmp_path: Path) -> None:
    net, optimizer = trained(1)
    save_checkpoint(tmp_path, 5, net, optimizer, {})
    flip_a_bit(list_checkpoints(tmp_path)[0])
    with pytest.raises(InputError, match="no readable checkpoint"):
        resume(tmp_path, net, optimizer, {})


def test_what_does_not_change_the_numbers_may_change_on_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(out: str, manifest: str, steps: int, **others: object) -> dict[str, object]:
        loop = {"steps": steps, "workers": 1, "log_every": 20, "checkpoint_minutes": 5.0}
        return {"out": out, "start": None, "data": {"manifest": manifest}, "loop": loop | others}

    monkeypatch.chdir(tmp_path)
    net, optimizer = trained(1)
    save_checkpoint(tmp_path, 5, net, optimizer, config("a", "cache/m.jsonl", 9, device="auto"))
    other = {"workers": 0, "log_every": 1, "checkpoint_minutes": 1.0, "device": "cpu"}
    manifest = str(tmp_path / "runs" / ".." / "cache" / "m.jsonl")
    assert resume(tmp_path, net, optimizer, config("b", manifest, 9, **other))[0] == 5
    with pytest.raises(InputError, match=r"loop\.steps was 9 and is 8"):
        resume(tmp_path, net, optimizer, config("a", manifest, 8))
    with pytest.raises(InputError, match=r"data\.manifest was"):
        resume(tmp_path, net, optimizer, config("a", "elsewhere/m.jsonl", 9))


def test_what_an_older_version_did_not_know_has_its_default(tmp_path: Path) -> None:
    net, optimizer = trained(1)
    save_checkpoint(tmp_path, 5, net, optimizer, {"loop": {"steps": 9}})
    defaults = {"loop": {"steps": 1, "ema": 0.0}, "loss": "dice-ce"}
    now = {"loop": {"steps": 9, "ema": 0.0}, "loss": "dice-ce"}
    assert resume(tmp_path, net, optimizer, now, defaults=defaults)[0] == 5
    now["loop"] = {"steps": 9, "ema": 0.9}
    with pytest.raises(InputError, match=r"loop.ema was 0.0 and is 0.9"):
        resume(tmp_path, net, optimizer, now, defaults=defaults)


def test_a_moving_average_is_what_a_run_hands_on(tmp_path: Path) -> None:
    net, optimizer = trained(2)
    average = {name: value * 0 for name, value in net.state_dict().items()}
    folder = tmp_path / "checkpoints"
    save_checkpoint(
        folder, 2, net, optimizer, {"loop": {"steps": 2}}, average=average, scaler={"scale": 4.0}
    )
    weights, _ = trained_network(tmp_path)
    assert all(not value.any() for value in weights.values())
    other, fresh = trained(1)
    mine = {name: value.clone() for name, value in other.state_dict().items()}
    config = {"loop": {"steps": 2}}
    step, scaler = resume(folder, other, fresh, config, average=mine)
    assert (step, scaler) == (2, {"scale": 4.0})
    assert all(not value.any() for value in mine.values())
    assert torch.equal(other.state_dict()["0.weight"], net.state_dict()["0.weight"])


def test_a_run_goes_on_with_the_scans_that_it_began_with_alone(tmp_path: Path) -> None:
    net, optimizer = trained(1)
    began = {"a": "1", "b": "2", "c": "3"}
    save_checkpoint(tmp_path, 5, net, optimizer, {}, data=began)
    assert resume(tmp_path, net, optimizer, {}, data=dict(began))[0] == 5
    for now, told in (
        ({**began, "d": "4"}, r"\(added: d\)"),
        ({"a": "1", "b": "9"}, r"\(gone: c; changed: b\)"),
        ({"b": "2", "a": "1", "c": "3"}, r"\(in another order\)"),
        (began | {f"d{n}": "" for n in range(8)}, r"\(added: d0, d1, d2, d3, d4 and 3 more\)"),
    ):
        with pytest.raises(InputError, match=told) as refused:
            resume(tmp_path, net, optimizer, {}, data=now)
        assert refused.value.code == "data-changed"


def test_a_checkpoint_that_does_not_know_its_scans_goes_on(tmp_path: Path) -> None:
    net, optimizer = trained(1)
    save_checkpoint(tmp_path, 5, net, optimizer, {})
    assert resume(tmp_path, net, optimizer, {}, data={"a": "1"})[0] == 5


def test_a_run_goes_on_from_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Teachers are named by several paths, or by the bare name of a model that is installed."""
    for name in ("here", "there", "models/a", "models/b"):
        (tmp_path / name).mkdir(parents=True)
    net, optimizer = trained(1)

    def config(up: str, *teachers: str) -> dict[str, object]:
        data = {"manifest": f"{up}/cache/m.jsonl"}
        return {"start": f"{up}/models/a", "teachers": [*teachers, "lungs"], "data": data}

    monkeypatch.chdir(tmp_path / "here")
    save_checkpoint(tmp_path / "run", 5, net, optimizer, config("..", "../models/a"))
    monkeypatch.chdir(tmp_path)
    again = config(".", "models/a")
    assert resume(tmp_path / "run", net, optimizer, again)[0] == 5
    monkeypatch.chdir(tmp_path / "there")
    assert resume(tmp_path / "run", net, optimizer, config("..", "../models/a"))[0] == 5
    with pytest.raises(InputError, match=r"teachers was .*models/a.* and is .*models/b"):
        resume(tmp_path / "run", net, optimizer, config("..", "../models/b"))
