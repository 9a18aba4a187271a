"""Run the set in a child process with limits, print the table, write the page."""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from . import cases, damage, dicom_cases
from .judge import CORRECT, LEAST_DICE, REFUSED, WRONG, Case, judge

CRASHED = "crashed"
MEMORY_BYTES = 3 << 30
SECONDS = 60
PAGE = Path(__file__).parents[2] / "Resources" / "docs" / "results" / "torture.md"


def all_cases(every: int = 1) -> list[Case]:
    """Return all inputs, or each ``every``-th of each group."""
    chosen: list[Case] = []
    for group in (
        *cases.GROUPS,
        *dicom_cases.GROUPS,
        *damage.GROUPS,
    ):
        chosen += itertools.islice(group(), 0, None, every)
    return chosen


def child(every: int, first: int) -> None:
    """Judge the inputs from ``first`` on; each outcome is a line of JSON on stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for number, case in enumerate(all_cases(every)):
        if number < first:
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            outcome = judge(case, Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps([number, outcome.kind, outcome.said, peak]), flush=True)


def run(every: int = 1) -> tuple[list[Case], list[tuple[str, str]], int]:
    """Return the inputs, each one's (kind, what was said), and the peak memory in KiB."""
    inputs = all_cases(every)
    outcomes: list[tuple[str, str]] = []
    peak = 0
    while len(outcomes) < len(inputs):
        for number, kind, said, used in _child_lines(every, len(outcomes)):
            assert number == len(outcomes)
            outcomes.append((kind, said))
            peak = max(peak, used)
        if len(outcomes) < len(inputs):
            outcomes.append((CRASHED, "the process ended, or took over a minute"))
    return inputs, outcomes, peak


def _child_lines(every: int, first: int) -> Iterator[tuple[int, str, str, int]]:
    command = [sys.executable, "-m", "torture", "--child", str(first), "--every", str(every)]
    # The libraries under the readers speak to stderr.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
    ) as process:
        assert process.stdout is not None
        try:
            while select.select([process.stdout], [], [], SECONDS)[0]:
                line = process.stdout.readline()
                if not line:
                    return
                number, kind, said, used = json.loads(line)
                yield number, kind, said, used
        finally:
            process.kill()


def table(inputs: list[Case], outcomes: list[tuple[str, str]]) -> str:
    """Return the outcomes by group as Markdown."""
    groups = list(dict.fromkeys(case.group for case in inputs))
    counts = Counter((case.group, kind) for case, (kind, _) in zip(inputs, outcomes, strict=True))
    kinds = (CORRECT, REFUSED, WRONG, CRASHED)
    rows = [
        "| inputs | tried | correct | refused with a clear message | wrong | crashed or hung |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    totals = [sum(counts[group, kind] for group in groups) for kind in kinds]
    for group in groups:
        numbers = [counts[group, kind] for kind in kinds]
        rows.append(f"| {group} | {sum(numbers)} | {' | '.join(map(str, numbers))} |")
    rows.append(f"| **all** | **{sum(totals)}** | {' | '.join(f'**{n}**' for n in totals)} |")
    return "\n".join(rows)


TEXT = """# What becomes of inputs as they come in practice

`make torture` makes {count} inputs by code, reads each, checks it, labels its voxels, writes the
mask, reads that back with another library (nibabel for NIfTI, else SimpleITK) and compares it in
the patient's own millimetres with the anatomy that the input was sampled from. The two lungs of
that anatomy differ in density, so a voxel's value tells its label: a mask is right only where
sides, places, spacing and rescaling are. No network takes part;
`Testing/integration/test_default_model.py` shows that the model's labels do not depend on how a
scan is stored.

*Correct*: the mask lies where it must (Dice of each lung {dice} or more, grid within 0.02 mm), and
the notice that is due is given. *Refused*: with a documented code, a sentence and a remedy, where a
refusal is right. *Wrong*: everything else, so also a sound input that is refused. Pictures and
gaps that are interpolated count as correct when they are read. Inputs with a flipped byte count as
correct where the result is what an independent reader sees in the changed file. All of it runs in a
child process limited to {limit} MiB of address space and a minute for each input.

{table}

Peak memory of the process: {peak} MiB.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="take each n-th input only")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    if options.child is not None:
        child(options.every, options.child)
        return 0
    started = time.monotonic()
    inputs, outcomes, peak = run(options.every)
    bad = 0
    for case, (kind, said) in zip(inputs, outcomes, strict=True):
        if kind in (WRONG, CRASHED):
            bad += 1
            print(f"{kind}: {case.group}: {case.name}: {said}")
    text = table(inputs, outcomes)
    print(text)
    print(f"peak memory {peak >> 10} MiB, {time.monotonic() - started:.0f} s")
    if options.write:
        page = TEXT.format(
            dice=LEAST_DICE,
            count=len(inputs),
            limit=MEMORY_BYTES >> 20,
            table=text,
            peak=peak >> 10,
        )
        PAGE.write_text(page, encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
