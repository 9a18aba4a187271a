"""How the lung model stands what scanners, protocols and bodies change: inference only.

    python Testing/benchmarks/accuracy/robustness.py --manifest runs/lungs/cache/manifest.jsonl \
        --write Resources/docs/results/robustness.md

The manifest is that of `isdmae-train prepare --recipe Training/recipes/lungs-prepare.yaml`. Scans
are taken from the cache, with pixels of 1.5 mm, where noise is harsher than in the scanner's own
pixels, which average out. Under ten minutes of one core.
"""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from isdmae.atomic import write_text_atomic
from isdmae.errors import InputError
from isdmae.inference import Predictor
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae.preview import write_preview
from isdmae.volume import Array, Volume
from isdmae_train.cache import open_array
from isdmae_train.data import read_manifest
from isdmae_train.metrics import dice

SCANS = ("LIDC-IDRI-0001", "LIDC-IDRI-0003", "cip-ct64")
SEEDS = (77, 102)
"""Of synthetic chests; training takes 1000, 1001, ..."""
SOFT_TISSUE_HU = (-30, 150)
SLICE_MM = 0.6
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Chest:
    """A CT in HU, and labelmaps on its grid: 1 = left lung, 2 = right lung."""

    ct: Volume
    maps: Mapping[str, Array]
    """uint8 (k, j, i) each: "truth", and "unchanged", what the model finds in the CT as it is."""


Change = Callable[[Chest], Chest]


def noise(sigma_hu: float) -> Change:
    """Add independent Gaussian noise of ``sigma_hu`` to every voxel."""

    def change(chest: Chest) -> Chest:
        grain = np.random.default_rng(0).normal(0.0, sigma_hu, chest.ct.shape)
        noisy = np.clip(chest.ct.array + grain, -1024, 3071).round().astype(np.int16)
        return replace(chest, ct=chest.ct.with_array(noisy))

    return change


def every(step: int) -> Change:
    """Keep every ``step``-th slice; the distance of the slices grows as much."""

    def change(chest: Chest) -> Chest:
        i, j, k = chest.ct.spacing_mm
        kept = replace(chest.ct, array=chest.ct.array[::step], spacing_mm=(i, j, k * step))
        return Chest(ct=kept, maps={name: one[::step] for name, one in chest.maps.items()})

    return change


