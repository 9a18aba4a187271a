"""Mirror images and the three views of a 2D network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from isdmae import cli
from isdmae.bundle import Bundle, write_bundle
from isdmae.inference import Predictor
from isdmae.io import to_sitk, write_image_atomic
from isdmae.job import PredictJob, Runner
from isdmae.networks.segmenter import Segmenter
from isdmae.phantom import Phantom
from isdmae.preprocess import PreprocessConfig
from isdmae.schema import from_plain
from isdmae.views import usable_views
from isdmae.volume import Volume
from tiny_model import TINY_NETWORK, tiny_info

ALL = ("axial", "coronal", "sagittal")
NO_CLEANING = {"smallest_ml": 0.0, "smallest_share": 0.0, "fill_holes": False}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    torch.manual_seed(0)
    weights = Segmenter(TINY_NETWORK, classes=3).state_dict()
    info = tiny_info(preprocess={"in_plane_spacing_mm": 4.0}, postprocess=NO_CLEANING)
    return write_bundle(tmp_path / "views", info, weights)


@pytest.fixture
def thin(small_phantom: Phantom) -> Volume:
    """The phantom at 4 mm in each direction, fewer slices."""
    ct = small_phantom.ct
    return Volume(array=ct.array[8:24, 10:70, 10:78], spacing_mm=(4.0, 4.0, 4.0))


def by_intensity(channels: torch.Tensor) -> torch.Tensor:
    """Air, or soft tissue: what a voxel is does not depend on its place."""
    lung, soft = channels[:, :1], channels[:, 1:2]
    return torch.cat([0.5 - soft, soft - lung, lung - 0.5], dim=1)


def by_side(channels: torch.Tensor) -> torch.Tensor:
    """Class 1 in the half of the frame that a CT shows at the left, class 2 in the other.

    In the mirror image it says the same of the frame, so of the patient the other side: as a
    network that knows left from right does.
    """
    half = torch.linspace(-1, 1, channels.shape[-1]).expand(channels[:, 0].shape)
    return torch.stack([torch.full_like(half, -9.0), half, -half], dim=1)


def labels_of(bundle: Bundle, ct: Volume, network: object = None, **options: object) -> np.ndarray:
    predictor = Predictor(bundle.folder, device="cpu", precision="float32", **options)
    if network is not None:
        predictor.network.network = network
    return predictor.segment(ct, force=True).labelmap.array


def test_the_mirror_image_of_what_has_no_sides_changes_sides_only(
    bundle: Bundle, thin: Volume
) -> None:
    def sideless(channels: torch.Tensor) -> torch.Tensor:
        scores = by_intensity(channels)
        return torch.cat([scores[:, :1], scores[:, 1:2], scores[:, 1:2]], dim=1)

    plain = labels_of(bundle, thin, sideless)
    assert len(np.unique(plain)) == 2
    assert np.array_equal(labels_of(bundle, thin, sideless, mirror=True), plain)


def test_sides_are_changed_back(bundle: Bundle, thin: Volume) -> None:
    plain = labels_of(bundle, thin, by_side)
    assert set(np.unique(plain)) == {1, 2}
    assert np.array_equal(labels_of(bundle, thin, by_side, mirror=True), plain)


def test_a_mirror_averages_probabilities(bundle: Bundle) -> None:
    network = Predictor(bundle.folder, device="cpu", precision="float32", mirror=True).network
    image = torch.randn(1, 1, 16, 24) * 300 - 500
    with torch.inference_mode():
        found = network.scores(image, is_hu=True)
        here, there = (network._logits(x, True).softmax(1) for x in (image, image.flip(-1)))
        assert torch.equal(network.scores(image, is_hu=True, mirrored=False).softmax(1), here)
    expected = (here + there.flip(-1)[:, [0, 2, 1]]) / 2
    assert torch.allclose(found, expected, atol=1e-6)


def test_views_of_what_does_not_depend_on_the_view_agree(bundle: Bundle, thin: Volume) -> None:
    plain = labels_of(bundle, thin, by_intensity)
    assert len(np.unique(plain)) == 2
    for views in (("coronal",), ("sagittal",), ALL):
        found = labels_of(bundle, thin, by_intensity, views=views)
        assert np.mean(found != plain) < 1e-3  # probabilities are added up in half precision


def test_each_view_sees_slices_of_its_own_plane(bundle: Bundle, thin: Volume) -> None:
    for view, shape, axis in (("coronal", (16, 68), 1), ("sagittal", (16, 60), 2)):
        seen: list[torch.Tensor] = []

        def record(channels: torch.Tensor, seen: list[torch.Tensor] = seen) -> torch.Tensor:
            seen.append(channels[:, 0])
            return by_intensity(channels)

        labels_of(bundle, thin, record, views=(view,))
        slices = torch.cat(seen)
        assert len(slices) == thin.shape[axis]
        window = np.clip((np.moveaxis(thin.array, axis, 0) + 1100.0) / 1200.0, 0, 1)
        found = slices[:, : shape[0], : shape[1]].numpy()
        difference = np.abs(found[:, None] - window[None]).max(axis=(2, 3))
        # Batches run side by side, so they come in any order.
        assert np.array_equal(np.sort(difference.argmin(axis=0)), np.arange(len(window)))
        assert difference.min(axis=0).max() < 1e-6


def test_the_three_views_are_averaged(bundle: Bundle, thin: Volume) -> None:
    """Of a trained network each differs; the mean has a voxel's class where all three agree."""
    alone = [labels_of(bundle, thin, views=(view,)) for view in ("coronal", "sagittal")]
    alone.append(labels_of(bundle, thin, views=("axial",)))
    together = labels_of(bundle, thin, views=ALL)
    agree = (alone[0] == alone[1]) & (alone[1] == alone[2])
    assert 0.05 < agree.mean() < 1.0
    assert np.array_equal(together[agree], alone[0][agree])


