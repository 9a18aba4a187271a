"""The grids of networks, there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from isdmae.equalise import equalise_slices
from isdmae.errors import InputError
from isdmae.grids import SliceGrid, VolumeGrid, slice_batch
from isdmae.preprocess import PreprocessConfig
from isdmae.volume import Volume


def grid_of(shape: tuple[int, int, int], pixel: float, **changes: object) -> SliceGrid:
    volume = Volume(array=np.zeros(shape, np.int16), spacing_mm=(pixel, pixel, 2.0), **changes)
    return SliceGrid.of(volume, PreprocessConfig(), 16)


def test_the_grid_covers_the_same_field_of_view() -> None:
    grid = grid_of((3, 512, 400), 0.7)
    assert grid.target == (239, 187)
    assert grid.padded == (240, 192)


def test_a_picture_is_brought_to_the_picture_size_whatever_its_spacing() -> None:
    assert grid_of((1, 300, 600), 1.0, is_hu=False).target == (128, 256)


@pytest.mark.parametrize("pixel", [0.5, 0.7, 1.5, 4.2])
def test_there_and_back_does_not_shift(pixel: float) -> None:
    """A smooth bump keeps its centre of mass to a hundredth of a pixel."""
    rows, columns = np.mgrid[:97, :83]
    bump = np.exp(-((rows - 40.3) ** 2 + (columns - 33.7) ** 2) / (2 * (9 / pixel + 3) ** 2))
    grid = grid_of((1, 97, 83), pixel)
    image = torch.from_numpy(bump.astype(np.float32))[None, None]
    back = grid.back(grid.forward(image, 0.0))[0, 0].numpy()
    assert back.shape == bump.shape
    for index in (rows, columns):
        centre = (bump * index).sum() / bump.sum()
        assert (back * index).sum() / back.sum() == pytest.approx(
            centre, abs=0.35 * 1.5 / pixel / 10
        )


def test_an_unchanged_grid_returns_the_very_values() -> None:
    grid = grid_of((1, 48, 33), 1.5)
    image = torch.rand(2, 1, 48, 33)
    assert grid.padded == (48, 48)
    assert torch.equal(grid.back(grid.forward(image, -1024.0)), image)


def test_slices_of_a_ct_stay_hu_and_a_picture_goes_to_0_to_1() -> None:
    array = np.array([[[0, 50], [100, 200]]], np.uint8)
    assert slice_batch(Volume(array=array), [0]).max() == 200
    assert slice_batch(Volume(array=array.astype(np.int16) - 3000), [0]).min() == -1024
    picture = slice_batch(Volume(array=array, is_hu=False), [0])
    assert picture.flatten().tolist() == [0.0, 0.25, 0.5, 1.0]
    flat = Volume(array=np.full((1, 2, 2), 7), is_hu=False)
    assert slice_batch(flat, [0]).abs().max() == 0


def test_a_ct_that_goes_as_a_picture_is_brought_to_the_picture_size() -> None:
    ct = Volume(array=np.zeros((2, 60, 80), np.int16), spacing_mm=(0.7, 0.7, 2.5))
    config = PreprocessConfig(picture_size=40, ct_as_picture=True)
    assert SliceGrid.of(ct, config, multiple=16).target == (30, 40)


def labels_of(scores: torch.Tensor, grid: SliceGrid) -> np.ndarray:
    labels = np.zeros((len(scores), *grid.source), np.uint8)
    grid.write_labels(scores, labels)
    return labels


def test_of_a_picture_the_network_may_see_the_middle_alone() -> None:
    picture = Volume(array=np.zeros((1, 61, 80), np.uint8), is_hu=False)
    grid = SliceGrid.of(picture, PreprocessConfig(picture_size=64, middle=32), multiple=16)
    assert grid.seen == (32, 32)
    assert grid.target == (64, 64)
    image = torch.zeros(1, 1, 61, 80)
    image[0, 0, 30:34, 50:53] = 1.0  # within the middle: rows 14..45, columns 24..55
    seen = grid.forward(image, 0.0)
    labels = labels_of(torch.cat([0.5 - seen, seen - 0.5], dim=1), grid)
    assert np.array_equal(labels > 0, image[0].numpy() > 0.5)
    everywhere = torch.tensor([-1.0, 1.0])[:, None, None].expand(1, 2, 64, 64)
    labels = labels_of(everywhere, grid)
    assert labels.sum() == labels[0, 14:46, 24:56].sum() == 32 * 32


@pytest.mark.parametrize("pixel", [0.6, 1.5, 2.2])
@pytest.mark.parametrize(("margin", "smooth"), [(0, False), (9, False), (0, True), (9, True)])
def test_labels_are_the_largest_of_all_scores(pixel: float, margin: int, smooth: bool) -> None:
    """Though only where classes meet is anything resampled."""
    ct = Volume(array=np.zeros((2, 61, 83), np.int16), spacing_mm=(pixel, pixel, 2.0))
    grid = SliceGrid.of(ct, PreprocessConfig(), multiple=16)
    torch.manual_seed(0)
    scores = torch.randn(2, 3, *grid.padded)
    if smooth:
        scores = F.interpolate(scores[..., ::8, ::8], size=grid.padded, mode="bicubic")
    if margin:
        scores[:, 1:, :margin] = scores[:, 1:, :, :margin] = -9.0
    labels = labels_of(scores, grid)
    assert labels.shape == (2, 61, 83)
    assert np.array_equal(labels, grid.back(scores).argmax(dim=1).numpy())
    nothing = scores - 99.0 * torch.tensor([0.0, 1.0, 1.0])[:, None, None]
    assert not labels_of(nothing, grid).any()


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_what_lies_between_the_pixels_of_the_source_is_not_labelled(ratio: int) -> None:
    """A finding of one row or column of a network's grid that is finer than the source."""
    fine = (8 * ratio, 8 * ratio)
    grid = SliceGrid(source=(8, 8), seen=(8, 8), target=fine, padded=fine)
    found = 0
    for scores in torch.eye(fine[0])[:, None, None, :, None].expand(-1, 1, 1, -1, fine[0]):
        for one in (scores, scores.mT):
            both = torch.cat([torch.zeros_like(one), 3 * one - 1], dim=1)
            labels = labels_of(both, grid)
            assert np.array_equal(labels, grid.back(both).argmax(dim=1).numpy())
            found += labels.any()
    assert found == {2: 32, 3: 16, 4: 32}[ratio]


