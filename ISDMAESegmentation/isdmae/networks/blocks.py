"""The bricks of every network, in 2D or 3D from the same classes."""

from __future__ import annotations

import functools
import logging
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger(__name__)

Activation = Literal["", "relu", "leaky_relu"]
SLOPE = 0.01


class Conv2d(nn.Conv2d):
    """As `torch.nn.Conv2d`; an axis shorter than the kernel is padded first, see `pad_short`."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x``, (B, C, H, W)."""
        if isinstance(self.padding, str) or self.padding_mode != "zeros":
            return super().forward(x)
        x, padding = pad_short(self, x)
        layout = (self.stride, padding, self.dilation, self.groups)
        return functional.conv2d(x, self.weight, self.bias, *layout)


class Conv3d(nn.Conv3d):
    """As `torch.nn.Conv3d`; an axis shorter than the kernel is padded first, see `pad_short`."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x``, (B, C, D, H, W)."""
        if isinstance(self.padding, str) or self.padding_mode != "zeros":
            return super().forward(x)
        x, padding = pad_short(self, x)
        layout = (self.stride, padding, self.dilation, self.groups)
        return functional.conv3d(x, self.weight, self.bias, *layout)


def pad_short(conv: nn.Conv2d | nn.Conv3d, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Pad the axes of ``x`` that are shorter than the kernel; return the padding still to be done.

    The values of the convolution are the same. Left to pad such an axis itself, oneDNN (3.12, of
    PyTorch 2.13, on a CPU with AVX-512 and bfloat16) returns gradients of the weights read from
    memory that is not theirs, or ends the process: the deepest maps of a cube are that thin.
    """
    padding = tuple(int(pad) for pad in conv.padding)
    reach = [
        gap * (kernel - 1) + 1 for gap, kernel in zip(conv.dilation, conv.kernel_size, strict=True)
    ]
    short = [n < length for n, length in zip(x.shape[2:], reach, strict=True)]
    if not any(short) or not any(padding):
        return x, padding
    first = [pad if is_short else 0 for pad, is_short in zip(padding, short, strict=True)]
    x = functional.pad(x, [pad for pad in reversed(first) for _ in range(2)])
    return x, tuple(pad - done for pad, done in zip(padding, first, strict=True))


CONV: dict[int, type[nn.Module]] = {2: Conv2d, 3: Conv3d}
TRANSPOSED: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOL: dict[int, type[nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
NORMS: dict[str, dict[int, type[nn.Module]]] = {
    "batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
    "instance": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d},
}


def make_norm(kind: str, spatial_dims: int, channels: int) -> nn.Module:
    """Return the normalisation layer; instance norms learn scale and shift as batch norms do."""
    layer = NORMS[kind][spatial_dims]
    return layer(channels, affine=True)


class ConvNorm(nn.Module):
    """Convolution without bias, then normalisation; one convolution after ``fuse``."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        norm: str = "batch",
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = CONV[spatial_dims](
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        )
        self.norm = make_norm(norm, spatial_dims, out_channels)
        self.one_pass = False

    def forward(self, x: Tensor, *, plus: Tensor | None = None, then: Activation = "") -> Tensor:
        """Convolve and normalise ``x``, add ``plus``, apply the activation ``then``."""
        if self.one_pass and x.device.type == "cpu":
            return convolve_in_one_pass(self.conv, x, plus, then)
        result: Tensor = self.norm(self.conv(x))
        return activate(result if plus is None else result + plus, then)

    def fuse(self) -> None:
        """Fold a batch norm's running statistics into the convolution (prediction only).

        On a CPU the convolution then adds and activates while a result is in the cache, where
        this PyTorch can (see `convolves_in_one_pass`).
        """
        if isinstance(self.norm, nn.modules.batchnorm._BatchNorm) and not self.training:
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)  # type: ignore[type-var]
            self.norm = nn.Identity()
            self.one_pass = convolves_in_one_pass()


def activate(x: Tensor, then: Activation) -> Tensor:
    """Apply an activation in place: "relu", "leaky_relu" with a slope of 0.01, or none."""
    if then == "relu":
        return functional.relu_(x)
    return functional.leaky_relu_(x, SLOPE) if then == "leaky_relu" else x


def convolve_in_one_pass(
    conv: nn.Module, x: Tensor, plus: Tensor | None, then: Activation
) -> Tensor:
    """Compute `activate` of ``conv(x) + plus`` with oneDNN's fused convolution (no gradients).

    It is what ``torch.compile`` uses on CPUs, without the minute that compiling takes; with a
    sum before it, oneDNN fuses no leaky activation.
    """
    layout = (conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups)
    fused = torch.ops.mkldnn._convolution_pointwise
    result: Tensor
    if plus is None:
        result = fused(x, *layout, then or "none", [SLOPE] if then == "leaky_relu" else [], "")
        return result
    result = fused.binary(x, plus, *layout, "add", 1.0, None, [], None)
    return activate(result, then)


@functools.cache
def convolves_in_one_pass() -> bool:
    """Tell whether this PyTorch has the fused convolution, and whether it is right.

    It is no documented part of PyTorch, so it is tried before it is trusted.
    """
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, padding=1)
    x, plus = torch.randn(2, 1, 16, 8, 8, generator=generator)
    try:
        with torch.inference_mode():
            return all(
                torch.allclose(
                    convolve_in_one_pass(conv, x, other, then),
                    activate(conv(x) if other is None else conv(x) + other, then),
                    atol=1e-4,
                )
                for other in (None, plus)
                for then in ("", "relu", "leaky_relu")
            )
    except (AttributeError, RuntimeError, TypeError) as error:
        log.info("convolutions go without fused activations: %s", str(error).splitlines()[0])
        return False


class PlainBlock(nn.Module):
    """Two convolutions (Ronneberger et al. 2015)."""

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, *, stride: int, norm: str
    ) -> None:
        super().__init__()
        self.first = ConvNorm(spatial_dims, in_channels, out_channels, stride=stride, norm=norm)
        self.second = ConvNorm(spatial_dims, out_channels, out_channels, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(self.first(x, then="leaky_relu"), then="leaky_relu")
        return result


class ResidualBlock(PlainBlock):
    """The same and a shortcut (He et al. 2016), as in nnU-Net's residual encoder."""

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, *, stride: int, norm: str
    ) -> None:
        super().__init__(spatial_dims, in_channels, out_channels, stride=stride, norm=norm)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(
                spatial_dims, in_channels, out_channels, kernel=1, stride=stride, norm=norm
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x, then="leaky_relu")
        result: Tensor = self.second(y, plus=self.shortcut(x), then="leaky_relu")
        return result


class UpBlock(nn.Module):
    """Double the size by a transposed convolution, join the skip connection, convolve once."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        norm: str,
    ) -> None:
        super().__init__()
        self.up = TRANSPOSED[spatial_dims](in_channels, out_channels, 2, stride=2)
        self.fusion = ConvNorm(spatial_dims, out_channels + skip_channels, out_channels, norm=norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        joined = torch.cat([self.up(x), skip], dim=1)
        result: Tensor = self.fusion(joined, then="leaky_relu")
        return result


def fuse_for_prediction(network: nn.Module) -> nn.Module:
    """Put ``network`` in evaluation mode and fold every batch norm; returns the same module."""
    network.eval()
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.fuse()
    return network
