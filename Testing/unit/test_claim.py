"""One process at a time in a folder."""

from __future__ import annotations

import errno
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isdmae.errors import InputError
from isdmae_train.claim import LOCK, claimed

HOLD = """
import os, sys, time
from pathlib import Path
from isdmae_train.claim import claimed
with claimed(Path(sys.argv[1])):
    child = os.fork() if hasattr(os, "fork") else 1
    if child:
        print(child, flush=True)
    time.sleep(120)
"""


def test_claims_within_one_another_are_one(tmp_path: Path) -> None:
    with claimed(tmp_path):
        with claimed(tmp_path / ".." / tmp_path.name):
            pass
        assert (tmp_path / LOCK).read_text() == f"process {os.getpid()} of {platform.node()}\n"
    with claimed(tmp_path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="kills and forks are a POSIX matter")
def test_another_process_is_refused_until_the_first_is_dead_though_its_child_lives(
    tmp_path: Path,
) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert first.stdout is not None
    child = int(first.stdout.readline())
    try:
        with (
            pytest.raises(InputError, match=f"process {first.pid} of ") as caught,
            claimed(tmp_path),
        ):
            pass
        assert caught.value.code == "in-use"
        assert str(tmp_path) in caught.value.message
        first.kill()
        first.wait()
        os.kill(child, 0)
        with claimed(tmp_path):
            assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} ")
    finally:
        first.kill()
        os.kill(child, signal.SIGKILL)
        first.communicate()


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_where_there_are_no_locks_everybody_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with claimed(tmp_path):
        pass
