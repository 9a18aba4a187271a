"""What a header says of a patient goes nowhere: no file, name, log line or message repeats it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isdmae.phantom import PhantomConfig, make_phantom
from isdmae.volume import Volume
from worker_pipe import Pipe

pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")
from torture import files  # noqa: E402

MARK = "Zqx7Wk"
"""Long enough not to turn up in packed pixels by chance."""
UID = "1.2.826.0.1.3680043.8.498.987787789"
"""How every UID begins that is not needed to choose a series."""
TAGS = {
    "PatientName": "Zqx7Wkname^Zqx7Wkgiven",
    "PatientID": "Zqx7Wkid",
    "AccessionNumber": "Zqx7Wkacces",
    "OtherPatientIDs": "Zqx7Wkother",
    "PatientAddress": "Zqx7Wkaddress",
    "PatientComments": "Zqx7Wkcomments",
    "ReferringPhysicianName": "Zqx7Wkdoctor",
    "InstitutionName": "Zqx7Wkinstitution",
    "StudyDescription": "Zqx7Wkstudy",
    "SeriesDescription": "Zqx7Wkseries",
    "ProtocolName": "Zqx7Wkprotocol",
    "ImageComments": "Zqx7Wkimage",
    "StudyID": "Zqx7Wkstudyid",
    "StudyInstanceUID": f"{UID}.1",
    "FrameOfReferenceUID": f"{UID}.2",
}
DRIVER = """
import json, sys
names = []
sys.addaudithook(lambda event, facts: names.append(f"{event} {facts}")
    if event.split(".")[0] in ("open", "os", "shutil", "tempfile") else None)
import isdmae.cli, isdmae_train.cli
from isdmae.networks import unet
unet.SIZES["S"] = ((16, 16, 16), (0, 1, 1))
codes = []
for program, *words in json.loads(sys.argv[1]):
    codes.append({"isdmae": isdmae.cli, "train": isdmae_train.cli}[program].main(words))
