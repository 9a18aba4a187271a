"""Public sets by name: each one's layout is found, and its traps are undone."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import io
from isdmae.errors import InputError
from isdmae.volume import Volume, to_lps_order
from isdmae_train import cli
from isdmae_train.cache import open_array
from isdmae_train.config.prepare import PrepareConfig
from isdmae_train.data import ManifestEntry, read_manifest
from isdmae_train.lidc import is_lidc, nodules_of
from isdmae_train.prepare import prepare
from isdmae_train.public_sets import SETS, find_set

DATA = Path(os.environ.get("ISDMAE_DATA", "../shared/data"))
SHAPE = (4, 20, 24)
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
SPACING = (3.0, 3.0, 5.0)


def hu(seed: int) -> np.ndarray:
    """Return the values of a CT in shares that pass for one, with padding in a corner."""
    random = np.random.default_rng(seed)
    array = random.choice(np.array([-1000, -700, -300, 40], np.int16), SHAPE)
    array[:, :2, :2] = -2048
    return array


def box(*columns: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 5:12, columns[0] : columns[1]] = 1
    return mask


def save(path: Path, array: np.ndarray, *, flipped: bool = False) -> None:
    """Write an image; ``flipped``: rows and columns run against LPS, as in most NIfTI files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if array.ndim == 3:
        image = sitk.GetImageFromArray(array[:, ::-1, ::-1].copy() if flipped else array)
        image.SetSpacing(SPACING)
        if flipped:
            image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
            image.SetOrigin((SPACING[0] * (SHAPE[2] - 1), SPACING[1] * (SHAPE[1] - 1), 0))
    else:
        image = sitk.GetImageFromArray(array)
    sitk.WriteImage(image, str(path))


def prepared(name: str, folder: Path, labels: tuple[str, ...] = ()) -> list[ManifestEntry]:
    """Prepare a set below ``folder``; files are relative to ``folder/cache``."""
    config = PrepareConfig(data=folder, out=folder / "cache", set=name, labels=labels)
    return read_manifest(prepare(config))


def label_of(folder: Path, entry: ManifestEntry) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "cache" / str(entry.truth))))


def problems_of(folder: Path) -> dict[str, tuple[str, str]]:
    report = json.loads((folder / "cache" / "prepare-report.json").read_text())
    return {one["id"]: (one["code"], one["effect"]) for one in report["problems"]}


def test_the_20_cases_in_hu_whatever_their_storage(tmp_path: Path) -> None:
    cases = ("coronacases_001", "radiopaedia_29_86490_1", "radiopaedia_29_86491_1")
    for seed, case in enumerate(cases):
        values = hu(seed)
        if case.startswith("radio"):
            values = np.clip(np.rint((values + 1250.0) / 1500 * 255), 0, 255).astype(np.int16)
        save(tmp_path / "COVID-19-CT-Seg_20cases" / f"{case}.nii.gz", values, flipped=True)
        # The first case has the sides of the picture for those of the patient.
        left, right = (2, 1) if seed else (1, 2)
        lungs = left * box(14, 21) + right * box(3, 9)
        save(
            tmp_path / "Lung_Mask" / f"{case}.nii.gz",
            lungs,
            flipped=True,
        )
        save(tmp_path / "Infection_Mask" / f"{case}.nii.gz", box(4, 7), flipped=True)
        both = np.where(box(4, 7), 3, lungs).astype(np.uint8)
        save(tmp_path / "Lung_and_Infection_Mask" / f"{case}.nii.gz", both, flipped=True)
    entries = prepared("covid19-ct-20", tmp_path, ("left lung", "right lung", "lesion"))
    assert [one.patient for one in entries] == [cases[0], "radiopaedia_29", "radiopaedia_29"]
    assert entries[0].labels == ("left lung", "right lung", "lesion")
    for seed, entry in enumerate(entries):
        truth = to_lps_order(io.read(tmp_path / "cache" / str(entry.truth)).volume)[0].array
        assert truth[1, 6, 16] == 1, "the patient's left is where x is large"
        assert truth[1, 6, 3] == 2
        assert (truth == 3).sum() == box(4, 7).sum()
        values = open_array(tmp_path / "cache" / entry.image)[:]
        assert values.min() == -1024
        assert np.percentile(values, 99) == pytest.approx(40, abs=8)
        assert ("Stored as 0..255" in str(entry.notes)) == (seed > 0)
        own = io.read(entry.sources[0]).volume
        assert own.array.min() < -1000, "what models are evaluated on is in HU, too"
        assert own.same_grid(io.read(tmp_path / "cache" / str(entry.truth)).volume)
        assert ("had each other's" in str(entry.notes)) == (seed > 0)
    (lesions, *_) = prepared("covid19-ct-20", tmp_path)
    assert lesions.labels == ("lesion",)
    assert lesions.sha256 == entries[0].sha256


