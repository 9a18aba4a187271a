"""Lungs are seen at one size, however a picture is cropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isdmae.bundle import Bundle, write_bundle
from isdmae.compute import LoadedNetwork
from isdmae.errors import InputError
from isdmae.inference import Predictor
from isdmae.labels import make_label
from isdmae.lung_extent import LARGEST, SMALLEST, USUAL, lung_extents, scale_for, scales_for
from isdmae.networks.segmenter import Segmenter
from isdmae.phantom import Phantom
from isdmae.region import Region
from isdmae.schema import to_plain
from isdmae.volume import Array, Volume
from isdmae_train.calibration import slice_chances
from tiny_model import TINY_NETWORK, tiny_info, write_lungs_everywhere

SIZE = 128


@pytest.fixture(scope="module")
def pictures(small_phantom: Phantom) -> tuple[Array, Array]:
    """A slice through the middle of a chest, and the same cropped to its lungs; both 8-bit."""
    k = len(small_phantom.ct.array) // 2
    grey = np.clip((small_phantom.ct.array[k] + 1100) / 1500 * 255, 0, 255).astype(np.uint8)
    whole = np.kron(grey, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero(np.kron(small_phantom.lungs.array[k], np.ones((3, 3))))
    cropped = whole[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return whole, np.ascontiguousarray(cropped)


def model(folder: Path, **changes: Any) -> Bundle:
    """Write a model of lesions with random weights that looks at the size of the lungs."""
    torch.manual_seed(0)
    info = tiny_info(
        name="lesions", labels=[to_plain(make_label("lesion", 1))],
        preprocess={"picture_size": SIZE, "ct_as_picture": True}, lung_model="lungs", **changes,
    )  # fmt: skip
    return write_bundle(folder / "lesions", info, Segmenter(TINY_NETWORK, classes=2).state_dict())


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and columns of each batch that the network of lesions is given."""
    sizes = []
    real = LoadedNetwork.scores

    def scores(network: LoadedNetwork, image: torch.Tensor, **options: bool) -> torch.Tensor:
        if network.info.name == "lesions":
            sizes.append(tuple(image.shape[-2:]))
        return real(network, image, **options)

    monkeypatch.setattr(LoadedNetwork, "scores", scores)
    return sizes


def test_extents_are_those_of_the_box_round_both_lungs() -> None:
    lungs = np.zeros((3, 50, 100), np.uint8)
    lungs[0, 10:40, 10:20], lungs[0, 10:40, 60:70] = 1, 2
    lungs[1, 5:45, 10:30] = 1
    lungs[2, :7, :7] = 1  # 49 pixels: none to speak of
    assert lung_extents(lungs) == (0.6, 0.4, USUAL)
    assert scales_for(lungs, 0.6, size=100) == [1.0, 1.5, scale_for(USUAL, 0.6)]


def test_a_slice_of_few_pixels_is_not_blown_up() -> None:
    lungs = np.zeros((1, 50, 64), np.uint8)
    lungs[0, 10:40, 5:25] = 1
    assert scales_for(lungs, 0.85, size=64) == [LARGEST]
    assert scales_for(lungs, 0.85, size=128) == [1.0]
    assert scales_for(lungs, 0.85, size=512) == [SMALLEST]


@pytest.mark.parametrize("extent", [0.01, 0.3, 0.55, 0.8, 1.0])
def test_a_scale_stays_within_limits_and_on_few_steps(extent: float) -> None:
    scale = scale_for(extent, 0.85)
    assert SMALLEST <= scale <= LARGEST
    assert scale in (SMALLEST, LARGEST) or scale * 16 == int(scale * 16)
    assert abs(scale * extent - 0.85) < 1 / 30 or scale in (SMALLEST, LARGEST)


