"""Prediction by a 3D network: cubes, slabs, the input's own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from isdmae.bundle import Bundle, write_bundle
from isdmae.compute import Watcher
from isdmae.errors import Cancelled, InputError, ResourceError
from isdmae.grids import VolumeGrid
from isdmae.inference import Predictor
from isdmae.networks.segmenter import Segmenter
from isdmae.networks.unet import UNetConfig
from isdmae.phantom import Phantom
from isdmae.region import Region
from isdmae.schema import to_plain
from isdmae.sliding import gaussian_weights, score_rows, window_starts
from isdmae.volume import Volume
from tiny_model import tiny_info

NETWORK = UNetConfig(
    spatial_dims=3, in_channels=5, widths=(4, 8, 8), blocks=(0, 1, 1), norm="instance"
)
ROI = (16, 32, 32)


def make_bundle(folder: Path, **preprocess: object) -> Bundle:
    """A network with random weights that finds each class about as often as the others."""
    torch.manual_seed(0)
    network = Segmenter(NETWORK, classes=3).eval()
    with torch.no_grad():
        network.head.bias -= network(torch.rand(1, 5, *ROI)).mean((0, 2, 3, 4))
    weights = network.state_dict()
    rules = {"roi_size": list(ROI), "in_plane_spacing_mm": 5.0, **preprocess}
    no_cleaning = {"smallest_ml": 0.0, "smallest_share": 0.0, "fill_holes": False}
    info = tiny_info(network=to_plain(NETWORK), preprocess=rules, postprocess=no_cleaning)
    return write_bundle(folder / "cubes", info, weights)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path)


@pytest.fixture
def predictor(bundle: Bundle) -> Predictor:
    return Predictor(bundle.folder, device="cpu", precision="float32")


def scores_of(predictor: Predictor, image: torch.Tensor, overlap: float) -> torch.Tensor:
    rows = score_rows(image, predictor.network, Watcher(), is_hu=True, overlap=overlap)
    return torch.cat(list(rows), dim=1)


def test_one_cube_that_covers_all_gives_what_the_network_gives(predictor: Predictor) -> None:
    ct = Volume(
        array=np.random.default_rng(0).normal(-400, 150, ROI).clip(-1000).astype(np.int16),
        spacing_mm=(5.0, 5.0, 5.0),
    )
    image = torch.from_numpy(ct.array.astype(np.float32))
    with torch.inference_mode():
        expected = predictor.network.scores(image[None, None], is_hu=True)[0]
    assert torch.allclose(scores_of(predictor, image, 0.5), expected, atol=1e-4)
    found = predictor.segment(ct, force=True).labelmap.array
    assert np.array_equal(found, expected.argmax(dim=0).numpy())


def test_many_cubes_give_what_monai_gives(predictor: Predictor) -> None:
    monai = pytest.importorskip("monai.inferers")
    image = torch.randn(40, 48, 64) * 300 - 500
    with torch.inference_mode():
        expected = monai.sliding_window_inference(
            image[None, None],
            roi_size=ROI,
            sw_batch_size=2,
            predictor=lambda cubes: predictor.network.scores(cubes, is_hu=True),
            overlap=0.5,
            mode="gaussian",
        )[0]
    found = scores_of(predictor, image, 0.5)
    assert found.shape == (3, 40, 48, 64)
    assert torch.allclose(found, expected, atol=1e-3)


def test_scores_that_do_not_depend_on_the_cube_come_back_as_they_are(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, overlaps and slabs cancel out, wherever the last cubes lie."""
    monkeypatch.setattr(predictor.network, "network", lambda channels: channels[:, :3])
    image = torch.rand(37, 41, 53) * 1000 - 1000
    whole = predictor.network.scores(image[None, None], is_hu=True)[0, :2]
    for overlap in (0.0, 0.25, 0.5):
        assert torch.allclose(scores_of(predictor, image, overlap)[:2], whole, atol=1e-5)


@pytest.mark.parametrize(("length", "size", "overlap"), [(33, 16, 0.5), (100, 32, 0.25), (9, 8, 0)])
def test_windows_cover_the_whole_and_overlap_enough(length: int, size: int, overlap: float) -> None:
    starts = window_starts(length, size, overlap)
    assert starts[0] == 0
    assert starts[-1] == length - size
    assert max(np.diff(starts)) <= round(size * (1 - overlap))


def test_weights_are_largest_in_the_middle_and_never_zero() -> None:
    weights = gaussian_weights((9, 16))
    assert weights[4].max() == weights.max()
    assert float(weights.min()) == pytest.approx(1e-3)
    assert torch.equal(weights, weights.flip(0, 1))


