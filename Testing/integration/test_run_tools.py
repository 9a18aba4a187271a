"""What can be done with runs: a page about them, pictures of them, and starts from elsewhere."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml
from safetensors.torch import save_file

from isdmae.errors import InputError
from isdmae.io import to_sitk, write_image_atomic, write_labelmap
from isdmae.labels import LUNGS
from isdmae.networks import unet
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae_train import cli
from isdmae_train.checkpoint import trained_network
from isdmae_train.report import curve, write_report

TINY = ((16, 16, 16), (0, 1, 1))


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(unet.SIZES, "S", TINY)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared cache of two phantoms in ``cache``."""
    folder = tmp_path_factory.mktemp("data")
    scans: list[dict[str, Any]] = []
    for seed in (0, 1):
        size = PhantomConfig(shape=(16, 48, 56), spacing_mm=(6.5, 6.5, 18.0), seed=seed)
        phantom = make_phantom(size)
        write_image_atomic(folder / f"ct{seed}.nrrd", to_sitk(phantom.ct))
        write_labelmap(folder / f"lungs{seed}.nrrd", phantom.lungs, LUNGS)
        label = {"path": f"lungs{seed}.nrrd", "values": {"left lung": [1], "right lung": [2]}}
        scans.append({"id": f"p{seed}", "patient": f"p{seed}", "image": f"ct{seed}.nrrd",
                      "licence": "none", "label": label})  # fmt: skip
    recipe = folder / "prepare.yaml"
    recipe.write_text(
        yaml.safe_dump({"data": str(folder), "out": str(folder / "cache"), "scans": scans})
    )
    assert cli.main(["prepare", "--recipe", str(recipe)]) == 0
    return folder


def train(command: str, data: Path, out: Path, *more: str) -> Path:
    arguments = [
        command, "--out", str(out), "--data.manifest", str(data / "cache" / "manifest.jsonl"),
        "--data.size", "64", "--loop.steps", "4", "--loop.batch", "2", "--loop.workers", "0",
        "--loop.log-every", "1", "--loop.warm-up", "1", "--loop.no-bf16", *more,
    ]  # fmt: skip
    assert cli.main(arguments) == 0
    return out


