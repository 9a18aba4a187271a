"""Inputs and outputs that the command line refuses: one sentence, a remedy, exit code 2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from command_line import predict
from isdmae import io
from isdmae.bundle import Bundle
from isdmae.cli import main

pytestmark = pytest.mark.usefixtures("restore_signals")


def test_the_scan_is_never_replaced_by_its_result(ct: Path, tiny_bundle: Bundle) -> None:
    before = ct.read_bytes()
    assert predict(ct, ct, tiny_bundle, "--overwrite") == 2
    assert ct.read_bytes() == before


@pytest.mark.parametrize(
    ("output", "more"),
    [("a.xyz", ()), ("a.nrrd", ("--preview", "p.jpg")), ("a.nrrd", ("--series-uid", "1.2"))],
)
def test_what_cannot_be_written_is_said_before_the_work(
    ct: Path, tiny_bundle: Bundle, tmp_path: Path, output: str, more: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from isdmae.inference import Predictor

    monkeypatch.setattr(Predictor, "segment", lambda *_, **__: pytest.fail("it computed"))
    options = [str(tmp_path / part) if part.startswith("p.") else part for part in more]
    assert predict(ct, tmp_path / output, tiny_bundle, *options) == 2


def text_file(path: Path) -> Path:
    path.write_text("this is no image")
    return path


def truncated(path: Path) -> Path:
    image = sitk.GetImageFromArray(
        np.random.default_rng(0).integers(-1000, 100, (40, 64, 64)).astype(np.int16)
    )
    sitk.WriteImage(image, str(path))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def four_d(path: Path) -> Path:
    frames = [sitk.Image(16, 16, 4, sitk.sitkInt16) for _ in range(3)]
    sitk.WriteImage(sitk.JoinSeries(frames), str(path))
    return path


def rgb(path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(noise, isVector=True), str(path))
    return path


def mr_like(path: Path) -> Path:
    values = np.random.default_rng(0).gamma(2.0, 120.0, (10, 64, 64)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    return path


def empty_folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (text_file, "text.nii.gz", "text.nii.gz"),
        (truncated, "cut.nii.gz", "cut"),
        (four_d, "four.nii.gz", "3"),
        (rgb, "rgb.nrrd", "olour"),
        (mr_like, "mr.nii.gz", "--force"),
        (empty_folder, "empty", "empty"),
        (lambda path: path, "absent.nrrd", "does not exist"),
    ],
)
def test_bad_input_gets_one_sentence_a_remedy_and_exit_code_2(
    tmp_path: Path,
    tiny_bundle: Bundle,
    caplog: pytest.LogCaptureFixture,
    make: Any,
    name: str,
    words: str,
) -> None:
    source = make(tmp_path / name)
    out = tmp_path / "out"
    out.mkdir()
    assert predict(source, out / "labels.nrrd", tiny_bundle) == 2
    assert list(out.iterdir()) == []
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    message = errors[0].getMessage()
    assert words in message
    assert message.count(". ") >= 1
    assert "Traceback" not in caplog.text


def test_outputs_are_refused_before_anything_is_computed(
    ct: Path, tiny_bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert predict(ct, tmp_path / "no" / "labels.nrrd", tiny_bundle) == 2
    assert "does not exist" in caplog.text
    (tmp_path / "there.nrrd").write_bytes(b"mine")
    assert predict(ct, tmp_path / "there.nrrd", tiny_bundle) == 2
    assert (tmp_path / "there.nrrd").read_bytes() == b"mine"
    assert "exists already" in caplog.text
    assert predict(ct, tmp_path / "labels.xyz", tiny_bundle) == 2
    assert "no format that can be written" in caplog.text
    target = tmp_path / "same.nrrd"
    assert predict(ct, target, tiny_bundle, "-o", str(target)) == 2
    assert "one name" in caplog.text


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_without_write_permission(ct: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert predict(ct, locked / "labels.nrrd", tiny_bundle) == 2
    assert list(locked.iterdir()) == []


def test_an_output_folder_that_cannot_be_written_even_by_root(
    ct: Path, tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("no file system here that refuses everybody")
    assert predict(ct, Path("/proc/labels.nrrd"), tiny_bundle) == 2
    assert "labels.nrrd" in caplog.text or "/proc" in caplog.text


def test_overwrite_replaces(ct: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "labels.nrrd"
    target.write_bytes(b"old")
    assert predict(ct, target, tiny_bundle, "--overwrite") == 0
    assert io.read(target).volume.shape == io.read(ct).volume.shape


def test_an_unknown_model_names_those_that_exist(
    ct: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = main(["predict", str(ct), "-o", str(tmp_path / "x.nrrd"), "--model", "lungz"])
    assert code == 2
    assert "no model 'lungz'" in caplog.text


def test_bad_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["predict"])
    assert caught.value.code == 2
    assert "--output" in capsys.readouterr().err
