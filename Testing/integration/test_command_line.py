"""The command line as a user meets it: files, exit codes, sentences, nothing half-written."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import io
from isdmae.bundle import Bundle, find_bundle
from isdmae.candidates import Candidate
from isdmae.cli import main
from isdmae.job import PredictJob, Runner
from isdmae.phantom import Phantom
from isdmae.schema import from_plain
from isdmae.volume import Volume
from panel_under_test import is_alive
from tiny_model import write_lungs_everywhere, write_point_bundle


@pytest.fixture
def ct(tmp_path: Path, small_phantom: Phantom) -> Path:
    folder = tmp_path / "Ünï cödé 测试; rm -rf ~"
    folder.mkdir()
    path = folder / "ct.nrrd"
    io.write_image_atomic(path, io.to_sitk(small_phantom.ct))
    return path


@pytest.fixture(autouse=True)
def restore_signals() -> Any:
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


def predict(source: Path, target: Path, bundle: Bundle, *more: str) -> int:
    return main(
        ["predict", str(source), "-o", str(target), "--model", str(bundle.folder),
         "--device", "cpu", "--progress", "none", *more]
    )  # fmt: skip


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


def repeat(report: Path, source: Path, model: Path, folder: Path) -> dict[str, Any]:
    """Do what a third person does who has the scan, the model and the report: run it again."""
    facts = json.loads(report.read_text(encoding="utf-8"))
    assert find_bundle(model).info.weights.sha256 == facts["model"]["sha256"]
    plain = {
        "input": str(source), "model": str(model), "outputs": [str(folder / "again.nrrd")],
        "report": str(folder / "again.json"), **facts["options"],
    }  # fmt: skip
    Runner().run(from_plain(PredictJob, plain, "the report"))
    again = json.loads((folder / "again.json").read_text(encoding="utf-8"))
    assert again["voxels_sha256"] == facts["voxels_sha256"]
    assert again["segments"] == facts["segments"]
    return facts


def test_the_trachea_comes_on_request_and_again_from_the_report(ct: Path, tmp_path: Path) -> None:
    lungs, report = find_bundle("lungs"), tmp_path / "first.json"
    options = ["--trachea", "--report", str(report), "--preview", str(tmp_path / "first.png")]
    assert predict(ct, tmp_path / "first.seg.nrrd", lungs, *options) == 0
    facts = repeat(report, ct, lungs.folder, tmp_path)
    assert facts["options"]["trachea"]
    *_, trachea = facts["segments"]
    assert (trachea["value"], trachea["id"]) == (3, "trachea_and_main_bronchi")
    assert "SCT^110726009^Trachea and bronchus" in trachea["terminology"]
    assert trachea["volume_ml"] > 10
    assert trachea["mean_hu"] < -750


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_the_report_is_enough_to_repeat_a_run(ct: Path, tmp_path: Path, precision: str) -> None:
    model, volume = find_bundle("lungs").folder, io.read(ct).volume
    offset = volume.with_array((volume.array + 300).astype(np.int16))  # no HU: it has to be forced
    source = tmp_path / "offset.nrrd"
    io.write_image_atomic(source, io.to_sitk(offset))
    middle = volume.affine[:3] @ (*(size // 2 for size in volume.shape[::-1]), 1)
    first, report = tmp_path / "first.nrrd", tmp_path / "first.json"
    plain = {
        "input": str(source), "outputs": [str(first)], "report": str(report), "force": True,
        "model": str(model), "device": "cpu", "precision": precision, "mirror": True,
        "region": {"centre_mm": list(middle), "size_mm": [120.0, 90.0, 80.0]},
    }  # fmt: skip
    Runner().run(from_plain(PredictJob, plain, "a message to the worker"))
    facts = repeat(report, source, model, tmp_path)
    assert facts["options"]["force"]
    assert facts["options"]["region"]["size_mm"] == [120.0, 90.0, 80.0]
    labels = io.read(first).volume.array
    assert set(np.unique(labels)) == {0, 1, 2}
    assert np.array_equal(io.read(tmp_path / "again.nrrd").volume.array, labels)
    assert facts["voxels_sha256"]["labels"] == hashlib.sha256(labels).hexdigest()
    assert facts["machine"]["threads"] >= 1


def test_the_report_is_enough_to_repeat_a_run_at_points(ct: Path, tmp_path: Path) -> None:
    volume = io.read(ct).volume
    x, y, z = volume.affine[:3] @ (*(size // 2 for size in volume.shape[::-1]), 1)
    bundle, report = write_point_bundle(tmp_path / "points"), tmp_path / "first.json"
    options = ["--points", f"{x},{y},{z};{x + 60},{y},{z}", "--report", str(report)]
    assert predict(ct, tmp_path / "first.nrrd", bundle, *options) == 0
    facts = repeat(report, ct, bundle.folder, tmp_path)
    assert len(facts["options"]["points"]) == 2
    first, again = (io.read(tmp_path / f"{name}.nrrd").volume.array for name in ("first", "again"))
    assert set(np.unique(first)) == {0, 1, 2}
    assert np.array_equal(again, first)


def test_a_search_is_in_the_report_and_comes_out_again(
    ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    volume = io.read(ct).volume
    x, y, z = volume.affine[:3] @ (*(size // 2 for size in volume.shape[::-1]), 1)
    spot = Candidate(point_mm=(float(x), float(y), float(z)), blobness=81.26, scale_mm=2.2)
    monkeypatch.setattr("isdmae.inference.find_candidates", lambda ct, lungs: [spot])
    monkeypatch.setenv("ISDMAE_MODELS", str(tmp_path))
    write_lungs_everywhere(tmp_path / "everywhere")
    bundle = write_point_bundle(tmp_path / "points", search_within="everywhere")
    report = tmp_path / "first.json"
    options = ["--search", "--report", str(report), "--preview", str(tmp_path / "first.png")]
    for kept in (0, 1):
        assert predict(ct, tmp_path / f"{kept}.seg.nrrd", bundle, *options, "--overwrite") == 0
        facts = json.loads(report.read_text())
        assert facts["search"] == {"experimental": True, "looked_at": 1, "kept": kept}
        assert len(facts["segments"]) == kept
        monkeypatch.setattr("isdmae.pointwise.is_cut_off", lambda *_: False)
        monkeypatch.setattr("isdmae.pointwise.looks_like_nodule", lambda *_: True)
    (segment,) = facts["segments"]
    assert (segment["id"], segment["blobness"]) == ("candidate_1", 81.3)
    assert segment["point_mm"] == pytest.approx([x, y, z])
    assert "Look through the whole CT." in caplog.text
    facts = repeat(report, ct, bundle.folder, tmp_path)
    assert (facts["options"]["search"], facts["options"]["points"]) == (True, [])
    assert predict(ct, tmp_path / "b.nrrd", bundle, "--search", "--points", "0,0,0") == 2
    assert "Leave out the points or the search." in caplog.text


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


def test_the_report_names_no_series(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_phantom: Phantom
) -> None:
    from isdmae import job

    source = {
        "format": "DICOM", "modality": "CT", "series_uid": "1.2.3",
        "series_description": "Doe^John",
    }  # fmt: skip
    scan = io.ReadResult(volume=small_phantom.ct, notices=(), source=source)
    monkeypatch.setattr(job, "read", lambda *_, **__: scan)
    assert predict(tmp_path / "x", tmp_path / "a.nrrd", tiny_bundle, "--report",
                   str(tmp_path / "a.json")) == 0  # fmt: skip
    text = (tmp_path / "a.json").read_text("utf-8")
    assert "Doe" not in text
    assert "1.2.3" not in text
    assert '"modality": "CT"' in text


@pytest.mark.parametrize("stage", ["clean", "write"])
def test_cancel_is_heard_to_the_very_end(
    ct: Path, tiny_bundle: Bundle, tmp_path: Path, stage: str
) -> None:
    from isdmae.errors import Cancelled
    from isdmae.job import PredictJob, Runner

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
    from isdmae.job import PredictJob, Runner

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
