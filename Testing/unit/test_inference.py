"""Prediction: the input's own grid, cancel, notices, the trachea on request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from isdmae import compute
from isdmae.bundle import Bundle, write_bundle
from isdmae.compute import Watcher
from isdmae.errors import Cancelled, InputError
from isdmae.findings import result_notices
from isdmae.inference import Predictor
from isdmae.labels import LUNGS, make_label
from isdmae.networks.segmenter import Segmenter
from isdmae.networks.unet import UNetConfig
from isdmae.phantom import Phantom
from isdmae.region import Region
from isdmae.schema import to_plain
from isdmae.slicewise import label_slices
from isdmae.volume import Volume
from places import lps_of
from tiny_model import TINY_NETWORK, lung_like, tiny_info, write_point_bundle


def test_labels_lie_on_the_input_grid_and_progress_reaches_the_end(
    predictor: Predictor, small_phantom: Phantom
) -> None:
    seen: list[tuple[str, float]] = []
    result = predictor.segment(small_phantom.ct, progress=lambda *event: seen.append(event))
    assert result.labelmap.same_grid(small_phantom.ct, tolerance=0)
    assert result.labelmap.array.dtype == np.uint8
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert {"network", "prepare slices", "back to the grid", "clean"} <= set(result.seconds)


def test_twice_the_same_input_gives_the_same_bits(
    predictor: Predictor, small_phantom: Phantom
) -> None:
    first, second = (predictor.segment(small_phantom.ct).labelmap.array for _ in range(2))
    assert np.array_equal(first, second)


def test_the_size_of_the_batch_does_not_change_the_labels(
    predictor: Predictor, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predictor.segment(small_phantom.ct).labelmap.array
    monkeypatch.setitem(compute.CPU_BATCH, 2, 3)
    assert np.mean(predictor.segment(small_phantom.ct).labelmap.array != whole) < 1e-3


def test_a_region_limits_the_labels_and_the_work(
    predictor: Predictor, small_phantom: Phantom
) -> None:
    ct = small_phantom.ct
    whole = predictor.segment(ct).labelmap.array
    k, j, i = np.argwhere(whole > 0).mean(axis=0)
    centre = ct.affine @ (i, j, k, 1.0)
    region = Region(centre_mm=tuple(centre[:3]), size_mm=(200.0, 200.0, 120.0))
    seen: list[int] = []
    predictor.network._module.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    part = predictor.segment(ct, region=region).labelmap.array
    inside = region.mask(ct)
    assert not part[~inside].any()
    assert part.any()
    slices = region.box(ct)[0]
    assert sum(seen) == slices.stop - slices.start < len(ct.array)
    core = inside & (part > 0) & (whole > 0)
    assert np.mean(part[core] != whole[core]) < 0.02


def test_slices_between_two_that_show_nothing_are_not_computed(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With slices of 2 mm, every fifth is looked at first: the radius of 5 mL is 10.6 mm."""
    array = np.full((60, 32, 32), -1000, np.int16)
    array[21:34, 8:24, 8:24] = 500
    array[47:50, 8:12, 8:12] = 500  # a speck, which the cleaning takes away
    seen: list[int] = []

    def network(channels: torch.Tensor) -> torch.Tensor:
        seen.append(len(channels))
        return lung_like(channels.float())

    monkeypatch.setattr(predictor.network, "network", network)
    ct = Volume(array=array, spacing_mm=(1.5, 1.5, 2.0))
    found = predictor.segment(ct, force=True).labelmap.array
    assert np.array_equal(np.flatnonzero(found.any(axis=(1, 2))), np.arange(21, 34))
    # 2, 7, ... 57; then 18 to 36, of which 22, 27 and 32 are known, and 43 to 51 but for 47.
    assert sum(seen) == 12 + 16 + 8
    seen.clear()
    thin = Volume(array=array[21:27], spacing_mm=(1.5, 1.5, 2.0))
    assert predictor.segment(thin, force=True).labelmap.array.any(axis=(1, 2)).all()
    assert sum(seen) == 6


