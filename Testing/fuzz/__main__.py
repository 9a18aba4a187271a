"""Fuzz each target for its share of the time, in a child process with limits.

    make fuzz MINUTES=10       # or: PYTHONPATH=Testing python -m fuzz --minutes 10
    PYTHONPATH=Testing python -m fuzz --replay    # sound inputs and old findings, without a fuzzer

What is found lies in Testing/fuzz/regressions/TARGET and is tried by the tests from then on:
changed synthetic inputs, never a part of a patient's scan.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEMORY_BYTES = 4 << 30
SECONDS_EACH = 20
MOST_FINDINGS = 5
PAGE = Path(__file__).parents[2] / "Resources" / "docs" / "results" / "fuzz.md"
COUNT = re.compile(r"(?:^#|number_of_executed_units: )(\d+)", re.MULTILINE)
NAMES = (
    "worker message", "model.json", "weights", "manifest", "NIfTI", "NRRD", "MetaImage", "DICOM",
)  # fmt: skip


def limit() -> None:
    """Bound this process's memory, and let it leave no dump."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def replay() -> None:
    """Try the sound inputs and the old findings of every target once; raises on a defect."""
    from . import targets

    assert tuple(targets.TARGETS) == NAMES
    for name in NAMES:
        for data in targets.seeds(name):
            targets.attempt(name, data)
        print(name, len(targets.seeds(name)))


def child(target: str, arguments: list[str]) -> None:
    """Fuzz one target; does not return."""
    import atheris

    with atheris.instrument_imports(include=["isdmae", "isdmae_train"]):
        from . import targets

    corpus = Path(arguments[-1])
    for number, data in enumerate(targets.seeds(target)):
        (corpus / f"seed{number}").write_bytes(data)
    atheris.Setup([sys.argv[0], *arguments], lambda data: targets.attempt(target, data))
    atheris.Fuzz()


def fuzz(target: str, seconds: float) -> tuple[int, list[Path]]:
    """Return how many inputs were tried and the new findings."""
    tried, found = 0, 0
    kept = PAGE.parents[3] / "Testing" / "fuzz" / "regressions" / target
    end = time.monotonic() + seconds
    findings: list[Path] = []
    with tempfile.TemporaryDirectory() as name:
        corpus, crashes = Path(name) / "corpus", Path(name) / "crashes"
        corpus.mkdir()
        crashes.mkdir()
        while (left := int(end - time.monotonic())) > 1 and found < MOST_FINDINGS:
            arguments = [
                f"-max_total_time={left}", f"-timeout={SECONDS_EACH}", "-print_final_stats=1",
                f"-rss_limit_mb={MEMORY_BYTES >> 20}", "-max_len=20000",
                f"-artifact_prefix={crashes}/", str(corpus),
            ]  # fmt: skip
            done = subprocess.run(
                [sys.executable, "-m", "fuzz", "--child", target, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=left + 120,
            )
            tried += max(map(int, COUNT.findall(done.stderr)), default=0)
            if done.returncode == 0:
                break
            found += 1
            print(f"{target}: {done.stdout[-3000:]}\n{done.stderr[-1500:]}")
            for path in list(crashes.iterdir()):
                kept.mkdir(parents=True, exist_ok=True)
                findings.append(kept / path.name)
                findings[-1].write_bytes(path.read_bytes())
                path.unlink()
            if not findings:
                raise RuntimeError(f"the fuzzer of {target} did not run")
    return tried, findings


TEXT = """# What a fuzzer found

Command: `make fuzz MINUTES={minutes:g}`. A fuzzer that follows the coverage of `isdmae` (atheris
{version}) changes sound inputs and gives each to the code that reads it, in a child process of
{memory} GiB of address space with {each} s for one input. A finding is an input that is neither
read nor refused with a code, a sentence and a remedy: any other exception, a crash, a hang.
Findings of earlier runs are mended and kept as regression inputs; there are {old}.

| target | inputs tried | new findings |
|---|---:|---:|
{rows}

Python {python}, {system}, one core.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzz everything that is read.")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together")
    parser.add_argument("--only", choices=NAMES, help="one target")
    parser.add_argument("--replay", action="store_true", help="no fuzzer, the known inputs alone")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--child", choices=NAMES, help=argparse.SUPPRESS)
    options, arguments = parser.parse_known_args()
    if options.child or options.replay:
        limit()
        child(options.child, arguments) if options.child else replay()
        return 0
    from importlib.metadata import version

    os.environ["OMP_NUM_THREADS"] = "1"
    names = [options.only] if options.only else list(NAMES)
    rows, bad = [], 0
    old = sum(1 for path in (Path(__file__).parent / "regressions").glob("*/*"))
    for name in names:
        tried, findings = fuzz(name, 60 * options.minutes / len(names))
        bad += len(findings)
        rows.append(f"| {name} | {tried} | {len(findings)} |")
        print(rows[-1], *findings, flush=True)
    if options.write:
        page = TEXT.format(
            minutes=options.minutes,
            version=version("atheris"),
            memory=MEMORY_BYTES >> 30,
            each=SECONDS_EACH,
            old=old,
            rows="\n".join(rows),
            python=platform.python_version(),
            system=platform.system(),
        )
        PAGE.write_text(page, encoding="utf-8")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
