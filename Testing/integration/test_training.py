"""Training end to end on two small synthetic chests, through the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from isdmae.bundle import find_bundle, write_bundle
from isdmae.errors import InputError
from isdmae.io import read
from isdmae.labels import LUNGS
from isdmae.networks import unet
from isdmae.networks.segmenter import Segmenter
from isdmae.preprocess import PreprocessConfig, to_channels
from isdmae.schema import to_plain
from isdmae_train import cli, distill
from isdmae_train import finetune as finetune_module
from isdmae_train.cache import open_array
from isdmae_train.checkpoint import trained_network
from isdmae_train.config.data import AugmentConfig, DataConfig
from isdmae_train.config.recipes import RECIPES
from isdmae_train.config.runs import FinetuneConfig, PretrainConfig
from isdmae_train.data import fingerprint, has_truth, read_manifest
from isdmae_train.slices import SliceDataset
from tiny_model import TINY_SIZE, options, tiny_info

pytestmark = pytest.mark.usefixtures("tiny_networks")
LUNG_NAMES = tuple(label.name for label in LUNGS)


def test_prepare_reports_the_broken_scan_and_keeps_the_others(cache: Path) -> None:
    entries = read_manifest(cache / "manifest.jsonl")
    assert [entry.id for entry in entries] == ["p0", "p1"]
    entry = entries[0]
    image, labels = (open_array(cache / str(name))[:] for name in (entry.image, entry.label))
    assert image.dtype == np.int16
    assert labels.dtype == np.uint8
    assert image.shape == labels.shape == entry.shape == (24, 213, 240)
    assert np.median(image[labels == 1]) < -700
    assert read(cache / str(entry.truth)).volume.same_grid(read(entry.sources[0]).volume)


def test_nothing_prepared_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = tmp_path / "r.yaml"
    scan = {"id": "a", "patient": "a", "image": "absent.nrrd", "licence": "none"}
    recipe.write_text(
        yaml.safe_dump({"data": str(tmp_path), "out": str(tmp_path / "c"), "scans": [scan]})
    )
    assert cli.main(["prepare", "--recipe", str(recipe)]) == 2
    assert "absent.nrrd does not exist" in caplog.text


def test_pretrain_finetune_export_evaluate_predict(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pre, fine, bundle = tmp_path / "pre", tmp_path / "fine", tmp_path / "bundle"
    assert cli.main(["pretrain", *options(cache, pre, 4)]) == 0
    lines = (pre / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["step"] for record in records] == [2, 4]
    assert {"ssim", "l1", "contrast"} <= set(records[0])
    assert list((pre / "tensorboard").iterdir())

    assert cli.main(["finetune", *options(cache, fine, 4), "--start", str(pre)]) == 0
    card = tmp_path / "card.yaml"
    keys = ("name", "title", "description", "version", "licence", "non_commercial", "training_sets")
    card.write_text(yaml.safe_dump({key: tiny_info()[key] for key in keys}))
    export = ["export", "--run", str(fine), "--out", str(bundle), "--card", str(card)]
    assert cli.main(export) == 0
    assert find_bundle(bundle).info.network.widths == TINY_SIZE[0]

    manifest = str(cache / "manifest.jsonl")
    out = tmp_path / "evaluation"
    evaluate = ["evaluate", "--model", str(bundle), "--out", str(out)]
    assert cli.main([*evaluate, "--manifest", manifest, "--only", "p1"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["structures"]) == {"left lung", "right lung", "all together"}
    assert summary["structures"]["left lung"]["scan"]["patients"] == 1
    assert (out / "scores.csv").read_text().count("\n") == 4
    assert cli.main(evaluate) == 2
    assert "Give a manifest, or pictures and their truth" in caplog.text


def test_the_first_steps_see_half_the_resolution_and_nothing_moves(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(image: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(image.shape[-1])
        return to_channels(image, *rest)

    monkeypatch.setattr(finetune_module, "to_channels", look)
    command = ["finetune", *options(cache, tmp_path / "run", 3), "--coarse-steps", "2"]
    assert cli.main(command) == 0
    assert seen == [32, 32, 64]

    labels = torch.zeros((1, 32, 32), dtype=torch.int64)
    labels[0, 8:21, 11:18] = 1
    image, coarse = finetune_module.halved(labels[:, None].float(), labels)
    places = torch.arange(16) * 2.0
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    for place, fine in ((rows, (8 + 20) / 2), (columns, (11 + 17) / 2)):
        assert float((place * image[0, 0]).sum() / image.sum()) == pytest.approx(fine)
        assert float((place * coarse[0]).sum() / coarse.sum()) == pytest.approx(fine, abs=0.5)
    with pytest.raises(ValueError, match="coarse_steps"):
        FinetuneConfig(coarse_steps=2, spatial_dims=3)


def test_a_student_comes_nearer_to_its_teachers(
    cache: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The teacher has learnt nothing, so the labels pull the student elsewhere."""
    size = unet.UNetConfig.of_size("S", spatial_dims=2, in_channels=4)
    torch.manual_seed(5)
    teacher = Segmenter(size, classes=3)
    with torch.no_grad():
        teacher.head.bias += torch.tensor([0.0, 2.0, 0.0])
    bundle = write_bundle(
        tmp_path / "teacher", tiny_info(network=to_plain(size)), teacher.state_dict()
    )
    config = FinetuneConfig(teachers=(bundle.folder,))
    teachers = distill.Teachers(config, torch.device("cpu"), torch.float32)
    channels = torch.rand((2, 4, 32, 32), generator=torch.Generator().manual_seed(1))
    expected = teacher.eval()(channels).softmax(dim=1)
    assert torch.allclose(teachers.probabilities(channels), expected, atol=1e-4)

    distance = []
    for weight in ("0", "50"):
        out = tmp_path / weight
        command = ["finetune", *options(cache, out, 40), "--teachers", str(bundle.folder)]
        command += ["--teacher-weight", weight, "--loop.learning-rate", "0.01"]
        assert cli.main(command) == 0
        student = Segmenter(size, classes=3).eval()
        student.load_state_dict(trained_network(out)[0])
        distance.append(float((student(channels).softmax(dim=1) - expected).abs().mean()))
    assert distance[1] < 0.7 * distance[0]

    command = ["finetune", *options(cache, tmp_path / "new", 2), "--teachers", str(bundle.folder)]
    shown: list[int] = []
    real = distill.Teachers.probabilities

    def look(self: distill.Teachers, channels: torch.Tensor) -> torch.Tensor:
        shown.append(channels.shape[-1])
        return real(self, channels)

    monkeypatch.setattr(distill.Teachers, "probabilities", look)
    assert cli.main([*command, "--coarse-steps", "1", "--out", str(tmp_path / "coarse")]) == 0
    assert shown == [64], "teachers are shown what they have learnt from"
    assert cli.main([*command, "--labels", "left lung"]) == 2
    assert "finds left lung, right lung and not left lung" in caplog.text
    assert cli.main([*command, "--preprocess.no-edges"]) == 2
    assert "has another preprocessing" in caplog.text


