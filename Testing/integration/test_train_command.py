"""`isdmae-train train`: from a folder to a model, watched and steered by a program."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isdmae.bundle import find_bundle, write_bundle
from isdmae.errors import Cancelled, InputError, ResourceError
from isdmae.io import read, to_sitk, write_image_atomic, write_labelmap
from isdmae.labels import LUNGS
from isdmae.networks.segmenter import Segmenter
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae_train import train as train_module
from isdmae_train.checkpoint import list_checkpoints
from isdmae_train.config.recipes import load_recipe, recipe_path
from isdmae_train.config.runs import FinetuneConfig, TrainConfig
from isdmae_train.data import ManifestEntry
from isdmae_train.failures import explained
from isdmae_train.reporter import Control, JsonReporter, counted, listen, reporting
from isdmae_train.shapes import network_shape
from isdmae_train.tracking import StepsLeft
from isdmae_train.train import recipe, shared_labels, train
from tiny_model import tiny_info

RECIPE = "data: {size: 64}\nloop: {batch: 2, workers: 0, bf16: false, warm_up: 2}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nnU-Net's layout: two phantoms with lungs, and one scan that cannot be read."""
    root = tmp_path_factory.mktemp("nnunet")
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir()
    for seed in (0, 1):
        phantom = make_phantom(
            PhantomConfig(shape=(12, 64, 72), spacing_mm=(5.0, 5.0, 24.0), seed=seed)
        )
        write_image_atomic(root / "imagesTr" / f"p{seed}_0000.nrrd", to_sitk(phantom.ct))
        write_labelmap(root / "labelsTr" / f"p{seed}.nrrd", phantom.lungs, LUNGS)
    (root / "imagesTr" / "b_0000.nrrd").write_text("no image")
    values = {"background": 0, **{label.name: label.value for label in LUNGS}}
    facts = {"channel_names": {"0": "CT"}, "labels": values, "file_ending": ".nrrd"}
    (root / "dataset.json").write_text(json.dumps(facts))
    (root / "quick.yaml").write_text(RECIPE)
    return root


