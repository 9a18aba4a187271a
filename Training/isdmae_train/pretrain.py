"""Pre-training with two masks (arXiv 2411.13198, section 3), from the first line to the last."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from isdmae.masking import equal_bins, intensity_mask, spatial_mask
from isdmae.networks.dual_mae import DualMaskedAutoencoder, DualReconstruction
from isdmae.networks.unet import UNetConfig
from isdmae.schema import to_plain

from . import loop
from .checkpoint import resume, save_checkpoint
from .config import MaskConfig, PretrainConfig
from .data import SliceDataset, batches
from .losses import hidden_l1_loss, hidden_ssim_loss, info_nce
from .tracking import Tracker


def pretrain(config: PretrainConfig) -> Path:
    """Train the autoencoder; continues from the newest checkpoint in ``config.out``.

    Returns
    -------
    Path
        The run's folder: ``checkpoints/``, ``config.json``, ``log.jsonl``, ``tensorboard/``.

    Raises
    ------
    InputError
        Where there are no slices, or the folder holds another run.
    Cancelled
        Where SIGINT or SIGTERM stopped it; the checkpoint is written.
    DivergedError
        Where the loss is not finite.
    """
    stop = loop.StopRequest()
    device, dtype = loop.start(config.loop)
    dataset = SliceDataset(config.data, seed=config.loop.seed, labelled=False)
    dataset.check_pixel_size(config.preprocess.in_plane_spacing_mm)
    channels = config.preprocess.channel_count(2)
    network = DualMaskedAutoencoder(
        UNetConfig.of_size(config.size, spatial_dims=2, in_channels=channels), config.preprocess
    ).to(device, memory_format=torch.channels_last)
    optimizer = loop.make_optimizer(network, config.loop)
    plain = to_plain(config)
    step = resume(config.out / "checkpoints", network, optimizer, plain)
    saved = time.monotonic()

    with Tracker(config.out, config, name="pretrain", first=step, steps=config.loop.steps) as track:
        for batch in batches(dataset, config.loop, first_step=step):
            image, is_hu = batch["image"].to(device), batch["is_hu"].to(device)
            spatial, intensity = draw_masks(image, is_hu, config.masks, config.loop.seed, step)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                result = network(image, is_hu, spatial, intensity)
            terms = loss_terms(result, spatial, intensity)
            loss = (
                config.ssim_weight * terms["ssim"]
                + config.l1_weight * terms["l1"]
                + config.contrast_weight * terms["contrast"]
            )
            loop.check_finite(loss, step, batch["case"])
            rate = loop.learning_rate(step, config.loop)
            loop.descend(loss, network, optimizer, rate, config.loop.clip)
            step += 1
            track.advance()

            if step % config.loop.log_every == 0 or step == config.loop.steps:
                track.scalars(step, {name: term.item() for name, term in terms.items()})
            if step % (10 * config.loop.log_every) == 0 or step == config.loop.steps:
                track.picture(step, "reconstruction", strip(network, image, is_hu, spatial, result))
            due = time.monotonic() - saved > 60 * config.loop.checkpoint_minutes
            if due or stop.asked or step == config.loop.steps:
                save_checkpoint(config.out / "checkpoints", step, network, optimizer, plain)
                saved = time.monotonic()
            if stop.asked:
                break
    loop.check_complete(step, config.loop.steps)
    return config.out


def draw_masks(
    image: Tensor, is_hu: Tensor, masks: MaskConfig, seed: int, step: int
) -> tuple[Tensor, Tensor]:
    """Draw both masks of a batch (B, 1, H, W) from (seed, step); True = hidden."""
    chance = torch.Generator().manual_seed(seed * 1_000_003 + step)
    spatial = spatial_mask(
        len(image),
        image.shape[2:],
        patch_size=masks.patch_size,
        ratio=masks.spatial_ratio,
        generator=chance,
    ).to(image.device)
    low, high = masks.bins_hu
    in_range = torch.where(is_hu[:, None, None, None], (image - low) / (high - low), image)
    intensity = intensity_mask(
        in_range,
        edges=equal_bins(0.0, 1.0, masks.bins),
        ratio=masks.intensity_ratio,
        generator=chance,
    )
    return spatial, intensity


def loss_terms(result: DualReconstruction, spatial: Tensor, intensity: Tensor) -> dict[str, Tensor]:
    """Return the terms of the loss, each the mean of both branches where it has two."""
    pairs = ((result.from_spatial, spatial), (result.from_intensity, intensity))
    ssim = [hidden_ssim_loss(image, result.target, hidden) for image, hidden in pairs]
    l1 = [hidden_l1_loss(image, result.target, hidden) for image, hidden in pairs]
    contrast = info_nce(result.embedding_spatial, result.embedding_intensity, result.scale)
    return {"ssim": sum(ssim) / 2, "l1": sum(l1) / 2, "contrast": contrast}  # type: ignore[dict-item]


@torch.no_grad()
def strip(
    network: DualMaskedAutoencoder,
    image: Tensor,
    is_hu: Tensor,
    spatial: Tensor,
    result: DualReconstruction,
) -> Tensor:
    """Lay the first image of a batch side by side: original, masked, both reconstructions."""
    masked = network.masked_channels(image[:1], is_hu[:1], spatial[:1])
    tiles = [result.target, masked, result.from_spatial, result.from_intensity]
    return torch.cat([tile[0, :1].float().cpu() for tile in tiles], dim=-1)
