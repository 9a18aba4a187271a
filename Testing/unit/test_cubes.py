"""Training items from a small cache: cubes, slices with neighbours, other planes, label shares."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isdmae.errors import InputError
from isdmae.preprocess import PreprocessConfig
from isdmae.schema import to_plain
from isdmae_train.config.data import AugmentConfig, DataConfig
from isdmae_train.cubes import CubeDataset, dataset_for
from isdmae_train.data import ManifestEntry
from isdmae_train.slices import SliceDataset

PLAIN = AugmentConfig(
    rotation_deg=0.0, scale=(1.0, 1.0), shift=0.0, mirror=0.0, upside_down=0.0, field_of_view=0.0,
    blur=0.0, noise=0.0, picture=0.0, lesions=0.0, equalise=0.0,
)  # fmt: skip
CUBES = PreprocessConfig(roi_size=(8, 16, 16), picture_size=32, slice_spacing_mm=2.5)
LABELS = ("lesion",)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two CTs with a lesion each, and a stack of pictures."""
    lines = []
    random = np.random.default_rng(0)
    shapes = {"a": (24, 40, 36), "b": (10, 40, 36), "pictures": (9, 64, 48)}
    for name, shape in shapes.items():
        is_hu = name != "pictures"
        labels = np.zeros(shape, np.uint8)
        labels[2:5, 6:12, 20:26] = 1
        image = random.normal(-800, 20, shape) + 700.0 * labels
        image = image.astype(np.int16) if is_hu else ((image + 1000) / 5).clip(0, 255).astype("u1")
        np.save(tmp_path / f"{name}.npy", image)
        np.save(tmp_path / f"{name}-label.npy", labels)
        entry = ManifestEntry(
            id=name, patient=name, licence="none", sources=("x",), is_hu=is_hu,
            image=f"{name}.npy", label=f"{name}-label.npy", labels=LABELS, truth=None, shape=shape,
            spacing_mm=(1.5, 1.5, 2.5) if is_hu else (1.0, 1.0, 1.0), sha256="", weight=1.0,
            in_plane_spacing_mm=1.5 if is_hu else None,
        )  # fmt: skip
        lines.append(json.dumps(to_plain(entry)))
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "manifest.jsonl"


def cubes(manifest: Path, seed: int = 0, **changes: Any) -> CubeDataset:
    return CubeDataset(DataConfig(manifest=manifest, **changes), CUBES, seed=seed, labels=LABELS)


def test_a_cube_has_image_labels_and_its_place(manifest: Path) -> None:
    item = cubes(manifest)[3]
    assert item["image"].shape == (1, 8, 16, 16)
    assert item["image"].dtype == torch.float32
    assert item["label"].shape == (8, 16, 16)
    assert item["label"].dtype == torch.int64
    assert bool(item["known"].all())
    assert str(item["case"]).endswith("]")


