"""The suite's core on the oldest and the newest versions that are declared, each in its own folder.

    make test-matrix        # or: python Testing/supply/matrix.py [--row NAME] [--write FILE]

What the oldest versions are stands in the two ``pyproject.toml``: uv takes the lowest that they
allow. PyTorch is taken from its builds for the processor alone (``+cpu``), where pip finds them;
its other builds bring gigabytes of CUDA. Where it finds none, the tests that need no PyTorch run,
and the table says so. Exit status: 0; 1 a test failed; 3 a Python is not installed (unless
``--allow-missing``).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from supply.locked import ROOT, declared, read_constraints

WORKER, TRAINING = ROOT / "ISDMAESegmentation", ROOT / "Training"
CONSTRAINTS = ROOT / "Testing" / "constraints.txt"
TOOLS = ("hypothesis", "nibabel", "packaging", "pydicom", "pytest")
# What tests of the worker's package import from training or from its packages.
TRAINING_ONLY = ("isdmae_train", "cv2", "yaml")
CORE = ("Testing/unit", "Testing/property", "ISDMAESegmentation/isdmae")
WITH_TORCH = (
    "test_command_line",
    "test_command_line_refusals",
    "test_default_model",
    "test_run_report",
    "test_worker",
)
SHOWN = ("numpy", "scipy", "simpleitk", "safetensors", "torch")
FAILED, MISSING = 1, 3
PAGE = """# The oldest and the newest versions

