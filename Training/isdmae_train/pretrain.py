"""Pre-training with masked views (arXiv 2411.13198, section 3), from the first line to the last.

Shapes: B batch, C channels, S spatial axes ((H, W) or (D, H, W)). Masks: True = hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isdmae.compute import MEMORY_FORMAT
from isdmae.masking import equal_bins, intensity_mask, noise_fill, spatial_mask, tissue_bins
from isdmae.networks.dual_mae import DualMAEConfig, DualMaskedAutoencoder, DualReconstruction
from isdmae.preprocess import middle_slice
from isdmae.schema import to_plain

from . import loop
from .augment_batch import moved
from .config.runs import MaskConfig, PretrainConfig
from .cubes import dataset_for
from .data import batches
from .distributed import anyone, gathered
from .losses import cosine_loss, hidden_l1_loss, hidden_l2_loss, hidden_ssim_loss, info_nce
from .shapes import network_shape
from .tracking import track_run


def pretrain(config: PretrainConfig) -> Path:
    """Train the autoencoder; continues from the newest checkpoint in ``config.out``.

    Returns
    -------
    Path
        The run's folder: ``checkpoints/``, ``config.json``, ``log.jsonl``, ``tensorboard/``.

    Raises
    ------
    InputError
        Where there are no slices, their size does not fit the network, or the folder holds another
        run.
    Cancelled
        Where SIGINT or SIGTERM stopped it; the checkpoint is written.
    DivergedError
        Where the loss or its gradient is not finite.
    """
    stop = loop.StopRequest()
    device, dtype = loop.start(config.loop)
    dataset = dataset_for(
        config.data, config.preprocess, spatial_dims=config.spatial_dims, seed=config.loop.seed
    )
    network = build_network(config).to(device, memory_format=MEMORY_FORMAT[config.spatial_dims])
    descent = loop.Descent(network, config.loop, dtype)
    checkpoints, plain = config.out / "checkpoints", to_plain(config)
    defaults, data = to_plain(PretrainConfig()), dataset.scans.fingerprints
    step = descent.resume(checkpoints, plain, defaults, data)

    with track_run(config.out, config, name="pretrain", first=step) as track:
        for batch in batches(dataset, config.loop, first_step=step):
            for part, first in descent.parts(batch, step):
                seed = config.loop.seed
                image, is_hu, _ = moved(part, device, config.data.augment, seed=seed, first=first)
                alone = middle_slice(image)  # what is hidden in a slice is so in its neighbours
                hidden = draw_masks(alone, is_hu, config.masks, seed, first, config.views)
                noise = draw_noise(alone, is_hu, config.masks, seed, first)
                with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                    result = descent.model(image, is_hu, hidden, noise)
                terms = loss_terms(result, hidden, config)
                loss = total_loss(terms, config)
                loop.check_finite(loss, step, part["case"])
                descent.add(loss, terms)
            descent.step(step, batch["case"])
            step += 1
            track.advance()

            last = step == config.loop.steps
            if step % config.loop.log_every == 0 or last:
                track.scalars(step, descent.values())
            if step % (10 * config.loop.log_every) == 0 or step == config.loop.log_every or last:
                tiles = strip(network, image, is_hu, hidden, noise, result, config.visible_weight)
                track.picture(step, "reconstruction", tiles)
            stopping = anyone(stop.asked)
            descent.save_when_due(checkpoints, step, plain, now=stopping or last)
            if stopping:
                break
    loop.check_complete(step, config.loop.steps)
    return config.out


def build_network(config: PretrainConfig) -> DualMaskedAutoencoder:
    """Return the new network of a run, 2D or 3D; errors as of `network_shape`."""
    method = DualMAEConfig(
        fill=config.masks.fill,
        levels=config.contrast_levels if config.contrasted else 0,
        embedding=config.embedding,
        temperature=config.temperature if config.contrast == "infonce" else None,
        learn_temperature=config.learn_temperature,
    )
    return DualMaskedAutoencoder(network_shape(config), config.preprocess, method)


def sample_generators(
    seed: int, first: int, count: int, *, stream: int = 0
) -> list[torch.Generator]:
    """Return a generator for each of the samples ``first``, ``first + 1``, ... of a run.

    What is drawn for a sample depends on the seed and its index alone: not on its neighbours, nor
    on how a batch is shared among processes.
    """
    return [
        torch.Generator().manual_seed(
            int(np.random.SeedSequence([seed, stream, index]).generate_state(1)[0])
        )
        for index in range(first, first + count)
    ]


def draw_masks(
    image: Tensor,
    is_hu: Tensor,
    masks: MaskConfig,
    seed: int,
    first: int,
    views: Sequence[str] = ("spatial", "intensity"),
) -> tuple[Tensor, ...]:
    """Draw the mask of each view for samples ``first``, ... of a run.

    ``image`` is (B, 1, \\*S) before any window, ``is_hu`` bool (B,); each mask is bool
    (B, 1, \\*S), True = hidden, and hides nothing in the view "original".
    """
    chance = sample_generators(seed, first, len(image))
    low, high = masks.bins_hu
    hidden = []
    for view in views:
        if view == "spatial":
            mask = spatial_mask(
                len(image),
                image.shape[2:],
                patch_size=masks.patch_size,
                ratio=masks.spatial_ratio,
                generator=chance,
                draw="independent" if masks.as_published else "exact",
            )
        elif view == "intensity":
            edges = tissue_bins() if masks.tissue_bins else equal_bins(low, high, masks.bins)
            mask = intensity_mask(
                torch.where(_each(is_hu, image), image, low + (high - low) * image),
                edges=edges,
                ratio=masks.intensity_ratio,
                generator=chance,
                draw="replacement" if masks.as_published else "exact",
            )
        else:
            mask = torch.zeros(image.shape, dtype=torch.bool)
        hidden.append(mask.to(image.device))
    return tuple(hidden)


def draw_noise(
    image: Tensor, is_hu: Tensor, masks: MaskConfig, seed: int, first: int
) -> Tensor | None:
    """Draw the fill "noise" in the unit of each image, (B, 1, \\*S); None for other fills."""
    if masks.fill != "noise":
        return None
    chance = sample_generators(seed, first, len(image), stream=1)
    grey = noise_fill(len(image), image.shape[2:], span=(0.0, 1.0), generator=chance)
    grey = grey.to(image.device)
    low, high = masks.bins_hu
    return torch.where(_each(is_hu, image), low + (high - low) * grey, grey)


def _each(flags: Tensor, image: Tensor) -> Tensor:
    """Shape (B,) so that it goes with ``image``."""
    return flags.reshape(-1, *[1] * (image.ndim - 1))


def loss_terms(
    result: DualReconstruction, hidden: Sequence[Tensor], config: PretrainConfig
) -> dict[str, Tensor]:
    """Return the terms that have a weight, each a scalar: the mean over views, or levels.

    ``hidden`` holds the bool mask (B, 1, \\*S) of each view. A view with nothing hidden counts only
    where visible voxels do.
    """
    weight, target = config.visible_weight, result.target
    pairs = [
        (image, mask)
        for image, mask, view in zip(result.reconstructions, hidden, config.views, strict=True)
        if weight > 0 or view != "original"
    ]
    terms = {}
    if config.ssim_weight:
        window = config.ssim_window
        terms["ssim"] = _mean(
            hidden_ssim_loss(image, target, mask, visible_weight=weight, window=window)
            for image, mask in pairs
        )
    for name, loss, used in (
        ("l1", hidden_l1_loss, config.l1_weight),
        ("l2", hidden_l2_loss, config.l2_weight),
    ):
        if used:
            terms[name] = _mean(
                loss(image, target, mask, visible_weight=weight) for image, mask in pairs
            )
    if config.contrasted:
        terms["contrast"] = _mean(
            cosine_loss(one, two)
            if result.scale is None
            else info_nce(gathered(one), gathered(two), result.scale)
            for one, two in result.embeddings
        )
    return terms


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def total_loss(terms: dict[str, Tensor], config: PretrainConfig) -> Tensor:
    """Add the terms of `loss_terms` up, each by its weight."""
    return torch.stack(
        [getattr(config, f"{name}_weight") * term for name, term in terms.items()]
    ).sum()


def filled(
    result: DualReconstruction, hidden: Sequence[Tensor], visible_weight: float
) -> list[Tensor]:
    """Return the reconstructions as they are meant to be looked at, (B, C, \\*S) each.

    Where a loss knows hidden voxels alone, nothing ties the visible ones down; they are shown as
    the network saw them.
    """
    return [
        image if visible_weight else torch.where(mask, image, result.target)
        for image, mask in zip(result.reconstructions, hidden, strict=True)
    ]


@torch.no_grad()
def strip(
    network: DualMaskedAutoencoder,
    image: Tensor,
    is_hu: Tensor,
    hidden: Sequence[Tensor],
    noise: Tensor | None,
    result: DualReconstruction,
    visible_weight: float,
) -> Tensor:
    """Lay the first image of a batch side by side, its first channel, as float (1, H, n W).

    For two masked views five tiles: original, spatially masked, intensity masked, and the
    reconstructions from the two (see `filled`). Of a volume the middle slice is shown.
    """
    noise = None if noise is None else noise[:1]
    masked = [
        network.masked_channels(image[:1], is_hu[:1], mask[:1], noise)
        for mask in hidden
        if mask.any()
    ]
    tiles = [result.target, *masked, *filled(result, hidden, visible_weight)]
    flat = [tile[0, :1].float().cpu() for tile in tiles]
    if image.ndim == 5:
        flat = [tile[:, tile.shape[1] // 2] for tile in flat]
    return torch.cat(flat, dim=-1)