def test_what_goes_wrong_with_a_cube_names_its_scan(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", "a.npy")

    monkeypatch.setattr("isdmae_train.cubes.cut_image", lost)
    with pytest.raises(InputError, match=r"Scan (a|b|pictures): a\.npy could not be read") as told:
        cubes(manifest)[0]
    assert told.value.code == "file-lost"


def test_an_item_depends_on_seed_and_index_alone(manifest: Path) -> None:
    first, again = cubes(manifest), cubes(manifest)
    again[0], again[9]
    assert torch.equal(first[5]["image"], again[5]["image"])
    assert torch.equal(first[5]["label"], again[5]["label"])
    assert not torch.equal(first[5]["image"], cubes(manifest, seed=1)[5]["image"])


def test_labels_lie_on_what_they_name(manifest: Path) -> None:
    """The lesion is the brightest thing, in HU and in pictures."""
    dataset = cubes(manifest, foreground=1.0, augment=PLAIN)
    seen = set()
    for index in range(30):
        item = dataset[index]
        image, lesion = item["image"][0], item["label"] == 1
        seen.add(bool(item["is_hu"]))
        edge = image.min() + 0.5 * (image.max() - image.min())
        assert ((image > edge) == lesion).float().mean() > 0.97
        assert lesion.any()
    assert seen == {True, False}


def test_the_share_of_cubes_about_a_label_is_kept(manifest: Path) -> None:
    def with_label(foreground: float) -> float:
        dataset = cubes(manifest, foreground=foreground, hold_out=("b", "pictures"))
        return float(np.mean([bool(dataset[n]["label"].any()) for n in range(40)]))

    assert with_label(1.0) > 0.95
    assert with_label(0.0) < 0.5


def test_slices_are_brought_to_the_wished_distance(manifest: Path) -> None:
    config = DataConfig(manifest=manifest, foreground=1.0, augment=PLAIN, hold_out=("pictures",))
    fine = PreprocessConfig(roi_size=(8, 16, 16), slice_spacing_mm=1.25)
    deep = {
        name: np.median(
            [
                int(CubeDataset(config, rules, seed=0, labels=LABELS)[n]["label"].any((1, 2)).sum())
                for n in range(12)
            ]
        )
        for name, rules in (("fine", fine), ("own", CUBES))
    }
    assert deep["fine"] > deep["own"]


def test_of_a_share_of_the_labels_only_those_slices_are_known(manifest: Path) -> None:
    dataset = cubes(manifest, label_share=0.25, augment=PLAIN)
    usable = dataset.scans.usable
    assert [len(slices) for slices in usable] == [6, 3, 3]
    known = torch.stack([dataset[n]["known"] for n in range(40)])
    assert known.any(dim=1).all(), "each cube can be learnt from"
    assert 0.1 < known.float().mean() < 0.6
    more = cubes(manifest, label_share=0.5).scans.usable
    assert all(set(few) <= set(many) for few, many in zip(usable, more, strict=True))
    by_patient = cubes(manifest, label_share=0.4, label_share_by="patient").scans
    assert len(by_patient.entries) == 2
    assert [len(slices) for slices in by_patient.usable] == [e.shape[0] for e in by_patient.entries]


def test_a_cube_of_sparse_slices_shows_one_that_may_be_learnt_from(manifest: Path) -> None:
    far_apart = AugmentConfig(scale=(0.45, 0.55))
    dataset = cubes(manifest, label_share=0.04, augment=far_apart)
    assert [len(slices) for slices in dataset.scans.usable] == [1, 1, 1]
    assert all(dataset[n]["known"].any() for n in range(150))


def test_pre_training_sees_every_scan_whatever_the_share(manifest: Path) -> None:
    config = DataConfig(manifest=manifest, label_share=0.1, label_share_by="patient")
    assert len(CubeDataset(config, CUBES, seed=0).scans.entries) == 3


def slices(manifest: Path, rules: PreprocessConfig, **changes: Any) -> SliceDataset:
    config = DataConfig(manifest=manifest, size=48, augment=PLAIN, **changes)
    return SliceDataset(config, rules, seed=0, labels=LABELS)


def test_slices_of_a_share_are_drawn_from_it_alone(manifest: Path) -> None:
    dataset = slices(manifest, PreprocessConfig(), label_share=0.25)
    allowed = {
        f"{entry.id}[{k}]"
        for entry, usable in zip(dataset.scans.entries, dataset.scans.usable, strict=True)
        for k in usable
    }
    assert {str(dataset[n]["case"]) for n in range(60)} <= allowed


def test_a_slice_comes_between_its_neighbours(manifest: Path) -> None:
    dataset = slices(manifest, PreprocessConfig(neighbours=1), hold_out=("b", "pictures"))
    volume = np.load(manifest.parent / "a.npy")
    item = dataset[0]
    assert item["image"].shape == (3, 48, 48)
    assert item["label"].shape == (48, 48)
    k = int(str(item["case"])[2:-1])
    for n, image in enumerate(item["image"].numpy()):
        inner = image[6:42, 8:40].ravel()
        matches = [
            np.corrcoef(inner, other[2:38, 2:34].ravel())[0, 1]
            for other in volume.astype(np.float32)
        ]
        assert int(np.argmax(matches)) == k - 1 + n


def test_slices_of_other_planes_have_square_pixels_and_their_own_labels(manifest: Path) -> None:
    planes = ("coronal", "sagittal")
    dataset = slices(manifest, PreprocessConfig(), planes=planes, hold_out=("b", "pictures"),
                     any_slice=0.0)  # fmt: skip
    for index in range(12):
        item = dataset[index]
        lesion = item["label"] == 1
        assert lesion.any()
        assert ((item["image"][0] > -450) == lesion).float().mean() > 0.98
        # 3 slices of 2.5 mm and 6 pixels of 1.5 mm
        rows, columns = (int(lesion.any(axis).sum()) for axis in (1, 0))
        assert abs(rows - 5) <= 1
        assert abs(columns - 6) <= 1


def test_thick_slices_and_pictures_are_cut_axially(manifest: Path) -> None:
    fine = PreprocessConfig(in_plane_spacing_mm=1.5)
    dataset = slices(manifest, fine, planes=("coronal",), hold_out=("a", "b"))
    assert {str(dataset[n]["case"]).split("[")[0] for n in range(5)} == {"pictures"}
    assert max(int(str(dataset[n]["case"])[9:-1]) for n in range(20)) < 9
    with pytest.raises(ValueError, match="other planes"):
        DataConfig(planes=("axial", "coronal"), label_share=0.5)


def test_the_number_of_dimensions_chooses_the_data_set(manifest: Path) -> None:
    config = DataConfig(manifest=manifest)
    for dims, kind in ((2, SliceDataset), (3, CubeDataset)):
        assert isinstance(dataset_for(config, CUBES, spatial_dims=dims, seed=0), kind)
    with pytest.raises(InputError, match="no scan that this run may use"):
        dataset_for(config, CUBES, spatial_dims=3, seed=0, labels=("nodule",))
    other = PreprocessConfig(in_plane_spacing_mm=3.0)
    with pytest.raises(InputError, match=r"the run wants 3.0 mm"):
        dataset_for(config, other, spatial_dims=3, seed=0)