class WithoutFloat64(TorchDispatchMode):
    """As a GPU by Apple: a float64 tensor cannot be there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                assert tensor.dtype != torch.float64
        return result


def test_no_float64_goes_to_the_device() -> None:
    grid = volume_grid((30, 40, 24), 5.0, slice_spacing_mm=2.5, in_plane_spacing_mm=2.0)
    scores = torch.zeros(2, *grid.padded, device="meta")
    with WithoutFloat64():
        back = grid.back(scores, 0, 0, 30)
        equal = equalise_slices(torch.zeros(2, 64, 64, dtype=torch.uint8, device="meta"))
    assert back.is_meta
    assert equal.is_meta
    assert back.shape == (30, 2, 40, 24)


@pytest.mark.parametrize("pixel", [0.6, 2.2])
def test_going_back_samples_as_pytorch_does(pixel: float) -> None:
    ct = Volume(array=np.zeros((1, 50, 70), np.int16), spacing_mm=(pixel, pixel, 2.0))
    grid = SliceGrid.of(ct, PreprocessConfig(), multiple=16)
    scores = torch.rand(1, 2, *grid.padded)
    seen = scores[..., : grid.target[0], : grid.target[1]]
    expected = torch.nn.functional.interpolate(seen, size=(50, 70), mode="bilinear")
    assert torch.allclose(grid.back(scores), expected, atol=1e-5)


def test_a_picture_smaller_than_the_middle_is_seen_whole() -> None:
    picture = Volume(array=np.zeros((1, 20, 40), np.uint8), is_hu=False)
    grid = SliceGrid.of(picture, PreprocessConfig(picture_size=64, middle=32), multiple=16)
    assert grid.seen == (20, 32)
    assert grid.target == (40, 64)


def volume_grid(shape: tuple[int, int, int], spacing: float, **changes: object) -> VolumeGrid:
    volume = Volume(array=np.zeros(shape, np.int16), spacing_mm=(1.5, 1.5, spacing))
    return VolumeGrid.of(volume, PreprocessConfig(**changes), 8, least=(16, 32, 32))


def test_a_volume_keeps_its_slices_unless_a_distance_is_wished() -> None:
    grid = volume_grid((30, 40, 24), 5.0)
    assert grid.target == (30, 40, 24)
    assert grid.padded == (32, 40, 32)
    assert volume_grid((30, 40, 24), 5.0, slice_spacing_mm=2.5).target == (60, 40, 24)


def test_slices_of_pictures_are_never_resampled_along_the_body() -> None:
    stack = Volume(array=np.zeros((7, 64, 32), np.uint8), is_hu=False)
    config = PreprocessConfig(slice_spacing_mm=3.0, picture_size=128)
    assert VolumeGrid.of(stack, config, 8).target == (7, 128, 64)
    as_picture = PreprocessConfig(slice_spacing_mm=3.0, picture_size=128, ct_as_picture=True)
    assert VolumeGrid.of(Volume(array=stack.array), as_picture, 8).target == (7, 128, 64)


@pytest.mark.parametrize("spacing", [0.7, 2.5, 6.0])
def test_a_bump_in_a_volume_does_not_shift(spacing: float) -> None:
    places = np.mgrid[:37, :40, :44]
    centre = (17.2, 20.6, 21.3)
    distance = sum((axis - c) ** 2 for axis, c in zip(places, centre, strict=True))
    bump = np.exp(-distance / (2 * 8.0**2)).astype(np.float32)
    volume = Volume(array=bump, spacing_mm=(1.0, 1.0, spacing))
    grid = VolumeGrid.of(volume, PreprocessConfig(slice_spacing_mm=2.0), 8)
    image = grid.forward(volume)
    image[grid.target[0] :] = 0
    back = torch.cat(
        [
            grid.back(image[None, first:last], first, k, min(k + 5, 37))
            for k in range(0, 37, 5)
            for first, last in [grid.needed(k, min(k + 5, 37))]
        ]
    )[:, 0].numpy()
    assert back.shape == bump.shape
    core = np.where(bump > 0.05, back, 0)
    expected = np.where(bump > 0.05, bump, 0)
    for axis, _ in zip(places, centre, strict=True):
        found = (core * axis).sum() / core.sum()
        assert found == pytest.approx((expected * axis).sum() / expected.sum(), abs=0.1)


def test_the_way_back_is_linear_interpolation_of_the_whole() -> None:
    """Slab by slab gives what PyTorch gives for all at once."""
    grid = volume_grid((50, 33, 40), 1.0, slice_spacing_mm=2.3, in_plane_spacing_mm=2.0)
    scores = torch.rand(3, *grid.padded)
    d, h, w = grid.target
    whole = F.interpolate(
        scores[None, :, :d, :h, :w], size=grid.source, mode="trilinear", align_corners=False
    )[0]
    for start, stop in ((0, 9), (9, 30), (30, 50)):
        first, last = grid.needed(start, stop)
        slab = grid.back(scores[:, first:last], first, start, stop)
        assert torch.allclose(slab.movedim(0, 1), whole[:, start:stop], atol=1e-5)


def test_shrinking_along_the_body_averages_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 100, (80, 16, 16)).astype(np.float32)
    volume = Volume(array=noise, spacing_mm=(1.5, 1.5, 0.5))
    grid = VolumeGrid.of(volume, PreprocessConfig(slice_spacing_mm=4.0), 2)
    assert grid.target[0] == 10
    assert float(grid.forward(volume)[:10].std()) < 45


def test_a_volume_of_too_many_voxels_is_refused() -> None:
    flat = np.broadcast_to(np.int16(0), (4000, 512, 512))
    volume = Volume(array=flat, spacing_mm=(3.0, 3.0, 3.0))
    with pytest.raises(InputError, match="4000 voxels at the network") as caught:
        VolumeGrid.of(volume, PreprocessConfig(), 8)
    assert caught.value.code == "too-large"
