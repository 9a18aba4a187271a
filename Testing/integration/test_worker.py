"""The worker as a real process on real pipes."""

from __future__ import annotations

import io as text_io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isdmae import io
from isdmae.bundle import Bundle
from isdmae.errors import InputError
from isdmae.phantom import Phantom
from isdmae.volume import Volume
from isdmae.worker import Worker, parse_request
from tiny_model import write_point_bundle
from worker_pipe import Pipe


@pytest.fixture
def worker() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.end()


@pytest.fixture
def ct(tmp_path: Path, small_phantom: Phantom) -> Path:
    path = tmp_path / "ct 测试.nrrd"
    io.write_image_atomic(path, io.to_sitk(small_phantom.ct))
    return path


def job(source: Path, target: Path, bundle: Bundle, **more: Any) -> dict[str, Any]:
    return {
        "input": str(source),
        "outputs": [str(target)],
        "model": str(bundle.folder),
        "device": "cpu",
        **more,
    }


def test_a_conversation(worker: Pipe, ct: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    assert worker.hello["event"] == "hello"
    assert worker.hello["pid"] == worker.process.pid
    if hasattr(os, "getsid"):
        assert os.getsid(worker.process.pid) == worker.process.pid

    worker.send(command="load", id=1, model=str(tiny_bundle.folder), device="cpu")
    assert worker.receive() == {
        "id": 1,
        "event": "loaded",
        "model": "tiny",
        "device": "cpu",
        "device_reason": "CPU, as chosen",
    }

    worker.send(command="predict", id=2, job=job(ct, tmp_path / "a.nrrd", tiny_bundle))
    progress = worker.receive()
    assert (progress["event"], progress["id"]) == ("progress", 2)
    done = worker.until("done", "error")
    assert done["id"] == 2
    assert done["report"]["model"]["name"] == "tiny"
    assert io.read(tmp_path / "a.nrrd").volume.same_grid(io.read(ct).volume)

    worker.send(command="predict", id=3, job=job(ct, tmp_path / "a.nrrd", tiny_bundle))
    error = worker.until("done", "error")
    assert (error["id"], error["code"], error["exit_code"]) == (3, "exists", 2)
    assert error["remedy"]

    worker.send(command="nonsense")
    assert worker.receive()["code"] == "bad-schema"
    worker.send(command="predict", id=4)
    assert worker.receive()["code"] == "bad-message"
    assert worker.process.stdin is not None
    worker.process.stdin.write("{not json\n")
    worker.process.stdin.flush()
    assert worker.receive()["code"] == "bad-message"

    worker.send(command="quit")
    assert worker.process.wait(timeout=30) == 0


def test_a_box_of_labels_for_a_program(
    worker: Pipe, ct: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    labelmap, box = tmp_path / "a.nrrd", tmp_path / "a.npy"
    worker.send(command="predict", id=1, job=job(ct, labelmap, tiny_bundle, box=str(box)))
    report = worker.until("done", "error")["report"]
    labels, scan = io.read(labelmap).volume.array, io.read(ct).volume.array
    voxel_ml = io.read(ct).volume.voxel_ml
    i, j, k = report["box"]["offset_ijk"]
    part = np.load(box)
    assert list(part.shape) == report["box"]["size_ijk"][::-1]
    pasted = np.zeros_like(labels)
    pasted[k : k + part.shape[0], j : j + part.shape[1], i : i + part.shape[2]] = part
    assert np.array_equal(pasted, labels)
    for segment in report["segments"]:
        inside = scan[labels == segment["value"]]
        mean = pytest.approx(inside.mean(), abs=0.1) if inside.size else None
        assert segment["mean_hu"] == mean
        assert segment["volume_ml"] == pytest.approx(inside.size * voxel_ml, abs=0.1)


def test_points_travel_with_the_job(worker: Pipe, ct: Path, tmp_path: Path) -> None:
    bundle = write_point_bundle(tmp_path / "points")
    point = io.read(ct).volume.affine[:3] @ (50, 40, 16, 1)
    target = tmp_path / "a.nrrd"
    worker.send(command="predict", id=1, job=job(ct, target, bundle, points=[list(point)]))
    report = worker.until("done", "error")["report"]
    assert [segment["name"] for segment in report["segments"]] == ["nodule 1"]
    assert io.read(target).volume.array[16, 40, 50] == 1
    worker.send(command="predict", id=2, job=job(ct, target, bundle, points=[[1, 2]]))
    assert worker.receive()["code"] == "bad-schema"


def test_a_job_that_breaks_the_rules_is_answered_under_its_id(worker: Pipe) -> None:
    sheared = {"centre_mm": [0, 0, 0], "size_mm": [9, 9, 9]}
    sheared |= {"axes": [[1, 0, 0], [0.5, 0.9, 0], [0, 0, 1]]}
    job = {"input": "a.nrrd", "outputs": ["b.nrrd"], "region": sheared}
    worker.send(command="predict", id=6, job=job)
    answer = worker.receive()
    assert (answer["id"], answer["code"]) == (6, "bad-schema")
    assert "not orthonormal" in answer["message"]
    worker.send(command="nonsense", id="seven")
    assert worker.receive()["id"] == 0


def test_bytes_that_are_no_text_and_endless_lines_are_answered(worker: Pipe) -> None:
    assert worker.process.stdin is not None
    pipe = worker.process.stdin.buffer
    pipe.write(b'{"command": "load", "model": "\xe9"}\n')
    pipe.flush()
    assert worker.receive()["code"] == "bad-message"
    pipe.write(b"y" * 2_500_000 + b'{"command": "quit"}\n')
    pipe.flush()
    assert worker.receive()["code"] == "bad-message"
    worker.send(command="load", id=3, model="none of this name")
    assert worker.receive()["code"] == "no-model"
    worker.process.stdin.close()
    assert worker.process.wait(timeout=30) == 0


def test_a_late_cancel_does_not_hit_the_next_job(
    worker: Pipe, ct: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    for name in ("a.nrrd", "b.nrrd"):
        worker.send(command="predict", job=job(ct, tmp_path / name, tiny_bundle))
        assert worker.until("done", "error")["event"] == "done"
        worker.send(command="cancel", id=0)


@pytest.fixture
def long_ct(tmp_path: Path) -> Path:
    many = Volume(array=np.zeros((3000, 128, 128), np.int16), spacing_mm=(2.0, 2.0, 1.0))
    io.write_image_atomic(tmp_path / "long.nrrd", io.to_sitk(many))
    return tmp_path / "long.nrrd"


def begin(worker: Pipe, source: Path, target: Path, bundle: Bundle) -> None:
    worker.send(command="predict", id=7, job=job(source, target, bundle, force=True))
    while worker.receive()["stage"] != "segment":
        pass


def test_cancel_in_mid_run_and_go_on(
    worker: Pipe, long_ct: Path, ct: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    begin(worker, long_ct, tmp_path / "a.nrrd", tiny_bundle)
    start = time.monotonic()
    worker.send(command="cancel", id=7)
    answer = worker.until("done", "error")
    assert (answer["code"], answer["exit_code"]) == ("cancelled", 4)
    assert time.monotonic() - start < 20
    assert not (tmp_path / "a.nrrd").exists()
    worker.send(command="predict", id=8, job=job(ct, tmp_path / "b.nrrd", tiny_bundle))
    assert worker.until("done", "error")["event"] == "done"


def test_the_end_of_stdin_ends_the_worker_in_mid_run(
    worker: Pipe, long_ct: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    begin(worker, long_ct, tmp_path / "a.nrrd", tiny_bundle)
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    assert worker.process.wait(timeout=30) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.nrrd", "tiny"]


def answers_of(*lines: str, runner: object | None = None) -> list[dict[str, Any]]:
    """Run a worker in this process on text streams."""
    out = text_io.StringIO()
    worker = Worker(text_io.BytesIO("".join(f"{line}\n" for line in lines).encode()), out)
    if runner is not None:
        worker._runner = runner  # type: ignore[assignment]
    worker._listen = _without_timer(worker)  # type: ignore[method-assign]
    assert worker.run() == 0
    return [json.loads(line) for line in out.getvalue().splitlines()]


def _without_timer(worker: Worker) -> Any:
    """Read to the end, without the timer that would end the test's own process."""

    def listen() -> None:
        worker._listen_to_requests()
        worker._queue.put(None)

    return listen


class Broken:
    """A runner that fails as the test asks."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def predictor(self, *_: object) -> None:
        raise self.error


def test_defects_and_missing_memory_are_answered() -> None:
    line = json.dumps({"command": "load", "id": 5})
    defect = answers_of(line, runner=Broken(KeyError("x")))[1]
    assert (defect["code"], defect["exit_code"], defect["id"]) == ("defect", 1, 5)
    memory = answers_of(line, runner=Broken(MemoryError()))[1]
    assert (memory["code"], memory["exit_code"]) == ("out-of-memory", 3)


def test_messages_are_read_strictly() -> None:
    for line in ("[1", "", '"text"', '{"command": "predict", "extra": 1}', "[" * 100_000):
        with pytest.raises(InputError):
            parse_request(line)


def test_a_mean_leaves_out_what_is_no_number() -> None:
    from isdmae.job import mean_hu

    assert mean_hu(np.array([np.nan, -800.0, -3024.0])) == -912.0
    assert mean_hu(np.array([40, 60], np.uint16)) == 50.0
    assert mean_hu(np.array([np.inf])) is None
