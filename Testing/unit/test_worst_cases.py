"""The worst results are kept and drawn with both outlines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from isdmae_train.score_table import Score
from isdmae_train.worst_cases import (
    BOTH_COLOUR,
    EDGE_PX,
    FOUND_COLOUR,
    TRUTH_COLOUR,
    OneSlice,
    WorstCases,
    draw,
)


def score(name: str, dice: float) -> Score:
    return Score(
        patient=name, image=name, structure="lesion", level="slice", unit="px", dice=dice, nsd=dice,
        hd95=1.0, missed=False, invented=False, empty=False,
    )  # fmt: skip


def one_slice() -> OneSlice:
    found, truth = np.zeros((64, 32), bool), np.zeros((64, 32), bool)
    truth[:10, 5:15] = True
    found[:10, 5:18] = True
    return OneSlice(image=np.zeros((64, 32)), found=found, truth=truth, window=(0.0, 1.0))


def test_the_lowest_are_kept_and_of_equals_the_one_with_more_wrong_voxels(tmp_path: Path) -> None:
    worst, shown = WorstCases(3), []
    offers = [("a", 0.9, 5), ("b", 0.0, 3), ("c", 0.0, 9), ("right", 1.0, 0), ("d", 0.4, 7),
              ("e", 0.8, 1)]  # fmt: skip
    for name, dice, wrong in offers:
        worst.offer(score(name, dice), wrong, lambda name=name: shown.append(name) or one_slice())
    assert "e" not in shown, "what is not kept is not cut out of its volume"
    paths = worst.write(tmp_path / "worst")
    assert [path.name for path in paths] == [
        "worst-01-c-lesion.png", "worst-02-b-lesion.png", "worst-03-d-lesion.png",
    ]  # fmt: skip
    assert len(WorstCases(0).write(tmp_path / "worst")) == 0
    assert not list((tmp_path / "worst").iterdir())


def test_an_odd_name_makes_a_file_and_not_a_folder(tmp_path: Path) -> None:
    worst = WorstCases(1)
    worst.offer(score("../a/ü b.png", 0.1), 1, one_slice)
    (path,) = worst.write(tmp_path)
    assert path.parent == tmp_path
    assert sitk.ReadImage(str(path)).GetSize()[1] > EDGE_PX


def test_the_outlines_lie_where_the_masks_end_and_the_pixels_keep_their_shape() -> None:
    picture = draw(score("a", 0.5), one_slice())
    assert picture.shape[:2] == (EDGE_PX + 44, EDGE_PX)
    left, step = (EDGE_PX - 256) // 2, EDGE_PX // 64
    assert tuple(picture[5 * step, left + 5 * step]) == BOTH_COLOUR
    assert tuple(picture[5 * step, left + 15 * step - 1]) == TRUTH_COLOUR
    assert tuple(picture[5 * step, left + 18 * step - 1]) == FOUND_COLOUR
    assert tuple(picture[0, left + 8 * step]) == BOTH_COLOUR, "the rim of the image is drawn, too"
    assert tuple(picture[5 * step, left + 10 * step]) == (0, 0, 0)
