"""Write a file so that nobody ever meets half of it."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError, IsdmaeError, ResourceError

DOUBLE_SUFFIXES = (".nii.gz", ".seg.nrrd")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on leaving without error it takes its place.

    Parameters
    ----------
    path : path
        The file to write. Its folder must exist.
    overwrite : bool
        Replace an existing file.

    Yields
    ------
    Path
        An empty file in the same folder with the same suffix, to be written by the caller.

    Raises
    ------
    InputError
        Where the folder is missing or not writable, or the file exists and is not to be replaced.
    ResourceError
        Where the disk is full.

    Notes
    -----
    The content is flushed to the disk before the file is renamed. After any failure the temporary
    file is gone and ``path`` is as it was; what a killed process of this machine has left in the
    folder goes when the next file is written there.
    """
    target = Path(path)
    owner = f".{_node()}-{os.getpid()}"
    temporary = target.with_name(f"{owner}-{secrets.token_hex(6)}.tmp{suffix_of(target)}")
    try:
        refuse_target(target, overwrite)
        _remove_orphans(target.parent)
        with temporary.open("xb"):
            pass
        yield temporary
        _flush(temporary)
        _take_place(temporary, target, overwrite)
        _flush_folder(target.parent)
    except OSError as error:
        raise _explained(error, target) from error
    finally:
        with suppress(OSError):  # a share that is gone takes its files with it
            temporary.unlink(missing_ok=True)


def _take_place(temporary: Path, target: Path, overwrite: bool) -> None:
    """Give the temporary file its name; of two processes at once the second one is refused."""
    refuse_target(target, overwrite)
    if not overwrite:
        try:
            os.link(temporary, target)
            return
        except FileExistsError:
            # A network drive asks again where the answer was lost, and meets its own first link.
            if _exists(target) and temporary.samefile(target):
                return
            refuse_target(target, overwrite)
        except OSError:
            pass  # no links here: the moment since the check above remains
    temporary.replace(target)


def write_text_atomic(path: str | os.PathLike[str], text: str, *, overwrite: bool = False) -> None:
    """Write ``text`` as UTF-8 with line ends as given; errors as in ``atomic_path``.

    Of file names that are no Unicode the odd bytes are written as ``\\udcXX``, as JSON has them.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def suffix_of(path: Path) -> str:
    """Return the suffix that names the format, in lower case: ``.nii.gz``, ``.seg.nrrd``, ``.mha``.

    Examples
    --------
    >>> suffix_of(Path("case.1.NII.GZ")), suffix_of(Path("case.1.mha"))
    ('.nii.gz', '.mha')
    """
    name = path.name.lower()
    for suffix in DOUBLE_SUFFIXES:
        if name.endswith(suffix):
            return suffix
    return path.suffix.lower()


def is_unicode(path: Path) -> bool:
    """Tell whether the path is valid Unicode; any other ends the process inside ITK."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def refuse_target(target: Path, overwrite: bool) -> None:
    """Raise InputError where ``target`` could not be written: no folder, a folder, or it exists."""
    exists = _exists(target)
    if not is_unicode(target.parent):
        raise InputError(
            "bad-file-name",
            "The folder's path holds characters that are not valid Unicode.",
            "Rename the folder, or choose another one.",
        )
    if not target.parent.is_dir():
        raise InputError(
            "no-folder",
            f"The folder {target.parent} does not exist.",
            "Make the folder first, or choose another.",
        )
    if target.is_dir():
        raise InputError(
            "is-a-folder", f"{target.name} is a folder, not a file.", "Choose a file name in it."
        )
    if not overwrite and exists:
        raise InputError(
            "exists",
            f"{target.name} exists already.",
            "Choose another name, or allow it to be replaced with --overwrite.",
        )
    if not os.access(target.parent, os.W_OK):
        raise _not_writable(target)


def _exists(target: Path) -> bool:
    try:
        target.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    except (OSError, ValueError) as error:
        raise InputError(
            "bad-file-name", "A file cannot have this name.", "Choose a shorter, plain name."
        ) from error
    return True


def _node() -> str:
    """Return eight letters for this machine: a share may be written by several."""
    return hashlib.blake2s(platform.node().encode(), digest_size=4).hexdigest()


def _remove_orphans(folder: Path) -> None:
    """Remove temporary files of processes of this machine that are no more."""
    if sys.platform == "win32":  # signal 0 would interrupt a process there
        return
    for path in folder.glob(f".{_node()}-*.tmp*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and not _is_alive(int(pid)):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    # Windows cannot open a folder, and some network drives cannot flush one. The file itself is
    # complete by now, so that is no failure.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _explained(error: OSError, target: Path) -> IsdmaeError:
    if error.errno in FULL:
        return ResourceError(
            "disk-full",
            f"{target.name} could not be written: the disk is full.",
            f"Free some space in {target.parent}, or choose another folder.",
        )
    if error.errno in FORBIDDEN:
        return _not_writable(target)
    if not target.parent.is_dir():
        return InputError(
            "no-folder",
            f"{target.name} could not be written: the folder {target.parent} is gone.",
            "Check that the disk or network share is there, or choose another folder.",
        )
    return InputError(
        "write-failed",
        f"{target.name} could not be written: {error.strerror or error}.",
        "Choose another name or another folder.",
    )


def _not_writable(target: Path) -> InputError:
    return InputError(
        "not-writable",
        f"The folder {target.parent} is not writable.",
        "Choose a folder in which you may write.",
    )
