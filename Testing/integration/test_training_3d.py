"""A 3D model end to end: from two synthetic chests and stacks of pictures to labels on a CT."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from isdmae.bundle import find_bundle
from isdmae.inference import Predictor
from isdmae.io import to_sitk, write_image_atomic, write_labelmap
from isdmae.labels import LUNGS
from isdmae.networks import unet
from isdmae.networks.dual_mae import DualMaskedAutoencoder
from isdmae.phantom import Phantom, PhantomConfig, make_phantom
from isdmae.preprocess import PreprocessConfig
from isdmae.volume import Volume
from isdmae_train import cli
from isdmae_train.compare_plan import merged_plain
from isdmae_train.config.recipes import RECIPES
from isdmae_train.finetune import known_slices
from tiny_model import tiny_info

# Not smaller: PyTorch 2.13 on some processors crashes in the backward pass of a 1 x 1 convolution
# of stride 2 with fewer than 16 channels in float32, channels last.
TINY = ((16, 16, 24), (0, 1, 1))
PREPROCESS = {
    "in_plane_spacing_mm": 5.0, "slice_spacing_mm": 6.0, "roi_size": [16, 32, 32],
    "picture_size": 64,
}  # fmt: skip
CHANCES = ("rotation_deg", "mirror", "upside_down", "picture", "field_of_view", "noise", "blur")


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Size S is a very small network here; signals are restored."""
    monkeypatch.setitem(unet.SIZES, "S", TINY)
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


def chest(seed: int) -> Phantom:
    return make_phantom(PhantomConfig(shape=(30, 64, 72), spacing_mm=(5.0, 5.0, 9.0), seed=seed))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared cache of two phantoms, and of one of them as a stack of pictures."""
    data = tmp_path_factory.mktemp("data")
    scans: list[dict[str, Any]] = []
    for seed in (0, 1):
        phantom = chest(seed)
        write_image_atomic(data / f"ct{seed}.nrrd", to_sitk(phantom.ct))
        write_labelmap(data / f"lungs{seed}.nrrd", phantom.lungs, LUNGS)
        label = {"path": f"lungs{seed}.nrrd", "values": {"left lung": [1], "right lung": [2]}}
        scans.append(
            {"id": f"p{seed}", "patient": f"p{seed}", "image": f"ct{seed}.nrrd",
             "licence": "none", "label": label}
        )  # fmt: skip
    write_pictures(data / "stack", chest(0))
    pictures = {
        "id": "stack", "images": "stack/images", "index": "stack/index.csv", "licence": "none",
        "labels": {"left lung": "stack/left", "right lung": "stack/right"},
    }  # fmt: skip
    recipe = {"data": str(data), "out": str(data / "cache"), "scans": scans,
              "pictures": [pictures], "preprocess": PREPROCESS}  # fmt: skip
    (data / "prepare.yaml").write_text(yaml.safe_dump(recipe))
    assert cli.main(["prepare", "--recipe", str(data / "prepare.yaml")]) == 0
    return data / "cache"


def write_pictures(folder: Path, phantom: Phantom) -> None:
    """Every third slice as an 8-bit picture with a mask of each lung, in an index by order."""
    grey = ((phantom.ct.array.clip(-1024, 400) + 1024.0) / 1424 * 255).astype(np.uint8)
    rows = ["file,patient,case,order_in_case"]
    for place, k in enumerate(range(0, len(grey), 3)):
        name = f"{place}.png"
        rows.append(f"{name},p0,c0,{place}")
        for kind, image in (
            ("images", grey[k]),
            ("left", (phantom.lungs.array[k] == 1).astype(np.uint8) * 255),
            ("right", (phantom.lungs.array[k] == 2).astype(np.uint8) * 255),
        ):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            write_image_atomic(
                folder / kind / name, to_sitk(Volume(array=image[None], is_hu=False))[:, :, 0]
            )
    (folder / "index.csv").write_text("\n".join(rows) + "\n")


def recipe(folder: Path, cache: Path, steps: int, **changes: Any) -> Path:
    """Write a recipe of a small 3D run into ``folder`` and return it."""
    plain: dict[str, Any] = {
        "out": str(folder / "run"),
        "spatial_dims": 3,
        "preprocess": PREPROCESS,
        "data": {
            "manifest": str(cache / "manifest.jsonl"),
            "augment": {**dict.fromkeys(CHANCES, 0.0), "scale": [0.95, 1.05]},
        },
        "loop": {"steps": steps, "batch": 2, "workers": 0, "log_every": 5, "warm_up": 2,
                 "learning_rate": 0.01, "bf16": False},
    }  # fmt: skip
    plain["data"] |= changes.pop("data", {})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plain | changes))
    return folder / "recipe.yaml"


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def export(run: Path, folder: Path) -> Path:
    card = folder / "card.yaml"
    keys = ("name", "title", "description", "version", "licence", "non_commercial", "training_sets")
    card.write_text(yaml.safe_dump({key: tiny_info()[key] for key in keys}))
    command = ["export", "--run", str(run), "--out", str(folder / "bundle"), "--card", str(card)]
    assert cli.main(command) == 0
    return folder / "bundle"


@pytest.fixture(scope="module")
def bundle(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the lungs, fine-tuned for a moment from scratch."""
    folder = tmp_path_factory.mktemp("finetune")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(unet.SIZES, "S", TINY)
        assert cli.main(["finetune", "--recipe", str(recipe(folder, cache, 40))]) == 0
        values = losses(folder / "run")
        assert np.mean(values[-3:]) < 0.85 * values[0]
        return export(folder / "run", folder)


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def test_the_model_finds_lungs_on_the_grid_of_an_unseen_oblique_scan(bundle: Path) -> None:
    info = find_bundle(bundle).info
    assert info.network.spatial_dims == 3
    assert info.preprocess.roi_size == (16, 32, 32)
    phantom = chest(7)
    angle = np.radians(8.0)
    turn = np.array(
        [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
    )
    scan = Volume(
        array=phantom.ct.array[:, ::-1],
        spacing_mm=phantom.ct.spacing_mm,
        origin_mm=(20.0, 30.0, -500.0),
        direction=turn * (1, -1, 1),
    )
    result = Predictor(bundle, device="cpu").segment(scan)
    assert result.labelmap.same_grid(scan, tolerance=0)
    truth = phantom.lungs.array[:, ::-1]
    assert dice(result.labelmap.array > 0, truth > 0) > 0.6


def test_scans_and_stacks_are_evaluated_in_3d(bundle: Path, cache: Path, tmp_path: Path) -> None:
    command = ["evaluate", "--model", str(bundle), "--out", str(tmp_path), "--manifest",
               str(cache / "manifest.jsonl"), "--device", "cpu"]  # fmt: skip
    assert cli.main(command) == 0
    rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert any("stack-c0" in row and ",case," in row for row in rows)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary["structures"]["left lung"]) == {"scan", "slice", "case"}