def test_a_start_of_another_shape_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert cli.main(["pretrain", *options(cache, tmp_path / "pre", 1)]) == 0
    monkeypatch.setitem(unet.SIZES, "S", ((16, 16, 24), (0, 1, 1)))
    command = ["finetune", *options(cache, tmp_path / "fine", 1), "--start", str(tmp_path / "pre")]
    assert cli.main(command) == 2
    assert "has another shape" in caplog.text


def test_held_out_scans_are_never_drawn(cache: Path) -> None:
    config = DataConfig(
        manifest=cache / "manifest.jsonl", hold_out=("p0",), size=64, augment=AugmentConfig()
    )
    dataset = SliceDataset(config, PreprocessConfig(), seed=0, labels=LUNG_NAMES)
    assert {str(dataset[index]["case"])[:2] for index in range(30)} == {"p1"}
    everything = DataConfig(manifest=cache / "manifest.jsonl", hold_out=("p0", "p1"))
    with pytest.raises(InputError, match="no scan that this run may use"):
        SliceDataset(everything, PreprocessConfig(), seed=0, labels=LUNG_NAMES)


def test_an_item_depends_on_seed_and_index_alone(cache: Path) -> None:
    config = DataConfig(manifest=cache / "manifest.jsonl", size=64)
    first, again, other = (
        SliceDataset(config, PreprocessConfig(), seed=seed, labels=LUNG_NAMES)[5]["image"]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)  # type: ignore[arg-type]
    assert not torch.equal(first, other)  # type: ignore[arg-type]


def test_usage_and_recipes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([]) == 2
    assert cli.main(["--help"]) == 0
    assert "prepare,sets,pretrain,finetune" in capsys.readouterr().err
    assert cli.main(["pretrain", "--recipe"]) == 2
    bad = tmp_path / "bad.yaml"
    bad.write_text("masks: {spatial_ratio: 3}")
    assert cli.main(["pretrain", "--recipe", str(bad)]) == 2
    assert "mask ratio lies in 0..1" in caplog.text
    bad.write_text("{")
    assert cli.main(["pretrain", "--recipe", str(bad)]) == 2
    assert "cannot be read as YAML" in caplog.text
    assert cli.main(["pretrain", "--data.manifest", str(tmp_path / "none")]) == 2
    assert "isdmae-train prepare" in caplog.text


