"""What goes wrong around a run: clocks, other processes, shares, memory, kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isdmae import io
from isdmae.bundle import Bundle
from isdmae.cli import main as isdmae_main
from isdmae.networks import unet
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae.volume import Volume
from isdmae_train import cli
from isdmae_train.checkpoint import list_checkpoints, read_checkpoint
from worker_pipe import Pipe

resource = pytest.importorskip("resource", reason="limits of POSIX")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")

TRAIN = """
import sys
from isdmae.networks import unet
unet.SIZES["S"] = ((16, 16, 16), (0, 1, 1))
from isdmae_train import cli
sys.exit(cli.main(sys.argv[1:]))
"""
MANY = 1_000_000


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(unet.SIZES, "S", ((16, 16, 16), (0, 1, 1)))
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    chest = make_phantom(PhantomConfig(shape=(8, 40, 48), spacing_mm=(8.0, 8.0, 37.0)))
    io.write_image_atomic(folder / "scans-ct.nrrd", io.to_sitk(chest.ct))
    words = ["--data", str(folder), "--out", str(folder / "cache")]
    assert cli.main(["prepare", *words, "--preprocess.in-plane-spacing-mm", "8.0"]) == 0
    return folder / "cache"


def pretrain(cache: Path, run: Path, steps: int, *more: str) -> list[str]:
    return [
        "pretrain", "--out", str(run), "--data.manifest", str(cache / "manifest.jsonl"),
        "--data.size", "32", "--preprocess.in-plane-spacing-mm", "8.0",
        "--loop.steps", str(steps), "--loop.batch", "2", "--loop.workers", "0",
        "--loop.warm-up", "1", "--loop.log-every", "1", "--loop.device", "cpu", "--loop.no-bf16",
        *more,
    ]  # fmt: skip


def start_training(words: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", TRAIN, *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(what: Callable[[], object], seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(list_checkpoints(run / "checkpoints")[0])[0]


@pytest.fixture
def long_ct(tmp_path: Path) -> Path:
    """One that takes some seconds, and is not in HU."""
    many = Volume(array=np.zeros((2000, 128, 128), np.int16), spacing_mm=(2.0, 2.0, 1.0))
    io.write_image_atomic(tmp_path / "long.nrrd", io.to_sitk(many))
    return tmp_path / "long.nrrd"


def start_predict(source: Path, target: Path, bundle: Bundle) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "isdmae", "predict", str(source), "-o", str(target), "--force",
        "--model", str(bundle.folder), "--device", "cpu", "--progress", "json",
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until_it_computes(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["stage"] == "segment":
            return
    pytest.fail("it ended before it computed")


class Clock:
    """A wall clock that somebody sets an hour back and on again, all the time."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return 1.7e9 - 3600 * (self.asked % 2)


