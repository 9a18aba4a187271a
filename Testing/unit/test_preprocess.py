"""Channels and the in-plane grid, there and back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from isdmae.preprocess import (
    PreprocessConfig,
    SliceGrid,
    hu_to_pictures,
    signed_edges,
    slice_batch,
    to_channels,
)
from isdmae.volume import Volume


def test_windows_clip_to_0_and_1_at_their_ends() -> None:
    config = PreprocessConfig(windows_hu=((-500.0, 1200.0),), edges=False)
    image = torch.tensor([-2000.0, -1100.0, -500.0, 100.0, 900.0]).reshape(1, 1, 1, 5)
    assert to_channels(image, True, config).flatten().tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_a_picture_fills_every_window_with_its_grey() -> None:
    image = torch.rand(2, 1, 6, 6)
    channels = to_channels(image, torch.tensor([False, False]), PreprocessConfig())
    assert channels.shape == (2, 4, 6, 6)
    assert torch.equal(channels[:, 0], image[:, 0])
    assert torch.equal(channels[:, 1], image[:, 0])


def test_a_batch_may_mix_ct_and_pictures() -> None:
    image = torch.cat([torch.full((1, 1, 4, 4), -500.0), torch.full((1, 1, 4, 4), 0.25)])
    channels = to_channels(image, torch.tensor([True, False]), PreprocessConfig())
    assert channels[0, 0, 0, 0] == 0.5
    assert channels[1, 0, 0, 0] == 0.25


@pytest.mark.parametrize("dims", [2, 3])
def test_edges_of_a_ramp_are_its_signed_slope(dims: int) -> None:
    shape = [1, 1] + [6] * dims
    for axis in range(dims):
        steps = torch.arange(6.0).reshape([6 if other == axis else 1 for other in range(dims)])
        for sign in (1.0, -1.0):
            edges = signed_edges((sign * steps).expand(shape).clone())
            inner = edges[(0, slice(None), *[slice(1, -1)] * dims)]
            assert torch.allclose(inner[axis], torch.tensor(sign))
            assert torch.allclose(inner[[a for a in range(dims) if a != axis]], torch.tensor(0.0))


def test_rising_and_falling_edges_keep_their_signs() -> None:
    """A Sobel on 8-bit images gives 0 for every falling edge."""
    image = torch.zeros(1, 1, 8, 12)
    image[..., 4:8] = 1.0
    columns = signed_edges(image)[0, 1, 4]
    assert columns.max() == -columns.min() == 0.5


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
    assert slice_batch(Volume(array=array), 0, 1).max() == 200
    picture = slice_batch(Volume(array=array, is_hu=False), 0, 1)
    assert picture.flatten().tolist() == [0.0, 0.25, 0.5, 1.0]
    flat = Volume(array=np.full((1, 2, 2), 7), is_hu=False)
    assert slice_batch(flat, 0, 1).abs().max() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"in_plane_spacing_mm": 0.0},
        {"picture_size": 4},
        {"windows_hu": ()},
        {"windows_hu": ((0.0, -1.0),)},
    ],
)
def test_an_implausible_configuration_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"plausible|window"):
        PreprocessConfig(**changes)


def test_a_ct_becomes_pictures_as_the_published_slices_were_made() -> None:
    random = np.random.default_rng(0)
    hu = random.normal(-300, 400, (2, 1, 64, 64)).astype(np.float32)
    hu[0, 0, 0, 0] = 3000  # metal
    found = hu_to_pictures(torch.from_numpy(hu)).numpy()
    assert found.shape == hu.shape
    for slice_hu, picture in zip(hu[:, 0], found[:, 0], strict=True):
        clipped = slice_hu.clip(-1024, 1500)
        grey = np.rint((clipped - clipped.min()) * 255 / np.ptp(clipped)).astype(np.uint8)
        expected = cv2.createCLAHE(clipLimit=7.0, tileGridSize=(8, 8)).apply(grey)
        assert np.abs(picture * 255 - expected).max() <= 1.01


def test_a_ct_that_goes_as_a_picture_is_brought_to_the_picture_size() -> None:
    ct = Volume(array=np.zeros((2, 60, 80), np.int16), spacing_mm=(0.7, 0.7, 2.5))
    config = PreprocessConfig(picture_size=40, ct_as_picture=True)
    assert SliceGrid.of(ct, config, multiple=16).target == (30, 40)
