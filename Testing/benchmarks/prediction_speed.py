"""How fast prediction is, against the plain way of doing the same on the same machine.

    make bench    # or: python Testing/benchmarks/prediction_speed.py [--part NAME] [--out FOLDER]

Parts: ``prediction`` of a CT of 512 x 512 x 300 by stage, against eager float32 PyTorch of the same
network over all slices, against the U-Net of lungmask's shape and a sliding window of MONAI's with
random weights; ``process``, the same from the shell, cold, and of 1,000 slices, with peak memory;
``scaling`` in threads and slices, and the share of the processor's limit; ``layers``, why it is no
larger, layer by layer. What is compared runs in turns (`measure`); each part in a process of its
own. ``--device cuda``: ``prediction`` on a GPU.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
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
from layers import timed_layers
from measure import bars, figure_of, interleave, matrix_gflops, median, ratio, write_page
from torch import Tensor, nn

from isdmae.bundle import find_bundle
from isdmae.compute import available_threads
from isdmae.grids import SliceGrid, slice_batch
from isdmae.inference import Predictor
from isdmae.io import to_sitk
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae.postprocess import clean
from isdmae.preprocess import AIR_HU, to_channels
from isdmae.volume import Volume
from isdmae_train.metrics import dice

PARTS = ("prediction", "process", "scaling", "layers")
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


def prediction(device: str = "cpu") -> dict[str, Any]:
    """Warm predictions in turns: ours, the same network the plain way, two others."""
    ct = chest()
    torch.set_num_threads(available_threads())
    predictor = Predictor("lungs", device=device)
    kept: dict[str, Any] = {}

    def ours() -> None:
        kept["ours"] = predictor.segment(ct)

    def eager() -> None:
        kept["eager"] = eager_labels(ct, device)

    works: dict[str, Callable[[], object]] = {"ours": ours, "eager float32": eager}
    seconds = interleave(works, rounds=3)
    result = kept["ours"]
    found = result.labelmap.array
    overlap = {
        label.name: dice(found == label.value, kept["eager"] == label.value)
        for label in result.labels
    }
    other = interleave(
        {"lungmask": lambda: unet_slices(ct, device), **monai_window(device)}, rounds=1
    )
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
def eager_labels(ct: Volume, device: str) -> np.ndarray:
    """Label a scan with the same network as anybody would write it: float32, all slices in turn."""
    bundle = find_bundle("lungs")
    network = bundle.load_network().eval().to(device)
    grid = SliceGrid.of(ct, bundle.info.preprocess, bundle.info.network.stride)
    labels = np.zeros(ct.shape, np.uint8)
    for start in range(0, len(labels), 4):
        part = slice(start, start + 4)
        image = grid.forward(slice_batch(ct, part).to(device), AIR_HU)
        logits = network(to_channels(image, True, bundle.info.preprocess))
        logits = logits[..., : grid.target[0], : grid.target[1]]
        logits = F.interpolate(logits, size=grid.source, mode="bilinear", align_corners=False)
        labels[part] = logits.argmax(dim=1).cpu().numpy()
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
def unet_slices(ct: Volume, device: str) -> None:
    """Label `SAMPLE` slices with that U-Net at 256 x 256, and bring them back."""
    network = PlainUNet().eval().to(device)
    for start in range(0, SAMPLE, 4):
        image = slice_batch(ct, slice(start, start + 4)).to(device)
        labels = network(F.interpolate(image, size=(256, 256)) / 1000).argmax(dim=1)
        F.interpolate(labels[:, None].byte(), size=ct.shape[1:]).cpu()


def monai_window(device: str) -> dict[str, Callable[[], object]]:
    """Return a work of two cubes of MONAI's BasicUNet; nothing where MONAI is not installed."""
    try:
        from monai.networks.nets import BasicUNet
    except ImportError:
        log.info("MONAI is not installed: left out")
        return {}
    network = BasicUNet(3, 1, 3).eval().to(device)
    cube = torch.zeros(1, 1, 96, 96, 96, device=device)

    def work() -> None:
        with torch.inference_mode():
            network(cube)
            network(cube).cpu()

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


@torch.inference_mode()
def layers() -> dict[str, Any]:
    """Time every layer where it stands in the network: two slices, one core."""
    network = Predictor("lungs", device="cpu").network
    torch.set_num_threads(1)
    image = torch.randn(2, 1, 240, 240) * 300 - 500
    channels = to_channels(image, True, network.info.preprocess)
    channels = channels.to(network.dtype, memory_format=torch.channels_last)
    module = network.network
    assert isinstance(module, nn.Module)
    return timed_layers(module, lambda: module(channels), matrix_gflops(network.dtype))


# The page

TARGETS = (
    ("same network, float32, all slices", "prediction", ("times", "eager float32"), ">= 5"),
    ("lungmask's U-Net", "prediction", ("times", "U-Net of lungmask's shape"), ">= 5"),
    ("all stages, s", "prediction", ("seconds", "ours"), "<= 10"),
    ("share outside the network", "prediction", ("outside the network",), "<= 0.25"),
    ("until the first slice, s", "process", ("300 slices", "until the first slice, s"), "<= 2.5"),
    ("1,000 slices, GB", "process", ("1000 slices", "peak memory, GB"), "<= 3"),
    ("share of the matrix limit", "scaling", ("limit", "share"), ">= 0.5"),
)
REMARKS = """
*Share of the matrix limit*: *Layers*, at the end, takes the network apart on one core. *Least* is
what a layer needs at the slower of two limits: its products at the speed of a large matrix product,
in whole tiles of the matrix unit, or the moving of its tensors at the speed of copying. Together
these would allow nine tenths of the matrix limit, so neither is the reason by itself. The decoder's
3x3 layers with 64 and more channels come in at over nine tenths of it. Behind fall, in this order,
the other layers at the two finest levels (nearly two fifths of the time, at a fifth to under a half
of their limits: with at most 32 channels on one side, few products meet each value that is read,
added to, activated and written); what lies between layers (a seventh: joining skips multiplies
nothing); and the 1x1, doubling and 15 x 15 layers, each over in a few tenths of a millisecond. More
channels at the fine levels would use the unit better and still take longer.
"""


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw how long each way takes, and what ours is made of."""
    figure, axes = figure_of(2)
    bars(axes[0], results["prediction"]["seconds"], "A CT of 512 x 512 x 300, warm", "s")
    bars(axes[1], results["prediction"]["stages"], "Ours, by stage", "s")
    figure.savefig(path, dpi=90)


def main() -> None:
    """Measure the parts, each in its own process, and write the page."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", choices=PARTS, action="append", help="this part alone")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, help="folder for JSON, page and plot")
    parser.add_argument("--one", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        work = globals()[options.one]
        found = work(options.device) if options.one == "prediction" else work()
        sys.stdout.write(json.dumps(found))
        return
    results = {}
    for part in options.part or (PARTS if options.device == "cpu" else ("prediction",)):
        command = [sys.executable, __file__, "--one", part, "--device", options.device]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results[part] = json.loads(done.stdout)
        log.info("%s\n%s", part, json.dumps(results[part], indent=2))
    if options.out is not None:
        path = options.out / f"prediction-speed{'' if options.device == 'cpu' else '-cuda'}"
        write_page(path, "Speed of prediction", "make bench", results, TARGETS, REMARKS)
        if "prediction" in results:
            plot(results, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
