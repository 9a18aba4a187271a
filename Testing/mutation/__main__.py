"""Change four modules in a thousand ways, one at a time, and count the changes that tests notice.

    make mutation              # or: PYTHONPATH=Testing python -m mutation --write

Fails where a module's tests notice fewer than nine in ten changes, or a change that they do not
notice is not explained in ``survivors.py``. Works on copies in build/mutation.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from .survivors import reason

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "mutation"
PAGE = ROOT / "Resources" / "docs" / "results" / "mutation.md"
PACKAGES = (ROOT / "ISDMAESegmentation" / "isdmae", ROOT / "Training" / "isdmae_train")
MODULES = (
    "isdmae/volume.py",
    "isdmae/checks.py",
    "isdmae/masking.py",
    "isdmae_train/metrics.py",
)
LEAST_SHARE = 0.9
# mutmut's exit codes of a run of the tests that failed, and of one that never ended.
NOTICED = {1, 3, -24, 24, 36, 152, 255}

SETTINGS = f"""[mutmut]
source_paths =
    isdmae
    isdmae_train
only_mutate =
    {"    ".join(f"{module}{chr(10)}" for module in MODULES)}
pytest_add_cli_args =
    -p
    no:cacheprovider
    --import-mode=importlib
pytest_add_cli_args_test_selection =
    tests/unit
also_copy =
    pytest.ini
use_git_change_detection = false
track_dependencies = false
"""


@dataclass(frozen=True)
class Mutant:
    """One change of one function."""

    place: str
    noticed: bool
    before: str
    after: str


def prepare() -> None:
    """Copy the packages and the unit tests of the four modules to an empty folder."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    tests = FOLDER / "tests" / "unit"
    tests.mkdir(parents=True)
    for package in PACKAGES:
        shutil.copytree(package, FOLDER / package.name)
    for module in MODULES:
        shutil.copy(ROOT / "Testing" / "unit" / f"test_{Path(module).name}", tests)
    for name in ("conftest.py", "tiny_model.py"):
        shutil.copy(ROOT / "Testing" / name, tests.parent)
    (FOLDER / "pytest.ini").write_text("[pytest]\npythonpath = tests\n", encoding="utf-8")
    (FOLDER / "setup.cfg").write_text(SETTINGS, encoding="utf-8")


def run() -> None:
    """Let mutmut try every change: the same examples each time, no real scan."""
    setting = {"CI": "1", "OMP_NUM_THREADS": "1", "ISDMAE_DATA": str(FOLDER / "none")}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=FOLDER, env={**environment, **setting}, check=True)


def mutants(module: str) -> list[Mutant]:
    """Return every change of a module that mutmut tried."""
    path = FOLDER / "mutants" / module
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    functions = {
        node.name: [
            re.sub(r"__mutmut_\w+", "", line.strip())
            for line in lines[node.lineno - 1 : node.end_lineno]
        ]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }
    codes = json.loads(path.with_name(f"{path.name}.meta").read_text())["exit_code_by_key"]
    found = []
    for key, code in codes.items():
        name = key.rpartition(".")[2]
        stem = name.rpartition("__mutmut_")[0]
        changed = list(difflib.ndiff(functions[f"{stem}__mutmut_orig"], functions[name]))
        before, after = (
            " ".join(line[2:] for line in changed if line.startswith(sign)) for sign in "-+"
        )
        # mutmut writes a method as xǁVolumeǁaffine and a function as x_dice.
        place = f"{Path(module).stem}.{stem[2:].replace('ǁ', '.')}"
        found.append(Mutant(place, code in NOTICED, before, after))
    return found


TEXT = """# Do the tests notice when the code changes?

Command: `make mutation`. It changes four modules that every scan or score passes through, one
operator, number, name or text at a time (mutmut {version}), and runs their unit tests on each
change, without any real scan. A change is noticed where a test fails or no longer ends. The command
fails where a module has fewer than {least:g} % of its changes noticed, or a change that is not
noticed is not explained below.

| module | changes | noticed | share |
|---|---:|---:|---:|
{rows}

## What is not noticed, and why

{survivors}

Python {python}, {system}, one core, {minutes:.0f} minutes.
"""


def survivors(missed: list[Mutant]) -> str:
    """Return the changes that no test noticed, grouped by the reason."""
    groups: dict[str, list[str]] = {}
    for mutant in missed:
        line = f"- `{mutant.place}`: `{mutant.before}` became `{mutant.after}`"
        groups.setdefault(reason(mutant.after) or "**Not explained.**", []).append(line)
    return "\n\n".join(
        "\n".join((textwrap.fill(f"{text} ({len(lines)})", 100), "", *lines))
        for text, lines in groups.items()
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutation", description="Test the tests.")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    start = time.monotonic()
    prepare()
    run()
    found = {module: mutants(module) for module in MODULES}
    found["all"] = [mutant for tried in found.values() for mutant in tried]
    rows, enough = [], True
    for module, tried in found.items():
        noticed = sum(mutant.noticed for mutant in tried)
        enough &= noticed >= LEAST_SHARE * len(tried)
        rows.append(f"| {module} | {len(tried)} | {noticed} | {100 * noticed / len(tried):.1f} % |")
    missed = [mutant for mutant in found["all"] if not mutant.noticed]
    page = TEXT.format(
        version=version("mutmut"),
        least=100 * LEAST_SHARE,
        rows="\n".join(rows),
        survivors=survivors(missed),
        python=platform.python_version(),
        system=platform.system(),
        minutes=(time.monotonic() - start) / 60,
    )
    print(page)
    if options.write:
        PAGE.write_text(page, encoding="utf-8")
    return int(not enough or not all(reason(mutant.after) for mutant in missed))


if __name__ == "__main__":
    sys.exit(main())