def test_the_example_goes_from_synthetic_chests_to_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of `make example`, with fewer steps."""
    makefile = Path(__file__).parents[2] / "Makefile"
    target = makefile.read_text(encoding="utf-8").split("\nexample:")[1].split("\n\n")[0]
    example = str(RECIPES / "example")
    lines = [line for line in target.replace("\\\n", "").splitlines() if "$(TRAIN)" in line]
    commands = [line.replace("$(EXAMPLE)", example).split()[1:] for line in lines]
    names = [command[0] for command in commands]
    assert names == ["prepare", "pretrain", "reconstruct", "finetune", "export", "evaluate"]
    monkeypatch.chdir(tmp_path)
    short = ["--loop.steps", "2", "--loop.batch", "2", "--loop.workers", "0", "--loop.warm-up", "1"]
    for command in commands:
        more = short if command[0] in ("pretrain", "finetune") else []
        assert cli.main([*command, *more]) == 0, command
    run = tmp_path / "runs" / "example"
    assert (run / "reconstructions.png").is_file()
    assert (run / "model" / "model.json").is_file()
    assert "phantom-1005" in (run / "evaluation" / "patients.csv").read_text(encoding="utf-8")


def test_the_shares_of_slices_are_kept(cache: Path) -> None:
    def drawn(**shares: float) -> np.ndarray:
        config = DataConfig(manifest=cache / "manifest.jsonl", size=32, **shares)
        dataset = SliceDataset(config, PreprocessConfig(), seed=0, labels=LUNG_NAMES)
        dataset.scans.entries, dataset.scans.shares = dataset.scans.entries[:1], np.ones(1)
        return np.array([int(str(dataset[n]["case"])[:-1].split("[")[1]) for n in range(60)])

    labels = open_array(cache / "p0" / "label.b2nd")[:]
    used = np.flatnonzero(labels.any(axis=(1, 2)))
    length = used[-1] + 1 - used[0]
    inside = drawn(any_slice=0.0)
    assert inside.min() >= used[0]
    assert inside.max() <= used[-1]
    low = drawn(any_slice=0.0, low_slice=1.0)
    assert low.max() < used[0] + round(0.3 * length)
    assert low.min() < used[0] or used[0] == 0
    assert set(drawn(any_slice=1.0)) - set(used) or len(used) == len(labels)
    with pytest.raises(ValueError, match="any_slice"):
        DataConfig(any_slice=0.6, low_slice=0.6)


def test_masks_are_drawn_from_seed_and_step() -> None:
    from isdmae_train.pretrain import draw_masks

    image, is_hu = torch.rand(2, 1, 32, 32) * 1400 - 1024, torch.tensor([True, True])
    masks = PretrainConfig().masks
    first = draw_masks(image, is_hu, masks, 0, 5)
    again = draw_masks(image, is_hu, masks, 0, 5)
    other = draw_masks(image, is_hu, masks, 0, 6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_a_cache_of_another_pixel_size_is_refused(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = ["finetune", *options(cache, tmp_path / "run", 2)]
    assert cli.main([*command, "--preprocess.in-plane-spacing-mm", "3.0"]) == 2
    assert "has pixels of 1.5 mm, the run wants 3.0 mm" in caplog.text


def test_labels_that_no_scan_has_are_refused_before_the_work(cache: Path) -> None:
    with pytest.raises(ValueError, match="different names"):
        FinetuneConfig(labels=("lesion", "lesion"))
    with pytest.raises(InputError, match="have the labels"):
        SliceDataset(
            DataConfig(manifest=cache / "manifest.jsonl"),
            PreprocessConfig(),
            seed=0,
            labels=("lesion",),
        )


def test_a_scan_that_is_free_of_a_structure_teaches_its_absence(cache: Path) -> None:
    entry = read_manifest(cache / "manifest.jsonl")[0]
    assert has_truth(entry, ("right lung",))
    assert not has_truth(entry, ("right lung", "lesion"))
    assert has_truth(replace(entry, free_of=("lesion",)), ("right lung", "lesion"))


def test_what_is_learnt_from_a_scan_has_a_fingerprint(cache: Path) -> None:
    first, second = read_manifest(cache / "manifest.jsonl")
    same = fingerprint(replace(first, sources=("/moved/there",), notes=("seen",)))
    assert same == fingerprint(first) != fingerprint(second)
    assert len(first.label_sha256) == 64
    for change in ({"sha256": "0"}, {"label_sha256": "0"}, {"weight": 2.0}, {"labels": ("a", "b")}):
        assert fingerprint(replace(first, **change)) != same, change


def test_two_scans_of_one_id_are_refused(tmp_path: Path) -> None:
    scan = {"id": "a", "patient": "a", "image": "a.nrrd", "licence": "none"}
    recipe = tmp_path / "r.yaml"
    recipe.write_text(yaml.safe_dump({"data": str(tmp_path), "scans": [scan, scan]}))
    assert cli.main(["prepare", "--recipe", str(recipe)]) == 2
