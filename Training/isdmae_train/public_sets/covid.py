"""Sets of patients with COVID-19: pictures and CTs with outlined lesions."""

from __future__ import annotations

import re
from pathlib import Path

from ..config.prepare import LabelSource, PictureSet, ScanSource
from ..layouts import Sources
from ..patients import named_case
from ..problems import Problem
from .public_set import PublicSet, volumes, without_image, without_labels

LESION = "lesion"
LUNG_VALUES: dict[str, tuple[int, ...]] = {"left lung": (1,), "right lung": (2,)}
RADIOPAEDIA_HU = (-1250.0, 250.0)
"""What 0 and 255 of the stored Radiopaedia cases mean."""


def _find_covid20_2d(one: PublicSet, folder: Path, labels: tuple[str, ...]) -> Sources:
    indices = sorted(folder.rglob("case_index.csv"))
    masks = {"lung": "lung", LESION: "infection"}
    return Sources(
        one.name,
        pictures=tuple(
            PictureSet(
                id=one.name,
                images=index.parent / "images",
                labels={name: index.parent / masks[name] for name in labels},
                index=index,
                patients="named",
                licence=one.licence,
                upside_down=("radiopaedia",),
            )
            for index in indices[:1]
        ),
    )


def _find_infnet(one: PublicSet, folder: Path, labels: tuple[str, ...]) -> Sources:
    sets = []
    for images in sorted(path for path in folder.rglob("Imgs") if path.is_dir()):
        where = "/".join(images.relative_to(folder).parts).lower()
        truth = images.parent / "GT"
        if not truth.is_dir() or "pseudo" in where or "multiclass" in where:
            continue
        split = next((name for name in ("train", "test") if f"-{name}" in where), "")
        sets.append(
            PictureSet(
                id=f"{one.name}-{split}" if split else one.name,
                images=images,
                labels=dict.fromkeys(labels, truth),
                split=split,
                licence=one.licence,
            )
        )
    return Sources(one.name, pictures=tuple(sets))


def _find_lesion_slices(one: PublicSet, folder: Path, labels: tuple[str, ...]) -> Sources:
    sets = []
    for names in (("frames", "masks"), ("img", "labelcol")):
        for images in sorted(path for path in folder.rglob(names[0]) if path.is_dir()):
            part = "-".join(images.relative_to(folder).parts[:-1]).lower()
            sets.append(
                PictureSet(
                    id=f"{one.name}-{part}" if part else one.name,
                    images=images,
                    labels=dict.fromkeys(labels, images.parent / names[1]),
                    patients="named",
                    licence=one.licence,
                )
            )
    return Sources(one.name, pictures=tuple(sets))


def _find_20_cases(one: PublicSet, folder: Path, labels: tuple[str, ...]) -> Sources:
    images: dict[str, Path] = {}
    lungs: dict[str, Path] = {}
    lesions: dict[str, Path] = {}
    for path, stem in volumes(folder):
        where = "/".join(path.relative_to(folder).parts[:-1]).lower()
        known = named_case(stem)
        if known is None or ("lung" in where and "infection" in where):
            continue  # the masks of both have no lung where a lesion lies
        kind = lesions if "infection" in where else lungs if "lung" in where else images
        kind[known.case] = path
    scans, problems = [], []
    for case, image in images.items():
        files = {name: lesions if name == LESION else lungs for name in labels}
        masks: dict[str, tuple[Path, ...]]
        masks = {name: (found[case],) for name, found in files.items() if case in found}
        label = None
        if len(masks) == len(labels):
            values = {name: LUNG_VALUES[name] for name in labels if name in LUNG_VALUES}
            label = LabelSource(masks=masks, values=values, complete=True, mend_sides=True)
        else:
            problems.append(without_labels(case, "mask", image))
        patient = named_case(case)
        scans.append(
            ScanSource(
                id=case,
                patient=case if patient is None else patient.patient,
                image=image,
                licence=one.licence,
                label=label,
                stored_hu=RADIOPAEDIA_HU if case.startswith("radiopaedia") else None,
            )
        )
    problems += [without_image(lesions[case]) for case in sorted(lesions.keys() - images.keys())]
    return Sources(one.name, tuple(scans), problems=tuple(problems))


