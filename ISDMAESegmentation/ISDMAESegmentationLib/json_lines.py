"""Whole JSON lines from bytes that arrive in pieces."""

from __future__ import annotations

import json
from typing import Any

LONGEST_LINE = 16_000_000


class JsonLines:
    """Collects bytes and gives back the objects of all lines that are complete.

    A line may be cut anywhere, inside a UTF-8 character too. What is not JSON, such as a library's
    printed warning, goes to ``strays``.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self.strays: list[str] = []

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Take ``data`` and return the objects that became complete.

        Examples
        --------
        >>> lines = JsonLines()
        >>> lines.feed(b'{"event": "hel'), lines.feed(b'lo"}\\n')
        ([], [{'event': 'hello'}])
        """
        self._rest.extend(data)
        if b"\n" not in data:
            if len(self._rest) > LONGEST_LINE:
                self._rest.clear()
            return []
        *complete, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        return [message for line in complete if (message := self._parse(line)) is not None]

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        text = line.decode("utf-8", errors="replace").strip()
        if not text:
            return None
        try:
            message = json.loads(text)
        except ValueError:
            message = None
        if isinstance(message, dict):
            return message
        self.strays.append(text)
        return None
