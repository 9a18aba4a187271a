"""The command line: ``python -m isdmae predict | info | verify | phantom | serve``.

Exit codes: 0 done, 1 a defect of ours, 2 bad usage or input, 3 out of resources, 4 cancelled.
Modules that need torch are imported by the command that needs them: ``--help`` is at once there.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from . import __version__
from .errors import (
    EXIT_CANCELLED,
    EXIT_DEFECT,
    EXIT_DONE,
    EXIT_OUT_OF_RESOURCES,
    Cancelled,
    IsdmaeError,
    says_memory_is_short,
)
from .progress import PROGRESS, log_to_stderr, print_line

END_WITH_STDIN = "ISDMAE_END_WITH_STDIN"
"""Environment variable: set, a command ends when its standard input does."""

log = logging.getLogger("isdmae")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    log_to_stderr()
    if os.environ.get(END_WITH_STDIN):
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    given = sys.argv[1:] if arguments is None else arguments
    options = build_parser().parse_args([_shield_minus(argument) for argument in given])
    try:
        command: Callable[[argparse.Namespace], int] = options.run
        return command(options)
    except IsdmaeError as error:
        log.error("%s", error)
        return error.exit_code
    except KeyboardInterrupt:
        log.error("%s", Cancelled())
        return EXIT_CANCELLED
    except BrokenPipeError:
        # Nobody reads our output any more; Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_CANCELLED
    except Exception as error:
        if says_memory_is_short(error):
            log.error("The memory is not enough. Close other programs, or crop the scan.")
            return EXIT_OUT_OF_RESOURCES
        log.exception(
            "This is a defect of isdmae %s; please report it with this text.", __version__
        )
        return EXIT_DEFECT


def _end_with_stdin() -> None:
    """End this process when whoever started it closes our standard input, or is gone.

    A launcher may stand between the two, so that killing what was started is not enough.
    """
    # Not sys.stdin: its lock, held by this thread, would be fatal at the end of the interpreter.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(EXIT_CANCELLED)


def _shield_minus(argument: str) -> str:
    """Return ``-1.5,2,3`` with a blank before it, or argparse would take it for an option."""
    return f" {argument}" if re.match(r"-[\d.][\d.eE+-]*\s*,", argument) else argument


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="isdmae", description="Segment chest CT.")
    parser.add_argument("--version", action="version", version=f"isdmae {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_predict(commands)

    info = commands.add_parser("info", help="show machine, devices and models")
    info.add_argument("--json", action="store_true", help="one JSON object")
    info.set_defaults(run=_info)

    verify = commands.add_parser("verify", help="check a model's schema, hash and tensors")
    verify.add_argument("model", help="name or folder of a model")
    verify.set_defaults(run=_verify)

    phantom = commands.add_parser("phantom", help="make a synthetic chest CT")
    phantom.add_argument("output", type=Path, help="file to write (.nrrd, .nii.gz, .mha)")
    phantom.add_argument("--seed", type=int, default=0, help="another seed is another patient")
    phantom.add_argument("--overwrite", action="store_true", help="replace an existing file")
    phantom.set_defaults(run=_phantom)

    serve = commands.add_parser("serve", help="worker: JSON lines on stdin and stdout")
    serve.set_defaults(run=_serve)
    return parser


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser("predict", help="segment a CT or a picture")
    predict.add_argument(
        "input", type=Path, help="DICOM folder or file, NIfTI, NRRD, MHA, PNG, or a folder of PNGs"
    )
    predict.add_argument(
        "-o",
        "--output",
        type=Path,
        action="append",
        required=True,
        help="labelmap to write: .nii.gz, .nrrd, .mha, .seg.nrrd; may be given several times",
    )
    predict.add_argument("--model", default="lungs", help="name or folder of a model")
    predict.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    predict.add_argument("--precision", default="auto", choices=("auto", "float32"))
    predict.add_argument(
        "--views",
        nargs="+",
        choices=("axial", "coronal", "sagittal"),
        help="views of a 2D model to average (default: what the model says)",
    )
    predict.add_argument(
        "--mirror", action="store_true", help="average with the mirror image: twice the time"
    )
    predict.add_argument(
        "--points",
        action="append",
        default=[],
        metavar="X,Y,Z",
        help="for a model of points: LPS millimetres, several separated by semicolons",
    )
    predict.add_argument(
        "--points-file",
        type=Path,
        help="points from a list of 3D Slicer (.mrk.json, .fcsv) or a table (.csv)",
    )
    predict.add_argument(
        "--trachea",
        action="store_true",
        help="beside both lungs: add trachea and main bronchi; some seconds more",
    )
    predict.add_argument(
        "--search",
        action="store_true",
        help="for a model of points: look for candidates instead (experimental)",
    )
    predict.add_argument("--preview", type=Path, help="PNG with the outlines on the CT")
    predict.add_argument("--report", type=Path, help="JSON with volumes, versions and times")
    predict.add_argument("--series-uid", help="which DICOM series of the folder")
    predict.add_argument(
        "--allow-gaps", action="store_true", help="interpolate missing DICOM slices"
    )
    predict.add_argument("--force", action="store_true", help="accept values that are not HU")
    predict.add_argument("--progress", default="bar", choices=("bar", "json", "none"))
    predict.add_argument("--overwrite", action="store_true", help="replace existing files")
    predict.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> int:
    from .job import PredictJob, Runner
    from .point_file import parse_points, read_points

    points = [point for text in options.points for point in parse_points(text)]
    if options.points_file is not None:
        points += read_points(options.points_file)
    job = PredictJob(
        input=options.input,
        outputs=tuple(options.output),
        model=options.model,
        device=options.device,
        precision=options.precision,
        views=tuple(options.views) if options.views else None,
        mirror=options.mirror,
        points=tuple(points),
        search=options.search,
        trachea=options.trachea,
        preview=options.preview,
        report=options.report,
        series_uid=options.series_uid,
        allow_gaps=options.allow_gaps,
        force=options.force,
        overwrite=options.overwrite,
    )
    asked = _stop_on_signals()
    show = PROGRESS[options.progress]()
    report = Runner().run(job, progress=show, stop=lambda: bool(asked))
    if options.progress == "json":
        print_line({"event": "done", "report": report})
        return EXIT_DONE
    model = report["model"]
    if model["non_commercial"]:
        log.warning(
            "Note: The model '%s' is for non-commercial use only: %s.",
            model["name"],
            model["licence"],
        )
    for notice in report["notices"]:
        log.warning("Note: %s %s", notice["message"], notice["remedy"])
    for segment in report["segments"]:
        log.info("%s: %s%s", segment["name"], _size(segment), _shares(segment))
    log.info("%.1f s; wrote %s", sum(report["seconds"].values()), ", ".join(map(str, job.outputs)))
    return EXIT_DONE


def _size(segment: dict[str, Any]) -> str:
    """Return such as ``2310 mL``, of a picture ``6.1 % of the picture``.

    Of what lies at a point it is such as ``0.44 mL, 12.1 mm``.
    """
    if segment["volume_ml"] is None:
        return f"{segment['percent_of_picture']:.1f} % of the picture"
    if segment["point_mm"] is None:
        return f"{segment['volume_ml']:.0f} mL"
    across = segment["diameter_mm"]
    return f"{segment['volume_ml']:.2f} mL" + ("" if across is None else f", {across:.1f} mm")


def _shares(segment: dict[str, Any]) -> str:
    """Return such as `` (3.1 % of the left lung, 0.2 % of the right lung)``, or nothing."""
    parts = [f"{share:.1f} % of the {name}" for name, share in segment["percent_of"].items()]
    return f" ({', '.join(parts)})" if parts else ""


def _stop_on_signals() -> list[int]:
    """Collect SIGINT and SIGTERM, so that a run ends cleanly between two batches."""
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, ask)
    return asked


def _info(options: argparse.Namespace) -> int:
    from .machine import describe, describe_in_words

    facts = describe()
    if options.json:
        print_line(facts)
    else:
        sys.stdout.write(describe_in_words(facts))
    return EXIT_DONE


def _verify(options: argparse.Namespace) -> int:
    from .bundle import find_bundle, verify

    bundle = find_bundle(options.model)
    verify(bundle)
    info = bundle.info
    sys.stdout.write(f"{info.name} {info.version}: good (SHA-256 {info.weights.sha256})\n")
    return EXIT_DONE


def _phantom(options: argparse.Namespace) -> int:
    from .io import to_sitk, write_image_atomic
    from .phantom import PhantomConfig, make_phantom

    phantom = make_phantom(PhantomConfig(seed=options.seed))
    write_image_atomic(options.output, to_sitk(phantom.ct), overwrite=options.overwrite)
    return EXIT_DONE


def _serve(_options: argparse.Namespace) -> int:
    from .worker import serve

    return serve()
