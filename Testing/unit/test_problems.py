"""`prepare` on a hundred scans with every kind of bad data: all named, all others prepared."""

from __future__ import annotations

import json
import os
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import yaml

from isdmae.errors import InputError, ResourceError
from isdmae.preprocess import PreprocessConfig
from isdmae.volume import Volume
from isdmae_train import cli, prepare, scans
from isdmae_train.cache import open_array
from isdmae_train.config.data import DataConfig
from isdmae_train.config.prepare import LabelSource, PrepareConfig, ScanSource
from isdmae_train.data import Scans, read_manifest
from isdmae_train.problems import problem_of
from isdmae_train.truth import SIDES_CHANGED, read_truth

SHAPE = (3, 16, 16)
SPACING = (3.2, 3.2, 5.0)


def hu(seed: int) -> np.ndarray:
    """Return the values of a CT in shares that pass for one."""
    random = np.random.default_rng(seed)
    return random.choice(np.array([-1000, -700, -300, 40], np.int16), SHAPE)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred scans, nine of them with something wrong."""
    root = tmp_path_factory.mktemp("hundred")
    scans = []
    for number in range(100):
        name = f"s{number:02d}"
        label = np.zeros(SHAPE, np.uint8)
        label[1, 4:8, 4:8] = 1
        save(root / f"{name}.nrrd", hu(number))
        save(root / "labels" / f"{name}.nrrd", label)
        scans.append({"id": name, "patient": name, "image": f"{name}.nrrd", "licence": "none"})
    # Every scan has the layout's label; what is wrong comes below.
    for scan in scans:
        scan["label"] = {
            "path": f"labels/{scan['id']}.nrrd", "values": {"lesion": [1]}, "complete": True
        }  # fmt: skip
    content = (root / "s50.nrrd").read_bytes()
    (root / "s50.nrrd").write_bytes(content[: len(content) // 2])
    (root / "labels" / "s10.nrrd").unlink()
    save(root / "labels" / "s20.nrrd", np.ones((3, 16, 15), np.uint8))
    save(root / "labels" / "s30.nrrd", np.full(SHAPE, 7, np.uint8))
    save(root / "labels" / "s40.nrrd", np.zeros(SHAPE, np.uint8))
    save(root / "s60.nrrd", hu(59))
    scans[70]["patient"] = scans[71]["patient"] = "twice"
    scans[70]["split"], scans[71]["split"] = "train", "test"
    scans[80]["id"] = "s79"
    recipe = {"data": str(root), "out": str(root / "cache"), "scans": scans}
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return root


WRONG = {
    ("s50", "s50.nrrd"): "unreadable-file",
    ("s10", "labels/s10.nrrd"): "label-missing",
    ("s20", "labels/s20.nrrd"): "grid-differs",
    ("s30", "labels/s30.nrrd"): "unknown-labels",
    ("s40", "labels/s40.nrrd"): "empty-label",
    ("s60", "s60.nrrd"): "duplicate-scan",
    ("s70", "s70.nrrd"): "patient-in-two-splits",
    ("s71", "s71.nrrd"): "patient-in-two-splits",
    ("s79", "s80.nrrd"): "same-id",
}


@pytest.fixture(scope="module")
def prepared(data: Path) -> Path:
    assert cli.main(["prepare", "--recipe", str(data / "recipe.yaml")]) == 2
    return data / "cache"


def test_all_problems_are_told_together_by_file(data: Path, prepared: Path) -> None:
    report = json.loads((prepared / "prepare-report.json").read_text())
    found = {
        (one["id"], Path(one["file"]).relative_to(data).as_posix()): one["code"]
        for one in report["problems"]
    }
    assert found == WRONG
    assert {one["effect"] for one in report["problems"]} == {"left out"}
    assert all(one["message"] and one["remedy"] for one in report["problems"])
    assert (report["prepared"], report["left_out"]) == (91, 9)
    text = (prepared / "prepare-report.md").read_text()
    assert "91 scans or cases of 91 patients; 9 files or cases left out" in text
    assert all(code in text for code in WRONG.values())
    assert "s60 shows the same image as s59, of another patient (s59)" in text
    assert "are unknown: 7" in text
    assert "15 x 16 x 3 voxels, the scan has 16 x 16 x 3" in text


def test_the_others_are_prepared_with_all_that_is_known_of_them(data: Path, prepared: Path) -> None:
    entries = read_manifest(prepared / "manifest.jsonl")
    bad = {name for name, _ in WRONG} - {"s79"} | {"s80"}
    assert [one.id for one in entries] == [
        f"s{n:02d}" for n in range(100) if f"s{n:02d}" not in bad
    ]
    one = entries[-1]
    assert (one.own_shape, one.spacing_mm, one.origin_mm) == (SHAPE, SPACING, (0.0, 0.0, 0.0))
    assert one.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert len(one.sha256) == len(one.sources_sha256) == len(one.label_sha256) == 64
    assert open_array(prepared / str(one.label))[:].any()
    assert len({entry.split for entry in entries}) == 1
    left = {path.name for path in prepared.iterdir() if path.is_dir()}
    assert left == {one.id for one in entries}, "nothing half-made is left"


def test_one_line_says_how_it_went(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = yaml.safe_load((data / "recipe.yaml").read_text())
    recipe["scans"] = recipe["scans"][:2]
    recipe["out"] = str(data / "two")
    (data / "two.yaml").write_text(yaml.safe_dump(recipe))
    with caplog.at_level("INFO"):
        assert cli.main(["prepare", "--recipe", str(data / "two.yaml")]) == 0
    assert "prepared 2 scans or cases of 2 patients" in caplog.text


def test_what_is_prepared_already_is_taken_as_it_is(data: Path) -> None:
    source = LabelSource(path=Path("labels/s02.nrrd"), values={"lesion": (1,)})
    scan = ScanSource(id="a", patient="a", image=Path("s02.nrrd"), licence="none", label=source)
    config = PrepareConfig(data=data, out=data / "again", scans=(scan,))

    def times() -> list[int]:
        return [
            (data / "again" / "a" / name).stat().st_mtime_ns
            for name in ("image.b2nd", "label.b2nd", "truth.nrrd")
        ]

    prepare.prepare(config)
    first = times()
    (one,) = read_manifest(prepare.prepare(config))
    assert times() == first
    (data / "again" / "a" / "label.b2nd").unlink()
    prepare.prepare(config)
    second = times()
    assert second != first
    os.utime(data / "labels" / "s02.nrrd")
    (two,) = read_manifest(prepare.prepare(config))
    assert times() != second
    assert one == two
    other = ScanSource(id="b", patient="b", image=Path("s02.nrrd"), licence="none")
    with pytest.raises(InputError, match="1 scans or cases were left out"):
        prepare.prepare(replace(config, scans=(scan, other)))


def test_a_run_may_take_single_parts_of_the_split(data: Path) -> None:
    scans = tuple(
        ScanSource(id=name, patient=name, image=Path(f"{name}.nrrd"), licence="none", split=split)
        for name, split in (("s03", "train"), ("s04", "test"))
    )
    config = PrepareConfig(data=data, out=data / "parts", scans=scans)
    made = DataConfig(manifest=prepare.prepare(config), parts=("train",))
    assert [one.id for one in Scans(made, PreprocessConfig(), ()).entries] == ["s03"]
    with pytest.raises(InputError, match="Check hold_out, parts"):
        Scans(replace(made, parts=("none",)), PreprocessConfig(), ())


def test_several_processes_prepare_the_same(data: Path) -> None:
    names = ("s05", "s50", "s06", "s60", "s59")
    chosen = tuple(
        ScanSource(id=name, patient=name, image=Path(f"{name}.nrrd"), licence="none")
        for name in names
    )
    found = []
    for workers in (0, 2):
        out = data / f"by-{workers}"
        with pytest.raises(InputError, match="2 scans or cases were left out"):
            prepare.prepare(PrepareConfig(data=data, out=out, scans=chosen, workers=workers))
        found.append(
            (read_manifest(out / "manifest.jsonl"), (out / "prepare-report.json").read_text())
        )
        assert not (out / "s59").exists()
    assert found[0] == found[1]
    assert [one.id for one in found[0][0]] == ["s05", "s06", "s60"]


def test_a_process_that_is_ended_is_explained(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        def __init__(self, *arguments: Any) -> None:
            pass

        def map(self, *arguments: Any) -> Any:
            raise BrokenProcessPool("A process in the process pool was terminated abruptly")

        def shutdown(self, *, cancel_futures: bool) -> None:
            assert cancel_futures

    monkeypatch.setattr(scans, "ProcessPoolExecutor", Pool)
    with pytest.raises(ResourceError, match="most likely for its memory"):
        next(scans.prepare_scans((), PrepareConfig(data=data, workers=1)))


def test_a_full_disk_ends_it_at_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **named: Any) -> None:
        raise ResourceError("disk-full", "The disk is full.", "Free some space.")

    monkeypatch.setattr(scans, "store_scan", full)
    scan = ScanSource(id="a", patient="a", image=Path("s00.nrrd"), licence="none")
    with pytest.raises(ResourceError):
        prepare.prepare(PrepareConfig(data=data, out=data / "full", scans=(scan,)))


def test_a_windowed_file_is_refused_with_the_way_to_use_it(data: Path) -> None:
    save(data / "window.nii.gz", np.clip((hu(5) + 1250.0) / 1500 * 255, 0, 255).astype(np.uint8))
    scan = ScanSource(id="w", patient="w", image=Path("window.nii.gz"), licence="none")
    with pytest.raises(InputError, match="stored_hu"):
        prepare.prepare(PrepareConfig(data=data, out=data / "w", scans=(scan,)))
    known = replace(scan, stored_hu=(-1250.0, 250.0))
    manifest = prepare.prepare(PrepareConfig(data=data, out=data / "w", scans=(known,)))
    (entry,) = read_manifest(manifest)
    values = open_array(manifest.parent / entry.image)[:]
    assert values.min() == pytest.approx(-1000, abs=8)
    assert values.max() == pytest.approx(40, abs=8)


def test_what_a_library_raises_is_a_problem_of_the_file() -> None:
    problem = problem_of(RuntimeError("strange"), "a", Path("folder/a.nii"))
    assert (problem.code, problem.effect) == ("not-readable", "left out")
    assert "a.nii cannot be read: RuntimeError: strange" in str(problem)


def test_a_run_refuses_to_split_a_patient(data: Path, prepared: Path) -> None:
    entries = read_manifest(prepared / "manifest.jsonl")[:2]
    lines = [
        json.dumps({"patient": "p", "id": one.id, "image": one.image, "label": one.label,
                    "licence": "none", "sources": [], "truth": None, "shape": list(one.shape),
                    "spacing_mm": list(one.spacing_mm), "sha256": "", "weight": 1.0})
        for one in entries
    ]  # fmt: skip
    (prepared / "one.jsonl").write_text("\n".join(lines))
    config = DataConfig(manifest=prepared / "one.jsonl", hold_out=("s00",))
    with pytest.raises(InputError, match="patient p is held out, but s01"):
        Scans(config, PreprocessConfig(), ())


@pytest.fixture
def ct() -> Volume:
    return Volume(array=hu(0), spacing_mm=SPACING, is_hu=True)


def test_masks_of_their_own_lie_above_one_another(ct: Volume, tmp_path: Path) -> None:
    whole, part = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    whole[1, 2:9, 2:9] = 0.9999
    part[1, 4:6, 4:6] = 255
    save(tmp_path / "lung.nrrd", whole)
    save(tmp_path / "lesion.nrrd", part)
    source = LabelSource(
        masks={"lung": (Path("lung.nrrd"),), "lesion": (Path("lesion.nrrd"),)}, complete=True
    )
    truth, notes = read_truth(ct, source, tmp_path)
    assert (truth.array == 1).sum() == 49 - 4
    assert (truth.array == 2).sum() == 4
    assert not notes
    save(tmp_path / "lung.nrrd", whole / 2)
    with pytest.raises(InputError, match="are no whole numbers"):
        read_truth(ct, source, tmp_path)


def test_lungs_of_the_wrong_side_change_their_names(ct: Volume, tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 4:12, 2:6], labels[:, 4:12, 9:13] = 1, 2  # x grows to the patient's left
    save(tmp_path / "lungs.nrrd", labels)
    source = LabelSource(
        path=Path("lungs.nrrd"), values={"left lung": (1,), "right lung": (2,)}, mend_sides=True
    )
    truth, notes = read_truth(ct, source, tmp_path)
    assert notes == (SIDES_CHANGED,)
    assert truth.array[1, 5, 10] == 1
    save(tmp_path / "lungs.nrrd", np.where(labels, 3 - labels, 0).astype(np.uint8))
    truth, notes = read_truth(ct, source, tmp_path)
    assert (truth.array[1, 5, 10], notes) == (1, ())
