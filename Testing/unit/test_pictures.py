"""Picture sets: cases from the index, masks by name, sizes, and nodule crops unpacked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae.errors import InputError
from isdmae_train.cache import open_array
from isdmae_train.config.prepare import PictureSet, PrepareConfig
from isdmae_train.crops import consensus
from isdmae_train.data import read_manifest
from isdmae_train.pictures import read_index, read_mask, read_stack, stacks_of
from isdmae_train.prepare import prepare


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three pictures of two cases of one patient, masks as TIFF."""
    for number in range(3):
        image = np.full((12, 16), 40 + number, np.uint8)
        mask = np.zeros((12, 16), np.uint8)
        mask[2:5, 3 + number] = 255
        save(tmp_path / "images" / f"{number}.png", image)
        save(tmp_path / "lesion" / f"{number}.tif", mask)
    (tmp_path / "index.csv").write_text(
        "file,case,patient,order_in_case\n1.png,b,p,0\n2.png,a,p,1\n0.png,a,p,0\n"
    )
    return tmp_path


SET = PictureSet(
    id="s", images=Path("images"), labels={"lesion": Path("lesion")}, index=Path("index.csv"),
    licence="none",
)  # fmt: skip


def test_the_pictures_of_a_case_stand_in_order(data: Path) -> None:
    (first, second), problems = stacks_of(SET, data)
    assert not problems
    assert [first.id, second.id] == ["s-a", "s-b"]
    assert first.patient == second.patient == "s-p"
    assert [path.name for path in first.images] == ["0.png", "2.png"]
    read = read_stack(first)
    assert not read.problems
    assert read.images.shape == read.labels.shape == (2, 12, 16)
    assert read.images[:, 0, 0].tolist() == [40, 42]
    assert np.argwhere(read.labels[1])[0].tolist() == [2, 5]


def test_without_an_index_each_picture_is_a_patient(data: Path) -> None:
    alone = PictureSet(id="s", images=Path("images"), licence="none", split="train")
    stacks, _ = stacks_of(alone, data)
    assert len({stack.patient for stack in stacks}) == 3
    assert {stack.splits for stack in stacks} == {("train",)}


def test_names_of_the_covid_collections_tell_case_and_patient(tmp_path: Path) -> None:
    names = (
        "Jun_radiopaedia_29_86491_1_case16_10", "Jun_radiopaedia_29_86490_1_case15_3",
        "Jun_radiopaedia_29_86491_1_case16_9", "Morozov_study_0255_24", "unheard of",
    )  # fmt: skip
    for name in names:
        save(tmp_path / "frames" / f"{name}.png", np.zeros((12, 16), np.uint8))
    named = PictureSet(id="s", images=Path("frames"), licence="none", patients="named")
    stacks, _ = stacks_of(named, tmp_path)
    assert {stack.patient for stack in stacks} == {
        "radiopaedia_29", "mosmed_0255", "s-unheard of",
    }  # fmt: skip
    (case,) = (stack for stack in stacks if stack.id == "s-radiopaedia_29_86491_1")
    assert [path.stem[-2:] for path in case.images] == ["_9", "10"]


def test_the_manifest_says_what_the_cache_holds(data: Path, tmp_path: Path) -> None:
    manifest = prepare(PrepareConfig(data=data, out=tmp_path / "cache", pictures=(SET,)))
    entries = read_manifest(manifest)
    assert [entry.is_hu for entry in entries] == [False, False]
    assert entries[0].labels == ("lesion",)
    assert sum(entry.weight for entry in entries) == pytest.approx(1.0)
    assert open_array(manifest.parent / entries[0].image).dtype == np.uint8
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(manifest.parent / str(entries[0].truth))))
    assert np.array_equal(truth, open_array(manifest.parent / str(entries[0].label)))


def test_what_is_wrong_with_a_set_is_named_and_the_rest_read(data: Path, tmp_path: Path) -> None:
    for number in range(3, 9):
        image = np.full((12, 16), 40 + number, np.uint8)
        image[0, 0] = number
        save(data / "images" / f"{number}.png", image)
        save(data / "lesion" / f"{number}.tif", np.uint8(image > 45))
    save(data / "images" / "4.png", np.full((10, 10), 7, np.uint8))
    save(data / "lesion" / "4.tif", np.full((10, 10), 255, np.uint8))
    save(data / "lesion" / "5.tif", np.zeros((10, 10), np.uint8))
    save(data / "lesion" / "6.tif", np.full((12, 16), 3, np.uint8))
    (data / "lesion" / "3.tif").unlink()
    (data / "images" / "7.png").write_bytes(b"no picture")
    rows = "".join(f"{number}.png,{case},p,{number}\n" for number, case in enumerate("aabaaaaa"))
    (data / "index.csv").write_text(f"file,case,patient,order_in_case\n{rows}9.png,a,p,9\n")
    stacks, problems = stacks_of(SET, data)
    found = {(Path(problem.file).name, problem.code) for problem in problems}
    assert found == {("9.png", "missing-file"), ("8.png", "bad-index"), ("3.png", "no-mask")}
    read = read_stack(stacks[0])
    assert {(Path(problem.file).name, problem.code) for problem in read.problems} == {
        ("4.png", "size-differs"), ("5.png", "size-differs"), ("6.png", "unknown-labels"),
        ("7.png", "unreadable-file"),
    }  # fmt: skip
    assert "5.tif has 10 x 10 pixels, not 16 x 12" in str(read.problems)
    assert [path.name for path in read.stack.images] == ["0.png", "1.png"]
    assert read.images.shape == read.labels.shape == (2, 12, 16)


def test_a_mask_may_be_of_0_and_1(data: Path) -> None:
    save(data / "m.png", np.eye(8, dtype=np.uint8))
    assert read_mask(data / "m.png").sum() == 8


def test_what_is_wrong_with_a_whole_set_is_said(data: Path) -> None:
    with pytest.raises(InputError, match="holds no picture"):
        stacks_of(PictureSet(id="s", images=Path("none"), licence="none"), data)
    (data / "index.csv").write_text("name\nx\n")
    with pytest.raises(InputError, match="has the columns name"):
        read_index(data / "index.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_index(data / "absent.csv")


def test_crops_become_pictures_by_nodule_with_the_readers_consensus(tmp_path: Path) -> None:
    bits = np.zeros((3, 8, 8), np.uint8)
    bits[:, 2:5, 2:5] = 0b0101
    bits[:, 6, 6] = 0b0010
    np.savez(
        tmp_path / "crops.npz",
        image=np.full((3, 8, 8), 90, np.uint8),
        reader_bits=bits,
        id=np.array(["A/n0/s0.png", "A/n0/s1.png", "A/n1/s0.png"]),
    )
    source = PictureSet(id="crops", images=Path("crops.npz"), licence="none")
    manifest = prepare(PrepareConfig(data=tmp_path, out=tmp_path / "cache", pictures=(source,)))
    entries = read_manifest(manifest)
    assert [entry.shape[0] for entry in entries] == [2, 1]
    assert {entry.patient for entry in entries} == {"crops-A"}
    labels = open_array(manifest.parent / str(entries[0].label))[:]
    assert labels.sum() == 2 * 9
    assert len(entries[0].sources) == 2
    assert consensus(bits).sum() == 27
    (tmp_path / "crops.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as nodule crops"):
        prepare(PrepareConfig(data=tmp_path, out=tmp_path / "cache", pictures=(source,)))
