"""Trainings that end before their time, by a signal, a fault or a NaN, and that go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from isdmae.errors import IsdmaeError
from isdmae.labels import LUNGS
from isdmae.preprocess import PreprocessConfig
from isdmae_train import cli, loop, slices
from isdmae_train.checkpoint import list_checkpoints, read_checkpoint
from isdmae_train.config.data import DataConfig
from isdmae_train.slices import SliceDataset
from tiny_model import options, tiny_info

pytestmark = pytest.mark.usefixtures("tiny_networks")
LUNG_NAMES = tuple(label.name for label in LUNGS)


def newest(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(list_checkpoints(run / "checkpoints")[0])[0]


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("pretrain", []),
        ("finetune", []),
        ("finetune", ["--loop.ema", "0.9", "--loop.accumulate", "2", "--loop.schedule", "poly"]),
        (
            "pretrain",
            [
                *["--loop.ema", "0.9", "--loop.batch", "4", "--loop.accumulate", "2"],
                "--data.augment.on-device",
            ],
        ),
    ],
)
def test_a_run_that_stops_and_resumes_ends_bit_for_bit_where_it_would_have(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    more: list[str],
) -> None:
    def start(out: str, *others: str) -> int:
        return cli.main([command, *options(cache, tmp_path / out, 10), *more, *others])

    assert start("whole") == 0

    real = loop.Descent.step
    done = 0

    def step_and_stop(*arguments: Any) -> float:
        nonlocal done
        rate = real(*arguments)
        done += 1
        if done == 5:
            signal.raise_signal(signal.SIGTERM)
        return rate

    monkeypatch.setattr(loop.Descent, "step", step_and_stop)
    parts = tmp_path / "parts"
    assert start("parts") == 4
    assert [path.name for path in list_checkpoints(parts / "checkpoints")] == [
        "step-00000005.safetensors"
    ]
    monkeypatch.setattr(loop.Descent, "step", real)
    assert start("parts", "--loop.log-every", "3") == 0
    whole, resumed = newest(tmp_path / "whole"), newest(parts)
    assert set(whole) == set(resumed)
    different = [name for name, value in whole.items() if not torch.equal(value, resumed[name])]
    # The two runs have different output folders, so their configurations differ, nothing else.
    assert different == []


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows cannot pause a process")
def test_a_run_that_is_paused_by_a_signal_goes_on_where_it_was(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [*options(cache, run, 200), "--loop.log-every", "1", "--loop.workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "isdmae_train", "finetune", *command],
        start_new_session=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def logged() -> list[str]:
        path = run / "log.jsonl"
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []

    deadline = time.monotonic() + 200
    while not logged():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(0.5)
    before = logged()
    time.sleep(1.5)
    assert logged() == before
    assert len(before) < 200
    os.killpg(process.pid, signal.SIGCONT)
    assert process.wait(timeout=200) == 0
    assert [json.loads(line)["step"] for line in logged()] == list(range(1, 201))


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_slices(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = ["finetune", *options(cache, tmp_path / "run", 8), "--loop.learning-rate", "1e30"]
    assert cli.main(command) == 1
    assert "The loss is nan" in caplog.text or "The loss is inf" in caplog.text
    assert "p0[" in caplog.text or "p1[" in caplog.text


def spoiled(cache: Path, folder: Path, scan: str) -> Path:
    """Copy a cache, overwriting a part of one image with zeros; the file opens all the same."""
    shutil.copytree(cache, folder)
    path = folder / scan / "image.b2nd"
    data = bytearray(path.read_bytes())
    data[len(data) // 4 : len(data) * 3 // 4] = bytes(len(data) * 3 // 4 - len(data) // 4)
    path.write_bytes(data)
    return folder


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_scan_that_cannot_be_read_ends_the_run_and_is_named(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, command: str, workers: str
) -> None:
    broken = spoiled(cache, tmp_path / "cache", "p1")
    options_ = [*options(broken, tmp_path / "run", 20), "--loop.workers", workers]
    assert cli.main([command, *options_]) == 2
    assert "Scan p1: " in caplog.text
    assert "image.b2nd cannot be read" in caplog.text
    assert "isdmae-train prepare" in caplog.text


def test_a_defect_names_the_scan_that_shows_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def divide(*_: object) -> None:
        raise ZeroDivisionError("float division")

    monkeypatch.setattr(slices, "augment_slice", divide)
    config = DataConfig(manifest=cache / "manifest.jsonl", hold_out=("p0",), size=64)
    dataset = SliceDataset(config, PreprocessConfig(), seed=0, labels=LUNG_NAMES)
    told = r"Scan p1: ZeroDivisionError: float division .* p1 in data\.hold_out"
    with pytest.raises(IsdmaeError, match=told) as refused:
        dataset[0]
    assert refused.value.code == "defect"
    assert "in divide" in capsys.readouterr().err, "the traceback is printed"


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are a POSIX matter")
def test_a_signal_to_the_whole_group_ends_with_a_checkpoint(cache: Path, tmp_path: Path) -> None:
    """As a cluster's scheduler sends it: to the loader processes, too."""
    command = [sys.executable, "-m", "isdmae_train", "finetune",
               *options(cache, tmp_path / "run", 500), "--loop.workers", "1"]  # fmt: skip
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    log_file = tmp_path / "run" / "log.jsonl"
    end = time.monotonic() + 120
    while not (log_file.is_file() and log_file.read_text()) and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=60) == 4
    assert list_checkpoints(tmp_path / "run" / "checkpoints")


def export_command(run: Path, tmp_path: Path) -> list[str]:
    card = tmp_path / "card.yaml"
    keys = ("name", "title", "description", "version", "licence", "non_commercial", "training_sets")
    card.write_text(yaml.safe_dump({key: tiny_info()[key] for key in keys}))
    return ["export", "--run", str(run), "--out", str(tmp_path / "bundle"), "--card", str(card)]


def test_export_falls_back_from_a_damaged_checkpoint(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    frequent = [*options(cache, run, 2)[:-1], "0"]
    assert cli.main(["finetune", *frequent]) == 0
    path, before = list_checkpoints(run / "checkpoints")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert cli.main(export_command(run, tmp_path)) == 0
    assert f"{path.name} is damaged" in caplog.text
    expected = read_checkpoint(before)[0]
    found = load_weights(tmp_path / "bundle")
    assert all(torch.equal(found[name], expected[f"network/{name}"]) for name in found)


def load_weights(bundle: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(bundle / "model.safetensors")


def test_the_log_has_every_step_once_after_a_kill_and_the_configuration_its_versions(
    cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert cli.main(["finetune", *options(cache, run, 4)]) == 0
    log = run / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 6, "loss": 1.0}\n{"step": 8, "lo')
    assert cli.main(["finetune", *options(cache, run, 4)]) == 0
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [2, 4]
    facts = json.loads((run / "config.json").read_text())
    assert set(facts) == {"config", "machine", "seed", "versions"}
    assert facts["config"]["loop"]["steps"] == 4
    assert facts["seed"] == 0
    assert facts["versions"]["torch"] == torch.__version__
    assert set(facts["versions"]) == {"isdmae", "torch", "python"}