def test_pre_training_in_3d_then_fine_tuning_with_a_tenth_of_the_labels(
    cache: Path, tmp_path: Path
) -> None:
    masks = {"patch_size": 8}
    pre = recipe(tmp_path / "pre", cache, 5, masks=masks, ssim_window=7)
    assert cli.main(["pretrain", "--recipe", str(pre)]) == 0
    fine = recipe(
        tmp_path / "fine", cache, 5, start=str(tmp_path / "pre" / "run"), loss="dice-focal",
        data={"label_share": 0.1},
    )  # fmt: skip
    assert cli.main(["finetune", "--recipe", str(fine)]) == 0
    assert np.isfinite(losses(tmp_path / "fine" / "run")).all()


@pytest.mark.parametrize(
    "path", sorted(RECIPES.glob("pretrain/*.yaml")), ids=lambda path: path.stem
)
def test_every_published_pre_training_runs_in_3d(
    cache: Path, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"widths": (16, 16, 16, 16, 32, 32), "decoder": (16,) * 5, "blocks": (0, 0, 1, 1, 1, 1)}
    monkeypatch.setitem(unet.PRESETS["bottleneck"], "B", small)
    ours = yaml.safe_load(recipe(tmp_path, cache, 2).read_text())
    ours["preprocess"]["roi_size"] = [32, 32, 64]  # the authors' network halves five times
    plain = merged_plain(yaml.safe_load(path.read_text()), ours)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(plain))
    assert cli.main(["pretrain", "--recipe", str(tmp_path / "recipe.yaml")]) == 0
    assert len(losses(tmp_path / "run")) >= 1
    assert np.isfinite(losses(tmp_path / "run")).all()


