"""What of an archive counts as done: this model's result of this very image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isdmae_train.archive import ROWS, SUFFIX, ArchiveScan, is_done, stamp, write_results

ONE = {"model_sha256": "one", "model_version": "1", "trachea": False}
TWO = {**ONE, "model_sha256": "two"}


@pytest.fixture
def scan(tmp_path: Path) -> ArchiveScan:
    """A scan that is a file, with a segmentation in ``tmp_path / "out"``."""
    (tmp_path / "a.nrrd").write_bytes(b"image")
    (tmp_path / "out" / ROWS).mkdir(parents=True)
    (tmp_path / "out" / f"a{SUFFIX}").write_bytes(b"labels")
    return ArchiveScan(id="a", image=tmp_path / "a.nrrd")


def keep(scan: ArchiveScan, out: Path, **changes: Any) -> None:
    row = {"scan": "a", "status": "done", "segments": [{"name": "left lung", "volume_ml": 2.0}]}
    row |= {"model_sha256": "one", "image": stamp(scan.image)}
    (out / ROWS / "a.json").write_text(json.dumps(row | changes))


def test_a_result_of_another_model_or_image_is_none(scan: ArchiveScan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not is_done(scan, out, ONE), "nothing is known"
    keep(scan, out)
    assert is_done(scan, out, ONE)
    assert "left lung" in write_results([scan], out, ONE).read_text()
    assert not is_done(scan, out, TWO)
    assert "left lung" not in write_results([scan], out, TWO).read_text(), "nor is it listed"
    assert not is_done(scan, out, {**ONE, "trachea": True})
    keep(scan, out, first_sha256="lungs")
    assert not is_done(scan, out, {**ONE, "first_sha256": "other lungs"})
    keep(scan, out, model_version="0")
    assert not is_done(scan, out, ONE), "the same weights may be used otherwise"
    keep(scan, out)
    scan.image.write_bytes(b"another image")
    assert not is_done(scan, out, ONE)
    keep(scan, out, image=None)
    assert is_done(scan, out, ONE), "a result of an older version does not know its image"
    keep(scan, out, status="failed")
    assert not is_done(scan, out, ONE)
    keep(scan, out)
    (out / f"a{SUFFIX}").unlink()
    assert not is_done(scan, out, ONE)


def test_a_series_changes_with_what_is_put_into_its_folder(tmp_path: Path) -> None:
    series = tmp_path / "series"
    assert stamp(series) is None
    series.mkdir()
    before = stamp(series)
    assert before == stamp(series)
    (series / "1.dcm").write_bytes(b"slice")
    assert stamp(series) != before
