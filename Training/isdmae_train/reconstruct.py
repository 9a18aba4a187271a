"""What a pre-trained autoencoder makes of images: original, masked, reconstructed, side by side.

Slices or cubes are taken unchanged from one scan of a manifest, by preference one that the run has
held out: a network that has seen the scan draws it from memory.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from torch import Tensor

from isdmae.compute import MEMORY_FORMAT
from isdmae.errors import InputError
from isdmae.io import write_image_atomic
from isdmae.preprocess import middle_slice
from isdmae.schema import from_plain

from .checkpoint import trained_network
from .config.data import AugmentConfig
from .config.results import ReconstructConfig
from .config.runs import PretrainConfig
from .cubes import dataset_for
from .data import read_manifest
from .pretrain import build_network, draw_masks, draw_noise, filled

log = logging.getLogger(__name__)

UNCHANGED = AugmentConfig(
    rotation_deg=0.0, scale=(1.0, 1.0), jitter=False, shift=0.0, mirror=0.0, upside_down=0.0,
    slab=1, lesions=0.0, field_of_view=0.0, blur=0.0, noise=0.0, picture=0.0, equalise=0.0,
)  # fmt: skip
TITLE_PX, TILE_PX, GAP_PX = 22, 224, 4
Picture = npt.NDArray[np.uint8]


def reconstruct(config: ReconstructConfig) -> Path:
    """Draw ``config.count`` slices or cubes of one scan, a row each, to ``config.out``.

    A row holds the original, each masked view, and the reconstruction from each: what was hidden,
    filled in (see `isdmae_train.pretrain.filled`); of a cube its middle slice. The channel is the
    first one: the lung window.

    Raises
    ------
    InputError
        ``unknown-scan`` where the manifest does not list it; ``no-checkpoint``, ``bad-recipe``
        where the folder holds no pre-training.
    """
    weights, metadata = trained_network(config.run)
    if "views" not in metadata.get("config", {}):
        raise InputError(
            "bad-recipe", f"{config.run} holds no pre-training.", "Give the folder of one."
        )
    run = from_plain(PretrainConfig, metadata["config"], "checkpoint")
    manifest = config.manifest or run.data.manifest
    listed = [entry.id for entry in read_manifest(manifest)]
    if config.case not in listed:
        raise InputError(
            "unknown-scan",
            f"The manifest does not list {config.case}.",
            f"It lists {', '.join(listed)}.",
        )
    if config.case not in run.data.hold_out and manifest.resolve() == run.data.manifest.resolve():
        log.warning("%s was among the images of this run; hold_out names others", config.case)
    network = build_network(run)
    network.load_state_dict(weights)
    network.eval().to(memory_format=MEMORY_FORMAT[run.spatial_dims])
    others = tuple(name for name in listed if name != config.case)
    data = replace(
        run.data, manifest=manifest, hold_out=others, augment=UNCHANGED, any_slice=0.0,
        low_slice=0.0, parts=(), label_share=1.0,
    )  # fmt: skip
    dataset = dataset_for(data, run.preprocess, spatial_dims=run.spatial_dims, seed=config.seed)
    rows = []
    for index in range(config.count):
        item = dataset[index]
        image = torch.as_tensor(item["image"])[None]
        is_hu = torch.tensor([bool(item["is_hu"])])
        tiles, names = _row(network, image, is_hu, run, config.seed, index)
        rows.append(np.hstack([_tile(tile) for tile in tiles]))
    picture = np.vstack([_titles(names), *rows])
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_image_atomic(config.out, sitk.GetImageFromArray(picture), overwrite=True)
    return config.out


@torch.inference_mode()
def _row(
    network: torch.nn.Module,
    image: Tensor,
    is_hu: Tensor,
    run: PretrainConfig,
    seed: int,
    index: int,
) -> tuple[list[Tensor], list[str]]:
    """Return the first channel (H, W) of each tile, and what it is."""
    alone = middle_slice(image)
    hidden = draw_masks(alone, is_hu, run.masks, seed, index, run.views)
    noise = draw_noise(alone, is_hu, run.masks, seed, index)
    result = network(image, is_hu, hidden, noise)
    masked = [network.masked_channels(image, is_hu, mask, noise) for mask in hidden]
    tiles = [result.target, *masked, *filled(result, hidden, run.visible_weight)]
    names = ["original", *(f"{view}: masked" for view in run.views)]
    names += [f"{view}: reconstructed" for view in run.views]
    flat = [tile[0, 0].float() for tile in tiles]
    return [tile[tile.shape[0] // 2] if tile.ndim == 3 else tile for tile in flat], names


def _tile(tile: Tensor) -> Picture:
    grey = (tile.clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    scale = TILE_PX / max(grey.shape)
    size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
    large = cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR)
    return np.pad(large, GAP_PX // 2, constant_values=255)


def _titles(names: list[str]) -> Picture:
    strips = []
    for name in names:
        strip = np.full((TITLE_PX, TILE_PX + GAP_PX), 255, np.uint8)
        cv2.putText(strip, name, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA)
        strips.append(strip)
    return np.hstack(strips)
