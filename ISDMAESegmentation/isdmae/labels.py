"""Names, colours and SNOMED CT codes of everything that we segment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

CONTEXT_NAME = "ISD-MAE"


@dataclass(frozen=True, kw_only=True)
class Code:
    """A SNOMED CT concept: ``value`` is the concept id, ``meaning`` its preferred term."""

    value: str
    meaning: str
    scheme: str = "SCT"

    def __post_init__(self) -> None:
        if any("^" in part or "~" in part for part in (self.value, self.meaning, self.scheme)):
            raise ValueError(
                "A code may not hold '^' or '~': they separate the terminology string."
            )

    def triplet(self) -> str:
        return f"{self.scheme}^{self.value}^{self.meaning}"


@dataclass(frozen=True, kw_only=True)
class Label:
    """One structure of a labelmap.

    ``value`` is the voxel value (1..255), ``colour`` is RGB in 0..255. ``category``, ``type`` and
    ``modifier`` follow the DICOM Segmentation Storage IOD (Segmented Property Category, Type, and
    Type Modifier), so that Slicer's own DICOM export has what it needs.
    """

    value: int
    name: str
    colour: tuple[int, int, int]
    category: Code
    type: Code
    modifier: Code | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.value <= 255:
            raise ValueError(f"Label value {self.value} is outside 1..255.")
        if not self.name:
            raise ValueError("A label needs a name.")
        if len(self.colour) != 3 or not all(0 <= channel <= 255 for channel in self.colour):
            raise ValueError(f"Colour {self.colour} is not RGB in 0..255.")

    @property
    def segment_id(self) -> str:
        """Identifier that stays the same from run to run: ``left_lung``."""
        return self.name.replace(" ", "_")

    def terminology(self) -> str:
        """Serialised terminology entry as 3D Slicer stores it in a segment's tag."""
        modifier = self.modifier.triplet() if self.modifier else "^^"
        return (
            f"{CONTEXT_NAME}~{self.category.triplet()}~{self.type.triplet()}~{modifier}"
            f"~Anatomic codes - DICOM master list~^^~^^"
        )


ANATOMY = Code(value="123037004", meaning="Anatomical Structure")
ABNORMALITY = Code(value="49755003", meaning="Morphologically Altered Structure")
LUNG = Code(value="39607008", meaning="Lung")
LEFT = Code(value="7771000", meaning="Left")
RIGHT = Code(value="24028007", meaning="Right")

LEFT_LUNG = Label(
    value=1, name="left lung", colour=(86, 160, 211), category=ANATOMY, type=LUNG, modifier=LEFT
)
RIGHT_LUNG = Label(
    value=2, name="right lung", colour=(128, 196, 108), category=ANATOMY, type=LUNG, modifier=RIGHT
)
TRACHEA = Label(
    value=3,
    name="trachea",
    colour=(182, 228, 255),
    category=ANATOMY,
    type=Code(value="44567001", meaning="Trachea"),
)
LARGE_AIRWAYS = Label(
    value=3,
    name="trachea and main bronchi",
    colour=(182, 228, 255),
    category=ANATOMY,
    type=Code(value="110726009", meaning="Trachea and bronchus"),
)
CONSOLIDATION = Label(
    value=4,
    name="consolidation",
    colour=(214, 96, 77),
    category=ABNORMALITY,
    type=Code(value="95436008", meaning="Lung consolidation"),
)
GROUND_GLASS = Label(
    value=5,
    name="ground-glass opacity",
    colour=(244, 165, 130),
    category=ABNORMALITY,
    type=Code(value="50196008", meaning="Ground glass opacity"),
)
NODULE = Label(
    value=6,
    name="nodule",
    colour=(255, 221, 77),
    category=ABNORMALITY,
    type=Code(value="27925004", meaning="Nodule"),
)

LESION = Label(
    value=7,
    name="lesion",
    colour=(230, 97, 1),
    category=ABNORMALITY,
    type=Code(value="52988006", meaning="Lesion"),
)
LUNG_TISSUE = Label(value=8, name="lung", colour=(86, 160, 211), category=ANATOMY, type=LUNG)

LUNGS = (LEFT_LUNG, RIGHT_LUNG)
KNOWN = {
    label.name: label
    for label in (
        *LUNGS,
        TRACHEA,
        LARGE_AIRWAYS,
        CONSOLIDATION,
        GROUND_GLASS,
        NODULE,
        LESION,
        LUNG_TISSUE,
    )
}
TISSUE = Code(value="85756007", meaning="Tissue")
OTHER_COLOURS = ((177, 122, 101), (111, 184, 210), (216, 101, 79), (144, 238, 144), (192, 104, 88))


def make_label(name: str, value: int) -> Label:
    """Return the label ``name`` with ``value``: a known structure, or tissue of another colour.

    Examples
    --------
    >>> make_label("right lung", 1).type.meaning
    'Lung'
    >>> make_label("chest tube", 2).type.meaning
    'Tissue'
    """
    if name in KNOWN:
        return replace(KNOWN[name], value=value)
    colour = OTHER_COLOURS[value % len(OTHER_COLOURS)]
    return Label(value=value, name=name, colour=colour, category=TISSUE, type=TISSUE)


def numbered(label: Label, count: int) -> tuple[Label, ...]:
    """Return ``label`` once for each of ``count`` structures of its kind.

    Examples
    --------
    >>> [(label.value, label.name) for label in numbered(NODULE, 2)]
    [(1, 'nodule 1'), (2, 'nodule 2')]
    """
    return tuple(
        replace(label, value=number, name=f"{label.name} {number}")
        for number in range(1, count + 1)
    )


def mirrored_classes(labels: Sequence[Label]) -> list[int]:
    """Return each class's class in a mirror image, background first; labels count 1, 2, ...

    Examples
    --------
    >>> mirrored_classes((make_label("trachea", 1), LEFT_LUNG, RIGHT_LUNG))
    [0, 1, 3, 2]
    """
    numbers = {label.name: number for number, label in enumerate(labels, start=1)}
    twins = [numbers.get(mirrored_name(name), number) for name, number in numbers.items()]
    return [0, *twins]


def mirrored_name(name: str) -> str:
    """Return the name of the structure on the other side.

    Examples
    --------
    >>> mirrored_name("left upper lobe"), mirrored_name("lesion")
    ('right upper lobe', 'lesion')
    """
    side, space, rest = name.partition(" ")
    return {"left": "right", "right": "left"}.get(side, side) + space + rest


def check_unique(labels: Iterable[Label]) -> tuple[Label, ...]:
    """Return ``labels`` as a tuple; ValueError where two share a value or a name."""
    labels = tuple(labels)
    for attribute in ("value", "name"):
        seen = [getattr(label, attribute) for label in labels]
        if len(set(seen)) != len(seen):
            raise ValueError(f"Two labels share a {attribute}: {seen}.")
    return labels
