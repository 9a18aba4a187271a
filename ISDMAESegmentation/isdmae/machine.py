"""What this machine has: versions, devices, models."""

from __future__ import annotations

import platform
from typing import Any

import SimpleITK
import torch

from . import __version__
from .bundle import list_bundles, models_folders
from .compute import available_threads
from .device import GPUS, choose_device, has_bf16, why_not


def describe() -> dict[str, Any]:
    """Return the facts as plain data."""
    devices = [{"name": "cpu", "usable": True, "reason": ""}]
    for name in GPUS:
        reason = why_not(name)
        devices.append({"name": name, "usable": reason is None, "reason": reason or ""})
    choice = choose_device("auto")
    return {
        "isdmae": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "simpleitk": SimpleITK.Version.VersionString(),
        "system": platform.platform(),
        "threads": available_threads(),
        "devices": devices,
        "auto_device": str(choice.device),
        "bfloat16": has_bf16(choice.device),
        "models_folders": [str(folder) for folder in models_folders() if folder.is_dir()],
        "models": [
            {
                "name": bundle.info.name,
                "title": bundle.info.title,
                "version": bundle.info.version,
                "description": bundle.info.description,
                "licence": bundle.info.licence,
                "non_commercial": bundle.info.non_commercial,
                "needs_points": bundle.info.crop_edge is not None,
                "labels": [label.name for label in bundle.info.labels],
                "folder": str(bundle.folder),
            }
            for bundle in list_bundles()
        ],
    }


def describe_in_words(facts: dict[str, Any]) -> str:
    """Return the facts of `describe` as lines to read."""
    lines = [
        f"isdmae {facts['isdmae']}, Python {facts['python']}, torch {facts['torch']}, "
        f"SimpleITK {facts['simpleitk']}",
        f"{facts['system']}, {facts['threads']} threads",
    ]
    for device in facts["devices"]:
        state = "usable" if device["usable"] else f"not usable: {device['reason']}"
        lines.append(f"device {device['name']}: {state}")
    lines.append(f"chosen: {facts['auto_device']}{', bfloat16' if facts['bfloat16'] else ''}")
    for model in facts["models"]:
        lines.append(
            f"model {model['name']} {model['version']} ({model['licence']}): {model['description']}"
        )
    if not facts["models"]:
        lines.append("no models found")
    return "\n".join(lines) + "\n"
