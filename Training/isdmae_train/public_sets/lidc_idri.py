"""LIDC-IDRI: CTs with the outlines of four readers, and crops round its nodules."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from isdmae.labels import LUNGS

from ..config.prepare import LabelSource, PictureSet, ScanSource
from ..layouts import Sources
from ..lidc import is_lidc
from ..problems import READING, Problem, problem_of
from .public_set import PublicSet

NODULE = "nodule"
_PATIENT = re.compile(r"LIDC-IDRI-\d{4}")


def _find_lidc(one: PublicSet, folder: Path, labels: tuple[str, ...]) -> Sources:
    scans: list[ScanSource] = []
    problems: list[Problem] = []
    count: Counter[str] = Counter()
    for xml in sorted(folder.rglob("*.xml")):
        try:
            if xml.name[0] == "." or not is_lidc(xml):
                continue
        except READING as error:
            problems.append(problem_of(error, xml.parent.name, xml))
            continue
        match = _PATIENT.search(str(xml.resolve()))
        patient = match[0] if match else xml.parent.name
        count[patient] += 1
        label = LabelSource()
        if NODULE in labels:
            label = LabelSource(path=xml, values={NODULE: (1,)}, or_not_used=True)
        scans.append(
            ScanSource(
                id=patient if count[patient] == 1 else f"{patient}-{count[patient]}",
                patient=patient,
                image=xml.parent,
                licence=one.licence,
                label=label,
            )
        )
    return Sources(one.name, tuple(scans), problems=tuple(problems))


def _find_crops(one: PublicSet, folder: Path, labels: tuple[str, ...]) -> Sources:
    files = sorted(path for path in folder.rglob("*.npz") if "crops" in path.name)
    return Sources(
        one.name,
        pictures=tuple(
            PictureSet(id="lidc", images=path, licence=one.licence, patients="named")
            for path in files[:1]
            if labels
        ),
    )


_CITATION = "Armato S. et al., Med Phys 38:915, 2011; doi:10.7937/K9/TCIA.2015.LO9QL9SX"

SETS = (
    PublicSet(
        name="lidc-idri",
        title="Lung Image Database Consortium (LIDC-IDRI)",
        holds="1,018 CTs of 1,010 patients, nodules outlined by up to four readers.",
        licence="CC BY 3.0",
        where="The Cancer Imaging Archive, doi:10.7937/K9/TCIA.2015.LO9QL9SX, with its XML files",
        citation=_CITATION,
        layout="the DICOM series, each with the XML of its readings in the same folder",
        traps=(
            "Truth is what at least two readers hold for a nodule of 3 mm or more. A scan without "
            "any is not used for nodules: one reader may have seen one.",
            "An outline runs outside of the nodule and is no part of it; outlines that exclude are "
            "holes; marks of a single point (under 3 mm) have no extent.",
            "Readers have no fixed number from scan to scan.",
            "Plain films lie in the same tree with XML of another kind: left alone.",
            "Eight patients have two CTs: one patient each.",
            "The labels left lung and right lung are made by the classical method of prepare.",
        ),
        labels=(*(label.name for label in LUNGS), NODULE),
        usual=(NODULE,),
        find=_find_lidc,
    ),
    PublicSet(
        name="lidc-crops",
        title="Crops of 128 x 128 pixels round LIDC-IDRI nodules",
        holds="8-bit crops with the mask of each reader.",
        licence="CC BY 3.0",
        where="made of the Kaggle set LIDC-IDRI-slices: one .npz of image, reader_bits and id",
        citation=_CITATION,
        layout="crops.npz with image, reader_bits (bit j: reader j) and id (patient/nodule/slice)",
        traps=(
            "reader_bits is no label value: bit j is reader j, and truth is where at least two "
            "bits are set.",
            "Crops are 8-bit windows, no HU.",
            "The slices of a nodule, and the nodules of a patient, belong together; patients have "
            "the same names as in lidc-idri.",
        ),
        labels=(NODULE,),
        usual=(NODULE,),
        find=_find_crops,
    ),
)
