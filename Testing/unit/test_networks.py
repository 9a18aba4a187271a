"""Shapes, names and the promise of masking in the networks."""

from __future__ import annotations

import pytest
import torch

from isdmae.masking import spatial_mask
from isdmae.networks.blocks import ConvNorm, fuse_for_prediction
from isdmae.networks.dual_mae import DualMaskedAutoencoder
from isdmae.networks.segmenter import Segmenter
from isdmae.networks.unet import SIZES, UNetConfig
from isdmae.preprocess import PreprocessConfig

SMALL = {
    2: UNetConfig(spatial_dims=2, in_channels=4, widths=(4, 8, 12), blocks=(0, 1, 1)),
    3: UNetConfig(
        spatial_dims=3, in_channels=5, widths=(4, 8, 12), blocks=(0, 1, 1), norm="instance"
    ),
}


def autoencoder(dims: int) -> DualMaskedAutoencoder:
    torch.manual_seed(0)
    return DualMaskedAutoencoder(SMALL[dims], PreprocessConfig(), embedding=6)


@pytest.mark.parametrize("dims", [2, 3])
def test_logits_have_the_size_of_the_input(dims: int) -> None:
    network = Segmenter(SMALL[dims], classes=3)
    x = torch.randn(2, SMALL[dims].in_channels, *[16] * dims)
    assert network(x).shape == (2, 3, *[16] * dims)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_builds_in_2d_and_grows(size: str) -> None:
    config = UNetConfig.of_size(size, spatial_dims=2, in_channels=4)
    assert config.stride == 2 ** (len(config.widths) - 1)
    with torch.device("meta"):
        network = Segmenter(config, classes=3)
        assert network(torch.zeros(1, 4, 64, 64)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize(
    "changes",
    [
        {"spatial_dims": 4},
        {"norm": "layer"},
        {"widths": (8,), "blocks": (1,)},
        {"blocks": (0, 0, 1, 1, 1)},
        {"in_channels": 0},
    ],
)
def test_an_impossible_shape_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"2D or 3D|normalisation|levels|blocks|counts"):
        UNetConfig(**changes)
    with pytest.raises(ValueError, match="Unknown size"):
        UNetConfig.of_size("XXL", spatial_dims=2, in_channels=4)


def test_folding_the_norms_does_not_change_the_logits() -> None:
    torch.manual_seed(0)
    network = Segmenter(SMALL[2], classes=3)
    for _ in range(3):
        network(torch.randn(4, 4, 16, 16) * 3 + 1)
    network.eval()
    x = torch.randn(2, 4, 16, 16)
    before = network(x)
    fuse_for_prediction(network)
    assert not any(isinstance(m.norm, torch.nn.BatchNorm2d) for m in network.modules()
                   if isinstance(m, ConvNorm))  # fmt: skip
    assert torch.allclose(network(x), before, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_autoencoder_reconstructs_both_copies_at_full_size(dims: int) -> None:
    network = autoencoder(dims)
    size = [32] * dims
    image = torch.rand(2, 1, *size) * 1400 - 1024
    masks = [torch.rand(2, 1, *size) > 0.5 for _ in range(2)]
    result = network(image, torch.tensor([True, True]), *masks)
    channels = SMALL[dims].in_channels
    assert result.target.shape == (2, channels, *size)
    assert result.from_spatial.shape == result.from_intensity.shape == result.target.shape
    assert result.embedding_spatial.shape == (2, 6)
    assert torch.allclose(result.embedding_spatial.norm(dim=1), torch.ones(2))
    assert result.scale.item() == pytest.approx(1 / 0.07, rel=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_hidden_voxels_leave_no_trace_in_the_input(dims: int) -> None:
    """Two images that differ only where hidden give the same channels, edges included."""
    network = autoencoder(dims)
    size = [32] * dims
    image = torch.rand(1, 1, *size) * 1400 - 1024
    hidden = spatial_mask(
        1, size, patch_size=8, ratio=0.6, generator=torch.Generator().manual_seed(1)
    )
    other = torch.where(hidden, torch.rand_like(image) * 1400 - 1024, image)
    is_hu = torch.tensor([True])
    first = network.masked_channels(image, is_hu, hidden)
    assert torch.equal(first, network.masked_channels(other, is_hu, hidden))


def test_hidden_voxels_take_the_token_and_not_the_colour_of_air() -> None:
    network = autoencoder(2)
    image = torch.full((1, 1, 16, 16), -1200.0)
    hidden = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    hidden[..., :8] = True
    channels = network.masked_channels(image, torch.tensor([True]), hidden)
    assert torch.all(channels[..., :8] == 0.5)
    assert torch.all(channels[:, :2, :, 8:] == 0.0)


def test_token_and_temperature_are_trained() -> None:
    names = dict(autoencoder(2).named_parameters())
    assert {"mask_token", "log_scale"} <= set(names)


def test_pretrained_weights_fit_the_segmenter_by_name() -> None:
    body = {
        name for name in autoencoder(2).state_dict() if name.startswith(("encoder.", "decoder."))
    }
    segmenter = {
        name for name in Segmenter(SMALL[2], classes=3).state_dict() if not name.startswith("head.")
    }
    assert body == segmenter
