"""Plain data in, frozen dataclasses out; everything unexpected is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from isdmae.errors import InputError
from isdmae.schema import from_plain, to_plain


@dataclass(frozen=True, kw_only=True)
class Inner:
    ratio: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise ValueError("ratio lies in 0..1.")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    count: int = 1
    mode: Literal["a", "b"] = "a"
    inner: Inner = Inner()
    pairs: tuple[tuple[float, float], ...] = ()
    table: dict[str, tuple[int, ...]] | None = None
    path: Path | None = None
    flag: bool = False
    free: Any = None


def test_there_and_back() -> None:
    value = Outer(
        name="x",
        count=3,
        mode="b",
        inner=Inner(ratio=0.25),
        pairs=((1.0, 2.0),),
        table={"k": (1, 2)},
        path=Path("a") / "b",
        flag=True,
        free=[1],
    )
    assert from_plain(Outer, to_plain(value), "test") == value


def test_whole_numbers_may_stand_for_floats_but_not_the_reverse() -> None:
    assert from_plain(Inner, {"ratio": 1}, "test").ratio == 1.0
    with pytest.raises(InputError, match=r"test\.count: int is expected, not 2\.5"):
        from_plain(Outer, {"name": "x", "count": 2.5}, "test")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "'name' is missing"),
        ({"name": "x", "nmae": 1}, "unknown entry 'nmae'"),
        ({"name": 1}, r"test\.name: str is expected"),
        ({"name": "x", "mode": "c"}, "'c' is none of 'a', 'b'"),
        ({"name": "x", "inner": {"ratio": 2}}, r"test\.inner: ratio lies in 0\.\.1"),
        ({"name": "x", "inner": 3}, "a table is expected"),
        ({"name": "x", "pairs": [[1.0]]}, "a list of 2 entries is expected, not 1"),
        ({"name": "x", "pairs": "ab"}, "a list is expected"),
        ({"name": "x", "table": {1: [2]}}, "text keys"),
        ({"name": "x", "table": {"k": ["2"]}}, r"table\.k\[0\]: int is expected"),
        ({"name": "x", "flag": 1}, "bool is expected"),
        ({"name": "x", "count": True}, "int is expected"),
        ([], "a table is expected"),
    ],
)
def test_each_error_names_the_entry(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        from_plain(Outer, data, "test")
    assert caught.value.code == "bad-schema"
