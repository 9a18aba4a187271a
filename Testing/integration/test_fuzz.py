"""What the fuzzer once found, and sound inputs, through everything that is fuzzed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fuzz import __main__ as fuzz
from fuzz import targets


def test_old_findings_are_read_or_refused() -> None:
    """In a child process with limits: a crash of a library is no end of the tests."""
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--replay"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.rsplit(" ", 1)[0] for line in done.stdout.splitlines()] == list(fuzz.NAMES)
    folders = [path.name for path in targets.REGRESSIONS.iterdir()]
    assert set(folders) <= set(fuzz.NAMES)


@pytest.mark.parametrize("name", fuzz.NAMES)
def test_a_defect_is_not_taken_for_a_refusal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_data: bytes) -> None:
        raise ValueError("a defect")

    assert targets.seeds(name)
    targets.attempt(name, b"")
    monkeypatch.setitem(targets.TARGETS, name, fail)
    with pytest.raises(ValueError, match="a defect"):
        targets.attempt(name, b"")
