"""Losses against oracles, and the blindness that the published 3D SSIM had."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from isdmae_train.losses import (
    cosine_loss,
    gaussian_window,
    hidden_l1_loss,
    hidden_l2_loss,
    hidden_ssim_loss,
    info_nce,
    ssim_map,
)


@pytest.mark.parametrize(("dims", "shape"), [(2, (2, 3, 24, 29)), (3, (1, 2, 13, 17, 15))])
def test_ssim_equals_monai(dims: int, shape: tuple[int, ...]) -> None:
    losses = pytest.importorskip("monai.losses", reason="MONAI is the oracle")
    torch.manual_seed(0)
    x, y = torch.rand(shape, requires_grad=True), torch.rand(shape)
    ours = 1 - ssim_map(x, y).mean()
    theirs = losses.SSIMLoss(dims, win_size=11)(x, y)
    assert ours.item() == pytest.approx(theirs.item(), abs=2e-6)
    (mine,) = torch.autograd.grad(ours, x, retain_graph=True)
    (oracle,) = torch.autograd.grad(theirs, x)
    assert torch.allclose(mine, oracle, atol=1e-6)


def test_ssim_of_many_images_equals_a_dense_window_and_that_of_each() -> None:
    torch.manual_seed(0)
    x, y = torch.rand(4, 3, 240, 310, requires_grad=True), torch.rand(4, 3, 240, 310)
    line = gaussian_window(15, 1.5)
    kernel = (line[:, None] * line).expand(3, 1, 15, 15)
    blurred = [F.conv2d(z, kernel, groups=3) for z in (x, y, x * x, y * y, x * y)]
    mean_x, mean_y, squares_x, squares_y, products = blurred
    top = (2 * mean_x * mean_y + 1e-4) * (2 * (products - mean_x * mean_y) + 9e-4)
    means = mean_x**2 + mean_y**2
    dense = top / ((means + 1e-4) * (squares_x + squares_y - means + 9e-4))
    ours = ssim_map(x, y, window=15)
    assert torch.allclose(ours, dense, atol=3e-5)
    assert torch.equal(ours[3:], ssim_map(x[3:], y[3:], window=15))
    slopes = [torch.autograd.grad(values.sum(), x)[0] for values in (ours, dense)]
    assert torch.allclose(*slopes, atol=1e-5 * float(slopes[1].abs().max()))


def test_ssim_of_equal_images_is_one_and_window_sums_to_one() -> None:
    x = torch.rand(1, 1, 16, 16)
    assert torch.allclose(ssim_map(x, x), torch.tensor(1.0), atol=1e-5)
    assert gaussian_window(11, 1.5).sum().item() == pytest.approx(1.0, abs=1e-6)


def test_ssim_in_3d_sees_permuted_constant_and_inverted_volumes() -> None:
    """A window that sums to 7 gives 0.003, 0.009 and 0.029 for these three."""
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(1, 1, 8, 8, 8, generator=generator)
    volume = F.interpolate(rough, size=(24, 24, 24), mode="trilinear")
    permuted = volume.flatten()[torch.randperm(volume.numel(), generator=generator)]
    loss = {
        "permuted": 1 - ssim_map(volume, permuted.reshape(volume.shape)).mean(),
        "constant": 1 - ssim_map(volume, volume.mean().expand_as(volume)).mean(),
        "inverted": 1 - ssim_map(volume, 1 - volume).mean(),
    }
    assert loss["permuted"] > 0.5
    assert loss["constant"] > 0.3
    assert loss["inverted"] > 0.9


def test_ssim_stays_in_float32_under_autocast() -> None:
    x = torch.rand(1, 1, 32, 32)
    y = (x + 0.01 * torch.randn_like(x)).clamp(0, 1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = ssim_map(x, y)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, ssim_map(x, y))


def test_an_image_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 11"):
        ssim_map(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8))
    with pytest.raises(ValueError, match="odd size"):
        gaussian_window(4, 1.5)


def test_only_hidden_voxels_count() -> None:
    target = torch.rand(1, 2, 32, 32)
    hidden = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    hidden[..., :16] = True
    wrong_where_visible = target.clone()
    wrong_where_visible[..., 24:] += 1.0
    assert hidden_l1_loss(wrong_where_visible, target, hidden) == 0
    assert hidden_ssim_loss(wrong_where_visible, target, hidden) < 1e-5
    wrong_where_hidden = target.clone()
    wrong_where_hidden[..., :16] += 0.5
    assert hidden_l1_loss(wrong_where_hidden, target, hidden).item() == pytest.approx(0.5)
    assert hidden_ssim_loss(wrong_where_hidden, target, hidden) > 0.05


def test_nothing_hidden_gives_zero_and_not_nan() -> None:
    x, y = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    nothing = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    assert hidden_l1_loss(x, y, nothing) == 0
    assert hidden_ssim_loss(x, y, nothing) == 0


def test_info_nce_of_perfect_and_of_equal_embeddings() -> None:
    """At temperature .07 it can fall below the 0.63 that a scale of log(1/.07) allows."""
    perfect = torch.eye(16)
    assert info_nce(perfect, perfect, torch.tensor(1 / 0.07)) < 1e-4
    same = F.normalize(torch.ones(16, 8), dim=1)
    assert info_nce(same, same, torch.tensor(1 / 0.07)).item() == pytest.approx(math.log(16))


def test_l2_and_a_weight_for_visible_voxels() -> None:
    target, hidden = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    hidden[..., :2] = True
    guess = torch.where(hidden, 0.5, 1.0)
    assert hidden_l2_loss(guess, target, hidden).item() == pytest.approx(0.25)
    assert hidden_l2_loss(guess, target, hidden, visible_weight=1.0).item() == pytest.approx(0.625)
    assert hidden_l1_loss(guess, target, hidden, visible_weight=0.5).item() == pytest.approx(2 / 3)


def test_cosine_loss_of_equal_and_of_opposite_embeddings() -> None:
    one = torch.nn.functional.normalize(torch.randn(5, 8), dim=1)
    assert cosine_loss(one, one).item() == pytest.approx(0.0, abs=1e-6)
    assert cosine_loss(one, -one).item() == pytest.approx(2.0)
