"""Prediction: the input's own grid, cancel, the ladder of memory, notices."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from isdmae import compute
from isdmae.bundle import Bundle, write_bundle
from isdmae.candidates import Candidate
from isdmae.compute import Stopwatch, Watcher, is_out_of_memory
from isdmae.device import DeviceChoice
from isdmae.errors import Cancelled, InputError, ResourceError
from isdmae.findings import result_notices
from isdmae.inference import Predictor, Search, Segmentation
from isdmae.labels import LUNGS, make_label
from isdmae.networks.segmenter import Segmenter
from isdmae.networks.unet import UNetConfig
from isdmae.phantom import Phantom
from isdmae.region import Region
from isdmae.schema import to_plain
from isdmae.slicewise import label_slices
from isdmae.volume import Volume
from tiny_model import MIDDLE, TINY_NETWORK, tiny_info, write_lungs_everywhere, write_point_bundle


@pytest.fixture
def predictor(tiny_bundle: Bundle) -> Predictor:
    return Predictor(tiny_bundle.folder, device="cpu")


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


def lung_like(channels: torch.Tensor) -> torch.Tensor:
    """Class 1 where the first window shows something brighter than a soft tissue."""
    return torch.cat([0.9 - channels[:, :1], channels[:, :1] - 0.9, channels[:, :1] * 0 - 9], dim=1)


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


def test_stages_of_several_threads_add_up_to_the_time_that_passes() -> None:
    watch = Stopwatch({"read": 1.0})
    start = time.perf_counter()
    with watch.together(), ThreadPoolExecutor(4) as pool:
        for stage in ("network", "network", "network", "back"):
            pool.submit(_sleep, watch, stage)
    passed = time.perf_counter() - start
    assert watch.seconds["read"] == 1.0
    assert watch.seconds["network"] + watch.seconds["back"] == pytest.approx(passed, rel=0.05)
    assert watch.seconds["network"] > watch.seconds["back"]


def _sleep(watch: Stopwatch, stage: str) -> None:
    with watch(stage):
        time.sleep(0.05)


def test_cancel_ends_between_two_batches(predictor: Predictor, small_phantom: Phantom) -> None:
    asked = iter([False, True])
    with pytest.raises(Cancelled) as caught:
        predictor.segment(small_phantom.ct, stop=lambda: next(asked))
    assert caught.value.exit_code == 4


def failing(network: Callable[..., torch.Tensor], most: int) -> Callable[..., torch.Tensor]:
    """A network on a machine whose memory holds ``most`` slices."""

    def forward(channels: torch.Tensor) -> torch.Tensor:
        if len(channels) > most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return network(channels)

    return forward


def test_with_too_little_memory_it_takes_fewer_slices_at_once(
    predictor: Predictor, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor.network, "network", failing(predictor.network.network, 1))
    assert predictor.segment(small_phantom.ct).labelmap.same_grid(small_phantom.ct)


def test_without_memory_for_one_slice_it_says_so(
    predictor: Predictor, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor.network, "network", failing(predictor.network.network, 0))
    with pytest.raises(ResourceError, match="single slice") as caught:
        predictor.segment(small_phantom.ct)
    assert caught.value.exit_code == 3


def test_memory_that_is_short_from_the_first_is_told_in_words(
    predictor: Predictor, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "FIRST_BYTES", 1 << 60)
    with pytest.raises(ResourceError, match="not enough for a single slice") as caught:
        predictor.segment(small_phantom.ct)
    assert caught.value.code == "out-of-memory"


@pytest.mark.parametrize("error", [MemoryError, torch.cuda.OutOfMemoryError])
def test_memory_that_runs_out_at_any_batch_changes_no_label(
    tiny_bundle: Bundle,
    small_phantom: Phantom,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    """As beside another program that takes the memory in between: once, at each call in turn."""
    predictor = Predictor(tiny_bundle.folder, device="cpu", precision="float32")
    forward, ct = predictor.network.network, small_phantom.ct
    some = Volume(array=ct.array[12:20], spacing_mm=ct.spacing_mm, origin_mm=ct.origin_mm)
    calls, fatal = 0, 0

    def failing_once(channels: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == fatal:
            raise error("out of memory")
        return forward(channels)

    monkeypatch.setattr(predictor.network, "network", failing_once)
    undisturbed = predictor.segment(some).labelmap.array
    assert undisturbed.any()
    batches, fatal = calls, 1
    assert batches >= 4
    while fatal <= batches:
        calls = 0
        assert np.array_equal(predictor.segment(some).labelmap.array, undisturbed)
        assert calls > batches, "a batch was done again"
        fatal += 1


def test_a_gpu_that_is_too_small_hands_over_to_the_cpu(predictor: Predictor) -> None:
    """Without a GPU at hand: the ladder itself, from the GPU's last step down."""
    network = predictor.network
    network.device = DeviceChoice(torch.device("cuda"), "A GPU.")
    assert network.workers == 1
    assert network.make_room(32) == 16
    assert network.make_room(1) == compute.CPU_BATCH[2]
    assert network.device.device.type == "cpu"
    assert "cuda memory is too small" in network.device.reason


def test_a_defect_is_not_taken_for_missing_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate"))
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for x"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def test_other_errors_pass_through(
    predictor: Predictor, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(channels: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(predictor.network, "network", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        predictor.segment(small_phantom.ct)


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


def bundle_within(folder: Path, within: str, **changes: object) -> Bundle:
    """Write a bundle named as its folder whose random network looks within another model."""
    torch.manual_seed(1)
    weights = Segmenter(TINY_NETWORK, classes=3).state_dict()
    return write_bundle(folder, tiny_info(name=folder.name, within=within, **changes), weights)


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


def lps_of(volume: Volume, k: int, j: int, i: int) -> tuple[float, float, float]:
    x, y, z, _ = volume.affine @ (i, j, k, 1.0)
    return float(x), float(y), float(z)


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
