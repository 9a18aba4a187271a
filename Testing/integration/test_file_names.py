"""Names that a file may have and nobody expects: end to end through every program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from isdmae import cli, io
from isdmae.atomic import suffix_of
from isdmae.bundle import Bundle, write_bundle
from isdmae.networks import unet
from isdmae.networks.segmenter import Segmenter
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae.volume import Volume
from isdmae_train import cli as train_cli
from isdmae_train.data import read_manifest
from tiny_model import TINY_NETWORK, tiny_info
from worker_pipe import Pipe

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows allows none of these names")

ODD = (
    "two words",
    'it\'s "quoted"',
    "line\nbreak\ttab",
    "; rm -rf ~",
    "$(touch pwned) `touch pwned` && touch pwned",
    "Ünï cödé e\u0301",
    "胸部 测试 😀",
    "-o",
    "%s {0} %(x)s",
    "a*?[b]",
    "~",
    "back\\slash",
    "a|b<c>&",
    "\u202egnp",
    "\x1b[31mred",
    "at the end .",
)
LONGEST = 255
NO_UNICODE = os.fsdecode(b"caf\xe9")
HARMLESS = "[31m"  # what is left of a colour where its control character is shown as text


@pytest.fixture(scope="module")
def chest() -> Volume:
    return make_phantom(PhantomConfig(shape=(8, 40, 48), spacing_mm=(8.0, 8.0, 37.0))).ct


def write(volume: Volume, path: Path) -> Path:
    """Write it under a plain name first: the writer is not what is looked at."""
    plain = path.parent / f"plain{suffix_of(path)}"
    io.write_image_atomic(plain, io.to_sitk(volume))
    return plain.rename(path)


def write_tiny(folder: Path) -> Bundle:
    torch.manual_seed(0)
    return write_bundle(folder, tiny_info(), Segmenter(TINY_NETWORK, classes=3).state_dict())


def nested(folder: Path) -> Path:
    """Make a folder whose path holds every odd name."""
    deep = folder.joinpath(*ODD)
    deep.mkdir(parents=True)
    return deep


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_command_with_every_odd_name_at_once(chest: Volume, tmp_path: Path) -> None:
    deep, home = nested(tmp_path / "work"), tmp_path / "home"
    home.mkdir()
    (home / "mine").touch()
    bundle = write_tiny(deep / "; rm -rf ~ model")
    scan = write(chest, deep / "a 'b' \"c\"\n$(touch pwned); 胸.nii.gz")
    outputs = [f"-x '\n;é{suffix}" for suffix in (".nii.gz", ".nrrd", ".mha", ".seg.nrrd")]
    command = [
        sys.executable, "-m", "isdmae", "predict", str(scan), "--model", str(bundle.folder),
        *(word for name in outputs for word in ("--output", str(deep / name))),
        "--preview", str(deep / "\x1b[31m.png"), "--report", str(deep / "$(id) .json"),
        "--device", "cpu",
    ]  # fmt: skip
    before = files(tmp_path)
    environment = {**os.environ, "HOME": str(home)}
    done = subprocess.run(
        command, cwd=deep, env=environment, capture_output=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) - before == {*outputs, "\x1b[31m.png", "$(id) .json"}
    assert files(home) == {"mine"}
    for name in outputs:
        assert io.read(deep / name).volume.same_grid(chest, tolerance=1e-4)
    assert b"\x1b" not in done.stderr
    assert HARMLESS.encode() in done.stderr


@pytest.mark.parametrize(("number", "name"), list(enumerate(ODD)))
def test_each_odd_name_is_taken_as_it_is(
    chest: Volume, tmp_path: Path, number: int, name: str
) -> None:
    suffix = (".nii.gz", ".nrrd", ".mha", ".nii")[number % 4]
    folder = tmp_path / name
    folder.mkdir()
    scan = write(chest, folder / f"{name}{suffix}")
    bundle = write_tiny(folder / f"{name} model")
    target = folder / f"{name} labels{suffix}"
    words = ["--model", str(bundle.folder), "--device", "cpu", "--progress", "none"]
    assert cli.main(["predict", str(scan), "-o", str(target), *words]) == 0
    assert io.read(target).volume.same_grid(chest, tolerance=1e-4)
    assert {path.name for path in folder.iterdir()} == {
        scan.name, target.name, bundle.folder.name,
    }  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_names_as_long_as_they_may_be_and_longer(
    chest: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = write_tiny(tmp_path / ("m" * LONGEST))
    scan = write(chest, tmp_path / f"{'s' * (LONGEST - 5)}.nrrd")
    target = tmp_path / f"{'é' * 124}.nii.gz"
    assert len(os.fsencode(target.name)) == LONGEST
    words = ["--device", "cpu", "--progress", "none"]
    model = ["--model", str(bundle.folder)]
    assert cli.main(["predict", str(scan), "-o", str(target), *model, *words]) == 0
    before = files(tmp_path)
    for length in (LONGEST + 1, 300, 5000):
        long = str(tmp_path / f"{'x' * (length - 5)}.nrrd")
        fine = str(tmp_path / "new.nrrd")
        for source, output, more in (
            (long, fine, model),
            (str(scan), long, model),
            (str(scan), fine, [*model, "--report", f"{long}.json"]),
            (str(scan), fine, ["--model", long]),
        ):
            caplog.clear()
            assert cli.main(["predict", source, "-o", output, *more, *words]) == 2
            (error,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
            assert len(error) < 6000
    assert files(tmp_path) == before


def test_a_worker_with_every_odd_name_at_once(chest: Volume, tmp_path: Path) -> None:
    deep = nested(tmp_path)
    bundle = write_tiny(deep / "m\no d")
    scan = write(chest, deep / "胸 '\n\";.nrrd")
    target = deep / "\x1b[31m\n.seg.nrrd"
    no_unicode = deep / NO_UNICODE  # ITK would end the process that writes into it
    no_unicode.mkdir()
    good = {"input": str(scan), "outputs": [str(target)], "model": str(bundle.folder)}
    bad: list[dict[str, Any]] = [
        {**good, "input": "a\0b.nrrd"},
        {**good, "outputs": ["a\0b.nrrd"]},
        {**good, "model": "a\0b"},
        {**good, "input": "\udcff.nrrd"},
        {**good, "outputs": [str(no_unicode / "a.nrrd")]},
        {**good, "report": str(no_unicode / "a.json")},
        {**good, "input": "x" * 300},
        {**good, "outputs": [str(deep / f"{'x' * 300}.nrrd")]},
        {**good, "report": str(deep / ("x" * 300))},
    ]
    before = files(tmp_path)
    worker = Pipe()
    try:
        for job in bad:
            worker.send(command="predict", job={**job, "device": "cpu"})
            answer = worker.until("done", "error")
            assert (answer["event"], answer.get("exit_code")) == ("error", 2), answer
        assert files(tmp_path) == before
        worker.send(command="predict", job={**good, "device": "cpu"})
        assert worker.until("done", "error")["event"] == "done"
    finally:
        worker.end()
    assert io.read(target).volume.same_grid(chest, tolerance=1e-4)


def test_a_folder_of_odd_names_is_prepared_and_trained_on(
    chest: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = nested(tmp_path)
    data, out, run = deep / "scans", deep / "ca'che\n", deep / "r u n"
    data.mkdir()
    names = [*ODD, "s" * (LONGEST - 5), NO_UNICODE]
    for number, name in enumerate(names):
        another = chest.with_array(np.roll(chest.array, number, axis=1))
        write(another, data / f"{name}.nrrd")
    spacing = ["--preprocess.in-plane-spacing-mm", "9.0"]
    assert train_cli.main(["prepare", "--data", str(data), "--out", str(out), *spacing]) == 2
    entries = read_manifest(out / "manifest.jsonl")
    assert {entry.id for entry in entries} == {*names} - {NO_UNICODE}
    problems = json.loads((out / "prepare-report.json").read_text(encoding="utf-8"))["problems"]
    assert [(one["id"], one["code"]) for one in problems] == [(NO_UNICODE, "bad-file-name")]
    assert "caf\\udce9" in (out / "prepare-report.md").read_text(encoding="utf-8")
    monkeypatch.setitem(unet.SIZES, "S", ((16, 16, 16), (0, 1, 1)))
    words = [
        "--out", str(run), "--data.manifest", str(out / "manifest.jsonl"), "--data.size", "32",
        "--loop.steps", "2", "--loop.batch", "4", "--loop.workers", "0", "--loop.warm-up", "1",
        "--loop.device", "cpu",
    ]  # fmt: skip
    assert train_cli.main(["pretrain", *words, *spacing]) == 0
    assert (run / "checkpoints" / "step-00000002.safetensors").is_file()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../outside", "a/b", "/outside", "x" * 256, "a\0b"]
)
def test_an_id_that_would_leave_the_cache_is_refused(
    chest: Volume, tmp_path: Path, name: str
) -> None:
    data, out = tmp_path / "data", tmp_path / "work" / "cache"
    data.mkdir()
    write(chest, data / "a.nrrd")
    # The same scan twice: what is prepared of the second one would be removed again.
    scans = [{"id": one, "patient": "p", "image": "a.nrrd", "licence": "none"}
             for one in ("fine", name)]  # fmt: skip
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"data": str(data), "out": str(out), "scans": scans}))
    before = files(tmp_path)
    assert train_cli.main(["prepare", "--recipe", str(recipe)]) == 2
    assert [entry.id for entry in read_manifest(out / "manifest.jsonl")] == ["fine"]
    problems = json.loads((out / "prepare-report.json").read_text(encoding="utf-8"))["problems"]
    assert [(one["id"], one["code"]) for one in problems] == [(name, "bad-id")]
    assert {path.name for path in tmp_path.iterdir()} == {"data", "work", "recipe.yaml"}
    assert before <= files(tmp_path)
