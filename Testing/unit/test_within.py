"""Models that look within the structures of another one: lesions within lungs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from isdmae.bundle import Bundle
from isdmae.errors import InputError
from isdmae.inference import Predictor, Segmentation
from isdmae.phantom import Phantom
from isdmae.region import Region
from isdmae.volume import Volume
from places import lps_of
from tiny_model import bundle_within, lung_like, write_lungs_everywhere, write_point_bundle


def test_a_model_may_look_within_another_one(
    tmp_path: Path, tiny_bundle: Bundle, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = Predictor(bundle_within(tmp_path / "free", "").folder, device="cpu")
    monkeypatch.setenv("ISDMAE_MODELS", str(tiny_bundle.folder.parent))
    inner = bundle_within(tmp_path / "inner", tiny_bundle.folder.name)
    seen: list[float] = []
    result = Predictor(inner.folder, device="cpu").segment(
        small_phantom.ct, progress=lambda _, share: seen.append(share)
    )
    around = Predictor(tiny_bundle.folder, device="cpu").segment(small_phantom.ct)
    alone = free.segment(small_phantom.ct).labelmap.array
    assert ((alone > 0) & (around.labelmap.array == 0)).any()
    assert result.labelmap.array.any()
    assert not (result.labelmap.array[around.labelmap.array == 0]).any()
    assert seen == sorted(seen)
    found = [one for one in around.labels if (around.labelmap.array == one.value).any()]
    for label in result.labels:
        inside = around.labelmap.array[result.labelmap.array == label.value]
        assert result.shares[label.name] == pytest.approx(
            {
                one.name: (inside == one.value).sum() / (around.labelmap.array == one.value).sum()
                for one in found
            }
        )
    assert any(share > 0 for shares in result.shares.values() for share in shares.values())
    assert around.shares == {}


BLOCK = (slice(2, 18), slice(8, 24), slice(8, 24))


@pytest.fixture
def lesions(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> tuple[Predictor, Volume]:
    """A model of lesions that finds whatever is bright, in "lungs" that are bright as well."""
    monkeypatch.setenv("ISDMAE_MODELS", str(tiny_bundle.folder.parent))
    inner = bundle_within(tmp_path / "inner", "tiny", postprocess={"least_hu": -750.0})
    predictor = Predictor(inner.folder, device="cpu")
    array = np.full((20, 32, 32), -1000, np.int16)
    array[BLOCK] = 500
    for one in (predictor, predictor._around):
        assert one is not None
        monkeypatch.setattr(one.network, "network", lambda given: lung_like(given.float()))
    return predictor, Volume(array=array, spacing_mm=(1.5, 1.5, 2.0))


def finds_nothing(channels: torch.Tensor) -> torch.Tensor:
    return torch.cat([channels[:, :1] * 0 + 1, channels[:, :2] * 0], dim=1)


def codes_of(result: Segmentation) -> set[str]:
    return {notice.code for notice in result.notices} - {"small-extent"}


def test_lungs_without_a_lesion_are_a_result_and_no_failure(
    lesions: tuple[Predictor, Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, ct = lesions
    monkeypatch.setattr(predictor.network, "network", finds_nothing)
    result = predictor.segment(ct, force=True)
    assert (result.status, codes_of(result)) == ("done", {"nothing-in-lungs"})
    in_ml = 16 * 16 * 16 * ct.voxel_ml
    assert f"was found in {in_ml:,.0f} mL of lung." in result.notices[-1].message
    slab = Region(centre_mm=(24.0, 24.0, 20.0), size_mm=(100.0, 100.0, 10.0))
    part = predictor.segment(ct, force=True, region=slab).notices[-1]
    assert f"in {16 * 16 * 5 * ct.voxel_ml:,.0f} mL of lung" in part.message


def test_a_scan_without_lungs_is_told_from_lungs_without_a_lesion(
    lesions: tuple[Predictor, Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, ct = lesions
    assert predictor._around is not None
    monkeypatch.setattr(predictor._around.network, "network", finds_nothing)
    result = predictor.segment(ct, force=True)
    assert (result.status, codes_of(result)) == ("empty", {"no-lungs-found"})


def test_in_a_slab_no_share_of_a_whole_lung_is_told(lesions: tuple[Predictor, Volume]) -> None:
    predictor, ct = lesions
    assert predictor.segment(ct, force=True).shares["left lung"] == {"left lung": 1.0}
    slab = Region(centre_mm=(24.0, 24.0, 20.0), size_mm=(100.0, 100.0, 10.0))
    result = predictor.segment(ct, force=True, region=slab)
    assert result.labelmap.array.any()
    assert result.shares == {}


def test_a_body_that_the_model_of_the_lungs_saw_enlarged_is_told_once(
    tmp_path: Path, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a model only looks, or searches, within the lungs that it found so."""
    monkeypatch.setenv("ISDMAE_MODELS", str(tmp_path))
    write_lungs_everywhere(tmp_path / "everywhere", smallest_body_cm2=2000.0)
    alone = Predictor("everywhere", device="cpu")
    within = Predictor(bundle_within(tmp_path / "lesions", "everywhere").folder, device="cpu")
    both = bundle_within(tmp_path / "both", "everywhere", smallest_body_cm2=1500.0)
    points = write_point_bundle(tmp_path / "points", search_within="everywhere")
    searching = Predictor(points.folder, device="cpu")
    monkeypatch.setattr("isdmae.inference.find_candidates", lambda ct, lungs: [])
    ct = small_phantom.ct
    told = [
        [notice.message for notice in result.notices if notice.code == "small-body"]
        for result in (
            alone.segment(ct),
            within.segment(ct),
            Predictor(both.folder, device="cpu").segment(ct),
            searching.segment(ct, search=True),
            searching.segment(ct, points=[lps_of(ct, 20, 40, 30)]),
        )
    ]
    assert len(told[0]) == 1
    assert told == [told[0]] * 4 + [[]]


def test_what_is_full_of_air_is_no_lesion(
    lesions: tuple[Predictor, Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a CT; the same values as a picture are no HU."""
    predictor, ct = lesions
    assert predictor.segment(ct, force=True).cleaning.aerated == 0
    aerated = ct.with_array(np.where(ct.array == 500, -800, -1000).astype(np.int16))
    for one in (predictor, predictor._around):
        assert one is not None
        # Of the channels the first is the window from -500 - 600 HU: -800 HU are a quarter of it.
        monkeypatch.setattr(one.network, "network", lambda given: lung_like(given.float() / 0.25))
    result = predictor.segment(aerated, force=True)
    assert codes_of(result) == {"nothing-in-lungs"}
    assert result.cleaning.aerated == 16 * 16 * 16
    monkeypatch.setattr(predictor.network, "network", lambda given: lung_like(given.float() + 1))
    picture = predictor.segment(Volume(array=aerated.array[:1], is_hu=False))
    assert picture.labelmap.array.any()
    assert picture.volumes_ml == {}


def test_a_model_within_itself_or_within_a_bound_one_is_refused(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="its own result first"):
        bundle_within(tmp_path / "a", "a")
    bundle_within(tmp_path / "b", tiny_bundle.folder.name)
    chain = bundle_within(tmp_path / "c", "b")
    monkeypatch.setenv("ISDMAE_MODELS", f"{tmp_path}:{tiny_bundle.folder.parent}")
    with pytest.raises(InputError, match="needs a third first"):
        Predictor(chain.folder, device="cpu")