def test_the_20_cases_as_kaggle_has_them_with_parts_missing(tmp_path: Path) -> None:
    for case in ("001", "002"):
        save(tmp_path / "ct_scans" / f"coronacases_org_{case}.nii", hu(int(case)))
    name = "radiopaedia_org_covid-19-pneumonia-10_85902_3-dcm"
    save(tmp_path / "ct_scans" / f"{name}.nii", hu(5))
    save(tmp_path / "infection_mask" / "coronacases_001.nii", box(3, 9))
    save(tmp_path / "infection_mask" / "radiopaedia_10_85902_3.nii", 255 * box(3, 9))
    save(tmp_path / "infection_mask" / "coronacases_009.nii", box(3, 9))
    with pytest.raises(InputError, match="1 scans or cases were left out"):
        prepared("covid19-ct-20", tmp_path)
    entries = read_manifest(tmp_path / "cache" / "manifest.jsonl")
    assert {one.id: one.labels for one in entries} == {
        "coronacases_001": ("lesion",), "coronacases_002": (), "radiopaedia_10_85902_3": ("lesion",)
    }  # fmt: skip
    assert problems_of(tmp_path) == {
        "coronacases_002": ("label-missing", "prepared, with a remark"),
        "coronacases_009.nii": ("image-missing", "left out"),
    }


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(1, 255, (16, 16), np.uint8)


def test_slices_of_the_kaggle_set_go_by_patient_not_by_their_parts(tmp_path: Path) -> None:
    names = {
        "Train_Folder": ("Jun_coronacases_case7_75", "bjorke_1"),
        "Test_Folder": ("Jun_coronacases_case7_76", "Morozov_study_0255_24", "bjorke_2"),
    }
    for part, some in names.items():
        for name in some:
            save(tmp_path / part / "img" / f"{name}.png", picture(len(name) + int(name[-1])))
            save(tmp_path / part / "labelcol" / f"mask_{name}.png", np.eye(16, dtype=np.uint8))
    entries = prepared("covid19-lesion", tmp_path)
    assert {one.patient for one in entries} == {"coronacases_007", "mosmed_0255", "bjorke"}
    assert {one.split for one in entries} == {""}
    assert all(open_array(tmp_path / "cache" / str(one.label))[:].sum() == 16 for one in entries)


def test_pseudo_labels_of_infnet_are_never_taken(tmp_path: Path) -> None:
    train = tmp_path / "Dataset" / "TrainingSet" / "LungInfection-Train"
    parts = (train / "Doctor-label", train / "Pseudo-label",
             tmp_path / "Dataset" / "TestingSet" / "LungInfection-Test",
             tmp_path / "Dataset" / "TestingSet" / "MultiClassInfection-Test")  # fmt: skip
    for number, part in enumerate(parts):
        save(part / "Imgs" / "1.jpg", picture(number))
        save(part / "GT" / "1.png", 255 * np.eye(16, dtype=np.uint8))
    entries = prepared("infnet", tmp_path)
    assert {(one.id, one.split) for one in entries} == {
        ("infnet-train-1", "train"), ("infnet-test-1", "test")
    }  # fmt: skip


