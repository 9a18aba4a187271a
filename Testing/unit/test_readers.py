"""Agreement of readers (benchmarks/accuracy/readers.py): nobody is scored by the own mark."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy import readers


def test_a_reader_has_no_part_in_the_truth_that_scores_the_reader() -> None:
    # Reader 0 marks three pixels, 1 two of them, 2 one; the model takes two.
    marks = np.array([[[0b111, 0b011, 0b001, 0]]], np.uint8)
    found = np.array([[[True, True, False, False]]])
    values = readers.agreements(marks, found)
    assert values[readers.MODEL] == 1.0
    # The others of readers 0, 1 and 2 share 1, 1 and 2 pixels.
    assert values[readers.READER_OTHERS] == pytest.approx((2 / 4 + 2 / 3 + 2 / 3) / 3)
    assert values[readers.MODEL_OTHERS] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert values[readers.READER_READER] == pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3)
    assert values[readers.MODEL_ONE] == pytest.approx((4 / 5 + 1 + 2 / 3) / 3)


def test_two_readers_have_no_others() -> None:
    marks = np.array([[[0b1001, 0b1000]]], np.uint8)
    values = readers.agreements(marks, np.ones((1, 1, 2), bool))
    assert set(values) == {readers.MODEL, readers.MODEL_ONE, readers.READER_READER}
    assert values[readers.READER_READER] == pytest.approx(2 / 3)


def test_the_patients_are_those_that_the_model_is_scored_on() -> None:
    patients = readers.unseen_patients()
    assert len(patients) == 83
    assert all(patient.startswith("LIDC-IDRI-") for patient in patients)
