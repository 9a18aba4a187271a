"""Shapes, names and the promise of masking in the networks."""

from __future__ import annotations

import pytest
import torch

from isdmae.masking import spatial_mask
from isdmae.networks import blocks
from isdmae.networks.blocks import ConvNorm, fuse_for_prediction
from isdmae.networks.dual_mae import DualMAEConfig, DualMaskedAutoencoder
from isdmae.networks.segmenter import Segmenter
from isdmae.networks.unet import SIZES, UNetConfig
from isdmae.preprocess import PreprocessConfig

SMALL = {
    2: UNetConfig(spatial_dims=2, in_channels=4, widths=(4, 8, 12), blocks=(0, 1, 1)),
    3: UNetConfig(
        spatial_dims=3, in_channels=5, widths=(4, 8, 12), blocks=(0, 1, 1), norm="instance"
    ),
}


SMALL_MEDNEXT = {"widths": (8, 16, 16), "blocks": (1, 1, 1), "expansion": (2, 2, 2)}
SMALL_LIGHT = {"widths": (4, 8, 16, 16, 20, 16), "blocks": (0, 0, 1, 1, 1, 1)}
SHAPES: dict[str, dict[str, object]] = {
    "residual": {"widths": (4, 8, 12), "blocks": (0, 1, 1)},
    "plain": {"widths": (4, 8, 12), "blocks": (1, 1, 1)},
    "bottleneck": SMALL_LIGHT,
    "mit": {**SMALL_LIGHT, "decoder": (4, 8, 8, 12, 12)},
    "mednext": {**SMALL_MEDNEXT, "response_norm": True},
}


def small(encoder: str, dims: int) -> UNetConfig:
    norm = "batch" if dims == 2 else "instance"
    return UNetConfig(
        spatial_dims=dims, in_channels=2 + dims, norm=norm, encoder=encoder, **SHAPES[encoder]
    )


SIX = DualMAEConfig(embedding=6)


def autoencoder(dims: int, method: DualMAEConfig = SIX) -> DualMaskedAutoencoder:
    torch.manual_seed(0)
    return DualMaskedAutoencoder(SMALL[dims], PreprocessConfig(), method)


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


