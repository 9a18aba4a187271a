"""A sample of the torture set: nothing comes out wrong, crashes or hangs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from isdmae import io
from torture import __main__ as torture
from torture import chest
from torture.judge import WRONG, judge


def test_a_sample_of_every_kind_of_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    inputs, outcomes, peak = torture.run(every=60)
    bad = [
        (case.group, case.name, said)
        for case, (kind, said) in zip(inputs, outcomes, strict=True)
        if kind not in (torture.CORRECT, torture.REFUSED)
    ]
    assert len(inputs) > 40
    assert bad == []
    assert 0 < peak < 3 << 20


def test_there_are_over_two_thousand_inputs_of_different_names() -> None:
    names = [(case.group, case.name) for case in torture.all_cases()]
    assert len(set(names)) == len(names) > 2000


def test_a_wrong_result_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask with its sides exchanged, and one that lies a voxel off, are both called wrong."""
    case = next(case for case in torture.all_cases() if case.group.startswith("orientations"))
    write = io.write_labelmap

    def swapped(path, labelmap, labels):
        write(path, labelmap.with_array((3 - labelmap.array) * (labelmap.array > 0)), labels)

    def shifted(path, labelmap, labels):
        write(path, labelmap.with_array(np.roll(labelmap.array, 1, axis=2)), labels)

    for number, spoilt in enumerate((swapped, shifted)):
        monkeypatch.setattr(io, "write_labelmap", spoilt)
        folder = tmp_path / str(number)
        folder.mkdir()
        assert judge(case, folder).kind == WRONG


def test_a_crash_is_counted_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {0: [(0, "correct", "", 7)], 2: [(n, "correct", "", 9) for n in range(2, 200)]}
    monkeypatch.setattr(torture, "all_cases", lambda every: list(range(200)))
    monkeypatch.setattr(torture, "_child_lines", lambda every, first: iter(lines[first]))
    _, outcomes, peak = torture.run()
    assert [kind for kind, _ in outcomes].count(torture.CRASHED) == 1
    assert outcomes[1][0] == torture.CRASHED
    assert len(outcomes) == 200
    assert peak == 9


def test_the_chest_has_two_lungs_that_their_values_tell() -> None:
    grid = chest.frame()
    truth = chest.labels_at(grid.affine, grid.shape)
    assert set(np.unique(truth)) == {0, 1, 2}
    np.testing.assert_array_equal(chest.labels_by_value(chest.hu_on(grid)), truth)
    left = np.argwhere(truth == 1)[:, 2].mean()
    assert left > np.argwhere(truth == 2)[:, 2].mean(), "i grows to the left"
