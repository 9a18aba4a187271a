"""The Mix Transformer encoder of SegFormer (Xie et al. 2021, arXiv 2105.15203), in 2D or 3D.

Four stages at strides 4, 8, 16 and 32; each begins with an overlapping patch embedding, then
blocks of efficient self-attention (keys and values from a map reduced R-fold an axis) and mix-FFN
(a depthwise 3 x 3 convolution between two linear layers, in place of position codes). A light stem
gives the two finest levels. The 3D version takes the same kernels and reductions along the depth.

Shapes: B batch, N tokens = voxels of a stage, C channels, S spatial axes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import CONV, ConvNorm
from .unet import UNetConfig

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
MLP_RATIO = 4


def to_tokens(x: Tensor) -> Tensor:
    """Turn (B, C, \\*S) into (B, N, C)."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, size: tuple[int, ...]) -> Tensor:
    """Turn (B, N, C) into (B, C, \\*size)."""
    return tokens.transpose(1, 2).reshape(len(tokens), tokens.shape[2], *size)


class PatchEmbedding(nn.Module):
    """A strided convolution whose kernel is wider than its stride, and a layer norm."""

    def __init__(
        self, spatial_dims: int, in_channels: int, width: int, *, kernel: int, stride: int
    ) -> None:
        super().__init__()
        self.conv = CONV[spatial_dims](
            in_channels, width, kernel, stride=stride, padding=kernel // 2
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Return tokens (B, N, width) and the size of their map."""
        x = self.conv(x)
        tokens: Tensor = self.norm(to_tokens(x))
        return tokens, tuple(x.shape[2:])


class EfficientAttention(nn.Module):
    """Self-attention whose keys and values come from a map ``reduction`` times smaller an axis."""

    def __init__(self, spatial_dims: int, width: int, *, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.reduce: nn.Module | None = None
        if reduction > 1:
            self.reduce = CONV[spatial_dims](width, width, reduction, stride=reduction)
            self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, size: tuple[int, ...]) -> Tensor:
        source = tokens
        if self.reduce is not None:
            source = self.norm(to_tokens(self.reduce(to_map(tokens, size))))
        key, value = self.key_value(source).chunk(2, dim=2)
        query = self.query(tokens)
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result


class MixFFN(nn.Module):
    """Linear, depthwise 3 x 3 convolution, GELU, linear: the convolution tells where a token is."""

    def __init__(self, spatial_dims: int, width: int) -> None:
        super().__init__()
        inner = MLP_RATIO * width
        self.expand = nn.Linear(width, inner)
        self.depthwise = CONV[spatial_dims](inner, inner, 3, padding=1, groups=inner)
        self.compress = nn.Linear(inner, width)

    def forward(self, tokens: Tensor, size: tuple[int, ...]) -> Tensor:
        inner = to_tokens(self.depthwise(to_map(self.expand(tokens), size)))
        result: Tensor = self.compress(F.gelu(inner))
        return result


class MixBlock(nn.Module):
    """Attention and mix-FFN, each after a layer norm and beside a shortcut."""

    def __init__(self, spatial_dims: int, width: int, *, heads: int, reduction: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = EfficientAttention(spatial_dims, width, heads=heads, reduction=reduction)
        self.norm2 = nn.LayerNorm(width)
        self.ffn = MixFFN(spatial_dims, width)

    def forward(self, tokens: Tensor, size: tuple[int, ...]) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens), size)
        result: Tensor = tokens + self.ffn(self.norm2(tokens), size)
        return result


class MixStage(nn.Module):
    """Patch embedding, blocks, layer norm: (B, C, \\*S) to (B, width, \\*S / stride)."""

    def __init__(
        self, spatial_dims: int, in_channels: int, width: int, *, blocks: int, stage: int
    ) -> None:
        super().__init__()
        kernel, stride = (7, 4) if stage == 0 else (3, 2)
        self.embedding = PatchEmbedding(
            spatial_dims, in_channels, width, kernel=kernel, stride=stride
        )
        self.blocks = nn.ModuleList(
            MixBlock(spatial_dims, width, heads=HEADS[stage], reduction=REDUCTIONS[stage])
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        tokens, size = self.embedding(x)
        for block in self.blocks:
            tokens = block(tokens, size)
        return to_map(self.norm(tokens), size)


class MixTransformerEncoder(nn.Module):
    """Feature maps of every level, finest first: a list of (B, widths[l], \\*S / 2**l)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        dims, norm, widths = config.spatial_dims, config.norm, config.widths
        self.detail = ConvNorm(dims, config.in_channels, widths[0], norm=norm)
        self.stem = ConvNorm(dims, widths[0], widths[1], stride=2, norm=norm)
        # The first stage sees the image itself, as in SegFormer, not the light stem.
        inputs = (config.in_channels, *widths[2:-1])
        self.stages = nn.ModuleList(
            MixStage(dims, before, width, blocks=count, stage=stage)
            for stage, (before, width, count) in enumerate(
                zip(inputs, widths[2:], config.blocks[2:], strict=True)
            )
        )
        self.apply(_initialise)

    def forward(self, x: Tensor) -> list[Tensor]:
        detail = self.detail(x, then="leaky_relu")
        features = [detail, self.stem(detail, then="leaky_relu")]
        deeper = x
        for stage in self.stages:
            deeper = stage(deeper)
            features.append(deeper)
        return features


def _initialise(module: nn.Module) -> None:
    """Start linear layers small, as every vision transformer does."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
