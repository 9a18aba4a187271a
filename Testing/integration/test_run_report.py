"""The report of a run: enough to repeat it, and nothing that names the patient."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import predict
from isdmae import io
from isdmae.bundle import Bundle, find_bundle
from isdmae.candidates import Candidate
from isdmae.job import PredictJob, Runner
from isdmae.phantom import Phantom
from isdmae.schema import from_plain
from tiny_model import write_lungs_everywhere, write_point_bundle

pytestmark = pytest.mark.usefixtures("restore_signals")


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
