"""The table of hazards in the documentation: no row is missing, every test it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "Resources" / "docs" / "reliability.md"
ROWS = 40
NAMED = re.compile(r"`((?:unit|integration|property|slicer_module)/test_\w+\.py)::(test_\w+)`")


def test_every_row_names_tests_that_exist() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if re.match(r"\| (\d+|\+) \|", line)]
    numbers = [line.split("|")[1].strip() for line in rows]
    assert [number for number in numbers if number != "+"] == [str(n) for n in range(1, ROWS + 1)]
    assert numbers.count("+") >= 5
    for row in rows:
        named = NAMED.findall(row)
        assert named, row
        for file, test in named:
            text = (ROOT / "Testing" / file).read_text(encoding="utf-8")
            assert re.search(rf"def {test}\(", text), f"{file} has no {test}"
        assert row.count("`") == 2 * len(named), "what stands in backquotes is a test"
