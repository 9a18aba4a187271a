"""What a result says: which share of a structure is taken, and what looks wrong about it."""

from __future__ import annotations

import numpy as np

from .checks import Notice
from .labels import LEFT, RIGHT, Label
from .volume import Array, Volume


def shares_of(
    found: Array, surroundings: Array, labels: tuple[Label, ...], structures: tuple[Label, ...]
) -> dict[str, dict[str, float]]:
    """Return how much of each structure that was found each label takes.

    Parameters
    ----------
    found, surroundings : numpy.ndarray
        uint8 (k, j, i): the labels, and the structures in which they were looked for.
    labels, structures : tuple of Label
        What their values mean.
    """
    voxels = _counts(surroundings)
    taken = {
        label.name: _counts(np.where(found == label.value, surroundings, 0)) for label in labels
    }
    return {
        name: {
            one.name: float(counts[one.value] / voxels[one.value])
            for one in structures
            if voxels[one.value]
        }
        for name, counts in taken.items()
    }


def _counts(labels: Array) -> Array:
    """Return how many voxels have each value 0..255; slice by slice, since bincount copies."""
    counts: Array = sum(
        (np.bincount(one.ravel(), minlength=256) for one in labels), start=np.zeros(256, np.int64)
    )
    return counts


def result_notices(
    labelmap: Volume, labels: tuple[Label, ...], *, lung_ml: float | None = None
) -> list[Notice]:
    """Say where a result is empty or its sides are uncertain.

    Parameters
    ----------
    labelmap : Volume
        The result, in LPS order.
    labels : tuple of Label
        What its values mean.
    lung_ml : float, optional
        Of a model that looks within the lungs: how much of them there was to look in.
    """
    if not labelmap.array.any():
        return [_nothing_found(labels, lung_ml)]
    sided = any(label.modifier in (LEFT, RIGHT) for label in labels)
    if not labelmap.is_hu and sided:
        return [
            Notice(
                "picture-sides",
                "A picture does not say which side is left; the usual display is assumed "
                "(the patient's right lung on the viewer's left).",
                "Swap the sides if the picture is mirrored.",
            )
        ]
    columns = {
        label.modifier: np.flatnonzero(
            np.any([(one == label.value).any(axis=0) for one in labelmap.array], axis=0)
        )
        for label in labels
        if label.modifier in (LEFT, RIGHT)
    }
    centres = {side: float(places.mean()) for side, places in columns.items() if len(places)}
    if len(centres) == 2 and centres[LEFT] <= centres[RIGHT]:
        return [
            Notice(
                "sides-contradict",
                "The left lung lies to the right of the right lung.",
                "Check the scan's orientation before you use the sides.",
            )
        ]
    return []


def _nothing_found(labels: tuple[Label, ...], lung_ml: float | None) -> Notice:
    """Return what an empty result means: a healthy lung, or a scan that shows none."""
    if lung_ml is None:
        return Notice(
            "nothing-found",
            "None of the model's structures was found.",
            "Check that the scan shows the chest and is the right way up.",
        )
    if lung_ml == 0:
        return Notice(
            "no-lungs-found",
            "No lungs were found, so there was nothing to look in.",
            "Check that the scan, or the chosen region of it, shows lungs and is the right way up.",
        )
    names = " or ".join(label.name for label in labels)
    return Notice(
        "nothing-in-lungs",
        f"No {names} was found in {lung_ml:,.0f} mL of lung.",
        "Look at the CT all the same: a model misses some.",
    )