@pytest.mark.parametrize("slice_spacing_mm", [None, 4.0, 14.0])
def test_labels_lie_on_the_input_grid_whole_or_in_slabs(
    tmp_path: Path, small_phantom: Phantom, slice_spacing_mm: float | None
) -> None:
    """All scores at once, brought back at once, give the same labels."""
    bundle = make_bundle(tmp_path, slice_spacing_mm=slice_spacing_mm)
    predictor = Predictor(bundle.folder, device="cpu", precision="float32")
    seen: list[float] = []
    result = predictor.segment(small_phantom.ct, progress=lambda _, share: seen.append(share))
    assert result.labelmap.same_grid(small_phantom.ct, tolerance=0)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert result.views == ()
    grid = VolumeGrid.of(small_phantom.ct, bundle.info.preprocess, 4, least=ROI)
    scores = scores_of(predictor, grid.forward(small_phantom.ct), 0.5)
    whole = grid.back(scores, 0, 0, len(small_phantom.ct.array)).argmax(dim=1).numpy()
    assert len(np.unique(whole)) > 1
    assert np.array_equal(result.labelmap.array, whole)


def test_an_oblique_scan_with_flipped_axes_gives_the_labels_of_the_upright_one(
    predictor: Predictor, small_phantom: Phantom
) -> None:
    ct = small_phantom.ct
    angle = np.radians(17.0)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    oblique = Volume(
        array=np.ascontiguousarray(ct.array[::-1].transpose(1, 0, 2)),
        spacing_mm=(ct.spacing_mm[0], ct.spacing_mm[2], ct.spacing_mm[1]),
        origin_mm=(10.0, -40.0, 300.0),
        direction=(turn * (1, 1, -1))[:, [0, 2, 1]],
    )
    upright = predictor.segment(ct).labelmap.array
    result = predictor.segment(oblique)
    assert result.labelmap.same_grid(oblique, tolerance=0)
    assert np.array_equal(result.labelmap.array, upright[::-1].transpose(1, 0, 2))


def test_a_volume_smaller_than_a_cube_and_a_stack_of_pictures(predictor: Predictor) -> None:
    random = np.random.default_rng(0)
    small = Volume(
        array=random.normal(-500, 300, (3, 20, 24)).astype(np.int16), spacing_mm=(5, 5, 5)
    )
    assert predictor.segment(small, force=True).labelmap.shape == (3, 20, 24)
    pictures = Volume(array=random.integers(0, 256, (5, 30, 22)).astype(np.uint8), is_hu=False)
    assert predictor.segment(pictures).labelmap.shape == (5, 30, 22)


def test_a_ct_for_a_network_of_pictures_goes_slice_by_slice_through_the_same_door(
    tmp_path: Path, small_phantom: Phantom
) -> None:
    bundle = make_bundle(tmp_path, ct_as_picture=True, picture_size=64)
    result = Predictor(bundle.folder, device="cpu").segment(small_phantom.ct)
    assert result.labelmap.same_grid(small_phantom.ct)


def test_a_region_limits_labels_and_work(predictor: Predictor, small_phantom: Phantom) -> None:
    ct = small_phantom.ct
    centre = ct.affine @ (52.0, 44.0, 6.0, 1.0)
    region = Region(centre_mm=tuple(centre[:3]), size_mm=(60.0, 60.0, 40.0))
    cubes: list[int] = []
    real = predictor.network.network
    predictor.network.network = lambda channels: cubes.append(len(channels)) or real(channels)
    whole = predictor.segment(ct)
    of_all = sum(cubes)
    cubes.clear()
    part = predictor.segment(ct, region=region)
    assert 0 < sum(cubes) < of_all
    inside = region.mask(ct)
    assert not part.labelmap.array[~inside].any()
    same = part.labelmap.array[inside] == whole.labelmap.array[inside]
    assert same.mean() > 0.7  # instance norms see other cubes


def test_cancel_and_too_little_memory(
    predictor: Predictor, small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter([False, True])
    with pytest.raises(Cancelled):
        predictor.segment(small_phantom.ct, stop=lambda: next(asked))

    def no_memory(_channels: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(predictor.network, "network", no_memory)
    with pytest.raises(ResourceError, match="a single cube"):
        predictor.segment(small_phantom.ct)


def test_other_views_of_a_3d_model_are_refused(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="sees all directions at once"):
        Predictor(bundle.folder, device="cpu", views=("axial", "coronal"))


def test_cubes_that_the_network_cannot_halve_make_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="multiples of 4"):
        make_bundle(tmp_path, roi_size=[16, 30, 32])