class Program:
    """The other side of the pipes."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-u", "-m", "isdmae_train", "train", "--progress", "json"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*command, *words], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
        )

    def events(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()


def words_for(folder: Path, out: Path, task: str, steps: int) -> list[str]:
    return [
        "--data", str(folder), "--out", str(out), "--task", task, "--steps", str(steps),
        "--recipe", str(folder / "quick.yaml"),
    ]  # fmt: skip


def test_a_program_watches_stops_and_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    program = Program(*words_for(folder, out, "pretrain", 300))
    seen: list[dict[str, Any]] = []
    for event in program.events():
        seen.append(event)
        if event["event"] == "step" and event["values"]:
            program.say("nonsense")
            program.say("stop")
            break
    seen += program.events()
    assert program.process.wait(30) == 4
    assert seen[0]["event"] == "hello"
    prepared = [event for event in seen if event["event"] == "progress"]
    assert [event["done"] for event in prepared] == [0, 1, 2, 3]
    assert (
        "1 scans or cases were left out"
        in next(e for e in seen if e["event"] == "notice")["message"]
    )
    assert seen[-1]["event"] == "error"
    assert seen[-1]["code"] == "stopped"
    stopped_at = int(list_checkpoints(out / "checkpoints")[0].stem[5:])
    assert 1 <= stopped_at < 300
    made = (out / "cache" / "manifest.jsonl").stat().st_mtime_ns

    # Again: nothing is prepared anew, and the end of stdin means stop.
    program = Program(*words_for(folder, out, "pretrain", 300))
    events = program.events()
    first = next(event for event in events if event["event"] == "step")
    assert first["step"] == stopped_at
    assert program.process.stdin is not None
    program.process.stdin.close()
    assert list(events)[-1]["code"] == "stopped"
    assert program.process.wait(30) == 4
    assert (out / "cache" / "manifest.jsonl").stat().st_mtime_ns == made
    assert (out / "preview.png").is_file()


def test_from_a_pre_training_to_a_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"recipe": str(folder / "quick.yaml"), "data": folder, "steps": 2}
    pre = train(TrainConfig(task="pretrain", out=tmp_path / "pre", bins=4, **quick))
    config = json.loads((pre / "config.json").read_text())["config"]
    assert config["masks"]["bins"] == 4
    models = tmp_path / "models"
    fine = TrainConfig(
        task="finetune",
        out=tmp_path / "fine",
        start=pre,
        labels=("right lung",),
        models_folder=models,
        name="right side",
        **quick,
    )
    assert train(fine) == models / "right side"
    info = find_bundle(models / "right side").info
    assert [label.name for label in info.labels] == ["right lung"]
    assert (info.title, info.licence, info.results) == ("Right side", "for you to set", ())
    assert not info.non_commercial

    # A model is a start as well, and what it may not be used for is handed on.
    card = models / "right side" / "model.json"
    card.write_text(card.read_text().replace('"non_commercial": false', '"non_commercial": true'))
    again = TrainConfig(task="finetune", out=tmp_path / "on", start=models / "right side", **quick)
    info = find_bundle(train(again)).info
    assert info.name == "on"
    assert info.non_commercial
    assert "it started from 'right side'" in info.licence
    assert len(info.training_sets) == 2


def test_a_folder_that_has_changed_since_is_trained_on_under_another_name(
    folder: Path, tmp_path: Path
) -> None:
    """A finished run, too: its model would not have learnt from what is new."""
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    quick = {"recipe": str(folder / "quick.yaml"), "data": data, "steps": 1, "task": "finetune"}
    first = TrainConfig(out=tmp_path / "first", **quick)
    train(first)
    labels = data / "labelsTr" / "p1.nrrd"
    kept = labels.read_bytes()
    lungs = read(labels).volume
    labels.unlink()
    write_labelmap(labels, lungs.with_array(lungs.array * (lungs.array > 1)), LUNGS)
    scan = read(data / "imagesTr" / "p0_0000.nrrd").volume
    image = data / "imagesTr" / "p2_0000.nrrd"
    write_image_atomic(image, to_sitk(scan.with_array(scan.array + 1)))
    shutil.copy(data / "labelsTr" / "p0.nrrd", data / "labelsTr" / "p2.nrrd")
    with pytest.raises(InputError, match=r"\(added: p2; changed: p1\)") as refused:
        train(first)
    assert refused.value.code == "data-changed"
    train(TrainConfig(out=tmp_path / "second", start=tmp_path / "first", **quick))
    image.unlink()
    (data / "labelsTr" / "p2.nrrd").unlink()
    labels.write_bytes(kept)
    lost = first.out / "cache" / "p1" / "image.b2nd"
    lost.unlink()
    train(first)
    assert lost.is_file(), "what is gone from the cache is made anew"


def test_a_model_of_no_known_size_is_no_start(tmp_path: Path) -> None:
    info = tiny_info()
    network = Segmenter(
        train_module.from_plain(type(network_shape(FinetuneConfig())), info["network"], "x"),
        classes=len(info["labels"]) + 1,
    )
    write_bundle(tmp_path / "tiny", info, network.state_dict())
    config = TrainConfig(
        task="finetune", data=tmp_path, out=tmp_path / "run", start=tmp_path / "tiny"
    )
    with pytest.raises(InputError, match="has no size that can be trained"):
        recipe(config)


def test_what_the_options_leave_open_is_the_recipes(tmp_path: Path) -> None:
    common = {"data": tmp_path, "out": tmp_path / "run"}
    plain = recipe(TrainConfig(task="pretrain", **common))
    assert plain.loop.steps == 1000
    short = recipe(TrainConfig(task="pretrain", steps=20, spatial_ratio=0.75, **common))
    assert (short.loop.steps, short.loop.warm_up, short.loop.log_every) == (20, 2, 1)
    assert short.masks.spatial_ratio == 0.75  # type: ignore[union-attr]
    assert recipe_path("lungs-finetune").is_file()
    published = recipe(TrainConfig(task="finetune", recipe="lungs-finetune", **common))
    assert published.out == tmp_path / "run"
    own = load_recipe(FinetuneConfig, recipe_path("lungs-finetune"))
    assert published.loop.steps == own.loop.steps
    with pytest.raises(ValueError, match="steps count from 1"):
        TrainConfig(task="pretrain", steps=-1, **common)


def entry(*labels: str) -> ManifestEntry:
    facts: dict[str, Any] = {"label": "l.npy", "truth": "t.nrrd"} if labels else {}
    return ManifestEntry(
        **{
            "id": "a", "patient": "a", "licence": "none", "sources": ("a",), "image": "i.npy",
            "label": None, "truth": None, "labels": labels, "shape": (1, 8, 8),
            "spacing_mm": (1.0, 1.0, 1.0), "sha256": "", "weight": 1.0, **facts,
        }
    )  # fmt: skip


def test_labels_are_those_that_all_labelled_scans_have() -> None:
    entries = [entry("a", "b", "c"), entry(), entry("c", "a")]
    assert shared_labels(entries) == ("a", "c")
    with pytest.raises(InputError, match=r"2 labelled scans \(found: a, b\)"):
        shared_labels([entry("a"), entry("b")])
    with pytest.raises(InputError, match=r"0 labelled scans \(found: none\)"):
        shared_labels([entry()])


def test_errors_are_told_in_words() -> None:
    known = Cancelled()
    assert explained(known) is known
    assert isinstance(explained(MemoryError()), ResourceError)
    assert explained(KeyError("x")).code == "defect"
    full = explained(OSError(errno.ENOSPC, "No space left on device", "/run/log.jsonl"))
    assert isinstance(full, ResourceError)
    assert "/run/log.jsonl could not be written: the disk is full" in full.message
    lost = explained(FileNotFoundError(errno.ENOENT, "No such file or directory", b"/run/events"))
    assert lost.code == "file-lost"
    assert lost.message.startswith("/run/events could not be read or written: No such file")
    in_loader = FileNotFoundError("Caught it in a loader.\nTraceback:\nFileNotFoundError: gone")
    assert explained(in_loader).message.endswith("written: FileNotFoundError: gone.")
    assert explained(TimeoutError()).message.endswith("read or written: TimeoutError.")
    assert explained(OSError(errno.ENOMEM, "Cannot allocate memory")).code == "out-of-memory"
    assert explained(ConnectionResetError()).code == "defect"


def test_a_pause_holds_and_does_not_count() -> None:
    control = Control()
    control.obey("pause")
    threading.Timer(0.2, control.obey, ["resume"]).start()
    begun = time.monotonic()
    control.check()
    assert 0.1 < time.monotonic() - begun < 5
    assert control.paused_seconds > 0.1
    control.obey("stop")
    with pytest.raises(Cancelled, match="before the first step"):
        control.check()
    left = StepsLeft(10)
    assert left(4, 0.0) is None
    time.sleep(0.05)
    assert left(6, 0.0) == pytest.approx(0.1, rel=0.6)
    assert left(6, 0.05) == pytest.approx(0.0, abs=0.05)


def test_what_is_counted_is_told_and_can_be_stopped() -> None:
    answers = io.StringIO()
    with reporting(JsonReporter(answers)) as reporter:
        items = counted([1, 2, 3], "prepare", "scan")
        done = [next(items), next(items)]
        reporter.control.obey("stop")
        with pytest.raises(Cancelled):
            next(items)
    assert done == [1, 2]
    said = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [event["event"] for event in said] == ["hello", "progress", "progress"]


def test_a_reader_that_has_gone_stops_the_run() -> None:
    answers = io.StringIO()
    reporter = JsonReporter(answers)
    answers.close()
    reporter.notice("nobody hears it")
    assert reporter.control.stopped


def test_the_end_of_the_words_means_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[float] = []

    class Timer:
        daemon = False

        def __init__(self, seconds: float, *_: object) -> None:
            ends.append(seconds)

        def start(self) -> None:
            pass

    monkeypatch.setattr(threading, "Timer", Timer)
    reading, writing = os.pipe()
    control = Control()
    os.write(writing, "pause\nünknown\n".encode())
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as words:
        listen(words, control)  # type: ignore[arg-type]
    assert control.stopped
    assert len(ends) == 1
