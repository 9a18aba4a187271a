"""Writers that owe nothing to the readers under test: headers by hand, nibabel, pydicom, zlib."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from isdmae.volume import Array, Volume

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
NRRD_TYPES = {
    "i1": "int8",
    "u1": "uint8",
    "i2": "int16",
    "u2": "uint16",
    "i4": "int32",
    "u4": "uint32",
    "f4": "float",
    "f8": "double",
}
META_TYPES = {
    "i1": "MET_CHAR",
    "u1": "MET_UCHAR",
    "i2": "MET_SHORT",
    "u2": "MET_USHORT",
    "i4": "MET_INT",
    "u4": "MET_UINT",
    "f4": "MET_FLOAT",
    "f8": "MET_DOUBLE",
}
SERIES = "1.2.826.0.1.3680043.8.498.77"


def write(path: Path, volume: Volume) -> Path:
    """Write a volume in the format of the suffix; ``-raw`` in the name leaves it uncompressed."""
    writer = {"nrrd": write_nrrd, "nhdr": write_nrrd, "mha": write_meta, "mhd": write_meta}
    path.parent.mkdir(parents=True, exist_ok=True)
    return writer.get(path.suffix[1:], write_nifti)(path, volume)


def write_nifti(
    path: Path, volume: Volume, *, slope: float = 1.0, intercept: float = 0.0, version: int = 1
) -> Path:
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = kind(volume.array.T, TO_RAS @ volume.affine, dtype=volume.array.dtype)
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    image.header.set_xyzt_units("mm")
    plain = Path(f"{path}.plain.nii")
    nibabel.save(image, plain)
    data = bytearray(plain.read_bytes())
    plain.unlink()
    if version == 1:
        # nibabel writes "no scaling" otherwise, and rescales the voxels itself.
        data[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def write_nrrd(path: Path, volume: Volume) -> Path:
    raw = "-raw" in path.name
    vectors = (volume.direction * volume.spacing_mm).T
    lines = [
        "NRRD0004",
        f"type: {NRRD_TYPES[volume.array.dtype.str[1:]]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, volume.shape[::-1]))}",
        f"space directions: {' '.join(_vector(vector) for vector in vectors)}",
        "kinds: domain domain domain",
        "endian: little",
        f"encoding: {'raw' if raw else 'gzip'}",
        f"space origin: {_vector(volume.origin_mm)}",
    ]
    data = volume.array.tobytes()
    packed = data if raw else gzip.compress(data, 1)
    if path.suffix == ".nhdr":
        beside = path.with_suffix(".raw" if raw else ".raw.gz")
        beside.write_bytes(packed)
        lines.append(f"data file: {beside.name}")
        packed = b""
    path.write_bytes("\n".join([*lines, "", ""]).encode() + packed)
    return path


def write_meta(path: Path, volume: Volume) -> Path:
    raw = "-raw" in path.name
    data = volume.array.tobytes()
    packed = data if raw else zlib.compress(data, 1)
    beside = path.with_suffix(".raw" if raw else ".zraw")
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        f"CompressedData = {not raw}",
        *([] if raw else [f"CompressedDataSize = {len(packed)}"]),
        f"TransformMatrix = {' '.join(map(repr, volume.direction.T.ravel().tolist()))}",
        f"Offset = {' '.join(map(repr, volume.origin_mm))}",
        f"ElementSpacing = {' '.join(map(repr, volume.spacing_mm))}",
        f"DimSize = {' '.join(map(str, volume.shape[::-1]))}",
        f"ElementType = {META_TYPES[volume.array.dtype.str[1:]]}",
        f"ElementDataFile = {'LOCAL' if path.suffix == '.mha' else beside.name}",
    ]
    if path.suffix == ".mhd":
        beside.write_bytes(packed)
        packed = b""
    path.write_bytes("\n".join([*lines, ""]).encode() + packed)
    return path


def slices_of(
    volume: Volume, *, intercept: int = -1024, signed: bool = False, **fields: Any
) -> list[Dataset]:
    """Return one CT slice for each k, of ``fields`` where they are not as usual."""
    stored = (volume.array.astype(np.int32) - intercept).astype(np.int16 if signed else np.uint16)
    return [
        dataset(
            stored[k],
            {
                "ImagePositionPatient": _numbers((volume.affine @ [0, 0, k, 1])[:3]),
                "ImageOrientationPatient": _numbers(volume.direction.T[:2].ravel()),
                "PixelSpacing": _numbers(volume.spacing_mm[1::-1]),
                "SliceThickness": f"{volume.spacing_mm[2]:.10g}"[:16],
                "InstanceNumber": k + 1,
                "RescaleIntercept": intercept,
                **fields,
            },
        )
        for k in range(len(stored))
    ]


def dataset(stored: Array, fields: Mapping[str, Any]) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    made.Modality = "CT"
    made.SeriesInstanceUID, made.StudyInstanceUID = SERIES, f"{SERIES}.9"
    made.SeriesDescription = "thorax"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.Rows, made.Columns = stored.shape
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit = 15
    made.PixelRepresentation = int(stored.dtype.kind == "i")
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.RescaleSlope = 1
    made.PixelData = stored.tobytes()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def save_slices(folder: Path, slices: list[Dataset], name: str = "{:04d}.dcm") -> Path:
    """Write the slices into a folder, the last one first by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, made in enumerate(slices):
        path = folder / name.format(len(slices) - number)
        made.save_as(path, enforce_file_format=True)
    return folder


def _vector(values: Any) -> str:
    return f"({','.join(repr(float(value)) for value in values)})"


def _numbers(values: Any) -> list[str]:
    """As DICOM writes them: 16 characters at most."""
    return [f"{float(value):.9g}"[:16] for value in values]
