"""The published recipes are found by name, in a checkout and in an installed package."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from isdmae_train import cli
from isdmae_train.compare_plan import load_comparison
from isdmae_train.config.compare import CompareOptions
from isdmae_train.config.prepare import PrepareConfig
from isdmae_train.config.recipes import RECIPES, load_recipe, recipe_path
from isdmae_train.config.runs import FinetuneConfig, LoopConfig, PretrainConfig

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


def is_comparison(path: Path) -> bool:
    return path.stem.startswith("compare-") or path.stem.endswith("-cv")


COMPARISONS = [path for path in sorted(RECIPES.glob("*.yaml")) if is_comparison(path)]
RUNS = [
    path for path in sorted(RECIPES.rglob("*.yaml"))
    if not is_comparison(path) and not path.stem.endswith("card")
]  # fmt: skip


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.relative_to(RECIPES).as_posix())
def test_published_recipes_are_valid(path: Path) -> None:
    if path.parent.name == "pretrain" or path.stem.endswith("pretrain"):
        assert load_recipe(PretrainConfig, path)
    elif path.stem.endswith("prepare"):
        assert load_recipe(PrepareConfig, path)
    else:
        assert load_recipe(FinetuneConfig, path)


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.stem)
def test_every_recipe_of_a_comparison_is_in_one_of_its_budgets(path: Path) -> None:
    config = load_comparison(CompareOptions(recipe=path))
    named = [set(budget.recipes or config.recipes) for budget in config.budgets.values()]
    assert set().union(*named) == set(config.recipes)
    assert all(load_comparison(CompareOptions(recipe=path, budget=name)) for name in config.budgets)


def test_a_table_without_its_baseline_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    """Else every difference would be a dash, and nobody would know why."""
    options = CompareOptions(recipe=Path("compare-2d"), budget="laptop", baseline="none-long")
    load_comparison(options)
    assert "does without the recipe none-long" in caplog.text
    caplog.clear()
    load_comparison(CompareOptions(recipe=Path("compare-2d"), budget="laptop"))
    assert not caplog.text


def test_impossible_contrasts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"temperature lies in 0\.01"):
        PretrainConfig(temperature=0.001)
    with pytest.raises(ValueError, match="embedding are 1 or more"):
        PretrainConfig(embedding=0)
    with pytest.raises(ValueError, match="a part needs two"):
        PretrainConfig(loop=LoopConfig(batch=4, accumulate=4))
    assert PretrainConfig(loop=LoopConfig(batch=4, accumulate=4), contrast_weight=0.0)