def test_only_slices_that_show_the_surroundings_are_computed(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = Volume(array=np.full((9, 32, 32), 500, np.int16), spacing_mm=(1.5, 1.5, 2.0))
    monkeypatch.setattr(predictor.network, "network", lambda given: lung_like(given.float()))
    inside = np.zeros(ct.shape, np.uint8)
    inside[[3, 4, 7], 5, 5] = 1
    for step in (1, 2):
        found = label_slices(
            ct, slice(0, 9), predictor.network, Watcher(), step=step, inside=inside
        )
        assert np.flatnonzero(found.any(axis=(1, 2))).tolist() == [3, 4, 7]
    assert not label_slices(
        ct, slice(0, 9), predictor.network, Watcher(), step=4, inside=0 * inside
    ).any()


def test_cancel_ends_between_two_batches(predictor: Predictor, small_phantom: Phantom) -> None:
    asked = iter([False, True])
    with pytest.raises(Cancelled) as caught:
        predictor.segment(small_phantom.ct, stop=lambda: next(asked))
    assert caught.value.exit_code == 4


def test_a_model_that_takes_no_pictures_refuses_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = Segmenter(TINY_NETWORK, classes=3).state_dict()
    bundle = write_bundle(tmp_path / "m", tiny_info(takes=["ct"]), weights)
    picture = Volume(array=np.zeros((1, 32, 32), np.uint8), is_hu=False)
    with pytest.raises(InputError, match="does not take a picture"):
        Predictor(bundle.folder, device="cpu").segment(picture)


def test_a_picture_gives_labels_of_its_size_and_a_notice(predictor: Predictor) -> None:
    picture = Volume(
        array=np.random.default_rng(0).integers(0, 255, (1, 77, 120), np.uint8), is_hu=False
    )
    result = predictor.segment(picture)
    assert result.labelmap.shape == (1, 77, 120)
    assert {notice.code for notice in result.notices} <= {"picture-sides", "nothing-found"}


def test_values_that_are_not_hu_are_refused_unless_forced(
    predictor: Predictor, small_phantom: Phantom
) -> None:
    scaled = small_phantom.ct.with_array((small_phantom.ct.array + 1024) / 4000)
    with pytest.raises(InputError, match="--force"):
        predictor.segment(scaled)
    assert predictor.segment(scaled, force=True).labelmap.same_grid(small_phantom.ct)


def test_only_a_model_of_sides_says_that_a_picture_has_none() -> None:
    labels = Volume(array=np.ones((1, 8, 12), np.uint8), is_hu=False)
    assert [notice.code for notice in result_notices(labels, LUNGS)] == ["picture-sides"]
    assert result_notices(labels, (make_label("lesion", 1),)) == []


def test_sides_against_the_axes_are_noticed() -> None:
    labels = np.zeros((4, 8, 12), np.uint8)
    labels[1:3, 2:6, 1:5], labels[1:3, 2:6, 7:11] = 2, 1
    assert result_notices(Volume(array=labels), LUNGS) == []
    swapped = result_notices(Volume(array=labels[:, :, ::-1]), LUNGS)
    assert [notice.code for notice in swapped] == ["sides-contradict"]
    nothing = result_notices(Volume(array=np.zeros_like(labels)), LUNGS)
    assert [notice.code for notice in nothing] == ["nothing-found"]


def test_float32_and_the_default_precision_agree(
    tiny_bundle: Bundle, small_phantom: Phantom
) -> None:
    exact = Predictor(tiny_bundle.folder, device="cpu", precision="float32")
    quick = Predictor(tiny_bundle.folder, device="cpu")
    assert exact.network.dtype == torch.float32
    first, second = (p.segment(small_phantom.ct).labelmap.array for p in (exact, quick))
    assert np.mean(first == second) > 0.97
    with pytest.raises(ValueError, match="Unknown precision"):
        Predictor(tiny_bundle.folder, precision="float16")
    with pytest.raises(ValueError, match="overlap"):
        Predictor(tiny_bundle.folder, overlap=1.0)


def test_a_network_that_sees_neighbours_gets_them_at_their_distance(
    tmp_path: Path, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    preprocess = {"neighbours": 1, "edges": False, "slice_spacing_mm": 18.0}
    network = UNetConfig(in_channels=6, widths=(4, 8, 8), blocks=(0, 1, 1))
    info = tiny_info(network=to_plain(network), preprocess=preprocess)
    weights = Segmenter(network, classes=3).state_dict()
    predictor = Predictor(write_bundle(tmp_path / "m", info, weights).folder, device="cpu")
    seen: list[torch.Tensor] = []
    real = predictor.network.network

    def record(channels: torch.Tensor) -> torch.Tensor:
        seen.append(channels.float())
        return real(channels)

    monkeypatch.setattr(predictor.network, "network", record)
    monkeypatch.setattr(compute, "available_threads", lambda: 1)  # one batch after the other
    ct = small_phantom.ct
    assert predictor.segment(ct).labelmap.same_grid(ct)
    stack = torch.cat(seen)  # of each slice k: k - 2, k, k + 2 in the lung window, then again
    assert stack.shape[:2] == (len(ct.array), 6)
    assert torch.equal(stack[2:, 0], stack[:-2, 1])
    assert torch.equal(stack[:-2, 2], stack[2:, 1])
    assert torch.equal(stack[0, 0], stack[0, 1])
    assert torch.equal(stack[-1, 2], stack[-1, 1])


def test_a_stack_of_pictures_is_segmented_picture_by_picture(
    tiny_bundle: Bundle, small_phantom: Phantom
) -> None:
    """Each with grey values of its own range; what is a speck in one is none of its neighbour."""
    predictor = Predictor(tiny_bundle.folder, device="cpu", precision="float32")
    grey = np.interp(small_phantom.ct.array[14:17], (-1100, 100), (0, 250)).astype(np.uint8)
    pictures = grey // np.array([1, 2, 5], np.uint8)[:, None, None]
    stack = predictor.segment(Volume(array=pictures, is_hu=False))
    alone = [predictor.segment(Volume(array=one[None], is_hu=False)) for one in pictures]
    assert all(one.labelmap.array.any() for one in alone)
    found = np.concatenate([one.labelmap.array for one in alone])
    assert np.mean(stack.labelmap.array != found) < 1e-3
    assert stack.cleaning.removed == sum(one.cleaning.removed for one in alone)


def lungs_of_the_phantom(phantom: Phantom) -> Callable[..., np.ndarray]:
    """Stands in for the network: a model of lungs that knows them."""
    return lambda *arguments, **options: phantom.lungs.array.copy()


def test_trachea_and_bronchi_stand_beside_the_lungs(
    predictor: Predictor, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isdmae.inference.label_slices", lungs_of_the_phantom(small_phantom))
    result = predictor.segment(small_phantom.ct, trachea=True)
    assert [(label.value, label.segment_id) for label in result.labels] == [
        (1, "left_lung"), (2, "right_lung"), (3, "trachea_and_main_bronchi"),
    ]  # fmt: skip
    assert 15 < result.volumes_ml["trachea and main bronchi"] < 70
    assert "trachea" in result.seconds
    assert "no-trachea" not in {notice.code for notice in result.notices}
    plain = predictor.segment(small_phantom.ct)
    assert len(plain.labels) == 2
    assert plain.labelmap.array.max() == 2
    lungs = (result.labelmap.array == 1) | (result.labelmap.array == 2)
    assert not (lungs & (plain.labelmap.array == 0)).any()


def test_a_trachea_that_is_not_found_is_said_and_has_no_volume(
    predictor: Predictor, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isdmae.inference.label_slices", lungs_of_the_phantom(small_phantom))
    filled = np.where(small_phantom.lungs.array > 0, small_phantom.ct.array, 40).astype(np.int16)
    filled[:, :5] = -1000  # the room: it is a CT still
    result = predictor.segment(small_phantom.ct.with_array(filled), trachea=True)
    assert "no-trachea" in {notice.code for notice in result.notices}
    assert result.volumes_ml["trachea and main bronchi"] == 0
    assert result.status == "done"


def test_a_trachea_is_refused_where_there_can_be_none(
    tmp_path: Path, predictor: Predictor, small_phantom: Phantom
) -> None:
    ct = small_phantom.ct
    picture = Volume(array=np.arange(32 * 32).reshape(1, 32, 32), is_hu=False)
    points = Predictor(write_point_bundle(tmp_path / "points").folder, device="cpu")
    region = Region(centre_mm=lps_of(ct, 16, 44, 52), size_mm=(90.0, 90.0, 90.0))
    for model, volume, options, code in (
        (predictor, picture, {}, "trachea-unwanted"),
        (points, ct, {"points": [lps_of(ct, 16, 44, 52)]}, "trachea-unwanted"),
        (predictor, ct, {"region": region}, "trachea-in-region"),
    ):
        with pytest.raises(InputError) as caught:
            model.segment(volume, trachea=True, **options)
        assert caught.value.code == code
