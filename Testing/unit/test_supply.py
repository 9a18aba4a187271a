"""The lock files hold what the packages ask for, and an audit that saw nothing is no good news."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supply import audit, matrix
from supply.locked import LOCKS, ROOT, Pin, declared, read_constraints, read_lock

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PROJECTS = (ROOT / "ISDMAESegmentation", ROOT / "Training")


def installed(pins: list[Pin], python: str, system: str = "linux") -> dict[str, Pin]:
    """What pip takes from a lock file on one kind of machine."""
    machine = {"python_version": python, "python_full_version": f"{python}.0"}
    machine |= {"sys_platform": system, "platform_machine": "x86_64"}
    fitting = [
        pin
        for pin in pins
        if pin.requirement.marker is None or pin.requirement.marker.evaluate(machine)
    ]
    assert len({pin.name for pin in fitting}) == len(fitting), "one version of each"
    return {pin.name: pin for pin in fitting}


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("python", PYTHONS)
def test_everything_asked_for_is_locked_in_a_fitting_version(python: str, system: str) -> None:
    worker, training = (installed(read_lock(lock), python, system) for lock in LOCKS)
    for one in declared(PROJECTS[0]):
        assert one.specifier.contains(worker[canonicalize_name(one.name)].version), one
    for one in [*declared(PROJECTS[0]), *declared(PROJECTS[1])]:
        assert one.specifier.contains(training[canonicalize_name(one.name)].version), one
    assert {pin.text() for pin in worker.values()} <= {pin.text() for pin in training.values()}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_line_is_one_version_with_hashes(lock: Path) -> None:
    pins = read_lock(lock)
    assert pins
    for pin in pins:
        assert pin.version
        assert pin.hashes, pin.name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in pin.hashes)
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text, "no address: pip takes its own"
    starts = re.findall(r"^[a-z0-9][^ =]*==", text, re.MULTILINE)
    assert len(starts) == len(pins), "a line that was not read"


def test_what_the_packages_need_in_turn_is_locked() -> None:
    """As the metadata of what is installed here has it, from the two packages downwards."""
    pins = [pin for lock in LOCKS for pin in read_lock(lock)]
    if ("numpy", metadata.version("numpy")) not in {(pin.name, pin.version) for pin in pins}:
        pytest.skip("other versions are installed than the locked ones")
    locked = {pin.name for pin in pins}
    seen: set[str] = set()
    todo = [canonicalize_name(one.name) for project in PROJECTS for one in declared(project)]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        needs = [Requirement(one) for one in metadata.requires(name) or []]
        todo += [
            canonicalize_name(one.name)
            for one in needs
            if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    assert len(seen) > 20
    assert seen <= locked


def test_locked_versions_are_those_that_the_tests_ran_with() -> None:
    tested: dict[str, set[str]] = {}
    for pin in read_constraints():
        tested.setdefault(pin.name, set()).add(pin.version)
    for lock in LOCKS:
        for pin in read_lock(lock):
            assert pin.version in tested.get(pin.name, {pin.version}), pin.name


class Osv(BaseHTTPRequestHandler):
    """Answers as the service OSV does: nothing is known, but of one package."""

    weak = ""

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = question["package"]["name"]
        known = {
            "id": "PYSEC-0000-1",
            "aliases": ["CVE-0000-1"],
            "summary": "made up for this test",
            "affected": [
                {
                    "package": {"name": name, "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "999.1"}]}],
                }
            ],
        }
        answer = json.dumps({"vulns": [known]} if name == self.weak else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def osv() -> Iterator[str]:
    """The address of such a service on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("weak", "status"), [("", 0), ("pillow", audit.WEAK)])
def test_an_audit_names_what_is_weak(
    osv: str,
    weak: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("pip_audit")
    monkeypatch.setattr(Osv, "weak", weak)
    assert audit.main(["--service", "osv", "--osv-url", osv]) == status
    shown = capsys.readouterr().out
    assert " 0 not checked" in shown
    named = re.findall(r"^WEAK (\S+) \S+: PYSEC-0000-1, CVE-0000-1; mended in 999.1$", shown, re.M)
    assert set(named) == ({weak} if weak else set())


def test_an_audit_without_its_service_is_not_green(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pip_audit")
    nobody = "http://127.0.0.1:9/v1/query"
    assert audit.main(["--service", "osv", "--osv-url", nobody]) == audit.INCOMPLETE
    shown = capsys.readouterr().out
    assert ": 0 looked up" in shown
    assert "AUDIT INCOMPLETE" in shown


def test_what_the_service_does_not_know_is_not_called_sound() -> None:
    """pip-audit itself leaves such packages out and ends with success."""
    one, other = read_lock(LOCKS[0])[:2]
    answers = [
        {"name": one.name, "version": one.version, "vulns": []},
        {"name": other.name, "skip_reason": "Dependency not found"},
    ]
    status, lines = audit.verdict([one, other], answers)
    assert status == audit.INCOMPLETE
    assert any(f"{other.name} {other.version}" in line for line in lines)
    assert not any(f"{one.name} {one.version}" in line for line in lines)


def test_a_python_that_is_absent_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert matrix.find_python(".".join(map(str, sys.version_info[:2])))
    monkeypatch.setattr(matrix, "find_python", lambda _: None)
    for allowed in ([], ["--allow-missing"]):
        assert matrix.main(["--row", "newest-python", *allowed]) == matrix.MISSING
        assert "Python 3.13 is not installed, NOT RUN" in capsys.readouterr().out


def test_the_oldest_versions_are_the_declared_ones() -> None:
    rows = {row.name: row.torch() for row in matrix.ROWS}
    lowest = {
        project: next(str(one.specifier)[2:] for one in declared(project) if one.name == "torch")
        for project in PROJECTS
    }
    assert rows["oldest-worker"] == lowest[matrix.WORKER]
    assert rows["oldest"] == lowest[matrix.TRAINING]


def test_only_what_is_said_to_be_absent_is_skipped(tmp_path: Path) -> None:
    """In a process of its own, as the matrix runs it."""
    for name in ("said", "other"):
        text = f"import no_such_{name}\n\n\ndef test() -> None:\n    pass\n"
        (tmp_path / f"test_{name}.py").write_text(text, encoding="utf-8")
    inside = "def test() -> None:\n    import no_such_said\n"
    (tmp_path / "test_inside.py").write_text(inside, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "supply.without"]
    command += ["--without=no_such_said", "--continue-on-collection-errors", str(tmp_path)]
    done = subprocess.run(
        [*command, "-c", "/dev/null", "--rootdir", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "Testing")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 skipped, 1 error" in done.stdout, done.stdout
    assert re.search(r"^ERROR \S*test_other.py$", done.stdout, re.MULTILINE)