print(json.dumps(codes))
print("\\n".join(names))
"""
"""Runs commands in one process and prints their exit codes and every file name that it touched."""


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans by sub-folder, good ones and such that are refused, each full of striking strings."""
    folder = tmp_path_factory.mktemp("scans")
    ct = make_phantom(PhantomConfig(shape=(10, 44, 52), spacing_mm=(7.2, 7.2, 30.0))).ct
    ct = ct.with_array(ct.array.astype(np.int16))
    slices = files.slices_of(ct, **TAGS)
    scout = files.slices_of(ct, **TAGS)[:1]
    scout[0].SeriesInstanceUID = f"{UID}.3"
    scout[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    files.save_slices(folder / "good", slices)
    files.save_slices(folder / "good", scout, "scout{}.dcm")
    second = deepcopy(slices)
    for one in second:
        one.SeriesInstanceUID = f"{files.SERIES}.1"
    files.save_slices(folder / "two", [*slices, *second])
    files.save_slices(folder / "gap", slices[:4] + slices[5:])
    files.save_slices(folder / "cut", slices)
    damaged = folder / "cut" / "0003.dcm"
    damaged.write_bytes(damaged.read_bytes()[:-2000])
    other = ct.with_array(np.roll(ct.array, 1, axis=1))
    write_nrrd(folder / "nrrd" / "ct.nrrd", other)
    write_nifti(folder / "nifti" / "ct.nii.gz", ct.with_array(np.roll(ct.array, 2, axis=1)))
    return folder


def write_nrrd(path: Path, volume: Volume) -> None:
    files.write(path, volume)
    head, data = path.read_bytes().split(b"\n\n", 1)
    fields = "".join(f"{name}:={value}\n" for name, value in TAGS.items())
    path.write_bytes(head + f"\n# {MARK}comment\n{fields}\n".encode() + data)


def write_nifti(path: Path, volume: Volume) -> None:
    files.write(path, volume)
    image = nibabel.load(path)
    for field in ("descrip", "intent_name", "db_name", "aux_file"):
        image.header[field] = MARK.encode()
    nibabel.save(image, path)


def mentions(data: bytes) -> bool:
    """Whether bytes hold any of the strings, as text of any usual encoding."""
    data = data.lower()
    return any(
        text.lower().encode(encoding) in data
        for text in (MARK, UID)
        for encoding in ("utf-8", "utf-16-le", "utf-16-be")
    )


def leaks(folder: Path) -> list[str]:
    """Return the files whose name or content mentions the patient."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.suffix == ".gz":
            data += gzip.decompress(data)
        if mentions(data) or mentions(os.fsencode(path.relative_to(folder))):
            found.append(str(path.relative_to(folder)))
    return found


def predict(source: Path, out: Path) -> list[str]:
    outputs = [word for suffix in (".nii.gz", ".seg.nrrd", ".mha", ".nrrd")
               for word in ("-o", f"{out}{suffix}")]  # fmt: skip
    more = ["--preview", f"{out}.png", "--report", f"{out}.json", "--device", "cpu"]
    return ["isdmae", "predict", str(source), *outputs, *more]


def test_the_search_finds_what_is_there(scans: Path) -> None:
    names = {Path(name).parts[0] for name in leaks(scans)}
    assert names == {"good", "two", "gap", "cut", "nrrd", "nifti"}
    assert mentions("Zqx7Wkname".encode("utf-16-be"))


def test_commands_and_a_training_repeat_nothing(scans: Path, tmp_path: Path) -> None:
    cache, run = tmp_path / "cache", tmp_path / "run"
    spacing = ["--preprocess.in-plane-spacing-mm", "8.0"]
    names = ("good", "two", "gap", "cut", "nrrd/ct.nrrd", "nifti/ct.nii.gz")
    commands = [predict(scans / name, tmp_path / name.replace("/", "-")) for name in names]
    commands += [
        ["train", "prepare", "--data", str(scans), "--out", str(cache), *spacing],
        ["train", "pretrain", "--out", str(run), "--data.manifest", str(cache / "manifest.jsonl"),
         "--data.size", "32", *spacing, "--loop.steps", "2", "--loop.batch", "2",
         "--loop.workers", "0", "--loop.warm-up", "1", "--loop.log-every", "1",
         "--loop.device", "cpu"],
    ]  # fmt: skip
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(commands)],
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    codes = json.loads(done.stdout.split(b"\n", 1)[0] or b"[]")
    assert codes == [0, 2, 2, 2, 0, 0, 2, 0], done.stderr.decode()
    said = done.stderr.decode()
    for words in ("left out CT, 1 slices", "2 CT series", "missing", "0003.dcm"):
        assert words in said
    written = {path.suffix for path in tmp_path.rglob("*")}
    assert {".png", ".json", ".jsonl", ".md", ".html", ".safetensors", ".b2nd"} <= written
    assert list((run / "tensorboard").iterdir())
    assert leaks(tmp_path) == []
    for stream in (done.stdout, done.stderr):
        assert not mentions(stream), [line for line in stream.split(b"\n") if mentions(line)]


def test_a_worker_repeats_nothing(scans: Path, tmp_path: Path) -> None:
    worker, answers = Pipe(), []
    try:
        for name in ("good", "two", "gap", "cut"):
            outputs = [str(tmp_path / f"{name}{suffix}") for suffix in (".nrrd", ".seg.nrrd")]
            job: dict[str, Any] = {"input": str(scans / name), "outputs": outputs, "device": "cpu"}
            report = str(tmp_path / f"{name}.json")
            worker.send(command="predict", job={**job, "report": report})
            while True:
                answers.append(worker.receive())
                if answers[-1]["event"] in ("done", "error"):
                    break
        worker.send(command="quit")
        assert worker.process.wait(timeout=30) == 0
        assert worker.process.stderr is not None
        log = worker.process.stderr.read()
    finally:
        worker.end()
    ends = [one["event"] for one in answers if one["event"] != "progress"]
    assert ends == ["done", "error", "error", "error"]
    assert not mentions(json.dumps(answers).encode())
    assert not mentions(log.encode())
    assert leaks(tmp_path) == []