def test_a_clock_that_is_set_back_changes_no_run(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(pretrain(cache, tmp_path / "plain", 4)) == 0
    clock, saved = Clock(), []
    monkeypatch.setattr(time, "time", clock)
    from isdmae_train import loop

    real = loop.save_checkpoint
    monkeypatch.setattr(
        loop, "save_checkpoint", lambda *a, **k: (saved.append(a[1]), real(*a, **k))
    )
    assert cli.main(pretrain(cache, tmp_path / "run", 4)) == 0
    assert clock.asked >= 4
    # Ten minutes have not passed, whatever the clock says: the last step alone is saved.
    assert saved == [4]
    plain, run = weights(tmp_path / "plain"), weights(tmp_path / "run")
    assert all(torch.equal(plain[name], run[name]) for name in plain)
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_clock_that_is_set_back_leaves_the_time_that_is_left(
    tmp_path: Path,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chest = make_phantom(PhantomConfig(shape=(30, 40, 48), spacing_mm=(8.0, 8.0, 10.0))).ct
    io.write_image_atomic(tmp_path / "ct.nrrd", io.to_sitk(chest))
    monkeypatch.setattr(time, "time", Clock())
    words = ["--model", str(tiny_bundle.folder), "--device", "cpu", "--progress", "json"]
    report = tmp_path / "report.json"
    target = ["-o", str(tmp_path / "a.nrrd"), "--report", str(report)]
    assert isdmae_main(["predict", str(tmp_path / "ct.nrrd"), *target, *words]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    left = [one["seconds_left"] for one in events if one.get("seconds_left") is not None]
    assert left
    assert all(0 <= seconds < 600 for seconds in left)
    assert all(0 <= seconds < 600 for seconds in json.loads(report.read_text())["seconds"].values())


def test_of_two_predictions_into_one_file_one_is_refused(
    long_ct: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    target = tmp_path / "labels.nrrd"
    both = [start_predict(long_ct, target, tiny_bundle) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes == [0, 2], said
    assert sum("labels.nrrd exists already" in text for text in said) == 1
    assert io.read(target).volume.shape == (2000, 128, 128)
    assert {path.name for path in tmp_path.iterdir()} == {"long.nrrd", "labels.nrrd", "tiny"}


def test_a_second_training_in_one_folder_is_refused(cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    always = pretrain(cache, run, MANY, "--loop.checkpoint-minutes", "0")
    first = start_training(always)
    try:
        wait_for(lambda: len(list_checkpoints(run / "checkpoints")) == 2)
        config = (run / "config.json").read_bytes()
        second = start_training(pretrain(cache, run, MANY, "--loop.log-every", "2"))
        said = second.communicate(timeout=300)[1]
        assert second.returncode == 2
        assert f"Another process works in {run} (process {first.pid} of " in said
        assert "Traceback" not in said
        assert (run / "config.json").read_bytes() == config
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()


def test_a_share_that_vanishes_under_a_prediction(
    long_ct: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    share, away = tmp_path / "share", tmp_path / "away"
    share.mkdir()
    process = start_predict(long_ct, share / "labels.nrrd", tiny_bundle)
    until_it_computes(process)
    share.rename(away)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 2
    assert f"The folder {share} does not exist" in said
    assert "Traceback" not in said
    assert not share.exists()
    assert list(away.iterdir()) == []


def test_a_share_that_vanishes_while_a_labelmap_is_written(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    from isdmae import labelmap_file

    chest = make_phantom(PhantomConfig(shape=(8, 40, 48), spacing_mm=(8.0, 8.0, 37.0))).ct
    io.write_image_atomic(tmp_path / "ct.nrrd", io.to_sitk(chest))
    share = tmp_path / "share"
    words = ["--model", str(tiny_bundle.folder), "--device", "cpu", "--progress", "none"]
    for after_writing in (False, True):
        share.mkdir()
        name = "_verify" if after_writing else "to_sitk"
        real = getattr(labelmap_file, name)

        def vanish(*facts: Any, real: Callable[..., Any] = real) -> Any:
            result = real(*facts)
            shutil.rmtree(share)
            return result

        with monkeypatch.context() as patch:
            patch.setattr(labelmap_file, name, vanish)
            caplog.clear()
            target = ["predict", str(tmp_path / "ct.nrrd"), "-o", str(share / "a.nrrd")]
            assert isdmae_main([*target, *words]) == 2
        (error,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
        assert str(share) in error
        assert not share.exists()


def test_a_share_that_vanishes_under_a_training(cache: Path, tmp_path: Path) -> None:
    share, away = tmp_path / "share", tmp_path / "away"
    share.mkdir()
    run = share / "run"
    always = pretrain(cache, run, MANY, "--loop.checkpoint-minutes", "0")
    process = start_training(always)
    wait_for(lambda: list_checkpoints(run / "checkpoints"))
    share.rename(away)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 2
    # Beside the sentence TensorBoard's own thread may complain.
    sentences = (
        "Check that the disk or network share is there",
        f"The folder {run} does not exist.",
    )
    assert any(sentence in said for sentence in sentences), said
    assert "defect" not in said
    assert not share.exists(), "nothing is written where the share was"
    for path in list_checkpoints(away / "run" / "checkpoints"):
        read_checkpoint(path)
    away.rename(share)
    done = list_checkpoints(run / "checkpoints")[0]
    again = start_training(always)
    try:
        wait_for(lambda: list_checkpoints(run / "checkpoints")[0].name > done.name)
    finally:
        again.send_signal(signal.SIGTERM)
        again.communicate(timeout=60)
    assert again.returncode == 4


def test_a_killed_worker_leaves_nothing_under_a_final_name_and_the_next_one_cleans_up(
    long_ct: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    target = out / "labels.nii.gz"
    job = {"input": str(long_ct), "outputs": [str(target)], "model": str(tiny_bundle.folder),
           "device": "cpu", "force": True}  # fmt: skip
    worker = Pipe()
    worker.send(command="predict", job=job)
    wait_for(lambda: list(out.iterdir()))
    worker.end()
    assert not target.exists()
    assert len(list(out.iterdir())) == 1, "what it was writing"
    small = Volume(array=np.zeros((4, 64, 64), np.int16), spacing_mm=(4.0, 4.0, 10.0))
    io.write_image_atomic(tmp_path / "small.nrrd", io.to_sitk(small))
    worker = Pipe()
    try:
        worker.send(command="predict", job={**job, "input": str(tmp_path / "small.nrrd")})
        assert worker.until("done", "error")["event"] == "done"
    finally:
        worker.end()
    assert [path.name for path in out.iterdir()] == [target.name]


def memory_in_use() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to count memory")
def test_a_limit_of_memory_is_said_wherever_it_strikes(tmp_path: Path) -> None:
    """Every run in a process of its own, with so much more than it begins with."""
    chest = make_phantom(PhantomConfig(shape=(10, 48, 56), spacing_mm=(6.4, 6.4, 30.0))).ct
    fine = chest.array.astype(np.int16).repeat(8, 1).repeat(8, 2).repeat(16, 0)
    volume = Volume(array=fine, spacing_mm=(0.8, 0.8, 30 / 16))
    for suffix in (".nrrd", ".nii.gz"):
        io.write_image_atomic(tmp_path / f"ct{suffix}", io.to_sitk(volume))
    before = {path.name for path in tmp_path.iterdir()}
    code = "import sys; sys.path[:0] = sys.argv[1:3]; import test_faults; test_faults.limited()"
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *places], capture_output=True, text=True, check=False,
        timeout=240,
    )  # fmt: skip
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(suffix, headroom) for suffix, headroom, *_ in results] == LIMITS, done.stderr
    for suffix, headroom, code_, said in results:
        assert code_ == 3, (suffix, headroom, said)
        assert "memory" in said.splitlines()[-1]
        assert "Close other programs" in said.splitlines()[-1]
    assert {path.name for path in tmp_path.iterdir()} == before


LIMITS = [
    *((".nrrd", headroom) for headroom in (1, 10, 30, 60, 90, 150)),
    *((".nii.gz", headroom) for headroom in (30, 60, 90, 130)),
]
"""MiB that a run may take beyond what it begins with. Of the scan's 52 MiB several copies are made:
where the run ends differs, in loading the model, in reading, in the network."""


def limited() -> None:
    """In a process of its own: fork, limit, predict; a line of JSON for each."""
    import isdmae.job
    import isdmae.preview  # noqa: F401 - what is loaded once needs no room later

    torch.set_num_threads(1)
    folder = Path(sys.argv[3])
    log = folder / "log"
    for suffix, headroom in LIMITS:
        child = os.fork()
        if not child:
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            limit = memory_in_use() + (headroom << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            outputs = ["-o", str(folder / "a.nrrd"), "--preview", str(folder / "a.png")]
            words = ["predict", str(folder / f"ct{suffix}"), *outputs, "--device", "cpu"]
            os._exit(isdmae_main([*words, "--progress", "none"]))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(json.dumps([suffix, headroom, status, log.read_text()]) + "\n")
        log.unlink()
