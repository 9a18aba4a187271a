"""ISD-MAE segmentation: a chest CT goes in, a labelled segmentation comes out.

``from isdmae import segment`` is the Python call, ``python -m isdmae`` the command line. Names are
imported on first use, so that ``--help`` does not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Predictor",
    "Segmentation",
    "Volume",
    "__version__",
    "read",
    "segment",
    "write_labelmap",
]

if TYPE_CHECKING:
    from .inference import Predictor, Segmentation, segment
    from .io import read, write_labelmap
    from .volume import Volume

_HOME = {
    "Predictor": "inference",
    "Segmentation": "inference",
    "segment": "inference",
    "read": "io",
    "write_labelmap": "io",
    "Volume": "volume",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'isdmae' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f".{_HOME[name]}", __name__), name)
