"""Fine-tuning: the pre-trained encoder and decoder learn to segment."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch

from isdmae.errors import InputError
from isdmae.networks.segmenter import Segmenter
from isdmae.networks.unet import UNetConfig
from isdmae.preprocess import to_channels
from isdmae.schema import to_plain

from . import loop
from .checkpoint import resume, save_checkpoint, trained_network
from .config import FinetuneConfig
from .data import SliceDataset, batches
from .losses import dice_ce_loss
from .tracking import Tracker

log = logging.getLogger(__name__)


def finetune(config: FinetuneConfig) -> Path:
    """Train the segmenter; continues from the newest checkpoint in ``config.out``.

    Returns
    -------
    Path
        The run's folder, as `isdmae_train.pretrain.pretrain` leaves it.

    Raises
    ------
    InputError
        Where there are no labelled slices, the start does not fit, or the folder holds another run.
    Cancelled
        Where SIGINT or SIGTERM stopped it; the checkpoint is written.
    DivergedError
        Where the loss is not finite.
    """
    stop = loop.StopRequest()
    device, dtype = loop.start(config.loop)
    dataset = SliceDataset(config.data, seed=config.loop.seed, labels=config.labels)
    dataset.check_pixel_size(config.preprocess.in_plane_spacing_mm)
    network = Segmenter(network_config(config), classes=len(config.labels) + 1)
    if config.start is not None:
        load_pretrained(network, config.start)
    network.to(device, memory_format=torch.channels_last)
    optimizer = loop.make_optimizer(network, config.loop)
    plain = to_plain(config)
    step = resume(config.out / "checkpoints", network, optimizer, plain)
    saved = time.monotonic()

    with Tracker(config.out, config, name="finetune", first=step, steps=config.loop.steps) as track:
        for batch in batches(dataset, config.loop, first_step=step):
            image, is_hu = batch["image"].to(device), batch["is_hu"].to(device)
            channels = to_channels(image, is_hu, config.preprocess)
            channels = channels.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = network(channels)
            loss = dice_ce_loss(logits, batch["label"].to(device))
            loop.check_finite(loss, step, batch["case"])
            rate = loop.learning_rate(step, config.loop)
            loop.descend(loss, network, optimizer, rate, config.loop.clip)
            step += 1
            track.advance()

            if step % config.loop.log_every == 0 or step == config.loop.steps:
                track.scalars(step, {"loss": loss.item(), "learning_rate": rate})
            due = time.monotonic() - saved > 60 * config.loop.checkpoint_minutes
            if due or stop.asked or step == config.loop.steps:
                save_checkpoint(config.out / "checkpoints", step, network, optimizer, plain)
                saved = time.monotonic()
            if stop.asked:
                break
    loop.check_complete(step, config.loop.steps)
    return config.out


def network_config(config: FinetuneConfig) -> UNetConfig:
    """Return the shape of the network that ``config`` trains."""
    channels = config.preprocess.channel_count(2)
    return UNetConfig.of_size(config.size, spatial_dims=2, in_channels=channels)


def load_pretrained(network: Segmenter, run: Path) -> None:
    """Copy the encoder and decoder of a pre-training run; the head stays new."""
    weights = {
        name: value
        for name, value in trained_network(run)[0].items()
        if name.startswith(("encoder.", "decoder."))
    }
    try:
        missing, _ = network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise InputError(
            "start-differs",
            f"The pre-trained network in {run} has another shape.",
            "Use the same size and channels for both.",
        ) from error
    if any(not name.startswith("head.") for name in missing):
        raise InputError(
            "start-incomplete", f"{run} lacks some weights.", "Use a pre-training run."
        )
    log.info("started from %s (%d tensors)", run, len(weights))