@pytest.mark.parametrize("encoder", SHAPES)
def test_convolving_in_one_pass_does_not_change_the_logits(
    encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    config = small(encoder, 2)
    x = torch.randn(2, config.in_channels, config.stride * 2, config.stride * 2)
    plain, quick = (Segmenter(config, classes=3) for _ in range(2))
    quick.load_state_dict(plain.state_dict())
    monkeypatch.setattr(blocks, "convolves_in_one_pass", lambda: False)
    fuse_for_prediction(plain)
    monkeypatch.undo()
    fuse_for_prediction(quick)
    folded = [m for m in quick.modules() if isinstance(m, ConvNorm)]
    assert any(m.one_pass for m in folded) == blocks.convolves_in_one_pass()
    with torch.inference_mode():
        assert torch.allclose(quick(x), plain(x), atol=1e-4)


def test_a_fused_convolution_that_is_missing_or_wrong_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = blocks.convolve_in_one_pass

    def missing(*_: object) -> torch.Tensor:
        raise AttributeError("no attribute '_convolution_pointwise'")

    def wrong(*given: object) -> torch.Tensor:
        return real(*given) + 1

    for broken in (missing, wrong):
        monkeypatch.setattr(blocks, "convolve_in_one_pass", broken)
        assert not blocks.convolves_in_one_pass.__wrapped__()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("encoder", SHAPES)
def test_every_encoder_feeds_the_decoder_at_full_resolution(encoder: str, dims: int) -> None:
    config = small(encoder, dims)
    network = Segmenter(config, classes=3).eval()
    size = [config.stride * 2] * dims
    x = torch.randn(2, config.in_channels, *size)
    levels = network.encoder(x)
    assert [level.shape[1] for level in levels] == list(config.widths)
    assert [level.shape[2] for level in levels] == [size[0] // 2**n for n in range(len(levels))]
    assert network(x).shape == (2, 3, *size)
    network(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("groups", [1, 16])
@pytest.mark.parametrize(
    ("kernel", "stride", "size"),
    [
        (3, 1, (2, 6, 6)), (3, 1, (1, 6, 6)), (3, 1, (2, 2, 2)), (3, 2, (6, 1, 6)),
        (3, 2, (6, 6, 1)), (5, 1, (4, 6, 6)), (5, 1, (3, 2, 6)), (7, 1, (5, 8, 8)),
        (7, 2, (6, 8, 8)), (7, 4, (4, 8, 8)), ((1, 3, 3), 2, (8, 1, 8)), (3, 2, (8, 1)),
        (3, 1, (6, 6, 6)), (5, 1, (8, 8)),
    ],
)  # fmt: skip
def test_gradients_of_thin_maps_are_right_in_half_precision_too(
    kernel: int | tuple[int, ...], stride: int, size: tuple[int, ...], groups: int
) -> None:
    torch.manual_seed(0)
    kernels = (kernel,) * len(size) if isinstance(kernel, int) else kernel
    padding = tuple(one // 2 for one in kernels)
    layout = {"stride": stride, "padding": padding, "groups": groups}
    ours = blocks.CONV[len(size)](16, 16, kernels, **layout)
    theirs = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[len(size)](16, 16, kernels, **layout)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 16, *size)
    exact = theirs.double()(x.double())
    direction = torch.randn(exact.shape)
    exact.backward(direction.double())
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        ours.zero_grad()
        junk = [torch.full((100_000,), torch.nan) for _ in range(8)]
        del junk  # now it lies in free memory
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            result = ours(x)
        result.backward(direction.to(result.dtype))
        assert (result - exact).norm() <= tolerance * exact.norm()
        error = (ours.weight.grad - theirs.weight.grad).norm()
        assert error <= tolerance * theirs.weight.grad.norm()


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("encoder", SHAPES)
def test_a_thin_cube_gives_the_same_gradients_in_half_precision(encoder: str, depth: int) -> None:
    torch.manual_seed(0)
    config = small(encoder, 3)
    network = Segmenter(config, classes=3)
    x = torch.randn(1, config.in_channels, depth * config.stride, *[2 * config.stride] * 2)
    gradients = []
    for enabled in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = network(x)
        logits.float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert (gradients[1] - gradients[0]).norm() < 0.2 * gradients[0].norm()


@pytest.mark.parametrize("encoder", SHAPES)
def test_folding_does_not_change_the_logits_of_any_encoder(encoder: str) -> None:
    torch.manual_seed(0)
    network = Segmenter(small(encoder, 2), classes=3)
    x = torch.randn(2, 4, 64, 64)
    for _ in range(3):
        network(x * 2 + 1)
    before = network.eval()(x)
    assert torch.allclose(fuse_for_prediction(network)(x), before, atol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "size", "million"),
    [("bottleneck", "B", 23.5), ("mit", "S", 3.3), ("mit", "B", 13.1), ("mit", "L", 24.2)],
)
def test_encoders_have_the_published_number_of_weights(
    encoder: str, size: str, million: float
) -> None:
    """ResNet-50 without its classifier has 23.5 million (He et al. 2016), MiT-B0, -B1 and -B2 have
    3.4, 13.1 and 24.2 (Xie et al. 2021, table 6, without decoder); our stems add little."""
    config = UNetConfig.of_size(size, spatial_dims=2, in_channels=3, encoder=encoder)
    with torch.device("meta"):
        count = sum(p.numel() for p in Segmenter(config, classes=2).encoder.parameters())
    assert count / 1e6 == pytest.approx(million, rel=0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({**SMALL_LIGHT, "encoder": "mit", "widths": (4, 8, 16, 15, 20, 16)}, "heads"),
        ({"encoder": "bottleneck", "widths": (8, 16), "blocks": (0, 1)}, "6 levels"),
        ({**SMALL_LIGHT, "encoder": "bottleneck", "widths": (4, 8, 6, 8, 8, 8)}, "multiples of 4"),
        ({"encoder": "mednext"}, "expansion"),
        ({"kernel": 4}, "odd edge"),
        ({"decoder": (8,)}, "one entry fewer"),
    ],
)  # fmt: skip
def test_an_encoder_that_cannot_be_built_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        UNetConfig(**changes)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_autoencoder_reconstructs_every_view_at_full_size(dims: int) -> None:
    network = autoencoder(dims, DualMAEConfig(embedding=6, levels=2))
    size = [32] * dims
    image = torch.rand(2, 1, *size) * 1400 - 1024
    masks = [torch.rand(2, 1, *size) > 0.5 for _ in range(2)]
    result = network(image, torch.tensor([True, True]), masks)
    assert result.target.shape == (2, SMALL[dims].in_channels, *size)
    assert [one.shape for one in result.reconstructions] == [result.target.shape] * 2
    assert len(result.embeddings) == 2
    for level in result.embeddings:
        assert [one.shape for one in level] == [(2, 6)] * 2
        assert torch.allclose(level[0].norm(dim=1), torch.ones(2))
    assert result.scale is not None
    assert result.scale.item() == pytest.approx(1 / 0.07, rel=1e-4)


def test_the_fill_may_be_noise_or_zero() -> None:
    image = torch.rand(1, 1, 16, 16) * 1400 - 1024
    hidden = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    hidden[..., :8] = True
    is_hu = torch.tensor([True])
    zero = autoencoder(2, DualMAEConfig(fill="zero")).masked_channels(image, is_hu, hidden)
    assert torch.all(zero[..., :8] == 0)
    network = autoencoder(2, DualMAEConfig(fill="noise"))
    noise = torch.full_like(image, -500.0)
    filled = network.masked_channels(image, is_hu, hidden, noise)
    assert torch.all(filled[:, 0, :, :8] == 0.5)
    with pytest.raises(ValueError, match="needs noise"):
        network.masked_channels(image, is_hu, hidden)


def test_impossible_methods_are_refused() -> None:
    for wrong in ({"levels": -1}, {"embedding": 0}, {"temperature": 20.0}):
        with pytest.raises(ValueError, match=r"levels|temperature"):
            DualMAEConfig(**wrong)
    with pytest.raises(ValueError, match="3 levels"):
        autoencoder(2, DualMAEConfig(levels=9))
    without = autoencoder(2, DualMAEConfig(levels=0))
    assert without.scale() is None
    assert "log_scale" not in dict(without.named_parameters())
    fixed = autoencoder(2, DualMAEConfig(learn_temperature=False))
    assert "log_scale" not in dict(fixed.named_parameters())
    assert fixed.scale().item() == pytest.approx(1 / 0.07, rel=1e-4)


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
