"""The command ``predict`` as tests run it."""

from __future__ import annotations

from pathlib import Path

from isdmae.bundle import Bundle
from isdmae.cli import main


def predict(source: Path, target: Path, bundle: Bundle, *more: str) -> int:
    return main(
        ["predict", str(source), "-o", str(target), "--model", str(bundle.folder),
         "--device", "cpu", "--progress", "none", *more]
    )  # fmt: skip
