"""A model on an archive: two Ray nodes, bad scans, a dead worker, a second start."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from isdmae import io
from isdmae.bundle import Bundle
from isdmae.errors import InputError
from isdmae.io import to_sitk, write_image_atomic
from isdmae.phantom import Phantom
from isdmae_train import cli
from isdmae_train.archive import read_archive, stamp

ray = pytest.importorskip("ray", reason="Ray (isdmae-train[cluster]) is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Two nodes with one processor each; the address."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    nodes.add_node(num_cpus=1)
    yield nodes.address
    nodes.shutdown()


def results(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_archive_is_segmented_around_bad_scans_and_a_dead_worker_and_finished_later(
    cluster: str,
    tiny_bundle: Bundle,
    small_phantom: Phantom,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, out = tmp_path / "Ünï archive", tmp_path / "out"
    folder.mkdir()
    names = [f"scan{n}" for n in range(5)]
    for name in names:
        write_image_atomic(folder / f"{name}.nii.gz", to_sitk(small_phantom.ct))
    (folder / "broken.nii.gz").write_bytes(b"no scan")
    lines = [f"{name}.nii.gz" for name in names[:4]]
    lines += ["broken.nii.gz", json.dumps({"id": "Doe, Jane", "image": "scan4.nii.gz"})]
    (folder / "manifest.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = [
        "archive", str(folder / "manifest.txt"), "--out", str(out), "--device", "cpu",
        "--model", str(tiny_bundle.folder), "--cpus", "1", "--address", cluster,
    ]  # fmt: skip
    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    assert cli.main(arguments) == 2
    killer.join()
    assert "1 of 6 scans have no result" in caplog.text
    assert "Jane" not in caplog.text
    rows = {row["scan"]: row for row in results(out)}
    assert rows["broken"]["status"] == "failed"
    assert rows["broken"]["code"]
    done = [*names[:4], "Doe_Jane"]
    for name in done:
        assert rows[name]["status"] == "done"
        assert float(rows[name]["seconds"]) > 0
        assert io.read(out / f"{name}.seg.nrrd").volume.shape == small_phantom.ct.shape

    stamps = {name: (out / f"{name}.seg.nrrd").stat().st_mtime_ns for name in done}
    write_image_atomic(folder / "broken.nii.gz", to_sitk(small_phantom.ct), overwrite=True)
    (out / "scan0.seg.nrrd").unlink()
    assert cli.main(arguments) == 0
    again = {name: (out / f"{name}.seg.nrrd").stat().st_mtime_ns for name in done}
    assert [name for name in done if stamps[name] != again[name]] == ["scan0"]
    assert {row["status"] for row in results(out)} == {"done"}
    row = json.loads((out / "rows" / "scan0.json").read_text())
    assert row["model_sha256"] == tiny_bundle.info.weights.sha256
    assert (row["model_version"], row["trachea"]) == (tiny_bundle.info.version, False)
    assert row["first_sha256"] == ""
    assert row["image"] == stamp(folder / "scan0.nii.gz")


def kill_a_worker() -> None:
    """Kill the first worker process that has begun."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for entry in Path("/proc").iterdir():
            try:
                title = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if entry.name.isdigit() and b"ray::ArchiveWorker" in title:
                os.kill(int(entry.name), signal.SIGKILL)
                return
        time.sleep(0.05)
    raise AssertionError("no worker was seen")


def test_a_manifest_names_each_scan_once(tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_text("a/one.nii.gz\nb/two.nrrd\nseries\n", encoding="utf-8")
    scans = read_archive(path)
    assert [scan.id for scan in scans] == ["one", "two", "series"]
    assert scans[0].image == tmp_path / "a" / "one.nii.gz"
    for text, message in (
        ("a/one.nii.gz\nb/one.nrrd\n", "Two scans are called one"),
        ("", "lists no scan"),
        ('{"id": "x"}\n', "cannot be read"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            read_archive(path)