def _find_mosmed(one: PublicSet, folder: Path, labels: tuple[str, ...]) -> Sources:
    found = {stem: path for path, stem in volumes(folder)}
    scans, problems = [], []
    for stem, mask in found.items():
        study = stem.removesuffix("_mask")
        known = named_case(stem)
        if study == stem or known is None:
            continue
        if study not in found:
            problems.append(without_image(mask))
            continue
        scans.append(
            ScanSource(
                id=known.case,
                patient=known.patient,
                image=found[study],
                licence=one.licence,
                label=LabelSource(masks=dict.fromkeys(labels, (mask,)), complete=True),
            )
        )
    return Sources(one.name, tuple(scans), problems=tuple(problems))


_CHALLENGE = re.compile(r"volume-covid19-A-(\d+)(.*)_ct$")


def _find_challenge(one: PublicSet, folder: Path, labels: tuple[str, ...]) -> Sources:
    found = {stem: path for path, stem in volumes(folder)}
    scans: list[ScanSource] = []
    problems: list[Problem] = []
    for stem, image in found.items():
        match = _CHALLENGE.match(stem)
        if not match:
            continue
        mask = found.get(f"{stem.removesuffix('_ct')}_seg")
        name = f"{one.name}_{match[1]}{match[2]}"
        label = None
        if mask is not None:
            label = LabelSource(masks=dict.fromkeys(labels, (mask,)), complete=True)
        elif "train" in image.parent.name.lower():
            problems.append(without_labels(name, "segmentation", image))
        scans.append(
            ScanSource(
                id=name,
                patient=f"{one.name}_{match[1]}",
                image=image,
                licence=one.licence,
                label=label,
            )
        )
    return Sources(one.name, tuple(scans), problems=tuple(problems))


_MA = "Ma J. et al., Med Phys 48:1197, 2021, doi:10.1002/mp.14676"
_CASES_OVERLAP = (
    "The same 20 patients are in covid20-2d, covid19-ct-20, covid19-lesion and in the "
    "pseudo-labelled slices of infnet: a patient has one name in all of them, so that folds keep "
    "it together."
)
_TWICE = (
    "Radiopaedia 10_85902_1 and _3, and 29_86490_1 and 29_86491_1, are two scans of one patient."
)