def thin_slices(chest: Chest) -> Chest:
    """Resample the middle third to slices of `SLICE_MM`: linear, labels by the nearest slice."""
    i, j, k = chest.ct.spacing_mm
    count = len(chest.ct.array)
    places = np.arange(count // 3, 2 * count // 3, SLICE_MM / k)
    low = np.floor(places).astype(int)
    high, part = np.minimum(low + 1, count - 1), (places - low)[:, None, None].astype(np.float32)
    hu = chest.ct.array[low] * (1 - part) + chest.ct.array[high] * part
    thin = replace(chest.ct, array=hu.round().astype(np.int16), spacing_mm=(i, j, SLICE_MM))
    nearest = np.minimum(places.round().astype(int), count - 1)
    return Chest(ct=thin, maps={name: one[nearest] for name, one in chest.maps.items()})


def field_of_view(share: float) -> Change:
    """Keep the middle ``share`` of rows and columns: the sides of the chest are cut off."""

    def change(chest: Chest) -> Chest:
        edges = [round(length * (1 - share) / 2) for length in chest.ct.shape[1:]]
        rows, columns = (slice(edge, -edge) for edge in edges)
        box = (slice(0, len(chest.ct.array)), rows, columns)
        ct = replace(chest.ct, array=np.ascontiguousarray(chest.ct.array[box]))
        return Chest(ct=ct, maps={name: one[box] for name, one in chest.maps.items()})

    return change


def contrast(more_hu: int) -> Change:
    """Make soft tissue and vessels ``more_hu`` denser, as contrast agent does, only everywhere."""

    def change(chest: Chest) -> Chest:
        hu = chest.ct.array
        soft = (hu >= SOFT_TISSUE_HU[0]) & (hu <= SOFT_TISSUE_HU[1])
        return replace(chest, ct=chest.ct.with_array(np.where(soft, hu + more_hu, hu)))

    return change


def size(factor: float) -> Change:
    """Make the whole chest ``factor`` times as large: the same voxels at another spacing."""

    def change(chest: Chest) -> Chest:
        i, j, k = (factor * step for step in chest.ct.spacing_mm)
        return replace(chest, ct=replace(chest.ct, spacing_mm=(i, j, k)))

    return change


CHANGES: dict[str, Change] = {
    "none": lambda chest: chest,
    "noise, sigma 30 HU": noise(30),
    "noise, sigma 60 HU": noise(60),
    "noise, sigma 120 HU": noise(120),
    "every 2nd slice": every(2),
    "every 4th slice": every(4),
    "slices of 0.6 mm (the middle third)": thin_slices,
    "field of view cropped to 70 %": field_of_view(0.7),
    "soft tissue +150 HU": contrast(150),
    "size x 0.35 (a newborn's)": size(0.35),
    "size x 0.45 (an infant's)": size(0.45),
    "size x 0.7 (a child's)": size(0.7),
    "size x 1.25 (a large chest)": size(1.25),
}


def mean_dice(found: Array, truth: Array) -> float:
    """Return the mean Dice of left and right lung: a side that is lost or swapped counts 0."""
    return float(np.mean([dice(found == side, truth == side) for side in (1, 2)]))


def scan(manifest: Path, name: str) -> Chest:
    """Return a scan of the cache with its truth."""
    (entry,) = [one for one in read_manifest(manifest) if one.id == name]
    if entry.label is None or entry.in_plane_spacing_mm is None:
        raise SystemExit(f"{name} has no labels or no pixel size; prepare it again.")
    folder, pixel = manifest.parent, entry.in_plane_spacing_mm
    hu, truth = (np.asarray(open_array(folder / one)) for one in (entry.image, entry.label))
    ct = Volume(array=hu, spacing_mm=(pixel, pixel, entry.spacing_mm[2]))
    return Chest(ct=ct, maps={"truth": truth})


def synthetic(seed: int) -> Chest:
    """Return a synthetic chest with its truth."""
    phantom = make_phantom(PhantomConfig(seed=seed))
    return Chest(ct=phantom.ct, maps={"truth": phantom.lungs.array})


def measure(chest: Chest, predictor: Predictor, pictures: Path | None) -> dict[str, str]:
    """Return for each change Dice against the truth, and against the result without the change."""
    unchanged = predictor.segment(chest.ct).labelmap.array
    chest = replace(chest, maps={**chest.maps, "unchanged": unchanged})
    cells = {}
    for name, change in CHANGES.items():
        changed = change(chest)
        try:
            result = predictor.segment(changed.ct)
        except InputError as error:
            cells[name] = f"refused ({error.code})"
        else:
            found = result.labelmap.array
            scores = [mean_dice(found, changed.maps[one]) for one in ("truth", "unchanged")]
            cells[name] = ", ".join(f"{score:.3f}" for score in scores)
            if pictures is not None:
                path = pictures / f"{re.sub(r'[^a-z0-9.]+', '-', name)}.png"
                write_preview(path, changed.ct, result.labelmap, result.labels, overwrite=True)
        log.info("%s: %s", name, cells[name])
    return cells


PAGE = """\
# What the lung model stands

The same chests, changed as scanners, protocols and bodies differ. In each cell the Dice against
the truth, then against what the model finds in the chest without the change: mean of left and right
lung, so that a side that is lost or swapped shows.

**These CTs were trained on** (the seeds of the synthetic chests were not): the first row says
nothing on unseen people, and the others only what a change does. The truth of the LIDC scans is
made by a classical method. Noise is added to pixels of 1.5 mm (synthetic: 1.6 mm), where it is
harsher than in a scanner's own pixels. The spacing of the whole chest is scaled for the sizes: the
body of an adult, small, and no child's anatomy. A body of less than 300 cm² is seen enlarged to
that (`isdmae/body.py`); with `smallest_body_cm2` 0 in the model.json newborns' sizes have 0.00 to
0.27, infants' 0.52 to 0.97.

    python Testing/benchmarks/accuracy/robustness.py --write FILE

"""


def table(cells: Mapping[str, Mapping[str, str]]) -> str:
    """Lay out the cells, a column a chest."""
    lines = [f"| change | {' | '.join(cells)} |", "|---" * (len(cells) + 1) + "|"]
    lines += [
        f"| {change} | {' | '.join(column[change] for column in cells.values())} |"
        for change in CHANGES
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the page."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="lungs")
    parser.add_argument("--manifest", type=Path, default=Path("runs/lungs/cache/manifest.jsonl"))
    parser.add_argument("--write", type=Path, help="the page, .md")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each result")
    options = parser.parse_args()
    predictor = Predictor(options.model, device="cpu")
    cells = {}
    for name in (*SCANS, *SEEDS):
        column = name if isinstance(name, str) else f"synthetic, seed {name}"
        log.info("# %s", column)
        chest = scan(options.manifest, name) if isinstance(name, str) else synthetic(name)
        pictures = options.pictures and options.pictures / column.replace(" ", "-")
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)
        cells[column] = measure(chest, predictor, pictures)
    if options.write:
        write_text_atomic(options.write, PAGE + table(cells), overwrite=True)
    log.info("\n%s", table(cells))


if __name__ == "__main__":
    main()
