"""Where voxels lie in the patient."""

from __future__ import annotations

from isdmae.volume import Volume


def lps_of(volume: Volume, k: int, j: int, i: int) -> tuple[float, float, float]:
    x, y, z, _ = volume.affine @ (i, j, k, 1.0)
    return float(x), float(y), float(z)