def test_mosmed_takes_the_studies_with_masks(tmp_path: Path) -> None:
    for number in ("0255", "0256"):
        save(tmp_path / "studies" / "CT-1" / f"study_{number}.nii.gz", hu(int(number)))
    save(tmp_path / "masks" / "study_0255_mask.nii.gz", box(3, 9))
    (entry,) = prepared("mosmed50", tmp_path)
    assert (entry.id, entry.patient) == ("mosmed_0255", "mosmed_0255")
    assert label_of(tmp_path, entry).sum() == box(3, 9).sum()
    assert "read as air" in str(entry.notes)


def test_the_challenge_has_cts_without_labels(tmp_path: Path) -> None:
    for number, part in (("0003", "Train"), ("0004", "Train"), ("0003-1", "Validation")):
        save(
            tmp_path / part / f"volume-covid19-A-{number}_ct.nii.gz", hu(len(part) + int(number[3]))
        )
    save(tmp_path / "Train" / "volume-covid19-A-0003_seg.nii.gz", box(3, 9))
    entries = prepared("covid-19-20", tmp_path)
    assert [(one.id[11:], one.patient[11:], one.labels) for one in entries] == [
        ("_0003", "_0003", ("lesion",)), ("_0004", "_0004", ()), ("_0003-1", "_0003", ()),
    ]  # fmt: skip
    assert problems_of(tmp_path) == {
        "covid-19-20_0004": ("label-missing", "prepared, with a remark")
    }


def test_the_decathlon_without_its_hidden_copies(tmp_path: Path) -> None:
    task = tmp_path / "Task06_Lung"
    for folder, array in (("imagesTr", hu(1)), ("labelsTr", box(3, 9))):
        save(task / folder / "lung_001.nii.gz", array, flipped=True)
        (task / folder / "._lung_001.nii.gz").write_bytes(b"Mac OS X")
    pair = {"image": "./imagesTr/lung_001.nii.gz", "label": "./labelsTr/lung_001.nii.gz"}
    facts = {"labels": {"0": "background", "1": "cancer"}, "training": [pair]}
    (task / "dataset.json").write_text(json.dumps(facts))
    (entry,) = prepared("msd-lung", tmp_path)
    assert (entry.id, entry.labels, entry.licence) == ("msd-lung_001", ("cancer",), "CC BY-SA 4.0")


def test_totalsegmentator_makes_lungs_of_lobes_and_leaves_other_bodies(tmp_path: Path) -> None:
    lobes = {
        "lung_upper_lobe_left": (14, 17), "lung_lower_lobe_left": (17, 20),
        "lung_upper_lobe_right": (3, 5), "lung_middle_lobe_right": (5, 7),
        "lung_lower_lobe_right": (7, 9),
    }  # fmt: skip
    for subject in ("s0000", "s0001"):
        save(tmp_path / subject / "ct.nii.gz", hu(int(subject[1:])), flipped=True)
        for name, columns in lobes.items():
            mask = box(*columns) * (subject == "s0000")
            save(tmp_path / subject / "segmentations" / f"{name}.nii.gz", mask, flipped=True)
    (tmp_path / "meta.csv").write_text("image_id;age;split\ns0000;50;test\ns0001;60;train\n")
    (entry,) = prepared("totalsegmentator", tmp_path)
    assert (entry.labels, entry.split) == (("left lung", "right lung"), "test")
    truth = to_lps_order(io.read(tmp_path / "cache" / str(entry.truth)).volume)[0].array
    assert np.array_equal(truth, box(14, 20) + 2 * box(3, 9))
    assert problems_of(tmp_path) == {"totalsegmentator-s0001": ("empty-label", "not used")}
    (one,) = prepared("totalsegmentator", tmp_path, ("lung middle lobe right",))
    assert one.labels == ("lung middle lobe right",)


