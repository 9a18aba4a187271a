"""Public data sets by name: what they hold, where they come from, and their traps undone."""

from __future__ import annotations

from pathlib import Path

from isdmae.errors import InputError

from ..layouts import Sources
from . import chest, covid, lidc_idri
from .public_set import PublicSet

__all__ = ["SETS", "PublicSet", "find_set", "listed", "described"]

SETS: dict[str, PublicSet] = {
    one.name: one for one in (*covid.SETS, *lidc_idri.SETS, *chest.SETS)
}  # fmt: skip


def find_set(name: str, folder: Path, labels: tuple[str, ...] = ()) -> Sources:
    """List the scans or pictures of a public set in ``folder``, as its authors lay it out.

    Parameters
    ----------
    name : str
        Of `SETS`.
    folder : Path
        What was downloaded, unpacked; it may lie some folders deeper.
    labels : tuple of str
        Of those that the set offers; empty: its usual ones.

    Raises
    ------
    InputError
        ``unknown-set`` or ``no-such-label``; ``not-of-the-set`` where the folder does not look like
        the set.
    """
    if name not in SETS:
        raise InputError(
            "unknown-set",
            f"No set has the name '{name}'.",
            f"Known: {', '.join(SETS)}; see `isdmae-train sets`.",
        )
    one = SETS[name]
    unknown = [label for label in labels if label not in one.labels]
    if unknown:
        raise InputError(
            "no-such-label",
            f"The set {name} does not offer '{unknown[0]}'.",
            f"It offers {', '.join(one.labels)}.",
        )
    if not folder.is_dir():
        raise InputError("bad-folder", f"{folder} is no folder.", "Name the folder of the set.")
    folder = folder.resolve()
    chosen = tuple(label for label in one.labels if label in (labels or one.usual))
    found = one.find(one, folder, chosen)
    if not found.scans and not found.pictures:
        raise InputError(
            "not-of-the-set",
            f"{folder} does not look like the set {name}.",
            f"It must hold {one.layout}.",
        )
    return found


def listed() -> str:
    """Return a line for each set."""
    lines = []
    for one in SETS.values():
        lines += [f"{one.name:<17}{one.title}", f"{'':<17}{one.holds}"]
        lines += [f"{'':<17}Licence: {one.licence}."]
    return "\n".join([*lines, "", "More of one: isdmae-train sets NAME", ""])


def described(name: str) -> str:
    """Return all that is known of a set; errors as in `find_set`."""
    if name not in SETS:
        find_set(name, Path())
    one = SETS[name]
    lines = [
        f"{one.name}: {one.title}",
        f"holds     {one.holds}",
        f"licence   {one.licence}",
        f"get it    {one.where}",
        f"cite      {one.citation}",
        f"layout    FOLDER holds {one.layout}",
        f"labels    {', '.join(one.labels)} (usually {', '.join(one.usual)})",
        "traps",
        *(f"  - {trap}" for trap in one.traps),
        f"prepare   isdmae-train prepare --set {one.name} --data FOLDER --out CACHE",
    ]
    return "\n".join([*lines, ""])
