"""DICOM slices and series for tests to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isdmae import io
from isdmae.errors import InputError

pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS, COLUMNS, SLICES = 12, 10, 6
UID_A, UID_B = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"
HU = np.random.default_rng(0).integers(-1000, 400, (SLICES, ROWS, COLUMNS))


def dataset(stored: np.ndarray, height: float, **fields: Any) -> Dataset:
    """One CT slice of int16 or uint16 ``stored`` values at z = ``height``, in memory."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    made.PatientName = "Doe^Jane"
    made.Modality = "CT"
    made.SeriesInstanceUID = UID_A
    made.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.9"
    made.SeriesDescription = "thorax"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.Rows, made.Columns = stored.shape
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit = 15
    made.PixelRepresentation = int(stored.dtype.kind == "i")
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.ImagePositionPatient = [-100.5, -90.25, height]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.PixelSpacing = [0.7, 0.8]
    made.SliceThickness = 2.5
    made.RescaleIntercept, made.RescaleSlope = -1024, 1
    made.PixelData = stored.tobytes()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def save(made: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    hu: np.ndarray = HU,
    *,
    step: float = 2.5,
    names: str = "{:03d}.dcm",
    **fields: Any,
) -> list[Path]:
    """Write one file for each slice; file names run against the slice order."""
    stored = (hu + 1024).astype(np.uint16)
    return [
        save(
            dataset(stored[index], -300 + step * index, **fields),
            folder / names.format(len(hu) - index),
        )
        for index in range(len(hu))
    ]


def refused(folder: Path, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        io.read(folder, **options)
    return caught.value
