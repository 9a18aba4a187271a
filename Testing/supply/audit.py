"""Look the locked packages up among known weaknesses; "no weakness" only where all were looked up.

pip-audit leaves out what its service does not know and then reports success; here each package that
was not looked up is named, and the exit status says so: 0 all were looked up and none is known to
be weak, 1 weaknesses, 2 not everything could be looked up (however good the rest is).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from supply.locked import LOCKS, Pin, read_lock

WEAK, INCOMPLETE = 1, 2


def rounds(pins: Iterable[Pin]) -> list[list[Pin]]:
    """Split pins, so that no part has two versions of a package (for other Pythons)."""
    parts: list[dict[str, Pin]] = []
    for pin in {(pin.name, pin.version): pin for pin in pins}.values():
        for part in parts:
            if pin.name not in part:
                part[pin.name] = pin
                break
        else:
            parts.append({pin.name: pin})
    return [list(part.values()) for part in parts]


def ask(pins: Sequence[Pin], service: Sequence[str]) -> list[dict[str, Any]]:
    """Return pip-audit's word on each pin; ``skip_reason`` for all of them where it gives none."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pins.txt"
        file.write_text("\n".join(pin.text() for pin in pins) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", *service, "--require-hashes", "--disable-pip"]
        command += ["--format", "json", "--aliases", "on", "--progress-spinner", "off"]
        done = subprocess.run(
            [*command, "--requirement", str(file)], capture_output=True, text=True, check=False
        )
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return [
            {"name": pin.name, "version": pin.version, "skip_reason": f"no answer: {last}"}
            for pin in pins
        ]


def verdict(pins: Sequence[Pin], answers: Sequence[dict[str, Any]]) -> tuple[int, list[str]]:
    """Return the exit status and the lines to print."""
    weak = [
        f"WEAK {one['name']} {one['version']}: {', '.join([found['id'], *found['aliases']])}; "
        f"mended in {', '.join(found['fix_versions']) or 'no version yet'}"
        for one in answers
        for found in one.get("vulns", [])
    ]
    answered = {(one["name"], one["version"]) for one in answers if "vulns" in one}
    missing = [pin for pin in pins if (pin.name, pin.version) not in answered]
    lines = [
        *weak,
        f"{len(pins)} locked packages: {len(pins) - len(missing)} looked up, "
        f"{len(missing)} not checked, {len(weak)} known weaknesses",
    ]
    if missing:
        reasons = [one["skip_reason"] for one in answers if "skip_reason" in one]
        lines += [
            "AUDIT INCOMPLETE. Not checked: " + ", ".join(f"{p.name} {p.version}" for p in missing),
            f"The service said: {reasons[0] if reasons else 'nothing of them'}",
            "That does not mean that nothing is weak: run it where the service can be reached.",
        ]
    return (INCOMPLETE if missing else WEAK if weak else 0), lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit both lock files; the exit status is that of the module's first lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service", choices=["pypi", "osv"], default="pypi", help="whom to ask")
    parser.add_argument("--osv-url", help="a mirror of OSV, for --service osv")
    chosen = parser.parse_args(arguments)
    service = ["--vulnerability-service", chosen.service]
    service += ["--osv-url", chosen.osv_url] if chosen.osv_url else []
    parts = rounds(pin for lock in LOCKS for pin in read_lock(lock))
    status, lines = verdict(
        [pin for part in parts for pin in part],
        [answer for part in parts for answer in ask(part, service)],
    )
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
