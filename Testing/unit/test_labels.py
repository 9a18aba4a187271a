"""Labels, their codes and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isdmae.labels import LEFT_LUNG, LUNGS, RIGHT_LUNG, TRACHEA, Code, check_unique


def test_terminology_of_the_left_lung() -> None:
    assert LEFT_LUNG.terminology() == (
        "ISD-MAE~SCT^123037004^Anatomical Structure~SCT^39607008^Lung~SCT^7771000^Left"
        "~Anatomic codes - DICOM master list~^^~^^"
    )
    assert TRACHEA.terminology().split("~")[3] == "^^"


def test_segment_ids_have_no_spaces() -> None:
    assert [label.segment_id for label in LUNGS] == ["left_lung", "right_lung"]


@pytest.mark.parametrize(
    "changes", [{"value": 0}, {"value": 256}, {"name": ""}, {"colour": (0, 0, 300)}]
)
def test_impossible_labels_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"value|name|RGB"):
        replace(LEFT_LUNG, **changes)


def test_a_code_may_not_hold_separators() -> None:
    with pytest.raises(ValueError, match="separate"):
        Code(value="1~2", meaning="x")


def test_labels_must_be_unique() -> None:
    assert check_unique(LUNGS) == LUNGS
    with pytest.raises(ValueError, match="share a value"):
        check_unique([LEFT_LUNG, replace(RIGHT_LUNG, value=1)])
    with pytest.raises(ValueError, match="share a name"):
        check_unique([LEFT_LUNG, replace(RIGHT_LUNG, name="left lung")])