def test_thick_slices_and_pictures_have_the_axial_view_only(thin: Volume) -> None:
    config = PreprocessConfig(in_plane_spacing_mm=1.5)
    thick = Volume(array=thin.array, spacing_mm=(1.0, 1.0, 5.0))
    views, notices = usable_views(thick, config, ALL)
    assert views == ("axial",)
    assert notices[0].code == "views-left-out"
    assert "5.0 mm apart" in notices[0].message
    picture = Volume(array=thin.array, is_hu=False)
    assert "Pictures" in usable_views(picture, config, ALL)[1][0].message
    assert usable_views(thick, config, ("axial",)) == (("axial",), [])
    fine = Volume(array=thin.array, spacing_mm=(1.0, 1.0, 2.0))
    assert usable_views(fine, config, ALL) == (ALL, [])


def test_a_model_says_which_views_it_was_made_for(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = Segmenter(TINY_NETWORK, classes=3).state_dict()
    made = write_bundle(tmp_path / "m", tiny_info(views=list(ALL)), weights)
    assert Predictor(made.folder, device="cpu").views == ALL
    assert Predictor(made.folder, device="cpu", views=("axial",)).views == ("axial",)
    with pytest.raises(ValueError, match="different ones"):
        Predictor(made.folder, device="cpu", views=("axial", "axial"))


def test_the_report_says_what_was_used(bundle: Bundle, thin: Volume, tmp_path: Path) -> None:
    write_image_atomic(tmp_path / "ct.nrrd", to_sitk(thin))
    plain = {
        "input": str(tmp_path / "ct.nrrd"), "outputs": [str(tmp_path / "a.nrrd")],
        "model": str(bundle.folder), "device": "cpu", "views": list(ALL), "mirror": True,
        "force": True,
    }  # fmt: skip
    report = Runner().run(from_plain(PredictJob, plain, "a message to the worker"))
    assert report["options"]["views"] == list(ALL)
    assert report["options"]["mirror"] is True


def test_the_command_line_has_both_options(bundle: Bundle, thin: Volume, tmp_path: Path) -> None:
    write_image_atomic(tmp_path / "ct.nrrd", to_sitk(thin))
    command = [
        "predict", str(tmp_path / "ct.nrrd"), "-o", str(tmp_path / "a.nrrd"), "--device", "cpu",
        "--model", str(bundle.folder), "--force", "--progress", "none", "--mirror", "--views",
        "axial", "coronal", "--report", str(tmp_path / "report.json"),
    ]  # fmt: skip
    assert cli.main(command) == 0
    used = json.loads((tmp_path / "report.json").read_text())["options"]
    assert (used["views"], used["mirror"]) == (["axial", "coronal"], True)
