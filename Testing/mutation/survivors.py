"""Why a change that no test notices is none, or cannot be noticed here."""

from __future__ import annotations

import re

# A reason, and what the changed line looks like that it explains.
REASONS = {
    "The same value, spelled otherwise: `None` counts as `False`, float64 is what numpy takes of "
    "itself for these values, and to multiply by a sign is to divide by it.": (
        r"flags\.writeable = None",
        r"np\.asarray\((spacing|values), (dtype=None)?\)",
        r"np\.argwhere\(.*\)\.astype\(None\)",
        r"copy=None\)",
        r"direction\[:, list\(source\)\] / signs",
    ),
    "One copy of the array more, of the same values.": (
        r"isfinite\(array\.astype\(np\.float32, (copy=True)?\)\)",
    ),
    "A shortcut, a buffer, or a narrower part of a table: without it the same values take "
    "longer.": (
        r"fits = ",
        r"beyond = None",
        r"torch\.ge\(image, edge\.view\(each\), (out=None)?\)",
        r"turns\.sum\((dim=None)?\)\.max",
    ),
    "A border that a value meets by chance alone: a random number equal to the ratio (one in "
    "sixteen million), an angle of exactly one degree after `arccos`.": (
        r"return scores <= ratio",
        r"if angle < OBLIQUE_DEG",
    ),
    "A cosine between an axis and its place in LPS order, which is never 0 (61 degrees at most).": (
        r"bool\(volume\.direction\[axis, source\[axis\]\] <= 0\)",
    ),
    "The lengths are compared a few lines before.": (
        r"zip\(truth\.shape, spacing, (strict=(None|False))?\)",
    ),
    "The device of the edges: seen on a GPU alone.": (r"edges\[1:-1\]\.to\(None\)",),
}  # fmt: skip


def reason(after: str) -> str | None:
    """Return why nobody can notice a line that was changed to ``after``; None where unknown."""
    return next(
        (
            text
            for text, patterns in REASONS.items()
            if any(re.search(pattern, after) for pattern in patterns)
        ),
        None,
    )
