"""The page on the architecture names the modules that there are, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "Resources" / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = (
    "ISDMAESegmentation/isdmae",
    "ISDMAESegmentation/ISDMAESegmentationLib",
    "Training/isdmae_train",
)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_named_in_the_table_of_its_package(package: str) -> None:
    section = re.split(r"^## ", PAGE.split(f"## `{package}`")[1], maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line.split("|")[2] for line in section.splitlines() if line.startswith("|")]
    named = set(re.findall(r"`(\w+)`", " ".join(rows)))
    entries = [path for path in (ROOT / package).iterdir() if path.name[0] not in "_."]
    there = {
        path.stem for path in entries if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert named == there
