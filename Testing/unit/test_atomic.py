"""Nobody ever meets half a file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from isdmae import atomic
from isdmae.atomic import atomic_path, suffix_of, write_text_atomic
from isdmae.errors import InputError, ResourceError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestAtomicPath:
    def test_the_file_appears_at_the_end(self, tmp_path: Path) -> None:
        target = tmp_path / "a.seg.nrrd"
        with atomic_path(target) as temporary:
            assert temporary.parent == tmp_path
            assert temporary.name.endswith(".seg.nrrd")
            temporary.write_bytes(b"whole")
            assert not target.exists()
        assert target.read_bytes() == b"whole"
        assert names(tmp_path) == ["a.seg.nrrd"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, InputError("a", "b", "c")])
    def test_after_a_failure_all_is_as_before(self, tmp_path: Path, error: type) -> None:
        target = tmp_path / "a.json"
        target.write_bytes(b"old")

        def fail_half_way() -> None:
            with atomic_path(target, overwrite=True) as temporary:
                temporary.write_bytes(b"half")
                raise error

        with pytest.raises(error if isinstance(error, type) else InputError):
            fail_half_way()
        assert target.read_bytes() == b"old"
        assert names(tmp_path) == ["a.json"]

    def test_an_existing_file_stays_unless_told(self, tmp_path: Path) -> None:
        write_text_atomic(tmp_path / "a.json", "old")
        with pytest.raises(InputError, match=r"a\.json exists already") as caught:
            write_text_atomic(tmp_path / "a.json", "new")
        assert caught.value.code == "exists"
        assert (tmp_path / "a.json").read_text() == "old"
        write_text_atomic(tmp_path / "a.json", "new", overwrite=True)
        assert (tmp_path / "a.json").read_text() == "new"

    def test_a_file_that_came_meanwhile_stays(self, tmp_path: Path) -> None:
        def write_both() -> None:
            with atomic_path(tmp_path / "a") as temporary:
                temporary.write_bytes(b"ours")
                (tmp_path / "a").write_bytes(b"theirs")

        with pytest.raises(InputError, match="exists already"):
            write_both()
        assert (tmp_path / "a").read_bytes() == b"theirs"
        assert names(tmp_path) == ["a"]

    def test_of_two_at_the_same_moment_the_second_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def come_second(_ours: Path, target: Path) -> None:
            target.write_text("theirs")
            raise FileExistsError(errno.EEXIST, "File exists")

        monkeypatch.setattr(os, "link", come_second)
        with pytest.raises(InputError, match=r"a\.json exists already"):
            write_text_atomic(tmp_path / "a.json", "ours")
        assert (tmp_path / "a.json").read_text() == "theirs"
        assert names(tmp_path) == ["a.json"]

    def test_a_link_that_was_made_though_it_is_said_to_exist_is_ours(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on NFS, where a request is repeated whose answer was lost."""
        link = os.link

        def link_twice(ours: Path, target: Path) -> None:
            link(ours, target)
            link(ours, target)

        monkeypatch.setattr(os, "link", link_twice)
        write_text_atomic(tmp_path / "a.json", "ours")
        assert (tmp_path / "a.json").read_text() == "ours"
        assert names(tmp_path) == ["a.json"]

    def test_a_disk_without_links_will_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        write_text_atomic(tmp_path / "a.json", "text")
        assert (tmp_path / "a.json").read_text() == "text"
        assert names(tmp_path) == ["a.json"]

    def test_a_folder_that_is_gone_at_the_end_is_named(self, tmp_path: Path) -> None:
        share = tmp_path / "share"
        share.mkdir()

        def lose_it() -> None:
            with atomic_path(share / "a.json") as temporary:
                temporary.unlink()
                share.rmdir()

        with pytest.raises(InputError, match="share is gone") as caught:
            lose_it()
        assert caught.value.code == "no-folder"
        assert not share.exists()

    @pytest.mark.skipif(os.name != "posix", reason="other systems know Unicode alone")
    def test_a_folder_that_is_no_unicode_is_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "caf\udce9"
        folder.mkdir()
        with pytest.raises(InputError, match="not valid Unicode") as caught:
            write_text_atomic(folder / "a.json", "text")
        assert caught.value.code == "bad-file-name"

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="nowhere does not exist") as caught:
            write_text_atomic(tmp_path / "nowhere" / "a.json", "text")
        assert caught.value.code == "no-folder"

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is a folder"):
            write_text_atomic(tmp_path, "text", overwrite=True)

    @pytest.mark.parametrize(
        ("number", "expected", "code"),
        [
            (errno.ENOSPC, ResourceError, "disk-full"),
            (errno.EDQUOT, ResourceError, "disk-full"),
            (errno.EACCES, InputError, "not-writable"),
            (errno.EROFS, InputError, "not-writable"),
            (errno.EIO, InputError, "write-failed"),
        ],
    )
    def test_system_errors_are_explained(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        expected: type[Exception],
        code: str,
    ) -> None:
        def fail(_descriptor: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(expected) as caught:
            write_text_atomic(tmp_path / "a.json", "text")
        assert caught.value.code == code  # type: ignore[attr-defined]
        assert names(tmp_path) == []

    def test_a_name_too_long(self, tmp_path: Path) -> None:
        for name in ("a" * 300, "a\0b"):
            with pytest.raises(InputError, match="cannot have this name"):
                write_text_atomic(tmp_path / name, "text")

    def test_a_folder_that_cannot_be_flushed_is_no_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_args: object) -> None:
            raise OSError(errno.EINVAL, "not here")

        monkeypatch.setattr(os, "open", fail)
        write_text_atomic(tmp_path / "a.json", "text")
        assert (tmp_path / "a.json").read_text() == "text"

    @pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX matter")
    def test_others_may_read_it_as_usual(self, tmp_path: Path) -> None:
        (tmp_path / "usual").touch()
        write_text_atomic(tmp_path / "a.json", "text")
        assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_a_killed_process_left_goes_at_the_next_file(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal\nfrom isdmae.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path:\n"
        "    path.write_bytes(bytes(1000))\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.nii.gz")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    own = tmp_path / f".{atomic._node()}-{os.getpid()}-0123456789ab.tmp.nrrd"
    other = tmp_path / ".00000000-999999999-0123456789ab.tmp.nrrd"  # of another machine
    for path in (own, other):
        path.write_text("being written")
    write_text_atomic(tmp_path / "b.txt", "next")
    assert {path.name for path in tmp_path.iterdir()} == {own.name, other.name, "b.txt"}


def test_text_is_utf8_with_line_ends_as_given(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "Ünï\r\n测试\n")
    assert (tmp_path / "a.txt").read_bytes() == "Ünï\r\n测试\n".encode()


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.nii.gz", ".nii.gz"), ("A.SEG.NRRD", ".seg.nrrd"), ("a.b.mha", ".mha"), ("a", "")],
)
def test_suffix_of(name: str, suffix: str) -> None:
    assert suffix_of(Path(name)) == suffix
