"""The command line as a user meets it: files, exit codes, sentences, nothing half-written."""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from command_line import predict
from isdmae import io
from isdmae.bundle import Bundle
from isdmae.cli import main
from isdmae.job import PredictJob, Runner
from isdmae.phantom import Phantom
from isdmae.volume import Volume
from panel_under_test import is_alive
from tiny_model import write_point_bundle

pytestmark = pytest.mark.usefixtures("restore_signals")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".seg.nrrd"])
def test_every_format_holds_labels_on_the_input_grid(
    ct: Path, tiny_bundle: Bundle, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"labels{suffix}"
    assert predict(ct, target, tiny_bundle) == 0
    labels, image = sitk.ReadImage(str(target)), sitk.ReadImage(str(ct))
    assert labels.GetSize() == image.GetSize()
    for getter in ("GetSpacing", "GetOrigin", "GetDirection"):
        expected = getattr(image, getter)()
        assert np.allclose(getattr(labels, getter)(), expected, atol=1e-5)
    assert labels.GetPixelID() == sitk.sitkUInt8


def test_preview_and_report_and_several_outputs(
    ct: Path, tiny_bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    code = predict(
        ct, tmp_path / "a.nrrd", tiny_bundle, "-o", str(tmp_path / "a.seg.nrrd"),
        "--preview", str(tmp_path / "a.png"), "--report", str(tmp_path / "a.json"),
    )  # fmt: skip
    assert code == 0
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert report["model"]["sha256"] == tiny_bundle.info.weights.sha256
    assert report["input"]["orientation"] == "LPS"
    assert [segment["name"] for segment in report["segments"]] == ["left lung", "right lung"]
    assert {"read", "network", "write"} <= set(report["seconds"])
    assert sorted(p.name for p in tmp_path.glob("a.*")) == [
        "a.json",
        "a.nrrd",
        "a.png",
        "a.seg.nrrd",
    ]
    assert "left lung:" in caplog.text


@pytest.mark.parametrize("stage", ["clean", "write"])
def test_cancel_is_heard_to_the_very_end(
    ct: Path, tiny_bundle: Bundle, tmp_path: Path, stage: str
) -> None:
    from isdmae.errors import Cancelled

    seen: list[str] = []
    job = PredictJob(
        input=ct, outputs=(tmp_path / "a.nrrd",), model=str(tiny_bundle.folder), device="cpu"
    )
    with pytest.raises(Cancelled):
        Runner().run(
            job, progress=lambda name, share: seen.append(name), stop=lambda: stage in seen
        )
    assert seen[-1] in (stage, "done")
    assert not (tmp_path / "a.nrrd").exists()


def test_a_cancel_while_outputs_are_written_comes_too_late(
    ct: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """A run that says that it was cancelled has written nothing."""

    outputs = (tmp_path / "a.nrrd", tmp_path / "b.nrrd")
    job = PredictJob(input=ct, outputs=outputs, model=str(tiny_bundle.folder), device="cpu")
    Runner().run(job, stop=outputs[0].exists)
    assert outputs[1].exists()


def test_the_plan_is_said_before_the_run(
    ct: Path, tiny_bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        main(["predict", str(ct), "-o", str(tmp_path / "a.nrrd"),
              "--model", str(tiny_bundle.folder), "--device", "cpu"])  # fmt: skip
    plan, *rest = caplog.messages
    assert re.fullmatch(
        r"plan: 32 slices of \d+ x \d+ pixels, \d+ x \d+ at once, cpu, (bfloat16|float32),"
        r" about (0\.8|0\.9|1\.\d) GB of memory",
        plan,
    )
    assert rest


def test_a_closed_pipe_is_no_defect(ct: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "isdmae", "predict", str(ct), "-o", str(tmp_path / "a.nrrd"),
        "--model", str(tiny_bundle.folder), "--progress", "json",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 4


def test_points_from_the_command_line_and_from_a_file(
    ct: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    volume = io.read(ct).volume
    centre = volume.affine[:3] @ (*(size // 2 for size in volume.shape[::-1]), 1)
    x, y, z = (float(value) for value in centre)
    file = tmp_path / "points.csv"
    file.write_text(f"r,a,s\n{-x - 60},{-y},{z}\n")
    bundle = write_point_bundle(tmp_path / "points")
    report = tmp_path / "report.json"
    options = ["--points", f"-1e3,0,0;{x},{y},{z}", "--points-file", str(file)]
    assert predict(ct, tmp_path / "a.seg.nrrd", bundle, *options) == 2
    assert "(-1000.0, 0.0, 0.0) (LPS, mm) lies outside the scan" in caplog.text
    options[1] = f"{x}, {y},{z}"
    assert predict(ct, tmp_path / "a.seg.nrrd", bundle, *options, "--report", str(report)) == 0
    segments = json.loads(report.read_text())["segments"]
    assert [segment["id"] for segment in segments] == ["nodule_1", "nodule_2"]
    assert segments[0]["point_mm"] == pytest.approx([x, y, z])
    assert segments[1]["point_mm"] == pytest.approx([x + 60, y, z])
    assert "nodule 1: " in caplog.text
    assert f"{segments[0]['diameter_mm']:.1f} mm" in caplog.text
    assert predict(ct, tmp_path / "b.seg.nrrd", bundle) == 2
    assert "there is none. Place a point in each nodule." in caplog.text


def test_json_progress_is_one_object_a_line(
    ct: Path, tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "labels.nrrd"
    code = main(
        ["predict", str(ct), "-o", str(target), "--model", str(tiny_bundle.folder),
         "--progress", "json"]
    )  # fmt: skip
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert events[-1]["event"] == "done"
    assert any(event.get("seconds_left") is not None for event in events[:-1])


def test_a_picture_becomes_a_picture_of_labels(tmp_path: Path, tiny_bundle: Bundle) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(tmp_path / "slice.png"))
    assert predict(tmp_path / "slice.png", tmp_path / "labels.png", tiny_bundle) == 0
    assert sitk.ReadImage(str(tmp_path / "labels.png")).GetSize() == (80, 60)


def test_a_picture_has_no_millilitres(
    tmp_path: Path,
    tiny_bundle: Bundle,
    small_phantom: Phantom,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    grey = np.interp(small_phantom.ct.array[16], (-1100, 100), (0, 255)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(tmp_path / "slice.png"))
    report = tmp_path / "report.json"
    assert predict(
        tmp_path / "slice.png", tmp_path / "labels.png", tiny_bundle, "--report", str(report)
    ) == 0  # fmt: skip
    said = caplog.text
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "labels.png")))
    assert labels.any()
    for segment in json.loads(report.read_text(encoding="utf-8"))["segments"]:
        assert segment["volume_ml"] is None
        assert segment["area_px"] == np.count_nonzero(labels == segment["value"])
        assert segment["percent_of_picture"] == round(100 * segment["area_px"] / labels.size, 2)
        assert f"{segment['name']}: {segment['percent_of_picture']:.1f} % of the picture" in said
    assert " mL" not in said


@pytest.mark.parametrize("non_commercial", [True, False])
def test_terms_that_forbid_commercial_use_are_said(
    tmp_path: Path, tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture, non_commercial: bool
) -> None:
    info = tiny_bundle.folder / "model.json"
    content = json.loads(info.read_text(encoding="utf-8"))
    content |= {"non_commercial": non_commercial, "licence": "CC BY-NC 4.0"}
    info.write_text(json.dumps(content), encoding="utf-8")
    sitk.WriteImage(sitk.GetImageFromArray(np.eye(60, dtype=np.uint8)), str(tmp_path / "a.png"))
    assert predict(tmp_path / "a.png", tmp_path / "b.png", tiny_bundle) == 0
    words = "'tiny' is for non-commercial use only: CC BY-NC 4.0."
    assert (words in caplog.text) == non_commercial


def test_info_and_verify(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["devices"][0] == {"name": "cpu", "usable": True, "reason": ""}
    assert main(["info"]) == 0
    assert "device cpu: usable" in capsys.readouterr().out
    assert main(["verify", str(tiny_bundle.folder)]) == 0
    assert tiny_bundle.info.weights.sha256 in capsys.readouterr().out
    (tiny_bundle.folder / "model.safetensors").write_bytes(b"x")
    assert main(["verify", str(tiny_bundle.folder)]) == 2


def test_phantom_writes_a_ct(tmp_path: Path) -> None:
    assert main(["phantom", str(tmp_path / "ct.nii.gz"), "--seed", "3"]) == 0
    with gzip.open(tmp_path / "ct.nii.gz") as file:
        assert len(file.read(348)) == 348


def test_a_defect_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("isdmae.machine.describe", lambda: 1 / 0)
    assert main(["info"]) == 1
    assert "defect of isdmae" in caplog.text
    monkeypatch.setattr("isdmae.machine.describe", _no_memory)
    assert main(["info"]) == 3


def _no_memory() -> None:
    raise MemoryError


def test_sigterm_cancels_and_leaves_nothing(tmp_path: Path, tiny_bundle: Bundle) -> None:
    many = Volume(array=np.zeros((3000, 128, 128), np.int16), spacing_mm=(2.0, 2.0, 1.0))
    io.write_image_atomic(tmp_path / "ct.nrrd", io.to_sitk(many))
    process = subprocess.Popen(
        [sys.executable, "-m", "isdmae", "predict", str(tmp_path / "ct.nrrd"), "--force",
         "-o", str(tmp_path / "labels.nrrd"), "--model", str(tiny_bundle.folder),
         "--progress", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["stage"] == "segment":
            break
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "cancelled" in stderr
    assert time.monotonic() - start < 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct.nrrd", "tiny"]


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from isdmae.cli import build_parser; build_parser().format_help(); "
        "sys.exit('torch' in sys.modules or 'SimpleITK' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_command_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Killing a launcher leaves what it has started, as with Slicer's own Python."""
    target = tmp_path / "chest.nrrd"
    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'isdmae', 'phantom', sys.argv[1]])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(launcher), str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "ISDMAE_END_WITH_STDIN": "1"},
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate()
    end = time.monotonic() + 30
    while is_alive(pid):
        assert time.monotonic() < end, "it outlives its master"
        time.sleep(0.05)
    assert not target.exists()
