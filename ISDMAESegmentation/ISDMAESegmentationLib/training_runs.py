"""The folder of training runs on this machine: what is in it, and how far each run has come."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import qt
import slicer

from .models import data_folder
from .training_command import FINETUNE, PRETRAIN

SETTING = "ISDMAESegmentation/RunsFolder"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]*")
CHECKPOINT = re.compile(r"step-(\d{8})\.safetensors")


@dataclass(frozen=True)
class TrainingRun:
    """One run: its folder, task (empty as long as unknown), and steps done and wanted."""

    folder: Path
    task: str
    step: int
    steps: int

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.step > 0

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.begun and self.step >= self.steps


def runs_folder() -> Path:
    """Return where runs go on this machine."""
    named = str(slicer.util.settingsValue(SETTING, "") or "")
    return Path(named) if named else data_folder() / "ISDMAE-runs"


def choose_runs_folder(folder: str) -> None:
    """Remember another folder for runs; an empty text means the default."""
    qt.QSettings().setValue(SETTING, folder)


def read_run(folder: Path) -> TrainingRun:
    """Return what is known of the run in ``folder``, which need not exist."""
    names = (path.name for path in folder.glob("checkpoints/*.safetensors"))
    steps = [int(match.group(1)) for name in names if (match := CHECKPOINT.fullmatch(name))]
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["config"]
        wanted, task = int(config["loop"]["steps"]), PRETRAIN if "masks" in config else FINETUNE
    except (OSError, ValueError, KeyError, TypeError):
        wanted, task = 0, ""
    return TrainingRun(folder, task, max(steps, default=0), wanted)


def finished_pretrainings() -> list[TrainingRun]:
    """Return the pre-training runs that a fine-tuning can start from."""
    folders = sorted(path.parent for path in runs_folder().glob("*/config.json"))
    runs = [read_run(folder) for folder in folders]
    return [run for run in runs if run.task == PRETRAIN and run.finished]


def read_log(folder: Path, last_step: int) -> list[tuple[int, dict[str, float]]]:
    """Return the recorded numbers of a run up to ``last_step``: (step, values)."""
    try:
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    records = []
    for line in lines:
        try:
            record = json.loads(line)
            step = int(record.pop("step"))
            record.pop("time", None)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if step <= last_step:
            records.append((step, record))
    return records
