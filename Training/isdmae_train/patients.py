"""Which patient a file of a public chest CT collection shows, by its name.

Several collections hold the same patients: "MosMedData+" (Kaggle COVID19 LESION) is made of slices
of the 20 COVID-19 cases and of MosMed. One name for a patient, whatever the set, keeps the patient
on one side of every split.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CASES = (
    # Zenodo 3757476: coronacases_001.nii.gz; Kaggle: coronacases_org_001.nii; slices of it in
    # MosMedData+: Jun_coronacases_case7_75.png.
    (re.compile(r"coronacases_(?:org_)?(?:case)?0*(\d+)(?:_(\d+))?$"), "coronacases_{:0>3}"),
    # radiopaedia_10_85902_1.nii.gz, radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm.nii,
    # Jun_radiopaedia_10_85902_1_case11_40.png.
    (
        re.compile(
            r"radiopaedia_(?:org_covid-19-pneumonia-)?(\d+_\d+_\d+)(?:-dcm)?(?:_case\d+_(\d+))?$"
        ),
        "radiopaedia_{}",
    ),
    # MosMed: study_0255.nii.gz, study_0255_mask.nii.gz; MosMedData+: Morozov_study_0255_24.png.
    (re.compile(r"study_(\d{4})(?:_mask|_(\d+))?$"), "mosmed_{}"),
    # MosMedData+: slices of volumes of which nobody tells the borders.
    (re.compile(r"(bjorke_(\d+))$"), "{}"),
    (re.compile(r"LIDC-IDRI-(\d{4})"), "LIDC-IDRI-{}"),
)


@dataclass(frozen=True)
class NamedCase:
    """A case (one scan) of a patient, and the number of the slice where the file is one."""

    case: str
    patient: str
    slice: int = 0


def named_case(stem: str) -> NamedCase | None:
    """Read case and patient from a file name without its suffix; None where it tells nothing.

    The cases 10_85902_1 and _3, and 29_86490_1 and 29_86491_1, of Radiopaedia are two of one
    patient each: the first number is the patient's. All slices called "bjorke" count as one
    patient, because some of them surely are.

    Examples
    --------
    >>> named_case("coronacases_org_007")
    NamedCase(case='coronacases_007', patient='coronacases_007', slice=0)
    >>> named_case("Jun_radiopaedia_29_86491_1_case16_40")
    NamedCase(case='radiopaedia_29_86491_1', patient='radiopaedia_29', slice=40)
    >>> named_case("Morozov_study_0255_24").patient, named_case("scan 3")
    ('mosmed_0255', None)
    """
    for pattern, form in _CASES:
        match = pattern.search(stem)
        if match:
            case = form.format(match[1])
            patient = case
            if case.startswith("radiopaedia"):
                patient = "_".join(case.split("_")[:2])
            if case.startswith("bjorke"):
                patient = "bjorke"
            number = match[2] if pattern.groups > 1 else None
            return NamedCase(case, patient, int(number or 0))
    return None