`make test-matrix` runs the core of the suite on the versions that the packages declare: unit and
property tests, examples in docstrings, and with PyTorch command line, worker and default model.
Rows without PyTorch: pip found no build of that version for the processor alone, so what needs it
was not tested there; a file that cannot be imported for want of it counts as one skipped.
"""


@dataclass(frozen=True)
class Row:
    """One set of versions: of Python, of the packages (the oldest, or the pinned), of PyTorch."""

    name: str
    python: str
    oldest: bool
    oldest_torch: bool
    projects: tuple[Path, ...] = (WORKER, TRAINING)

    def torch(self) -> str:
        """Return the version of PyTorch that belongs to it."""
        if not self.oldest_torch:
            (pinned,) = (pin.version for pin in read_constraints() if pin.name == "torch")
            return pinned
        bounds = [one for project in self.projects for one in declared(project)]
        lowest = [next(iter(one.specifier)).version for one in bounds if one.name == "torch"]
        return max(lowest, key=lambda text: [int(part) for part in text.split(".")])


ROWS = (
    Row("oldest-worker", "3.10", True, True, (WORKER,)),
    Row("oldest", "3.10", True, True),
    Row("oldest-packages", "3.11", True, False),
    # Slicer 5.12 has Python 3.12, NumPy 2.4, SciPy 1.17 and SimpleITK 2.5, as the constraints have.
    Row("slicer", "3.12", False, False),
    Row("newest-python", "3.13", False, False),
)


@dataclass(frozen=True)
class Result:
    """What came out: counts of tests (a skipped file counts as one) and versions."""

    row: Row
    python: str
    versions: dict[str, str]
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    without_torch: int = 0
    note: str = ""


def find_python(version: str) -> str | None:
    """Return a Python of this version that starts: of the PATH, or one of pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{version}"), sys.executable]
    found += [str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python3"))]
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    for one in filter(None, found):
        done = subprocess.run([one, "-c", ask], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return one
    return None


class Environment:
    """A folder with a Python and packages of its own, made anew if it is not complete."""

    def __init__(self, row: Row, folder: Path) -> None:
        self.row = row
        self.folder = folder / row.name
        self.python = self.folder / "bin" / "python"

    def make(self, base: str) -> None:
        """Make the folder and install everything into it."""
        self._uv("venv", "--clear", "--seed", "--python", base, str(self.folder))
        self._install_torch()
        wanted = [one for project in self.row.projects for one in declared(project)]
        names = [str(one) for one in wanted if one.name != "torch"]
        versions = ["--resolution", "lowest-direct"]
        if not self.row.oldest:
            versions = ["--constraint", str(CONSTRAINTS)]
        self._uv("pip", "install", "--python", str(self.python), *versions, *names)
        # The tools as everywhere; what is there already stays as it is.
        there = self.versions()
        keep = [f"{name}=={version}" for name, version in there.items()]
        keep += [str(pin.requirement) for pin in read_constraints() if pin.name not in there]
        file = self.folder / "constraints.txt"
        file.write_text("\n".join(keep) + "\n", encoding="utf-8")
        tools = [*TOOLS, *(["monai"] if "torch" in there else [])]
        self._uv("pip", "install", "--python", str(self.python), "--constraint", str(file), *tools)

    def _install_torch(self) -> None:
        wanted = f"torch=={self.row.torch()}" + ("+cpu" if sys.platform == "linux" else "")
        done = subprocess.run(
            [self.python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", wanted],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = re.findall(r"^ERROR: (.*)$", done.stderr, re.MULTILINE) or [done.stderr]
            print(f"{self.row.name}: pip finds no {wanted}, tests without it: {said[0]}")

    def versions(self) -> dict[str, str]:
        """Return what is installed."""
        frozen = self._uv("pip", "freeze", "--python", str(self.python))
        return {m[1]: m[2] for m in re.finditer(r"^([\w.-]+)==(\S+)$", frozen, re.MULTILINE)}

    def test(self) -> Result:
        """Run the suite's core and count."""
        versions = self.versions()
        tests, absent = list(CORE), []
        if TRAINING in self.row.projects:
            tests.append("Training/isdmae_train")
        else:
            absent += TRAINING_ONLY
        if "torch" in versions:
            tests += [f"Testing/integration/{name}.py" for name in WITH_TORCH]
        else:
            absent.append("torch")
        report, log = self.folder / "report.xml", self.folder / "log.txt"
        report.unlink(missing_ok=True)
        command = [str(self.python), "-m", "pytest", "-p", "no:cacheprovider", "-p"]
        command += ["supply.without", *(f"--without={name}" for name in absent), "-ra", "--quiet"]
        path = [*map(str, self.row.projects), str(ROOT / "Testing")]
        with log.open("w", encoding="utf-8") as file:
            subprocess.run(
                [*command, f"--junitxml={report}", *tests],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "CI": "true"},
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
        return self._count(report, log, versions)

    def _count(self, report: Path, log: Path, versions: dict[str, str]) -> Result:
        python = self._ask("import platform; print(platform.python_version())")
        if not report.is_file():
            return Result(self.row, python, versions, failed=1, note=f" did not end, see {log}")
        suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
        total, failures, errors, skipped = (
            int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")
        )
        reasons = [f"{node.get('message')} {node.text}" for node in suite.iter("skipped")]
        failed = failures + errors
        if failed:
            print("".join(_failures(log)), flush=True)
        return Result(
            self.row,
            python,
            versions,
            passed=total - failed - skipped,
            failed=failed,
            skipped=skipped,
            without_torch=sum("without torch" in reason for reason in reasons),
        )

    def _ask(self, code: str) -> str:
        return subprocess.run(
            [self.python, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()

    @staticmethod
    def _uv(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "uv", "--quiet", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"uv {' '.join(arguments[:2])}: {done.stderr.strip()}")
        return done.stdout


def _failures(log: Path) -> list[str]:
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if line.startswith(("FAILED", "ERROR"))] or lines[-15:]


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    counts = ("passed", "failed", "skipped", "for want of torch")
    lines = [
        "| " + " | ".join(["row", "Python", *SHOWN, *counts]) + " |",
        "|---" * (2 + len(SHOWN)) + "|---:" * len(counts) + "|",
    ]
    for one in results:
        cells = [one.row.name, one.python, *(one.versions.get(name, "none") for name in SHOWN)]
        cells += [str(n) for n in (one.passed, one.failed, one.skipped, one.without_torch)]
        lines.append("| " + " | ".join(cells) + " |" + one.note)
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows, print the table; the exit status is that of the module's first lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", action="append", choices=[row.name for row in ROWS])
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv-matrix")
    parser.add_argument("--allow-missing", action="store_true", help="a Python may be absent")
    parser.add_argument("--write", type=Path, help="a page for the table")
    chosen = parser.parse_args(arguments)
    results, missing = [], []
    for row in ROWS:
        if chosen.row and row.name not in chosen.row:
            continue
        base = find_python(row.python)
        if base is None:
            missing.append(row.python)
            print(f"{row.name}: Python {row.python} is not installed, NOT RUN", flush=True)
            continue
        environment = Environment(row, chosen.folder)
        environment.make(base)
        results.append(environment.test())
    print(table(results))
    if chosen.write:
        chosen.write.write_text(f"{PAGE}\n{table(results)}\n", encoding="utf-8")
    if missing:
        print(f"not installed, so not tested: Python {', '.join(missing)}")
    if any(one.failed or not one.passed for one in results):
        return FAILED
    return MISSING if missing and not (chosen.allow_missing and results) else 0


if __name__ == "__main__":
    sys.exit(main())