@pytest.mark.parametrize("changes", [{"spatial_dims": 2}, {"encoder": "mednext"}])
def test_a_start_with_another_network_is_refused(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    pre = recipe(tmp_path / "pre", cache, 1, masks={"patch_size": 8}, ssim_window=7)
    assert cli.main(["pretrain", "--recipe", str(pre)]) == 0
    fine = recipe(tmp_path / "fine", cache, 1, start=str(tmp_path / "pre" / "run"), **changes)
    assert cli.main(["finetune", "--recipe", str(fine)]) == 2
    assert "has another shape" in caplog.text


def test_cubes_that_the_network_cannot_halve_are_refused(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = recipe(tmp_path, cache, 1, preprocess={**PREPROCESS, "roi_size": [10, 32, 32]})
    for command in ("finetune", "pretrain"):
        caplog.clear()
        assert cli.main([command, "--recipe", str(odd)]) == 2
        assert "roi_size is 10 x 32 x 32; for this network it must be multiples of 4" in caplog.text


def test_a_3d_run_that_stops_and_resumes_ends_bit_for_bit_where_it_would_have(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isdmae_train import loop
    from isdmae_train.checkpoint import list_checkpoints, read_checkpoint

    whole = recipe(tmp_path / "whole", cache, 4)
    assert cli.main(["finetune", "--recipe", str(whole)]) == 0
    real, done = loop.Descent.step, [0]

    def step_and_stop(*arguments: Any) -> float:
        rate = real(*arguments)
        done[0] += 1
        if done[0] == 2:
            signal.raise_signal(signal.SIGTERM)
        return rate

    monkeypatch.setattr(loop.Descent, "step", step_and_stop)
    parts = recipe(tmp_path / "parts", cache, 4)
    assert cli.main(["finetune", "--recipe", str(parts)]) == 4
    assert cli.main(["finetune", "--recipe", str(parts)]) == 0
    first, second = (
        read_checkpoint(list_checkpoints(tmp_path / name / "run" / "checkpoints")[0])[0]
        for name in ("whole", "parts")
    )
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_a_network_with_neighbours_trains_and_predicts(cache: Path, tmp_path: Path) -> None:
    rules = {"in_plane_spacing_mm": 5.0, "picture_size": 64, "neighbours": 1}
    shared: dict[str, Any] = {"spatial_dims": 2, "preprocess": rules, "data": {"size": 64}}
    before = recipe(tmp_path / "pre", cache, 2, masks={"patch_size": 8}, **shared)
    assert cli.main(["pretrain", "--recipe", str(before)]) == 0
    run = recipe(tmp_path, cache, 5, start=str(tmp_path / "pre" / "run"), **shared)
    assert cli.main(["finetune", "--recipe", str(run)]) == 0
    made = export(tmp_path / "run", tmp_path)
    assert find_bundle(made).info.network.in_channels == 8
    ct = chest(3).ct
    assert Predictor(made, device="cpu").segment(ct).labelmap.same_grid(ct)


def test_what_is_hidden_in_a_slice_is_hidden_in_its_neighbours() -> None:
    rules = PreprocessConfig(neighbours=1)
    shape = unet.UNetConfig.of_size("S", spatial_dims=2, in_channels=rules.channel_count(2))
    network = DualMaskedAutoencoder(shape, rules)
    image, is_hu = torch.rand(2, 3, 16, 16) * 800 - 900, torch.tensor([True, True])
    hidden = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    hidden[..., 4:12, 4:12] = True
    shown = network.masked_channels(image, is_hu, hidden)
    other = network.masked_channels(torch.where(hidden, 0.0, image), is_hu, hidden)
    assert shown.shape == (2, 8, 16, 16)
    assert torch.allclose(shown, other, atol=1e-5)


def test_a_network_of_three_planes_says_so_in_its_bundle(cache: Path, tmp_path: Path) -> None:
    planes = ["axial", "coronal", "sagittal"]
    rules = {"in_plane_spacing_mm": 5.0, "picture_size": 64}
    run = recipe(
        tmp_path, cache, 4, spatial_dims=2, preprocess=rules, data={"size": 64, "planes": planes}
    )
    assert cli.main(["finetune", "--recipe", str(run)]) == 0
    predictor = Predictor(export(tmp_path / "run", tmp_path), device="cpu")
    assert predictor.views == tuple(planes)
    ct = chest(3).ct
    result = predictor.segment(ct)
    assert result.labelmap.same_grid(ct)
    assert result.views == tuple(planes)


def test_only_known_slices_are_learnt_from() -> None:
    logits = torch.randn(2, 3, 4, 5, 6, requires_grad=True)
    labels = torch.randint(0, 3, (2, 4, 5, 6))
    known = torch.tensor([[True, False, False, True], [False, True, False, False]])
    some, truth = known_slices(logits, labels, known)
    assert some.shape == (3, 3, 5, 6)
    assert torch.equal(truth, torch.stack([labels[0, 0], labels[0, 3], labels[1, 1]]))
    assert torch.equal(some[1], logits[0, :, 3])
    some.sum().backward()
    used = logits.grad.abs().sum((1, 3, 4)) > 0
    assert torch.equal(used, known)
    same = known_slices(logits, labels, torch.ones_like(known))
    assert same[0] is logits
