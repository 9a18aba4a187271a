"""What a network is shown must fit it, and that is said before the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isdmae.errors import InputError
from isdmae.preprocess import PreprocessConfig
from isdmae_train.config.data import DataConfig
from isdmae_train.config.recipes import RECIPES, load_recipe
from isdmae_train.config.runs import FinetuneConfig, LoopConfig, PretrainConfig, TrainConfig
from isdmae_train.shapes import network_shape
from isdmae_train.train import recipe


@pytest.mark.parametrize("kind", [PretrainConfig, FinetuneConfig])
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": DataConfig(size=250)}, r"data\.size is 250 x 250; .* multiples of 16"),
        ({"data": DataConfig(size=240), "size": "L"}, "multiples of 32"),
        ({"data": DataConfig(size=0)}, "is 0 x 0"),
        (
            {"spatial_dims": 3, "preprocess": PreprocessConfig(roi_size=(24, 96, 96))},
            r"roi_size is 24 x 96 x 96; .* multiples of 16",
        ),
    ],
)
def test_sizes_that_the_network_cannot_halve_are_refused(
    kind: Any, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told) as refused:
        network_shape(kind(**changes))
    assert refused.value.code == "bad-size"


def test_one_voxel_in_the_depth_is_not_enough_for_an_instance_norm() -> None:
    changes: dict[str, Any] = {"spatial_dims": 3, "encoder": "bottleneck"}
    with pytest.raises(InputError, match="is 32 x 32 x 32, of which one voxel is left"):
        network_shape(FinetuneConfig(preprocess=PreprocessConfig(roi_size=(32,) * 3), **changes))
    assert network_shape(
        FinetuneConfig(preprocess=PreprocessConfig(roi_size=(32, 32, 64)), **changes)
    )


def test_coarse_slices_must_fit_too() -> None:
    data = DataConfig(size=240)
    assert network_shape(FinetuneConfig(data=data)).stride == 16
    with pytest.raises(InputError, match="with coarse_steps it must be multiples of 32"):
        network_shape(FinetuneConfig(data=data, coarse_steps=10))
    assert network_shape(FinetuneConfig(data=DataConfig(size=224), coarse_steps=10))


def test_a_window_of_ssim_fits_into_the_cubes() -> None:
    flat = PreprocessConfig(roi_size=(16, 96, 96))
    changes: dict[str, Any] = {"spatial_dims": 3, "preprocess": flat}
    with pytest.raises(InputError, match="less than the ssim_window of 17"):
        network_shape(PretrainConfig(ssim_window=17, **changes))
    assert network_shape(PretrainConfig(ssim_window=15, **changes))
    assert network_shape(PretrainConfig(ssim_window=17, ssim_weight=0.0, **changes))


def test_no_more_levels_are_contrasted_than_there_are() -> None:
    with pytest.raises(InputError, match="has 5 levels, fewer than the 9 of contrast_levels"):
        network_shape(PretrainConfig(contrast_levels=9))


def test_the_published_recipes_fit_their_networks() -> None:
    before = [RECIPES / "lungs-pretrain.yaml", *sorted((RECIPES / "pretrain").glob("*.yaml"))]
    after = [RECIPES / f"{name}.yaml" for name in ("lungs-finetune", "lesion-finetune")]
    assert len(before) > 3
    assert all(network_shape(load_recipe(PretrainConfig, path)) for path in before)
    assert all(network_shape(load_recipe(FinetuneConfig, path)) for path in after)


def test_some_steps_of_a_run_are_fine(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of 100 steps fewer are coarse_steps, not 100"):
        FinetuneConfig(loop=LoopConfig(steps=100), coarse_steps=100)
    file = tmp_path / "coarse.yaml"
    file.write_text("loop: {steps: 1000}\ncoarse_steps: 600\n")
    options: dict[str, Any] = {"data": tmp_path, "out": tmp_path, "recipe": str(file)}
    for steps, coarse in ((0, 600), (10, 6), (1, 0)):
        run = recipe(TrainConfig(task="finetune", steps=steps, **options))
        assert isinstance(run, FinetuneConfig)
        assert run.coarse_steps == coarse
