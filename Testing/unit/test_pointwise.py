"""Models of points: what lies at those given, and those that a search finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isdmae.bundle import Bundle
from isdmae.candidates import Candidate
from isdmae.errors import InputError
from isdmae.inference import Predictor, Search
from isdmae.phantom import Phantom
from isdmae.region import Region
from isdmae.volume import Volume
from places import lps_of
from tiny_model import (
    MIDDLE,
    bundle_within,
    write_lungs_everywhere,
    write_point_bundle,
)


def with_pixels_as_of_lidc(volume: Volume) -> Volume:
    """The same voxels, small enough for a model of points to see them as they are."""
    return replace(volume, spacing_mm=(0.9, 0.9, volume.spacing_mm[2]))


def test_each_point_gets_a_label_of_its_own_on_the_grid_of_the_ct(
    tmp_path: Path, small_phantom: Phantom
) -> None:
    predictor = Predictor(write_point_bundle(tmp_path / "points").folder, device="cpu")
    turned = with_pixels_as_of_lidc(small_phantom.ct)
    # The same patient with axes (j, -k, i): what is found does not depend on how voxels are stored.
    array = np.ascontiguousarray(turned.array.transpose(2, 0, 1)[:, ::-1])
    other = Volume(
        array=array,
        spacing_mm=(turned.spacing_mm[1], turned.spacing_mm[2], turned.spacing_mm[0]),
        origin_mm=lps_of(turned, turned.shape[0] - 1, 0, 0),
        direction=turned.direction[:, [1, 2, 0]] * (1, -1, 1),
    )
    places = ((20, 40, 30), (8, 50, 70))
    points = [lps_of(turned, *place) for place in places]
    seen: list[float] = []
    result = predictor.segment(
        turned, points=points, progress=lambda stage, share: seen.append(share)
    )
    reach = round(25 / turned.spacing_mm[2])
    expected = np.zeros(turned.shape, np.uint8)
    for value, (k, j, i) in enumerate(places, start=1):
        half = MIDDLE // 2
        expected[k - reach : k + reach + 1, j - half : j + half, i - half : i + half] = value
    assert np.array_equal(result.labelmap.array, expected)
    assert [label.name for label in result.labels] == ["nodule 1", "nodule 2"]
    assert result.volumes_ml["nodule 1"] == pytest.approx((expected == 1).sum() * turned.voxel_ml)
    across = float(np.hypot(MIDDLE * 0.9, (MIDDLE - 1) * 0.9))
    assert result.diameters_mm == {
        "nodule 1": pytest.approx(across), "nodule 2": pytest.approx(across)
    }  # fmt: skip
    # This network takes all that it sees.
    codes = ["thick-slices", "nodule-at-edge", "nodule-at-edge"]
    assert [notice.code for notice in result.notices] == codes
    assert "point 2 " in result.notices[2].message
    assert "7 mm across" in result.notices[2].message
    assert seen == sorted(seen)

    again = predictor.segment(other, points=points)
    assert again.labelmap.same_grid(other, tolerance=0)
    assert np.array_equal(again.labelmap.array, expected.transpose(2, 0, 1)[:, ::-1])


def test_a_region_says_which_points_count_and_cuts_nothing_at_them(
    tmp_path: Path, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISDMAE_MODELS", str(tmp_path))
    write_lungs_everywhere(tmp_path / "everywhere")
    bundle = write_point_bundle(tmp_path / "points", within="everywhere")
    predictor = Predictor(bundle.folder, device="cpu")
    ct = with_pixels_as_of_lidc(small_phantom.ct)
    point, other = lps_of(ct, 20, 40, 30), lps_of(ct, 8, 50, 70)
    region = Region(centre_mm=point, size_mm=(3.0, 3.0, 3.0))
    whole, part = (predictor.segment(ct, points=[point], region=one) for one in (None, region))
    assert whole.volumes_ml["nodule 1"] > 0
    assert np.array_equal(part.labelmap.array, whole.labelmap.array)
    assert (part.volumes_ml, part.diameters_mm) == (whole.volumes_ml, whole.diameters_mm)
    assert part.shares == whole.shares
    with pytest.raises(InputError, match=r"point 2\.") as caught:
        predictor.segment(ct, points=[point, other], region=region)
    assert caught.value.code == "point-outside-region"
    with pytest.raises(InputError, match="outside the scan"):
        predictor.segment(ct, points=[point], region=replace(region, centre_mm=(9e5, 0.0, 0.0)))


def test_what_a_network_of_points_sees_is_as_large_on_coarse_pixels(
    tmp_path: Path, small_phantom: Phantom
) -> None:
    ct = small_phantom.ct  # of 3.5 mm
    bundle = write_point_bundle(tmp_path / "points", preprocess={"picture_size": 16, "middle": 24})
    result = Predictor(bundle.folder, device="cpu").segment(ct, points=[lps_of(ct, 20, 40, 30)])
    expected = np.zeros(ct.shape, np.uint8)
    expected[17:24, 38:43, 28:33] = 1  # 24 pixels of 0.7 mm
    assert np.array_equal(result.labelmap.array, expected)
    assert "17 mm across" in result.notices[-1].message
    assert result.notices[-2].code == "coarse-pixels"
    assert "Pixels of 3.5 mm" in result.notices[-2].message


@pytest.fixture
def searching(
    tmp_path: Path, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> tuple[Predictor, Volume, list[Candidate]]:
    """A model of points that searches, a CT, and three candidates that any search finds in it."""
    monkeypatch.setenv("ISDMAE_MODELS", str(tmp_path))
    write_lungs_everywhere(tmp_path / "everywhere")
    bundle = write_point_bundle(tmp_path / "points", search_within="everywhere")
    ct = with_pixels_as_of_lidc(small_phantom.ct)
    spots = [
        Candidate(point_mm=lps_of(ct, *place), blobness=90.0 - k, scale_mm=2.2)
        for k, place in enumerate([(20, 40, 30), (8, 50, 70), (26, 20, 60)])
    ]
    monkeypatch.setattr("isdmae.inference.find_candidates", lambda ct, lungs: spots)
    return Predictor(bundle.folder, device="cpu"), ct, spots


def test_a_search_shows_what_looks_like_a_nodule_and_counts_it_anew(
    searching: tuple[Predictor, Volume, list[Candidate]], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, ct, spots = searching
    lungs_seen = []

    def not_the_second(part: np.ndarray, lungs: np.ndarray, spacing_mm: object) -> bool:
        lungs_seen.append(bool(lungs.all()))
        return not part[8, 50, 70]

    monkeypatch.setattr("isdmae.pointwise.is_cut_off", lambda *_: False)
    monkeypatch.setattr("isdmae.pointwise.looks_like_nodule", not_the_second)
    result = predictor.segment(ct, search=True)
    assert lungs_seen == [True] * 3
    assert [label.name for label in result.labels] == ["candidate 1", "candidate 2"]
    assert {label.type.meaning for label in result.labels} == {"Nodule"}
    assert result.search == Search(looked_at=3, kept=(spots[0], spots[2]))
    assert result.points == (spots[0].point_mm, spots[2].point_mm)
    places = ((20, 40, 30), (8, 50, 70), (26, 20, 60))
    assert [int(result.labelmap.array[place]) for place in places] == [1, 0, 2]
    assert result.notices[-1].code == "candidates-experimental"
    assert set(result.diameters_mm) == {"candidate 1", "candidate 2"}
    given = predictor.segment(ct, points=result.points)
    assert np.array_equal(given.labelmap.array, result.labelmap.array)

    # Of a region those in it, each as a whole.
    region = Region(centre_mm=spots[2].point_mm, size_mm=(3.0, 3.0, 3.0))
    inside = predictor.segment(ct, search=True, region=region)
    assert inside.search == Search(looked_at=1, kept=(spots[2],))
    assert np.array_equal(inside.labelmap.array == 1, result.labelmap.array == 2)


def test_a_search_that_keeps_nothing_never_says_that_there_is_no_nodule(
    searching: tuple[Predictor, Volume, list[Candidate]],
) -> None:
    predictor, ct, _ = searching
    result = predictor.segment(ct, search=True)  # all of them reach the end of what it sees
    assert result.search == Search(looked_at=3, kept=())
    assert (result.labels, result.status) == ((), "empty")
    assert not result.labelmap.array.any()
    assert result.notices[-1].code == "no-candidates"
    assert "does not mean that there is no nodule" in result.notices[-1].message


def test_searches_that_cannot_be_are_refused(
    searching: tuple[Predictor, Volume, list[Candidate]], tmp_path: Path, tiny_bundle: Bundle
) -> None:
    predictor, ct, spots = searching
    points = [spots[0].point_mm]
    picture = Volume(array=np.arange(32 * 32).reshape(1, 32, 32), is_hu=False)
    blind = Predictor(write_point_bundle(tmp_path / "blind").folder, device="cpu")
    whole = Predictor(tiny_bundle.folder, device="cpu")
    for model, volume, given, code in (
        (predictor, ct, points, "search-and-points"),
        (predictor, picture, [], "cannot-search"),
        (blind, ct, [], "cannot-search"),
        (whole, ct, [], "cannot-search"),
    ):
        with pytest.raises(InputError) as caught:
            model.segment(volume, points=given, search=True)
        assert caught.value.code == code


def test_points_that_find_nothing_new_are_named(tmp_path: Path, small_phantom: Phantom) -> None:
    ct = with_pixels_as_of_lidc(small_phantom.ct)
    points = [lps_of(ct, 20, 40, 30), lps_of(ct, 20, 41, 31)]
    finds = Predictor(write_point_bundle(tmp_path / "finds").folder, device="cpu")
    result = finds.segment(ct, points=points)
    codes = ["thick-slices", "nodule-at-edge", "point-repeated"]
    assert [notice.code for notice in result.notices] == codes
    assert result.notices[2].message.startswith("Point 2 ")
    assert result.volumes_ml["nodule 2"] == 0
    assert list(result.diameters_mm) == ["nodule 1"]
    blind = Predictor(write_point_bundle(tmp_path / "blind", finds=False).folder, device="cpu")
    result = blind.segment(ct, points=points)
    assert [notice.code for notice in result.notices[1:]] == ["nothing-at-point"] * 2
    assert result.status == "empty"


def test_points_and_models_that_do_not_belong_together_are_refused(
    tmp_path: Path, tiny_bundle: Bundle, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = small_phantom.ct
    middle = [lps_of(ct, 16, 44, 52)]
    folder = write_point_bundle(tmp_path / "points").folder
    predictor = Predictor(folder, device="cpu")
    picture = Volume(array=np.arange(32 * 32).reshape(1, 32, 32), is_hu=False)
    for model, volume, points, code in (
        (predictor, ct, [], "no-points"),
        (predictor, picture, middle, "points-unwanted"),
        (predictor, ct, [*middle, (9e9, 0, 0)], "point-outside"),
        (predictor, ct, middle * 256, "too-many-points"),
        (Predictor(tiny_bundle.folder, device="cpu"), ct, middle, "points-unwanted"),
    ):
        with pytest.raises(InputError) as caught:
            model.segment(volume, points=points)
        assert caught.value.code == code
    with pytest.raises(InputError, match="sees axial crops"):
        Predictor(folder, device="cpu", views=("axial", "coronal"))
    inner = bundle_within(tmp_path / "inner", "points")
    monkeypatch.setenv("ISDMAE_MODELS", str(tmp_path))
    with pytest.raises(InputError, match="needs points"):
        Predictor(inner.folder, device="cpu")

    # A picture is a crop: what lies in its middle, and nothing else.
    labels = predictor.segment(picture).labelmap.array
    assert labels.sum() == MIDDLE**2
    assert labels[0, 12:20, 12:20].all()