def test_a_cropped_picture_is_seen_smaller(
    pictures: tuple[Array, Array], tmp_path: Path, seen: list[tuple[int, int]]
) -> None:
    whole, cropped = pictures
    predictor = Predictor(model(tmp_path).folder, device="cpu")
    for picture in pictures:
        result = predictor.segment(Volume(array=picture[None], is_hu=False))
        assert result.first is not None
        assert result.first.info.name == "lungs"
    (_, wide), (_, narrow) = seen
    lungs = [wide * cropped.shape[1] / whole.shape[1], narrow]
    assert lungs[0] == pytest.approx(0.85 * SIZE, rel=0.12)  # a network's size is in steps of 16
    assert lungs[1] == pytest.approx(0.85 * SIZE, rel=0.12)


def test_a_stack_is_no_other_than_its_pictures(
    pictures: tuple[Array, Array], tmp_path: Path, seen: list[tuple[int, int]]
) -> None:
    whole, _ = pictures
    small = np.zeros_like(whole)
    small[70:-70, 80:-80] = whole[1::2, 1::2][: len(whole) - 140, : whole.shape[1] - 160]
    predictor = Predictor(model(tmp_path).folder, device="cpu", precision="float32")
    stack = np.stack([whole, small, whole])
    together = predictor.segment(Volume(array=stack, is_hu=False)).labelmap.array
    assert len(set(seen)) == 2
    for picture, labels in zip(stack, together, strict=True):
        alone = predictor.segment(Volume(array=picture[None], is_hu=False)).labelmap.array
        assert np.array_equal(alone[0], labels)
    chances = [one.argmax(axis=0) for one, _ in slice_chances(
        Volume(array=stack, is_hu=False), predictor, {})]  # fmt: skip
    assert (np.stack(chances) == together).mean() > 0.97, "but for what the cleaning takes"


def test_a_region_of_a_ct_has_the_labels_of_the_whole(
    small_phantom: Phantom, tmp_path: Path, seen: list[tuple[int, int]]
) -> None:
    ct = small_phantom.ct
    bundle = model(tmp_path, postprocess={"smallest_share": 0.0, "fill_holes": False})
    predictor = Predictor(bundle.folder, device="cpu", precision="float32")
    assert predictor.slice_scales(ct) == scales_for(
        Predictor("lungs", device="cpu", precision="float32").segment(ct).labelmap.array,
        0.85,
        size=SIZE,
    )
    whole = predictor.segment(ct).labelmap.array
    assert len(set(seen)) > 1
    middle = ct.origin_mm + ct.direction @ (np.array(ct.spacing_mm) * (52, 44, 16))
    region = Region(centre_mm=tuple(middle), size_mm=(90.0, 90.0, 90.0))
    part = predictor.segment(ct, region=region).labelmap.array
    inside = region.mask(ct)
    assert np.array_equal(part, np.where(inside, whole, 0))


def test_what_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for changes, words in (
        ({"within": "others"}, "lies within"),
        ({"name": "lungs"}, "its own result"),
        ({"crop_edge": 32}, "whole slices"),
        ({"lung_extent": 0.1}, "not plausible"),
    ):
        info = tiny_info(labels=[to_plain(make_label("lesion", 1))], lung_model="lungs")
        with pytest.raises(InputError, match=words):
            write_bundle(tmp_path / "x", info | changes, {})
    write_lungs_everywhere(tmp_path / "first")
    second = tiny_info(name="second", lung_model="first")
    write_bundle(tmp_path / "second", second, Segmenter(TINY_NETWORK, classes=3).state_dict())
    third = tiny_info(name="third", lung_model="second")
    write_bundle(tmp_path / "third", third, Segmenter(TINY_NETWORK, classes=3).state_dict())
    monkeypatch.setenv("ISDMAE_MODELS", str(tmp_path))
    Predictor("second", device="cpu")
    with pytest.raises(InputError, match="needs a third first"):
        Predictor("third", device="cpu")
    weights = Segmenter(TINY_NETWORK, classes=3).state_dict()
    write_bundle(tmp_path / "cts", tiny_info(name="cts", takes=["ct"]), weights)
    write_bundle(tmp_path / "all", tiny_info(name="all", lung_model="cts"), weights)
    with pytest.raises(InputError, match="does not take every ct and picture"):
        Predictor("all", device="cpu")
