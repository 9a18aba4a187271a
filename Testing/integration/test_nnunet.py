"""The export to nnU-Net's layout and the scoring of its predictions; nnU-Net itself is not run."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import yaml

from isdmae_train import cli

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "accuracy" / "nnunet.py"
EDGE = 24


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array.astype(np.uint8)), str(path))


def make_recipe(folder: Path) -> Path:
    """Four patients with two pictures each, in one case; two folds."""
    random = np.random.default_rng(0)
    index = ["file,patient,case,order_in_case"]
    for patient in range(4):
        for k in range(2):
            name = f"p{patient}{k}.png"
            mask = np.zeros((EDGE, EDGE))
            mask[4 + patient : 12 + 2 * k, 6:15] = 255
            write(folder / "images" / name, random.integers(0, 255, (EDGE, EDGE)))
            write(folder / "masks" / name, mask)
            index.append(f"{name},p{patient},c{patient},{k}")
    (folder / "index.csv").write_text("\n".join(index))
    recipe = {
        "out": str(folder / "compare"),
        "prepare": {
            "data": str(folder),
            "out": str(folder / "cache"),
            "pictures": [
                {"id": "set", "images": "images", "labels": {"lesion": "masks"},
                 "index": "index.csv", "licence": "none"},
            ],
        },
        "labels": ["lesion"],
        "baseline": "none",
        "budget": "one",
        "budgets": {"one": {"pretrain_steps": 1, "finetune_steps": 1, "folds": 2, "run_folds": 1}},
        "recipes": {"none": {}},
        # Of 576 pixels; the lesions have 45 and more.
        "postprocess": {"smallest_ml": 0.0, "smallest_share": 0.05, "fill_holes": False},
        "tolerance_mm": 3.0,
    }  # fmt: skip
    (folder / "prepare.yaml").write_text(yaml.safe_dump(recipe["prepare"]))
    assert cli.main(["prepare", "--recipe", str(folder / "prepare.yaml")]) == 0
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def scores(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores" / "patients.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_pictures_folds_and_rules(tmp_path: Path) -> None:
    recipe, raw = make_recipe(tmp_path), tmp_path / "raw" / "Dataset501_Set"
    assert run("export", "--recipe", recipe, "--raw", raw).returncode == 0
    facts = json.loads((raw / "dataset.json").read_text())
    assert facts["numTraining"] == len(list((raw / "imagesTr").glob("*_0000.png"))) == 8
    splits = json.loads((raw / "splits_final.json").read_text())
    assert len(splits) == 2, "all folds, although the budget runs one"
    for split in splits:
        patients = [{name.split("-")[1] for name in split[part]} for part in ("train", "val")]
        assert not patients[0] & patients[1]
        assert len(split["train"]) + len(split["val"]) == 8
    assert sorted(splits[0]["val"] + splits[1]["val"]) == sorted(
        path.stem for path in (raw / "labelsTr").iterdir()
    )

    results = tmp_path / "results"
    for number, split in enumerate(splits):
        for name in split["val"]:
            target = results / f"fold_{number}" / "validation" / f"{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(raw / "labelsTr" / f"{name}.png", target)
    missed = results / "fold_0" / "validation" / f"{splits[0]['val'][0]}.png"
    write(missed, np.zeros((EDGE, EDGE)))
    command = ["score", "--recipe", recipe, "--results", results, "--out", tmp_path / "scores"]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    slices = next(line for line in done.stderr.splitlines() if "| lesion | slice |" in line)
    assert "nnU-Net v2 | 0.875" in slices, "seven of eight pictures are right, one is missed"
    assert "| 1 | 0 | 8 | 4 | 2 |" in slices

    changed = results / "fold_1" / "validation" / f"{splits[1]['val'][0]}.png"
    right = sitk.GetArrayFromImage(sitk.ReadImage(str(changed)))
    moved = np.roll(right, 3, axis=1)
    moved[-4:, -4:] = 1
    write(changed, moved)
    before = scores(tmp_path)
    assert run(*command).returncode == 0
    after = scores(tmp_path)
    assert [row["nsd"] for row in after] == [row["nsd"] for row in before], (
        "three pixels are no error here, and a speck is taken out, as of the models here"
    )
    assert [row["dice"] for row in after] != [row["dice"] for row in before]

    write(changed, right[:-1])
    assert "has 24 x 23 pixels, its truth 24 x 24" in run(*command).stderr
    changed.unlink()
    missing = run(*command)
    assert missing.returncode == 1
    assert f"{changed.name} does not exist" in missing.stderr
    assert "Traceback" not in missing.stderr

    shutil.rmtree(results / "fold_1")
    assert "fold 1 is not predicted yet" in run(*command).stderr
    assert "needs --results" in run("score", "--recipe", recipe).stderr
