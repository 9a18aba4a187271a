"""What the module says of itself under Help & Acknowledgement."""

from __future__ import annotations

from slicer.i18n import tr as _


def help_text() -> str:
    """What it does and how to begin."""
    return _(
        "Finds the left and right lung in a chest CT, COVID-19 lesions, the lung nodules at points"
        " that you place, and what models that you train or add know. Choose CT and model, click"
        " <b>Segment</b>, correct the result with <b>Edit</b>. It computes in a process of its own,"
        " so Slicer stays usable; nothing leaves this computer."
        "<p><b>Not a medical device</b>: for research only.</p>"
    )


def acknowledgement_text() -> str:
    """Whose method and whose data it stands on."""
    return _(
        "The networks are pre-trained by dual masking: Ding, Wang, Lyu, Intensity-Spatial Dual"
        " Masked Autoencoder for Multi-Scale Feature Learning in Chest CT Segmentation,"
        " <a href='https://arxiv.org/abs/2411.13198'>arXiv 2411.13198</a> (2024), implemented anew."
        " Whose scans each model has learnt from: see its licence in the panel, and its card."
    )
