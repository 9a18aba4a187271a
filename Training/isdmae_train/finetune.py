"""Fine-tuning: the pre-trained encoder and decoder learn to segment.

Shapes: B batch, C classes, S spatial axes ((H, W) or (D, H, W)).
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from isdmae.compute import MEMORY_FORMAT
from isdmae.errors import InputError
from isdmae.networks.segmenter import Segmenter
from isdmae.preprocess import to_channels
from isdmae.schema import to_plain

from . import loop
from .augment_batch import moved
from .checkpoint import trained_network
from .config.runs import FinetuneConfig
from .cubes import dataset_for
from .data import batches
from .distill import Teachers, soft_cross_entropy
from .distributed import anyone
from .segmentation_losses import segmentation_loss
from .shapes import network_shape
from .tracking import track_run

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
        Where there are no labelled scans, sizes or the start do not fit the network, or the folder
        holds another run.
    Cancelled
        Where SIGINT or SIGTERM stopped it; the checkpoint is written.
    DivergedError
        Where the loss or its gradient is not finite.
    """
    stop = loop.StopRequest()
    device, dtype = loop.start(config.loop)
    network = Segmenter(network_shape(config), classes=len(config.labels) + 1)
    if config.start is not None:
        load_pretrained(network, config.start)
    memory_format = MEMORY_FORMAT[config.spatial_dims]
    network.to(device, memory_format=memory_format)
    criterion = segmentation_loss(config.loss, smooth=config.smooth)
    teachers = Teachers(config, device, dtype)
    dataset = dataset_for(
        config.data,
        config.preprocess,
        spatial_dims=config.spatial_dims,
        seed=config.loop.seed,
        labels=config.labels,
    )
    descent = loop.Descent(network, config.loop, dtype)
    checkpoints, plain = config.out / "checkpoints", to_plain(config)
    defaults, data = to_plain(FinetuneConfig()), dataset.scans.fingerprints
    step = descent.resume(checkpoints, plain, defaults, data)

    with track_run(config.out, config, name="finetune", first=step) as track:
        for batch in batches(dataset, config.loop, first_step=step):
            for part, first in descent.parts(batch, step):
                image, is_hu, labels = moved(
                    part, device, config.data.augment, seed=config.loop.seed, first=first
                )
                if step < config.coarse_steps:
                    image, labels = halved(image, labels)
                channels = to_channels(image, is_hu, config.preprocess)
                channels = channels.contiguous(memory_format=memory_format)
                with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                    logits = descent.model(channels)
                loss = criterion(*known_slices(logits, labels, part.get("known")))
                if teachers and step >= config.coarse_steps:  # they know no coarse slices
                    chances = teachers.probabilities(channels)
                    loss = loss + config.teacher_weight * soft_cross_entropy(logits, chances)
                loop.check_finite(loss, step, part["case"])
                descent.add(loss)
            rate = descent.step(step, batch["case"])
            step += 1
            track.advance()

            last = step == config.loop.steps
            if step % config.loop.log_every == 0 or last:
                track.scalars(step, descent.values() | {"learning_rate": rate})
            if step % (10 * config.loop.log_every) == 0 or step == config.loop.log_every or last:
                track.picture(step, "example", strip(channels, labels, logits))
            stopping = anyone(stop.asked)
            descent.save_when_due(checkpoints, step, plain, now=stopping or last)
            if stopping:
                break
    loop.check_complete(step, config.loop.steps)
    return config.out


def halved(image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return slices and their labels at half the resolution; the kept pixels stay where they are.

    Coarse slices first, then the fine ones, is progressive resizing (Karras et al. 2018, for
    generators; Howard et al. 2018, DAWNBench, for classifiers): what is where is learnt cheaply.

    Parameters
    ----------
    image : Tensor
        float32 (B, N, H, W).
    labels : Tensor
        int64 (B, H, W).

    Returns
    -------
    tuple of Tensor
        (B, N, H / 2, W / 2), every second pixel of a 3 x 3 mean, and (B, H / 2, W / 2), both
        rounded up.
    """
    mean = F.avg_pool2d(image, 3, stride=2, padding=1, count_include_pad=False)
    return mean, labels[..., ::2, ::2]


@torch.no_grad()
def strip(channels: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    r"""Lay the first image of a batch, its truth and its prediction side by side: (1, H, 3 W).

    ``channels`` is (B, C, \*S), ``labels`` int64 (B, \*S), ``logits`` (B, classes, \*S); of a
    volume the middle slice is shown. Classes are shades of grey.
    """
    shades = logits.shape[1] - 1
    tiles = [channels[0, 0], labels[0] / shades, logits[0].argmax(dim=0) / shades]
    flat = [tile.float().cpu() for tile in tiles]
    return torch.cat([t[t.shape[0] // 2] if t.ndim == 3 else t for t in flat], dim=-1)[None]


def known_slices(logits: Tensor, labels: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Leave out the slices of cubes whose labels may not be used.

    Parameters
    ----------
    logits : Tensor
        (B, C, D, H, W), or (B, C, H, W) without ``known``.
    labels : Tensor
        int64 (B, D, H, W).
    known : Tensor, optional
        bool (B, D); without one, or where all is known, nothing changes.

    Returns
    -------
    tuple of Tensor
        Logits and labels of the n known slices, (n, C, H, W) and (n, H, W).
    """
    if known is None or bool(known.all()):
        return logits, labels
    chosen = known.to(labels.device)
    return logits.movedim(2, 1)[chosen], labels[chosen]


def load_pretrained(network: Segmenter, run: Path) -> None:
    """Copy the encoder and decoder of a run or a model; the head stays new.

    Raises
    ------
    InputError
        ``start-differs`` where the two networks differ, naming the first tensor that does.
    """
    weights = trained_network(run)[0]
    own = network.state_dict()
    shared = {name for name in own if not name.startswith("head.")}
    found = {name for name in weights if name.startswith(("encoder.", "decoder."))}
    different = sorted(
        name
        for name in shared | found
        if name not in weights or name not in own or weights[name].shape != own[name].shape
    )
    if different:
        raise InputError(
            "start-differs",
            f"The network in {run} has another shape (see {different[0]}).",
            "Use the same spatial_dims, encoder, size and channels for both.",
        )
    network.load_state_dict({name: weights[name] for name in shared}, strict=False)
    log.info("started from %s (%d tensors)", run, len(shared))
