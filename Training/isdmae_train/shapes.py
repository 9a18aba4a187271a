"""The network of a run, and whether it can halve what it is shown as often as it must."""

from __future__ import annotations

from isdmae.errors import InputError
from isdmae.networks.unet import UNetConfig

from .config.runs import FinetuneConfig, PretrainConfig


def network_shape(config: PretrainConfig | FinetuneConfig) -> UNetConfig:
    """Return the shape of a run's network.

    Raises
    ------
    InputError
        ``bad-size`` where its slices or cubes do not fit the network, are nothing but one voxel
        in its depth, or are smaller than the window of SSIM; where more levels are to be contrasted
        than there are.

    Examples
    --------
    >>> network_shape(FinetuneConfig(size="L")).stride
    32
    """
    shape = UNetConfig.of_size(
        config.size,
        spatial_dims=config.spatial_dims,
        in_channels=config.preprocess.channel_count(config.spatial_dims),
        encoder=config.encoder,
    )
    flat = config.spatial_dims == 2
    name = "data.size" if flat else "preprocess.roi_size"
    edges = (config.data.size,) * 2 if flat else config.preprocess.roi_size
    coarse = isinstance(config, FinetuneConfig) and config.coarse_steps > 0
    unit = shape.stride * (2 if coarse else 1)
    if any(edge < 1 or edge % unit for edge in edges):
        reason = " with coarse_steps" if coarse else ""
        raise InputError(
            "bad-size",
            f"{name} is {_written(edges)}; for this network{reason} it must be multiples of "
            f"{unit}.",
            f"Choose another {name}, or a network that halves less often.",
        )
    if shape.norm == "instance" and all(edge == shape.stride for edge in edges):
        raise InputError(
            "bad-size",
            f"{name} is {_written(edges)}, of which one voxel is left where this network is "
            "deepest; an instance norm needs two.",
            f"Choose a larger {name}, or a network that halves less often.",
        )
    levels = config.contrast_levels if isinstance(config, PretrainConfig) else 1
    if levels > len(shape.widths):
        raise InputError(
            "bad-size",
            f"The network has {len(shape.widths)} levels, fewer than the {levels} of "
            "contrast_levels.",
            "Choose fewer.",
        )
    window = config.ssim_window if isinstance(config, PretrainConfig) and config.ssim_weight else 0
    if min(edges) < window:
        raise InputError(
            "bad-size",
            f"{name} is {_written(edges)}, less than the ssim_window of {window}.",
            f"Choose a smaller ssim_window (odd), or a larger {name}.",
        )
    return shape


def _written(edges: tuple[int, ...]) -> str:
    return " x ".join(str(edge) for edge in edges)
