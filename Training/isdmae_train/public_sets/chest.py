"""Sets of the chest beyond COVID-19: tumours and organs."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from ..config.prepare import LabelSource, ScanSource
from ..layouts import Sources, find_sources
from .public_set import PublicSet, without_labels

CANCER = "cancer"
LOBES = {
    "left lung": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
    "right lung": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
}
SINGLE = (
    "lung upper lobe left", "lung lower lobe left", "lung upper lobe right",
    "lung middle lobe right", "lung lower lobe right", "trachea", "heart", "aorta", "esophagus",
    "pulmonary vein", "superior vena cava",
)  # fmt: skip


def _find_decathlon(one: PublicSet, folder: Path, labels: tuple[str, ...]) -> Sources:
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if (place / "dataset.json").is_file():
            found = find_sources(place)
            wanted = [scan for scan in found.scans if scan.label is None or labels]
            scans = tuple(
                replace(scan, id=f"msd-{scan.id}", patient=f"msd-{scan.patient}",
                        licence=one.licence)
                for scan in wanted
            )  # fmt: skip
            return Sources(one.name, scans, problems=found.problems)
    return Sources(one.name)


def _find_totalsegmentator(one: PublicSet, folder: Path, labels: tuple[str, ...]) -> Sources:
    splits = _splits(folder)
    scans, problems = [], []
    for image in sorted(folder.rglob("ct.nii.gz")):
        subject, parts = image.parent.name, image.parent / "segmentations"
        name = f"totalsegmentator-{subject}"
        masks = {
            label: tuple(
                parts / f"{part}.nii.gz"
                for part in LOBES.get(label, (label.replace(" ", "_"),))
            )
            for label in labels
        }  # fmt: skip
        there = parts.is_dir()
        if not there:
            problems.append(without_labels(name, "folder segmentations", image))
        scans.append(
            ScanSource(
                id=name,
                patient=name,
                image=image,
                licence=one.licence,
                label=LabelSource(masks=masks, complete=True, or_not_used=True) if there else None,
                split=splits.get(subject, ""),
            )
        )
    return Sources(one.name, tuple(scans), problems=tuple(problems))


def _splits(folder: Path) -> dict[str, str]:
    """Return the part that ``meta.csv`` puts each subject into; the file has semicolons."""
    splits: dict[str, str] = {}
    for path in sorted(folder.rglob("meta.csv"))[:1]:
        text = path.read_text(encoding="utf-8-sig")
        mark = ";" if ";" in text.partition("\n")[0] else ","
        for row in csv.DictReader(text.splitlines(), delimiter=mark):
            splits[row.get("image_id") or ""] = row.get("split") or ""
    return splits


SETS = (
    PublicSet(
        name="msd-lung",
        title="Medical Segmentation Decathlon, Task06 Lung",
        holds="63 CTs with a tumour outlined, 32 more without labels.",
        licence="CC BY-SA 4.0",
        where="medicaldecathlon.com (Task06_Lung.tar)",
        citation="Antonelli M. et al., Nat Commun 13:4128, 2022",
        layout="dataset.json, imagesTr/ and labelsTr/, or the folder Task06_Lung with them",
        traps=(
            "Only the tumour is outlined, and its quality is questioned; nodules beside it count "
            "as background.",
            "The archive holds hidden copies of each file (._lung_001.nii.gz), which are no "
            "images.",
            "Whole CTs with small tumours: nearly all slices are free of label.",
        ),
        labels=(CANCER,),
        usual=(CANCER,),
        find=_find_decathlon,
    ),
    PublicSet(
        name="totalsegmentator",
        title="TotalSegmentator dataset, version 2",
        holds="1,228 CTs of all parts of the body at 1.5 mm, 117 structures.",
        licence="CC BY 4.0",
        where="doi:10.5281/zenodo.10047292",
        citation="Wasserthal J. et al., Radiol Artif Intell 5:e230024, 2023",
        layout="s0000/ct.nii.gz, s0000/segmentations/*.nii.gz for each subject, and meta.csv",
        traps=(
            "Many CTs show no chest: their masks exist and are empty. Such a scan is not used, "
            "which is no error.",
            "Each structure has a file of its own; a lung is the union of its lobes.",
            "meta.csv gives train, val and test; the manifest keeps them.",
            "Most labels are a model's, corrected by hand: they look smoother than a reader's.",
        ),
        labels=(*LOBES, *SINGLE),
        usual=tuple(LOBES),
        find=_find_totalsegmentator,
    ),
)