SETS = (
    PublicSet(
        name="covid20-2d",
        title="Slices of the 20 COVID-19 cases, as 8-bit pictures",
        holds="Axial slices of 256 x 256 pixels with infection, masks of lungs and infection.",
        licence="non-commercial (treat as; the volumes' own terms differ by source)",
        where="github.com/dstaroff/COVID19-CT-Segmentation, data/img, with a case_index.csv of the "
        "columns file, case, patient, order_in_case",
        citation=_MA,
        layout="images/, infection/, lung/ and case_index.csv",
        traps=(
            "The pictures are no HU: each was scaled by its own range and equalised (CLAHE). They "
            "are prepared as pictures.",
            "Arrays were turned by 90 degrees without regard to their axes: the Radiopaedia cases "
            "stand on their heads (mirrored top to bottom), and the cache has them upright. Models "
            "still meet the pictures as they are: train with the augmentation upside_down.",
            "The published split is by slice, with every patient on both sides; here the index "
            "tells case and patient.",
            _TWICE,
            _CASES_OVERLAP,
        ),
        labels=("lung", LESION),
        usual=(LESION,),
        find=_find_covid20_2d,
    ),
    PublicSet(
        name="covid19-ct-20",
        title="COVID-19 CT Lung and Infection Segmentation Dataset (20 cases)",
        holds="10 CTs of coronacases.org, 10 of Radiopaedia; lungs and infection.",
        licence="non-commercial (treat as; listed as CC BY 4.0, but Radiopaedia's terms are NC)",
        where="doi:10.5281/zenodo.3757476 (NIfTI), also on Kaggle as covid19-ct-scans",
        citation=_MA,
        layout="the unpacked archives: NIfTI files of the CTs, and Lung_Mask and Infection_Mask",
        traps=(
            "The Radiopaedia cases are stored as 0..255 for -1250..250 HU; they are brought back "
            "to HU. A file of other values is taken as HU.",
            "The masks of lungs and infection together have no lung where a lesion lies; the "
            "single masks are taken.",
            "Left and right are checked against the patient's sides, and change names where they "
            "differ.",
            _TWICE,
            _CASES_OVERLAP,
        ),
        labels=("left lung", "right lung", LESION),
        usual=(LESION,),
        find=_find_20_cases,
    ),
    PublicSet(
        name="covid19-lesion",
        title="COVID19 LESION (Kaggle), the same images as MosMedData+",
        holds="2,729 slices with masks, from the 20 cases, MosMed and others.",
        licence="unverified; treat as non-commercial",
        where="Kaggle: maedemaftouni/covid19-ct-scan-lesion-segmentation-dataset; MosMedData+ with "
        "the sources of LViT",
        citation="Maftouni M. et al., 2021; Li Z. et al. (LViT), IEEE TMI 2023",
        layout="frames/ and masks/, or MosMedData+ with img/ and labelcol/ in each part",
        traps=(
            "The public parts of MosMedData+ split by slice: the same patients are in training and "
            "test. They are not taken over; file names tell patients.",
            "Masks may be 0 and 1, or 0 and 255; both are read.",
            "Nobody tells the patients of the slices called bjorke: all of them count as one.",
            "Numbers from the public split (U-Net 64.6, nnU-Net 72.6) and 90.10 of the ISD-MAE "
            "paper are not comparable with a split by patient.",
            _CASES_OVERLAP,
        ),
        labels=(LESION,),
        usual=(LESION,),
        find=_find_lesion_slices,
    ),
    PublicSet(
        name="infnet",
        title="COVID-SemiSeg of Inf-Net",
        holds=(
            "50 training and 48 test slices with infection by radiologists, cropped to the lungs."
        ),
        licence="non-commercial",
        where="github.com/DengPingFan/Inf-Net (Dataset)",
        citation="Fan D-P. et al., IEEE TMI 39:2626, 2020, doi:10.1109/TMI.2020.2996645",
        layout="Imgs/ with GT/ beside it, once or in each part of the set",
        traps=(
            "The 1,600 pseudo-labelled slices are a model's output, on the 20 COVID-19 cases: "
            "never taken.",
            "The pictures are JPEG of 8 bits, not HU, of differing sizes.",
            "Nobody tells which slices belong to one patient (about 60 patients for 98 slices), so "
            "each counts as a patient: intervals are a little too narrow.",
        ),
        labels=(LESION,),
        usual=(LESION,),
        find=_find_infnet,
    ),
    PublicSet(
        name="mosmed50",
        title="MosMedData COVID19_1110, the 50 CTs with masks",
        holds="50 CTs of slices 8 mm apart, ground glass and consolidation in one mask.",
        licence="CC BY-NC-ND 3.0",
        where="mosmed.ai (COVID19_1110)",
        citation="Morozov S. et al., arXiv:2005.06465",
        layout="studies/CT-1/study_0255.nii.gz and masks/study_0255_mask.nii.gz",
        traps=(
            "Only 50 of the 1,110 studies have masks; the others are left alone.",
            "Values below -1024 are padding and read as air.",
            "Every tenth slice was kept, so slices lie 8 mm apart: too thick for cubes of small "
            "spacing.",
            "Slices of the same patients are in covid19-lesion, under the same names here.",
        ),
        labels=(LESION,),
        usual=(LESION,),
        find=_find_mosmed,
    ),
    PublicSet(
        name="covid-19-20",
        title="COVID-19-20 Lung CT Lesion Segmentation Challenge",
        holds="199 CTs with lesions, and validation CTs without labels.",
        licence="non-commercial",
        where="covid-segmentation.grand-challenge.org; images also in CT Images in COVID-19 (TCIA)",
        citation="Roth H. et al., Med Image Anal 82:102605, 2022",
        layout="volume-covid19-A-0003_ct.nii.gz and volume-covid19-A-0003_seg.nii.gz",
        traps=(
            "Validation CTs have no labels here: they are prepared for pre-training only.",
            "Several CTs of one number are one patient.",
        ),
        labels=(LESION,),
        usual=(LESION,),
        find=_find_challenge,
    ),
)
