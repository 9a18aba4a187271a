"""Histogram equalisation against OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from isdmae.equalise import equalise_slices


@pytest.mark.parametrize("shape", [(256, 256), (64, 128), (100, 131), (96, 97), (9, 250)])
@pytest.mark.parametrize("limit", [1.0, 7.0, 40.0])
def test_it_agrees_with_opencv(shape: tuple[int, int], limit: float) -> None:
    random = np.random.default_rng(shape[0])
    smooth = cv2.GaussianBlur(random.random(shape).astype(np.float32), (0, 0), 4)
    image = np.round(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    expected = cv2.createCLAHE(clipLimit=limit, tileGridSize=(8, 8)).apply(image)
    found = equalise_slices(torch.from_numpy(image)[None], clip_limit=limit)[0]
    difference = np.abs(found.numpy().astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_slices_do_not_influence_each_other_and_may_have_limits_of_their_own() -> None:
    slices = torch.randint(0, 255, (3, 64, 64), generator=torch.Generator().manual_seed(0)).byte()
    together = equalise_slices(slices, clip_limit=torch.tensor([2.0, 7.0, 9.0]))
    assert torch.equal(together[1], equalise_slices(slices[1:2])[0])
    assert torch.equal(together[2], equalise_slices(slices[2:], clip_limit=9.0)[0])
    assert not torch.equal(together[2], equalise_slices(slices[2:], clip_limit=2.0)[0])


def test_a_constant_slice_stays_constant() -> None:
    flat = torch.full((1, 64, 64), 7, dtype=torch.uint8)
    assert len(equalise_slices(flat).unique()) == 1
