"""Every code that a user can meet stands in the troubleshooting page, and nothing else does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "Resources" / "docs" / "troubleshooting.md"
MAKERS = {
    "DivergedError", "Failure", "InputError", "Notice", "ResourceError", "_fail", "_give_up",
    "refuse",
}  # fmt: skip
# Most codes are hyphenated, which tells them from options and file names.
CODE = re.compile(
    r"`([a-z0-9]+(?:-[a-z0-9]+)+"
    r"|busy|cancelled|declined|diverged|exists|gap|installing|oblique|padding|stopped)`"
)
# Said by the loop itself, without one of the makers.
OTHERS = {"defect"}


def codes() -> Iterator[str]:
    for folder in ("ISDMAESegmentation", "Training"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and node.args:
                    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                    first = node.args[0]
                    if name in MAKERS and isinstance(first, ast.Constant):
                        yield str(first.value)


def test_the_page_holds_every_code() -> None:
    page = set(CODE.findall(PAGE.read_text(encoding="utf-8")))
    page -= {"allow-gaps", "series-uid"}
    assert page - OTHERS == set(codes()) - OTHERS
