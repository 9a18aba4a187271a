"""`compare`: recipes on the same folds, seeds, label shares and steps, and one honest table.

Every part leaves a ``done.json``; stopped at any point and started again, the comparison goes on
with the part, and in it with the step, at which it was. Several processes, also on several machines
that share the folder, do the parts of one comparison together: each takes what no other has taken.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from isdmae.errors import InputError

from . import loop
from .claim import claimed
from .compare_data import file_digest, prepare_once
from .compare_part import do_part, known_result
from .compare_plan import Part, load_comparison, parts_of
from .compare_table import PartResult, write_tables
from .config.compare import CompareConfig, CompareOptions
from .data import read_manifest
from .reporter import counted, current, reporting

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 2.0
"""How often to look whether another process has finished what this one waits for."""

T = TypeVar("T")


def compare(options: CompareOptions) -> Path:
    """Train, export and score every part that is not done, and write the table.

    Where the same command runs several times at once, each process does other parts; all of them
    end when the last part is done, and take over the parts of one that dies.

    Returns
    -------
    Path
        The folder with ``comparison.md``, ``comparison.csv`` and ``comparison.json``; they are
        written anew after every part, so that they say what is known so far.

    Raises
    ------
    InputError
        Where recipe, data or split cannot be used; ``other-run`` where a finished part was made
        with another configuration or from other weights; ``cache-differs`` where the cache was
        made from other data.
    Cancelled
        Where SIGINT or SIGTERM stopped it; the same command goes on.
    """
    config = load_comparison(options)
    config.out.mkdir(parents=True, exist_ok=True)
    with reporting(current()) as reporter:
        loop.StopRequest()  # from here on a signal is heard between the runs, too
        manifest = _when_free(lambda: prepare_once(config.prepare))
        parts = parts_of(config, read_manifest(manifest))
        digest = file_digest(manifest)
        known: dict[str, PartResult] = {}

        def do(part: Part) -> None:
            do_part(part, config, digest, lambda: reporter.control.stopped)

        def write() -> None:
            with claimed(config.out):
                _write(config, parts, digest, known)

        _when_free(write)  # parts of another configuration are refused before any work
        left = list(parts)
        for _ in counted(parts, "compare", "part"):
            left.remove(_first_free(left, do))
            _when_free(write)
    log.info("\n%s", (config.out / "comparison.md").read_text(encoding="utf-8"))
    return config.out


def _first_free(parts: Sequence[Part], do: Callable[[Part], None]) -> Part:
    """Do the first part that no other process is at, or that one has finished; wait for one."""
    waiting = False
    while True:
        for part in parts:
            current().control.check()
            try:
                do(part)
            except InputError as error:
                if error.code != "in-use":
                    raise
            else:
                return part
        if not waiting:
            log.info("other processes are at the %d parts that are left", len(parts))
            waiting = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _write(
    config: CompareConfig, parts: Sequence[Part], digest: str, known: dict[str, PartResult]
) -> None:
    """Write the tables of all parts that are done, by whatever process, if there are new ones."""
    before = len(known)
    for part in parts:
        if part.title not in known and (result := known_result(part, config, digest)) is not None:
            known[part.title] = result
    if len(known) > before or not (config.out / "comparison.md").is_file():
        write_tables(
            config, [known[part.title] for part in parts if part.title in known], len(parts)
        )


def _when_free(work: Callable[[], T]) -> T:
    """Do ``work`` as soon as no other process is at the same; a stop is heard while waiting."""
    while True:
        current().control.check()
        try:
            return work()
        except InputError as error:
            if error.code != "in-use":
                raise
        time.sleep(SECONDS_BETWEEN_LOOKS)
