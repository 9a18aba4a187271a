"""How fast it is, against the plain way of doing the same on the same machine.

    make bench        # or: python Testing/benchmarks/speed.py [--part NAME] [--out FOLDER]

Parts: ``prediction`` of a CT of 512 x 512 x 300 by stage, against eager float32 PyTorch of the same
network over all slices, against the U-Net of lungmask's shape and a sliding window of MONAI's with
random weights; ``process``, the same from the shell, cold, and of 1,000 slices, with peak memory;
``training``, a step of pre-training against a plain re-creation of the authors' step (METHOD: two
forwards, dense SSIM window, masks by Python loops, float32) on the same network; ``pieces``, SSIM
and masks by themselves; ``scaling`` in threads, slices and batch, and the share of the processor's
limit. What is compared runs in turns (`measure`); each part in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from measure import interleave, machine, matrix_gflops, median, ratio
from torch import Tensor, nn

from isdmae.bundle import find_bundle
from isdmae.compute import available_threads
from isdmae.grids import SliceGrid, slice_batch
from isdmae.inference import Predictor
from isdmae.io import to_sitk
from isdmae.masking import equal_bins, intensity_mask, spatial_mask
from isdmae.networks.dual_mae import DualMAEConfig, DualMaskedAutoencoder
from isdmae.networks.unet import UNetConfig
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae.postprocess import clean
from isdmae.preprocess import AIR_HU, PreprocessConfig, to_channels
from isdmae.volume import Volume
from isdmae_train.losses import (
    gaussian_window,
    hidden_l1_loss,
    hidden_ssim_loss,
    info_nce,
    ssim_map,
)
from isdmae_train.memory import keep_freed_memory
from isdmae_train.metrics import dice

PARTS = ("prediction", "process", "training", "pieces", "scaling")
SLICES = 300
SAMPLE = 12
"""Slices, or cubes, of the slow networks; their time is scaled to the whole scan."""
log = logging.getLogger("speed")


def chest(slices: int = SLICES) -> Volume:
    """Return a synthetic chest of 512 x 512 voxels a slice, about 300 mm long."""
    config = PhantomConfig(shape=(60, 512, 512), spacing_mm=(0.7, 0.7, 5.0))
    thick = make_phantom(config).ct
    array = np.repeat(thick.array, -(-slices // 60), axis=0)[:slices]
    noise = np.random.default_rng(0).integers(-20, 20, array.shape, np.int16)
    return Volume(array=array + noise, spacing_mm=(0.7, 0.7, 300.0 / slices))


# Prediction


def prediction() -> dict[str, Any]:
    """Warm predictions in turns: ours, the same network the plain way, two others."""
    ct = chest()
    torch.set_num_threads(available_threads())
    predictor = Predictor("lungs", device="cpu")
    kept: dict[str, Any] = {}

    def ours() -> None:
        kept["ours"] = predictor.segment(ct)

    def eager() -> None:
        kept["eager"] = eager_labels(ct)

    works: dict[str, Callable[[], object]] = {"ours": ours, "eager float32": eager}
    seconds = interleave(works, rounds=3)
    result = kept["ours"]
    found = result.labelmap.array
    overlap = {
        label.name: dice(found == label.value, kept["eager"] == label.value)
        for label in result.labels
    }
    other = interleave({"lungmask": lambda: unet_slices(ct), **monai_window(ct)}, rounds=1)
    scaled = {
        "U-Net of lungmask's shape": median(other, "lungmask") * SLICES / SAMPLE,
    }
    if "monai" in other:
        scaled["MONAI sliding window, BasicUNet 3D"] = median(other, "monai") * monai_cubes(ct) / 2
    total = median(seconds, "ours")
    return {
        "seconds": {"ours": total, "eager float32": median(seconds, "eager float32"), **scaled},
        "times": {
            "eager float32": ratio(seconds, "eager float32", "ours"),
            **{name: value / total for name, value in scaled.items()},
        },
        "stages": dict(result.seconds),
        "outside the network": 1 - result.seconds["network"] / sum(result.seconds.values()),
        "Dice against eager float32": overlap,
        "precision": result.precision,
    }


@torch.inference_mode()
def eager_labels(ct: Volume) -> np.ndarray:
    """Label a scan with the same network as anybody would write it: float32, all slices in turn."""
    bundle = find_bundle("lungs")
    network = bundle.load_network().eval()
    grid = SliceGrid.of(ct, bundle.info.preprocess, bundle.info.network.stride)
    labels = np.zeros(ct.shape, np.uint8)
    for start in range(0, len(labels), 4):
        part = slice(start, start + 4)
        image = grid.forward(slice_batch(ct, part), AIR_HU)
        logits = network(to_channels(image, True, bundle.info.preprocess))
        logits = logits[..., : grid.target[0], : grid.target[1]]
        logits = F.interpolate(logits, size=grid.source, mode="bilinear", align_corners=False)
        labels[part] = logits.argmax(dim=1).numpy()
    return clean(ct.with_array(labels), bundle.info.postprocess)[0].array


def double_convolution(before: int, after: int) -> nn.Sequential:
    """Return two convolutions of 3 x 3, each with ReLU and batch norm."""
    layers: list[nn.Module] = []
    for width in (before, after):
        layers += [nn.Conv2d(width, after, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(after)]
    return nn.Sequential(*layers)


class PlainUNet(nn.Module):
    """The shape of lungmask's U-Net (Hofmanninger et al. 2020): 5 levels, 64 to 1,024 channels."""

    def __init__(self) -> None:
        super().__init__()
        widths = [64, 128, 256, 512, 1024]
        self.down = nn.ModuleList(map(double_convolution, [1, *widths[:-1]], widths))
        self.widen = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[-2::-1]
        )
        self.up = nn.ModuleList(double_convolution(2 * width, width) for width in widths[-2::-1])
        self.head = nn.Conv2d(64, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for widen, block, skip in zip(self.widen, self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([widen(x), skip], dim=1))
        result: Tensor = self.head(x)
        return result


@torch.inference_mode()
def unet_slices(ct: Volume) -> None:
    """Label `SAMPLE` slices with that U-Net at 256 x 256, and bring them back."""
    network = PlainUNet().eval()
    for start in range(0, SAMPLE, 4):
        image = F.interpolate(slice_batch(ct, slice(start, start + 4)), size=(256, 256)) / 1000
        F.interpolate(network(image).argmax(dim=1)[:, None].byte(), size=ct.shape[1:])


def monai_window(ct: Volume) -> dict[str, Callable[[], object]]:
    """Return a work of two cubes of MONAI's BasicUNet; nothing where MONAI is not installed."""
    try:
        from monai.networks.nets import BasicUNet
    except ImportError:
        log.info("MONAI is not installed: left out")
        return {}
    network = BasicUNet(3, 1, 3).eval()
    cube = torch.zeros(1, 1, 96, 96, 96)

    def work() -> None:
        with torch.inference_mode():
            network(cube)
            network(cube)

    return {"monai": work}


def monai_cubes(ct: Volume) -> int:
    """Return how many cubes of 96 voxels of 1.5 mm, half overlapping, cover the scan."""
    sizes = [n * mm / 1.5 for n, mm in zip(ct.shape[::-1], ct.spacing_mm, strict=True)]
    count = 1
    for size in sizes:
        count *= max(1, -(-(int(size) - 96) // 48) + 1)
    return count


# From the shell


def process() -> dict[str, Any]:
    """Cold commands: until the first slice, in all, peak memory; 300 and 1,000 slices."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for slices in (SLICES, 1000):
            path = Path(name) / f"{slices}.nrrd"
            sitk.WriteImage(to_sitk(chest(slices)), str(path), useCompression=False)
            runs = [cold(path, Path(name)) for _ in range(3 if slices == SLICES else 1)]
            found[f"{slices} slices"] = {
                key: statistics.median(run[key] for run in runs) for key in runs[0]
            }
    return found


def cold(path: Path, folder: Path) -> dict[str, float]:
    """Predict in a new process; seconds until the first slice is computed, in all, and GB."""
    command = [
        sys.executable, "-m", "isdmae", "predict", str(path), "-o", str(folder / "out.nrrd"),
        "--overwrite", "--progress", "json",
    ]  # fmt: skip
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    first = 0.0
    for line in child.stdout:
        if not first and json.loads(line).get("stage") == "segment":
            first = time.perf_counter() - start
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise RuntimeError(f"predict ended with {status}")
    return {
        "until the first slice, s": first,
        "in all, s": time.perf_counter() - start,
        "peak memory, GB": usage.ru_maxrss / 1e6,
    }


# Training

BATCH, EDGE = 16, 256
STEPS = ("ours", "ours, plain memory", "authors'")


def training() -> dict[str, Any]:
    """Steps in child processes in turns: ours, ours without the memory settings, the authors'."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in STEPS}
    for _ in range(2):
        for name, runs in found.items():
            command = [sys.executable, __file__, "--step", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            runs.append(json.loads(done.stdout))
    seconds = {name: [run["seconds"] for run in runs] for name, runs in found.items()}
    return {
        "seconds a step": {name: median(seconds, name) for name in seconds},
        "peak memory, GB": {
            name: max(run["memory"] for run in runs) for name, runs in found.items()
        },
        "times": {name: ratio(seconds, name, "ours") for name in seconds},
    }


def time_steps(kind: str, steps: int = 4) -> dict[str, float]:
    """Time steps of pre-training (2D, size S, batch 16 of 256 x 256) after one to warm up."""
    torch.manual_seed(0)
    torch.set_num_threads(available_threads())
    preprocess = PreprocessConfig()
    shape = UNetConfig.of_size("S", spatial_dims=2, in_channels=preprocess.channel_count(2))
    network = DualMaskedAutoencoder(shape, preprocess, DualMAEConfig())
    if kind == STEPS[0]:
        keep_freed_memory()
    if kind != STEPS[2]:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    image = torch.randn(BATCH, 1, EDGE, EDGE) * 300 - 500
    step = authors_step if kind == STEPS[2] else our_step
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        loss = step(network, image)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"seconds": statistics.median(times[1:]), "memory": peak}


def our_step(network: DualMaskedAutoencoder, image: Tensor) -> Tensor:
    """Return the loss of the recipe `isd-mae`: both views in one pass, bfloat16."""
    is_hu = torch.ones(len(image), dtype=torch.bool)
    chance = torch.Generator().manual_seed(0)
    hidden = (
        spatial_mask(len(image), (EDGE, EDGE), patch_size=16, ratio=0.6, generator=chance),
        intensity_mask(image, edges=equal_bins(-1000, 400, 8), ratio=0.5, generator=chance),
    )
    with torch.autocast("cpu", torch.bfloat16):
        result = network(image, is_hu, hidden)
    losses = [
        hidden_ssim_loss(view, result.target, mask) + hidden_l1_loss(view, result.target, mask)
        for view, mask in zip(result.reconstructions, hidden, strict=True)
    ]
    first, second = result.embeddings[0]
    assert result.scale is not None
    return losses[0] + losses[1] + 0.05 * info_nce(first, second, result.scale)


def authors_step(network: DualMaskedAutoencoder, image: Tensor) -> Tensor:
    """Return the loss of a step as it is described: loops, two forwards, a dense window."""
    is_hu = torch.ones(len(image), dtype=torch.bool)
    target = to_channels(image, is_hu, network.preprocess)
    pooled, loss = [], torch.zeros(())
    for mask in (loop_patches(image), loop_bins(image)):
        features = network.encoder(target.masked_fill(mask, 0.0))
        view = network.head(network.decoder(features))
        loss = loss + 1 - dense_ssim(view, target).mean()
        pooled.append(F.normalize(network.projections[0](features[-1].amax(dim=(2, 3))), dim=1))
    scale = network.scale()
    assert scale is not None
    return loss + info_nce(pooled[0], pooled[1], scale)


def loop_patches(image: Tensor, patch: int = 16, ratio: float = 0.5) -> Tensor:
    """Hide patches one after the other."""
    mask = torch.zeros(image.shape, dtype=torch.bool)
    for sample in range(len(image)):
        for top in range(0, image.shape[2], patch):
            for left in range(0, image.shape[3], patch):
                if torch.rand(()) < ratio:
                    mask[sample, :, top : top + patch, left : left + patch] = True
    return mask


def loop_bins(image: Tensor, bins: int = 8, ratio: float = 0.5) -> Tensor:
    """Hide bins of intensity one after the other."""
    edges = torch.linspace(-1000, 400, bins + 1)
    mask = torch.zeros(image.shape, dtype=torch.bool)
    for sample in range(len(image)):
        for number in torch.randint(0, bins, (int(ratio * bins),)).tolist():
            low, high = edges[number], edges[number + 1]
            mask[sample] |= (image[sample] >= low) & (image[sample] < high)
    return mask


def dense_ssim(x: Tensor, y: Tensor, window: int = 15, sigma: float = 1.5) -> Tensor:
    """Structural similarity by a dense window, built anew at each call."""
    weights = gaussian_window(window, sigma)
    kernel = weights[:, None] * weights[None]
    dims = x.ndim - 2
    if dims == 3:
        kernel = weights[:, None, None] * kernel
    kernel = kernel.expand(x.shape[1], 1, *kernel.shape).contiguous()
    convolve = F.conv2d if dims == 2 else F.conv3d

    def blur(values: Tensor) -> Tensor:
        return convolve(values, kernel, groups=x.shape[1])

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    both = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mean_x * mean_y + c1) * (2 * both + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )


# Pieces


def pieces() -> dict[str, Any]:
    """SSIM in 2D and 3D forward and backward, and masks, against the plain way."""
    torch.manual_seed(0)
    torch.set_num_threads(available_threads())
    flat = [torch.rand(BATCH, 3, EDGE, EDGE) for _ in range(2)]
    deep = [torch.rand(1, 1, 96, 96, 96) for _ in range(2)]
    image = torch.randn(BATCH, 1, EDGE, EDGE) * 300 - 500
    chance = torch.Generator().manual_seed(0)

    def descend(similarity: Callable[[Tensor, Tensor], Tensor], pair: list[Tensor]) -> float:
        x = pair[0].clone().requires_grad_()
        loss = 1 - similarity(x, pair[1]).mean()
        loss.backward()
        return loss.item()

    def vectorised() -> None:
        spatial_mask(BATCH, (EDGE, EDGE), patch_size=16, ratio=0.5, generator=chance)
        intensity_mask(image, edges=equal_bins(-1000, 400, 8), ratio=0.5, generator=chance)

    def loops() -> None:
        loop_patches(image)
        loop_bins(image)

    comparisons: dict[str, tuple[Callable[[], object], Callable[[], object], str]] = {
        "SSIM 2D, forward and backward": (
            lambda: descend(lambda x, y: ssim_map(x, y, window=15), flat),
            lambda: descend(dense_ssim, flat),
            "dense window of 15 x 15",
        ),
        "SSIM 3D, forward and backward": (
            lambda: descend(ssim_map, deep),
            *_dense_3d(descend, deep),
        ),
        "masks of a batch": (vectorised, loops, "Python loops"),
    }
    found = {}
    for name, (ours, plain, against) in comparisons.items():
        seconds = interleave({"ours": ours, "plain": plain}, rounds=3)
        found[name] = {
            "against": against,
            "ours, s": median(seconds, "ours"),
            "plain, s": median(seconds, "plain"),
            "times": ratio(seconds, "plain", "ours"),
        }
    return found


def _dense_3d(
    descend: Callable[..., float], deep: list[Tensor]
) -> tuple[Callable[[], object], str]:
    try:
        from monai.losses import SSIMLoss
    except ImportError:
        return (
            lambda: descend(lambda x, y: dense_ssim(x, y, window=11), deep)
        ), "dense window of 11 x 11 x 11"
    criterion = SSIMLoss(spatial_dims=3)
    return (lambda: descend(lambda x, y: 1 - criterion(x, y), deep)), "MONAI's SSIMLoss"


# Scaling


def scaling() -> dict[str, Any]:
    """Prediction with 1 and all cores, of fewer slices; the share of the processor's limit."""
    ct = chest()
    found: dict[str, Any] = {"slices": {}, "cores": {}}
    predictor = Predictor("lungs", device="cpu")
    cores = sorted(os.sched_getaffinity(0))
    for count in (75, 150, 300):
        part = Volume(array=ct.array[-count:], spacing_mm=ct.spacing_mm)
        found["slices"][count] = median(
            interleave({"ours": lambda part=part: predictor.segment(part)}, rounds=2), "ours"
        )
    for count in sorted({1, len(cores)}):
        os.sched_setaffinity(0, set(cores[:count]))
        found["cores"][count] = median(
            interleave({"ours": lambda: predictor.segment(ct)}, rounds=2), "ours"
        )
    os.sched_setaffinity(0, set(cores))
    torch.set_num_threads(len(cores))
    found["limit"] = limit(predictor)
    return found


@torch.inference_mode()
def limit(predictor: Predictor) -> dict[str, float]:
    """Compare what the network reaches on one core with one core's matrix product."""
    from torch.utils.flop_counter import FlopCounterMode

    network = predictor.network
    image = torch.randn(2, 1, 240, 240) * 300 - 500
    plain = predictor.bundle.load_network().eval()
    channels = to_channels(image, True, predictor.bundle.info.preprocess)
    with FlopCounterMode(display=False) as counter:
        plain(channels)
    torch.set_num_threads(1)
    products = matrix_gflops(network.dtype)
    seconds = min(
        interleave({"ours": lambda: network.scores(image, is_hu=True)}, rounds=20)["ours"]
    )
    reached = counter.get_total_flops() / seconds / 1e9
    return {
        "GFLOP a slice": counter.get_total_flops() / 2e9,
        "matrix product, GFLOP/s of a core": products,
        "network, GFLOP/s of a core": reached,
        "share": reached / products,
    }


# The page


def page(results: dict[str, Any], hardware: str) -> str:
    """Return all results as tables."""
    lines = [
        "# Speed",
        "",
        f"Command: `make bench`. {hardware}. Medians of runs in turns; what each is measured",
        "against is said in [speed.py](../../../Testing/benchmarks/speed.py).",
    ]
    for part, content in results.items():
        lines += ["", f"## {part.capitalize()}", "", "| what | value |", "|---|--:|"]
        lines += [f"| {name} | {value} |" for name, value in _flat(content)]
    return "\n".join(lines) + "\n"


def _flat(content: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in content.items():
        label = f"{before}{name}"
        if isinstance(value, dict):
            rows += _flat(value, f"{label}: ")
        else:
            rows.append((label, f"{value:.3g}" if isinstance(value, float) else str(value)))
    return rows


def main() -> None:
    """Measure the parts, each in its own process, and write the page."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", choices=PARTS, action="append", help="this part alone")
    parser.add_argument("--out", type=Path, help="folder for speed.json and speed.md")
    parser.add_argument("--one", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        sys.stdout.write(json.dumps(time_steps(options.step)))
        return
    if options.one:
        sys.stdout.write(json.dumps(globals()[options.one]()))
        return
    results = {}
    for part in options.part or PARTS:
        done = subprocess.run(
            [sys.executable, __file__, "--one", part], check=True, stdout=subprocess.PIPE, text=True
        )
        results[part] = json.loads(done.stdout)
        log.info("%s\n%s", part, json.dumps(results[part], indent=2))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        content = {"machine": machine(), **results}
        (options.out / "speed.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")
        (options.out / "speed.md").write_text(page(results, machine()), "utf-8")


if __name__ == "__main__":
    main()
