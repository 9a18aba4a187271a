"""Folders of training data: what is recognised, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from isdmae.errors import InputError
from isdmae_train.layouts import find_sources


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_a_plain_folder_of_cts_up_to_three_folders_deep(tmp_path: Path) -> None:
    touch(
        tmp_path / "a.nii.gz", tmp_path / "notes.txt", tmp_path / "B" / "b.nrrd",
        tmp_path / "C" / "study" / "series" / "1.dcm", tmp_path / "C" / "study" / "series" / "2",
    )  # fmt: skip
    found = find_sources(tmp_path)
    assert found.layout == "folder of CTs"
    assert {(scan.id, scan.patient) for scan in found.scans} == {
        ("a", "a"), ("B-b", "B"), ("C-study-series", "C"),
    }  # fmt: skip
    assert all(scan.label is None for scan in found.scans)


def test_dicom_slices_beside_other_folders_deep_down_and_at_the_top(tmp_path: Path) -> None:
    """None is passed over in silence."""
    slices = bytes(128) + b"DICM"
    touch(tmp_path / "P1" / "study" / "SR" / "report")
    (tmp_path / "P1" / "study" / "1").write_bytes(slices)
    touch(tmp_path / "P2" / "a" / "b" / "c" / "1.dcm")
    assert {(scan.id, scan.patient) for scan in find_sources(tmp_path).scans} == {
        ("P1-study", "P1"), ("P1-study-SR", "P1"), ("P2-a-b-c", "P2"),
    }  # fmt: skip
    one = tmp_path / "P1" / "study"
    assert [scan.image for scan in find_sources(one).scans] == [one, one / "SR"]
    assert find_sources(one).scans[0].patient == "study"


def test_a_file_that_cannot_be_opened_does_not_end_the_search(tmp_path: Path) -> None:
    touch(tmp_path / "a.nrrd", tmp_path / "B" / "1", tmp_path / "B" / "more" / "b.nrrd")
    real = Path.open

    def refusing(path: Path, *more: Any, **options: Any) -> Any:
        if path.name == "1":
            raise PermissionError(13, "Permission denied")
        return real(path, *more, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", refusing)
        assert {scan.id for scan in find_sources(tmp_path).scans} == {"a", "B", "B-b"}


def test_nnunet_raw_and_the_decathlon(tmp_path: Path) -> None:
    touch(tmp_path / "imagesTr" / "x_0000.nrrd", tmp_path / "imagesTr" / "y_0000.nrrd")
    touch(tmp_path / "labelsTr" / "x.nrrd")
    description = {"labels": {"background": 0, "left lung": 1, "right lung": [2, 3]}}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    found = find_sources(tmp_path)
    assert found.layout == "nnU-Net raw"
    first, second = found.scans
    assert first.label is not None
    assert first.label.values == {"left lung": (1,), "right lung": (2, 3)}
    assert first.label.path == tmp_path / "labelsTr" / "x.nrrd"
    assert second.label is None
    training = [{"image": "./imagesTr/x_0000.nrrd", "label": "./labelsTr/x.nrrd"}]
    description = {"labels": {"0": "background", "1": "cancer"}, "training": training}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    found = find_sources(tmp_path)
    assert found.layout == "Medical Segmentation Decathlon"
    assert found.scans[0].label is not None
    assert found.scans[0].label.values == {"cancer": (1,)}
    touch(tmp_path / "imagesTr" / "x_0001.nrrd")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {}}))
    with pytest.raises(InputError, match="several channels"):
        find_sources(tmp_path)


def test_a_folder_of_sets(tmp_path: Path) -> None:
    """As nnUNet_raw is: the one set in it is taken, never its labels for scans."""
    one = tmp_path / "Dataset001_lungs"
    touch(one / "imagesTr" / "x_0000.nrrd", one / "labelsTr" / "x.nrrd")
    (one / "dataset.json").write_text('{"labels": {"lung": 1}}')
    (scan,) = find_sources(tmp_path).scans
    assert (scan.id, scan.label is None) == ("x", False)
    shutil.copytree(one, tmp_path / "Dataset002_more")
    with pytest.raises(InputError, match="several sets: Dataset001_lungs, Dataset002_more"):
        find_sources(tmp_path)


def test_pairs_of_scans_and_of_pictures(tmp_path: Path) -> None:
    scans, pictures = tmp_path / "scans", tmp_path / "pictures"
    touch(scans / "images" / "x.nii.gz", scans / "labels" / "x.nrrd")
    with pytest.raises(InputError, match=r"lacks labels\.json"):
        find_sources(scans)
    (scans / "labels.json").write_text('{"lesion": 3}')
    source = find_sources(scans).scans[0]
    assert source.label is not None
    assert (source.label.path, source.label.values) == (scans / "labels/x.nrrd", {"lesion": (3,)})
    touch(pictures / "images" / "1.png", pictures / "masks" / "lesion" / "1.png")
    (picture_set,) = find_sources(pictures).pictures
    assert picture_set.labels == {"lesion": Path("masks/lesion")}


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        find_sources(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no scan"):
        find_sources(tmp_path)
    touch(tmp_path / "imagesTr" / "x_0000.nrrd", tmp_path / "dataset.json")
    with pytest.raises(InputError, match="cannot be read"):
        find_sources(tmp_path)
    (tmp_path / "dataset.json").write_text('{"labels": {"tumour": [1, 2], "core": 2}}')
    with pytest.raises(InputError, match="tumour and core share the value 2"):
        find_sources(tmp_path)
    (tmp_path / "dataset.json").write_text('{"labels": [1]}')
    with pytest.raises(InputError, match="no table of names"):
        find_sources(tmp_path)