def readings(masks: list[list[tuple[np.ndarray, bool]]], z_mm: list[float]) -> bytes:
    """Return LIDC's XML: of each reader the outlines round masks (k, j, i), and if they include."""
    root = ElementTree.Element("LidcReadMessage", xmlns="http://www.nih.gov")
    for reader in masks:
        session = ElementTree.SubElement(root, "readingSession")
        nodule = ElementTree.SubElement(session, "unblindedReadNodule")
        for mask, inside in reader:
            for k in np.flatnonzero(mask.any(axis=(1, 2))):
                wide = cv2.dilate(mask[k].astype(np.uint8), CROSS)
                found, _ = cv2.findContours(wide, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
                for outline in found:
                    roi = ElementTree.SubElement(nodule, "roi")
                    ElementTree.SubElement(roi, "imageZposition").text = f"{z_mm[k]:.6f} "
                    ElementTree.SubElement(roi, "inclusion").text = str(inside).upper()
                    for x, y in outline[:, 0]:
                        edge = ElementTree.SubElement(roi, "edgeMap")
                        ElementTree.SubElement(edge, "xCoord").text = str(x)
                        ElementTree.SubElement(edge, "yCoord").text = str(y)
        small = ElementTree.SubElement(session, "unblindedReadNodule")
        roi = ElementTree.SubElement(small, "roi")
        ElementTree.SubElement(roi, "imageZposition").text = str(z_mm[0])
        edge = ElementTree.SubElement(roi, "edgeMap")
        ElementTree.SubElement(edge, "xCoord").text = ElementTree.SubElement(
            edge, "yCoord"
        ).text = "2"
    return ElementTree.tostring(root)


def test_lidc_outlines_exclude_themselves_and_holes(tmp_path: Path) -> None:
    ct = Volume(array=hu(0), spacing_mm=SPACING, origin_mm=(0, 0, -100), is_hu=True)
    large, small, hole = box(4, 14), box(4, 9), np.zeros(SHAPE, np.uint8)
    hole[1, 8, 6] = 1  # its outline is excluded with it
    z = [-100 + 5.0 * k for k in range(4)]
    xml = tmp_path / "a.xml"
    xml.write_bytes(readings([[(large, True)], [(small, True), (hole, False)]], z))
    assert is_lidc(xml)
    expected = small.astype(bool)
    expected[1, 7:10, 6] = expected[1, 8, 5:8] = False
    assert np.array_equal(nodules_of(ct, xml), expected)
    assert np.array_equal(nodules_of(ct, xml, readers=1), large > 0)
    xml.write_bytes(readings([[(large, True)]], [shift + 2.5 for shift in z]))
    with pytest.raises(InputError, match="where the scan has no slice"):
        nodules_of(ct, xml)
    for content in (b"<LidcReadMessage>", b'<!DOCTYPE x [<!ENTITY a "b">]><LidcReadMessage/>'):
        xml.write_bytes(content)
        with pytest.raises(InputError, match="cannot be used"):
            nodules_of(ct, xml)


@pytest.mark.skipif(not (DATA / "lidc").is_dir(), reason="the LIDC scan is not here")
def test_a_real_lidc_series_with_its_readings(tmp_path: Path) -> None:
    series = tmp_path / "LIDC-IDRI-0001" / "study" / "series"
    series.parent.mkdir(parents=True)
    series.symlink_to((DATA / "lidc" / "LIDC-IDRI-0001-dicom").resolve())
    ct = io.read(series).volume
    nodule, turned = (
        to_lps_order(one)[0]
        for one in (io.read(DATA / "lidc" / "LIDC-IDRI-0001_nodule.nii.gz").volume, ct)
    )
    assert nodule.shape == turned.shape
    order = to_lps_order(ct)[1]
    assert np.array_equal(order.apply(ct.array), ct.array), "as outlines are drawn"
    truth = nodule.array > 0
    z = [turned.origin_mm[2] + k * turned.spacing_mm[2] for k in range(len(truth))]
    xml = tmp_path / "071.xml"
    xml.write_bytes(readings([[(truth, True)]] * 2, z))
    found = nodules_of(ct, xml)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.99


def test_lidc_patients_and_series_are_found(tmp_path: Path) -> None:
    for number, root in ((1, "Lidc"), (2, "Lidc"), (3, "Idri")):
        folder = tmp_path / "LIDC-IDRI-0007" / f"study{number}" / "series"
        folder.mkdir(parents=True)
        (folder / "1.xml").write_text(f"<{root}ReadMessage/>")
    found = find_set("lidc-idri", tmp_path)
    assert [scan.id for scan in found.scans] == ["LIDC-IDRI-0007", "LIDC-IDRI-0007-2"]
    assert {scan.patient for scan in found.scans} == {"LIDC-IDRI-0007"}
    (lungs, _) = find_set("lidc-idri", tmp_path, ("left lung", "right lung")).scans
    assert lungs.label is not None
    assert lungs.label.path is None


@pytest.mark.skipif(not (DATA / "lidc-nodule-crops").is_dir(), reason="the crops are not here")
def test_real_crops_by_patient_with_the_readers_bits(tmp_path: Path) -> None:
    with np.load(DATA / "lidc-nodule-crops" / "crops.npz") as file:
        some = {name: file[name][:12] for name in ("image", "reader_bits", "id")}
    np.savez(tmp_path / "crops.npz", **some)
    entries = prepared("lidc-crops", tmp_path)
    assert {one.patient for one in entries} == {str(name).split("/")[0] for name in some["id"]}
    assert sum(one.shape[0] for one in entries) == 12
    marked = sum(open_array(tmp_path / "cache" / str(one.label))[:].sum() for one in entries)
    readers = np.unpackbits(some["reader_bits"][..., None], axis=-1).sum(axis=-1)
    assert marked == (readers >= 2).sum()


@pytest.mark.skipif(not (DATA / "covid20-2d").is_dir(), reason="the pictures are not here")
def test_real_slices_of_the_20_cases(tmp_path: Path) -> None:
    source = DATA / "covid20-2d"
    rows = list(csv.DictReader((source / "case_index.csv").open()))
    rows = [row for row in rows if row["patient"] in ("rp29", "rp10") and int(row["file"][:4]) % 2]
    for folder in ("images", "infection", "lung"):
        (tmp_path / folder).mkdir()
        for row in rows:
            (tmp_path / folder / row["file"]).symlink_to((source / folder / row["file"]).resolve())
    with (tmp_path / "case_index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    entries = prepared("covid20-2d", tmp_path, ("lung", "lesion"))
    assert {one.patient for one in entries} == {"radiopaedia_10", "radiopaedia_29"}
    assert sum(one.shape[0] for one in entries) == len(rows)
    for one in entries:
        label = open_array(tmp_path / "cache" / str(one.label))[:]
        assert set(np.unique(label)) == {0, 1, 2}
        assert not one.is_hu
        assert np.array_equal(label_of(tmp_path, one)[:, ::-1], label), "evaluated as they are"


@pytest.mark.skipif(not (DATA / "infnet-train50").is_dir(), reason="the pictures are not here")
def test_real_slices_of_infnet(tmp_path: Path) -> None:
    (tmp_path / "set").symlink_to((DATA / "infnet-train50").resolve())
    found = find_set("infnet", tmp_path / "set")
    assert len(found.pictures) == 1
    config = PrepareConfig(data=tmp_path, out=tmp_path / "cache", pictures=found.pictures)
    entries = read_manifest(prepare(config))
    assert len(entries) == len({one.patient for one in entries}) == 50
    assert all(open_array(tmp_path / "cache" / str(one.label))[:].any() for one in entries)


def test_what_is_no_set_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, labels, words in (
        ("covid", (), "No set has the name 'covid'"),
        ("infnet", ("lung",), "does not offer 'lung'"),
        ("infnet", (), "does not look like the set infnet"),
    ):
        with pytest.raises(InputError, match=words):
            find_set(name, tmp_path, labels)
    with pytest.raises(ValueError, match="name the set"):
        PrepareConfig(data=tmp_path, labels=("lesion",))
    assert cli.main(["sets"]) == 0
    assert all(name in capsys.readouterr().out or name for name in SETS)
    for name, one in SETS.items():
        assert cli.main(["sets", name]) == 0
        text = capsys.readouterr().out
        assert all(word in text for word in (name, one.licence, one.where, *one.traps, *one.labels))
    assert cli.main(["sets", "covid"]) == 2