class Page(HTMLParser):
    """Collects what a page would load, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_a_run_ends_with_a_page_that_needs_no_network(
    data: Path, tmp_path: Path, command: str
) -> None:
    run = train(command, data, tmp_path / "a <run>")
    text = (run / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("svg") >= 2
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "a &lt;run&gt;" in text
    assert "4 of 4" in text
    assert "loop.learning_rate" in text
    before = text
    assert cli.main(["report", str(run)]) == 0
    assert (run / "report.html").read_text(encoding="utf-8") == before


def test_a_folder_without_a_run_has_no_page(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "holds no run" in caplog.text


def test_a_curve_spans_its_values_and_leaves_out_what_is_no_number() -> None:
    drawn = curve("loss", [(0, 1.0), (10, float("nan")), (20, 3.0)])
    assert drawn.count("<polyline") == 2
    points = drawn.split('points="')[1].split('"')[0].split()
    assert len(points) == 2
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in points)
    assert x0 < x1
    assert y0 > y1
    assert curve("loss", [(0, float("inf"))]) == ""


@pytest.mark.parametrize("more", [[], ["--spatial-dims", "3"]])
def test_reconstructions_of_a_held_out_scan_are_drawn(
    data: Path, tmp_path: Path, more: list[str]
) -> None:
    cubes = ["--preprocess.roi-size", "8", "32", "32", "--preprocess.slice-spacing-mm", "10"]
    run = train(
        "pretrain", data, tmp_path / "run", *more, *(cubes if more else []),
        "--data.hold-out", "p1", "--masks.patch-size", "8", "--ssim-window", "5",
    )  # fmt: skip
    out = tmp_path / "p1.png"
    arguments = ["reconstruct", str(run), "--case", "p1", "--out", str(out), "--count", "2"]
    assert cli.main(arguments) == 0
    drawn = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    assert drawn.shape[1] == 5 * 228
    rows = drawn[22:].reshape(2, -1, 5, 228)[:, 2:-2, :, 2:-2].astype(float)
    original, masked = rows[:, :, 0], rows[:, :, 1]
    assert (original != masked).mean() > 0.2, "the mask hides something"
    assert (original == masked).mean() > 0.2, "and not all"
    assert np.ptp(original) > 100
    seen = original == masked
    assert (rows[:, :, 3][seen] == original[seen]).mean() > 0.9, "what was not hidden stays"
    assert (rows[:, :, 3][~seen] == original[~seen]).mean() < 0.5


def test_a_scan_that_is_not_listed_cannot_be_drawn(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = train("pretrain", data, tmp_path / "run")
    arguments = ["reconstruct", str(run), "--case", "p9", "--out", str(tmp_path / "x.png")]
    assert cli.main(arguments) == 2
    assert "does not list p9" in caplog.text
    tuned = train("finetune", data, tmp_path / "tuned")
    arguments = ["reconstruct", str(tuned), "--case", "p1", "--out", str(tmp_path / "x.png")]
    assert cli.main(arguments) == 2
    assert "holds no pre-training" in caplog.text


def foreign_file(run: Path, path: Path) -> dict[str, torch.Tensor]:
    weights = {
        name: value + 0.5 if value.is_floating_point() else value
        for name, value in trained_network(run)[0].items()
        if name.startswith("encoder.")
    }
    save_file({name.replace("encoder.", "net/backbone-"): v.contiguous()
               for name, v in weights.items()}, str(path))  # fmt: skip
    return weights


def test_an_encoder_with_foreign_names_becomes_a_start(data: Path, tmp_path: Path) -> None:
    weights = foreign_file(train("finetune", data, tmp_path / "run"), tmp_path / "f.safetensors")
    names = tmp_path / "map.yaml"
    names.write_text(yaml.safe_dump({"net/backbone-(.*)": r"encoder.\1"}), encoding="utf-8")
    out = tmp_path / "start"
    file = str(tmp_path / "f.safetensors")
    assert cli.main(["import-encoder", file, "--map", str(names), "--out", str(out)]) == 0
    imported, _ = trained_network(out)
    assert all(torch.equal(imported[name], value) for name, value in weights.items())
    tuned = train("finetune", data, tmp_path / "tuned", "--start", str(out))
    assert json.loads((tuned / "config.json").read_text())["config"]["start"] == str(out)


def test_what_does_not_fit_is_named(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foreign_file(train("finetune", data, tmp_path / "run"), tmp_path / "f.safetensors")
    file, out = str(tmp_path / "f.safetensors"), str(tmp_path / "start")
    assert cli.main(["import-encoder", file, "--out", out]) == 2
    assert "net/backbone-levels" in caplog.text
    names = tmp_path / "map.yaml"
    names.write_text(yaml.safe_dump({"net/backbone-(stem.*)": r"encoder.\1"}), encoding="utf-8")
    arguments = ["import-encoder", file, "--map", str(names), "--out", out]
    assert cli.main(arguments) == 2
    assert "encoder.levels" in caplog.text
    assert cli.main([*arguments, "--partial"]) == 0
    names.write_text(yaml.safe_dump({"net/.*": "one"}), encoding="utf-8")
    assert cli.main(arguments) == 2
    assert "Two tensors would be called one" in caplog.text
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    assert cli.main(["import-encoder", str(tmp_path / "bad.safetensors"), "--out", out]) == 2
    assert "no readable safetensors" in caplog.text


def test_the_page_of_a_damaged_log_is_refused(data: Path, tmp_path: Path) -> None:
    run = train("finetune", data, tmp_path / "run")
    (run / "log.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="holds no run"):
        write_report(run)
