"""How well the readers of the nodules agree with each other, beside how the model agrees with them.

    python Testing/benchmarks/accuracy/readers.py [--model FOLDER] [--data FOLDER]

The patients are those that the nodule model has not learnt from (scores/nodule.csv). Averages are
made as they are for the model: Dice of all slices of a nodule, mean over the readers or pairs of
readers, over the nodules of a patient, then over patients. The slices are those that at least two
readers marked, the readers of a nodule those who marked it in any of them. The number of a reader
means nothing from one nodule to the next.

"The others" are at least two of the other readers of that nodule: a reader does not take part in
the truth that scores the reader. Nodules with two readers, or where the others have no voxel in
common, have no such truth. There the model and the reader are scored by the same truth.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np

from isdmae.inference import Predictor
from isdmae.volume import Volume
from isdmae_train.crops import consensus
from isdmae_train.metrics import Mask, dice, paired_difference, summarise

HERE = Path(__file__).resolve().parent
CROPS = Path("lidc-nodule-crops/crops.npz")
SET = "lidc-"
"""What the patients' names begin with in the table of scores: the set of pictures."""
log = logging.getLogger(__name__)

MODEL = "model, at least two of all readers"
MODEL_ONE = "model, one reader"
MODEL_OTHERS = "model, at least two of the others"
READER_OTHERS = "one reader, at least two of the others"
READER_READER = "one reader, another reader"


def agreements(readers: np.ndarray, found: Mask) -> dict[str, float]:
    """Return the mean Dice of each kind of agreement on one nodule.

    Parameters
    ----------
    readers : numpy.ndarray
        uint8 (K, H, W), bit j = reader j: all slices of the nodule.
    found : numpy.ndarray
        bool (K, H, W), what the model labels.

    Returns
    -------
    dict
        Without the kinds that this nodule has too few readers for.
    """
    marked = [((readers >> bit) & 1).astype(bool) for bit in range(8)]
    used = [bit for bit in range(8) if marked[bit].any()]
    values: dict[str, list[float]] = defaultdict(list)
    values[MODEL].append(dice(found, consensus(readers)))
    for bit in used:
        values[MODEL_ONE].append(dice(found, marked[bit]))
        others = consensus(readers & ~np.uint8(1 << bit))
        if others.any():
            values[MODEL_OTHERS].append(dice(found, others))
            values[READER_OTHERS].append(dice(marked[bit], others))
    for one, other in combinations(used, 2):
        values[READER_READER].append(dice(marked[one], marked[other]))
    return {kind: float(np.mean(each)) for kind, each in values.items()}


def by_patient(file: Path, patients: set[str], model: str) -> dict[str, dict[str, float]]:
    """Segment the nodules of ``patients``; return for each kind of agreement their mean Dice."""
    with np.load(file, allow_pickle=False) as crops:
        images, readers, names = crops["image"], crops["reader_bits"], crops["id"]
    nodules: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, name in enumerate(names):
        patient, nodule, _ = str(name).split("/")
        if patient in patients:
            nodules[patient, nodule].append(number)
    predictor = Predictor(model, device="cpu")
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (patient, _), numbers in nodules.items():
        pictures = [Volume(array=images[number][None], is_hu=False) for number in numbers]
        found = [predictor.segment(picture).labelmap.array > 0 for picture in pictures]
        for kind, value in agreements(readers[numbers], np.concatenate(found)).items():
            values[kind][patient].append(value)
    return {
        kind: {patient: float(np.mean(each)) for patient, each in of_kind.items()}
        for kind, of_kind in values.items()
    }


def unseen_patients() -> set[str]:
    """Return the patients that the nodule model is scored on."""
    with (HERE / "scores" / "nodule.csv").open(encoding="utf-8", newline="") as file:
        return {row["patient"].removeprefix(SET) for row in csv.DictReader(file)}


def main() -> None:
    """Print one row for each kind of agreement."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = os.environ.get("ISDMAE_DATA", str(HERE.parents[3] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--model", default="nodule")
    options = parser.parse_args()
    values = by_patient(options.data / CROPS, unseen_patients(), options.model)
    log.info("| Dice of | mean over patients | patients |\n|---|---|--:|")
    for kind in (MODEL, MODEL_OTHERS, READER_OTHERS, MODEL_ONE, READER_READER):
        one = summarise(list(values[kind].values()))
        log.info("| %s | %.3f [%.3f, %.3f] | %d |", kind, one.mean, one.low, one.high, one.count)
    for kind, other in ((MODEL_OTHERS, READER_OTHERS), (MODEL_ONE, READER_READER)):
        more = paired_difference(values[kind], values[other])
        log.info("%s, less %s, by patient: %s", kind, other, more)


if __name__ == "__main__":
    main()
