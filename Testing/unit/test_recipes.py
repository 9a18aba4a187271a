"""The published recipes are found by name, in a checkout and in an installed package."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from isdmae_train import cli
from isdmae_train.config.recipes import RECIPES, recipe_path

TRAINING = Path(__file__).resolve().parents[2] / "Training"


def test_a_wheel_holds_every_recipe_and_finds_it(tmp_path: Path) -> None:
    source, site = tmp_path / "Training", tmp_path / "site"
    shutil.copytree(
        TRAINING, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    )
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps",
         "--no-index", "--wheel-dir", str(tmp_path), str(source)],
        check=True,
    )  # fmt: skip
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    files = {path.relative_to(RECIPES) for path in RECIPES.rglob("*") if path.is_file()}
    packed = site / "isdmae_train" / "recipes"
    assert {path.relative_to(packed) for path in packed.rglob("*") if path.is_file()} == files
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); from isdmae_train.config import recipes; "
        "print(recipes.recipe_path('pretrain/isd-mae'))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert Path(found.stdout.strip()) == (packed / "pretrain" / "isd-mae.yaml").resolve()


def test_a_name_is_a_published_recipe_and_everything_else_a_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert recipe_path("compare-2d") == RECIPES / "compare-2d.yaml"
    for name in ("mine.yaml", str(tmp_path / "mine.yaml"), str(RECIPES / "compare-2d.yaml")):
        assert recipe_path(name) == Path(name)
    assert cli.main(["compare", "compare-2d", "--budget", "none", "--out", str(tmp_path)]) == 2
    assert "the budgets are smoke, laptop, gpu, not 'none'" in caplog.text
