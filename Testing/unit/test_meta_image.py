"""MetaImage headers that ITK must not see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import io
from isdmae.errors import InputError

VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(tmp_path / "scan.mha"))
    return tmp_path / "scan.mha"


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("NDims = 3", "NDims = -3"),
        ("NDims = 3", "NDims = 33"),
        ("NDims = 3", "Comment = no dimensions"),
        ("DimSize = 4 3 2", "DimSize = 4 3 2 1"),
        ("DimSize = 4 3 2", "DimSize = 4 -3 2"),
        ("DimSize = 4 3 2", "DimSize = 4 0 2"),
        ("DimSize = 4 3 2", "Comment = no size"),
        ("Offset = 0 0 0", "Offset = 0 0"),
        ("Offset = 0 0 0", "Offset = 0 0 nan"),
        ("ElementSpacing = 1 1 1", "ElementSpacing = 1 1 x"),
        ("TransformMatrix = 1 0 0 0 1 0 0 0 1", "TransformMatrix = 1 0 0"),
        ("ElementType = MET_SHORT", "ElementType = short"),
        ("ElementType = MET_SHORT", "elementType = MET_SHORT"),
        ("TransformMatrix =", "TransformMatrix\0 ="),
        ("ObjectType = Image", "DimSize = 4 3 2"),
        ("ElementDataFile = LOCAL", "Comment = no voxels"),
        ("ElementDataFile = LOCAL", "ElementDataFile ="),
        # ITK hands a name with % to C's printf.
        ("ElementDataFile = LOCAL", "ElementDataFile = LOC%\xff\xffL"),
        ("ElementDataFile = LOCAL", "ElementDataFile = a%s.raw 1 2 1"),
        ("ElementDataFile = LOCAL", "ElementDataFile = a%n.raw 1 2 1"),
        ("ElementDataFile = LOCAL", "ElementDataFile = a%9999d.raw 1 2 1"),
        ("ElementDataFile = LOCAL", "ElementDataFile = a%d%d.raw 1 2 1"),
        ("ElementDataFile = LOCAL", "ElementDataFile = my%20scan.raw"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(path: Path, line: str, other: str) -> None:
    data = path.read_bytes()
    assert line.encode() in data
    path.write_bytes(data.replace(line.encode(), other.encode()))
    with pytest.raises(InputError, match="cannot be read as MetaImage") as caught:
        io.read(path)
    assert caught.value.code == "unreadable-file"


def test_a_file_for_each_slice_is_read(path: Path) -> None:
    header = path.read_bytes().partition(b"ElementDataFile")[0]
    for number, plane in enumerate(VOXELS, start=1):
        (path.parent / f"plane-{number:02d}.raw").write_bytes(plane.tobytes())
    several = path.with_suffix(".mhd")
    several.write_bytes(header + b"ElementDataFile = plane-%02d.raw 1 2 1\n")
    assert np.array_equal(io.read(several).volume.array, VOXELS)


def test_a_header_without_end_is_not_read_to_the_end(path: Path) -> None:
    path.write_bytes(b"Comment = x\n" * 100_000)
    with pytest.raises(InputError, match="cannot be read as MetaImage"):
        io.read(path)


def test_a_wrong_packed_size_is_refused(tmp_path: Path) -> None:
    """ITK takes it on trust and reads other voxels."""
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(tmp_path / "scan.mha"), True)
    data = (tmp_path / "scan.mha").read_bytes()
    size = data.partition(b"CompressedDataSize = ")[2].partition(b"\n")[0]
    assert int(size) > 10
    for other in (data.replace(b"= " + size, b"= 9"), data.replace(b"CompressedDataSize", b"Size")):
        (tmp_path / "scan.mha").write_bytes(other)
        with pytest.raises(InputError, match="compressed and damaged"):
            io.read(tmp_path / "scan.mha")


def test_too_many_packed_voxels_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(tmp_path / "scan.mha"), True)
    data = (tmp_path / "scan.mha").read_bytes()
    (tmp_path / "scan.mha").write_bytes(data.replace(b"DimSize = 4 3 2", b"DimSize = 4 3 1"))
    with pytest.raises(InputError, match="holds 48 of 24 bytes"):
        io.read(tmp_path / "scan.mha")


def test_a_header_without_orientation_is_noticed(path: Path) -> None:
    assert io.read(path).notices == ()
    path.write_bytes(path.read_bytes().replace(b"TransformMatrix", b"Comment"))
    assert [notice.code for notice in io.read(path).notices] == ["unknown-orientation"]


def test_older_names_of_the_fields_are_read(path: Path) -> None:
    data = path.read_bytes()
    data = data.replace(b"Offset = 0 0 0", b"Position = 1 2 3").replace(
        b"TransformMatrix", b"Orientation"
    )
    path.write_bytes(data)
    result = io.read(path)
    np.testing.assert_array_equal(result.volume.array, VOXELS)
    assert result.volume.origin_mm == (1, 2, 3)
    assert result.notices == ()
