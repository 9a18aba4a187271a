"""Channels: windows, edges, neighbours, pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from isdmae.preprocess import (
    PreprocessConfig,
    check_cubes,
    hu_to_pictures,
    signed_edges,
    to_channels,
)


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


@pytest.mark.parametrize(
    "changes",
    [
        {"in_plane_spacing_mm": 0.0},
        {"picture_size": 4},
        {"middle": 4},
        {"windows_hu": ()},
        {"windows_hu": ((0.0, -1.0),)},
        {"neighbours": -1},
        {"slice_spacing_mm": 0.0},
        {"roi_size": (1, 64, 64)},
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


def test_slices_of_a_cube_become_pictures_as_they_do_alone() -> None:
    hu = torch.from_numpy(np.random.default_rng(0).normal(-300, 400, (1, 1, 3, 32, 32))).float()
    cube = hu_to_pictures(hu)
    alone = [hu_to_pictures(hu[:, :, k]) for k in range(3)]
    assert torch.equal(cube, torch.stack(alone, dim=2))


def test_neighbours_fill_windows_and_edges_are_of_the_slice_itself() -> None:
    config = PreprocessConfig(neighbours=1)
    image = torch.rand(2, 3, 8, 8) * 1000 - 900
    channels = to_channels(image, True, config)
    assert channels.shape[1] == config.channel_count(2) == 8
    alone = to_channels(image[:, 1:2], True, PreprocessConfig())
    assert torch.equal(channels[:, [1, 4, 6, 7]], alone)
    below = to_channels(image[:, :1], True, PreprocessConfig())
    assert torch.equal(channels[:, [0, 3]], below[:, :2])


def test_cubes_must_be_whole_strides_of_the_network() -> None:
    check_cubes(PreprocessConfig(roi_size=(16, 64, 64)), 16)
    with pytest.raises(ValueError, match="multiples of 16"):
        check_cubes(PreprocessConfig(roi_size=(24, 64, 64)), 16)
