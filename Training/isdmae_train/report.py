"""``report.html`` of a run: curves, pictures and settings on one page that needs no network."""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from isdmae.atomic import write_text_atomic
from isdmae.errors import InputError

PREVIEW_NAME = "preview.png"
REPORT_NAME = "report.html"
WIDTH, HEIGHT, LEFT, BOTTOM = 560, 220, 56, 26
SMOOTH = 0.9
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2em auto; padding: 0 1em;
       color: #222; background: #fff; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
figure { display: inline-block; margin: 0 1em 1em 0; } figcaption { font-weight: 600; }
img { max-width: 100%; image-rendering: auto; } table { border-collapse: collapse; }
td, th { border-bottom: 1px solid #ddd; padding: .15em .8em .15em 0; text-align: left;
         vertical-align: top; } td { font-family: ui-monospace, monospace; font-size: .9em; }
"""


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run's folder, from what `tracking.Tracker` left there.

    Raises
    ------
    InputError
        ``no-run`` where the folder holds no run, or its log cannot be read.
    """
    try:
        facts = json.loads((run / "config.json").read_text(encoding="utf-8"))
        lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(
            "no-run", f"{run} holds no run that can be read: {error}.", "Give a run's folder."
        ) from error
    parts = [
        f"<h1>{html.escape(run.resolve().name)}</h1>",
        _summary(facts, records),
        "<h2>Curves</h2>",
        _curves(records),
        _picture(run / PREVIEW_NAME),
        "<h2>Configuration</h2>",
        _table(flatten(facts["config"])),
        "<h2>Versions</h2>",
        _table(facts["versions"]),
    ]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>'
        f"{html.escape(run.resolve().name)}</title><style>{STYLE}</style></head><body>"
        f"{''.join(parts)}</body></html>\n"
    )
    write_text_atomic(run / REPORT_NAME, page, overwrite=True)
    return run / REPORT_NAME


def _summary(facts: Mapping[str, Any], records: Sequence[Mapping[str, float]]) -> str:
    steps = facts["config"]["loop"]["steps"]
    rows: dict[str, Any] = {"steps": f"{int(records[-1]['step']) if records else 0} of {steps}"}
    if records:
        begun, ended = (datetime.fromtimestamp(records[n]["time"]) for n in (0, -1))
        rows["first and last record"] = f"{begun:%Y-%m-%d %H:%M} to {ended:%Y-%m-%d %H:%M}"
        rows |= {
            f"last {name}": f"{value:.4g}"
            for name, value in records[-1].items()
            if name not in ("step", "time")
        }
    rows |= {name: facts[name] for name in ("machine", "data") if name in facts}
    return _table(rows)


def _curves(records: Sequence[Mapping[str, float]]) -> str:
    names = dict.fromkeys(name for record in records for name in record)
    drawn = [
        curve(name, [(record["step"], record[name]) for record in records if name in record])
        for name in names
        if name not in ("step", "time")
    ]
    return "".join(drawn) or "<p>Nothing has been recorded yet.</p>"


def curve(name: str, points: Sequence[tuple[float, float]]) -> str:
    """Return an SVG figure of a value over the steps, and its moving average.

    Values that are not finite are left out.
    """
    points = [(x, y) for x, y in points if math.isfinite(y)]
    if not points:
        return ""
    low, high = min(y for _, y in points), max(y for _, y in points)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - margin, high + margin
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)

    def place(x: float, y: float) -> str:
        across = LEFT + (x - first) / (last - first) * (WIDTH - LEFT - 8)
        return f"{across:.1f},{8 + (high - y) / (high - low) * (HEIGHT - BOTTOM - 8):.1f}"

    smooth, mean = [], points[0][1]
    for x, y in points:
        mean = SMOOTH * mean + (1 - SMOOTH) * y
        smooth.append((x, mean))
    marks = []
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        x, y = place(first, value).split(",")
        marks.append(
            f'<line x1="{x}" y1="{y}" x2="{WIDTH - 8}" y2="{y}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        )
        step = first + share * (last - first)
        across = place(step, low).split(",")[0]
        anchor = {0.0: "start", 0.5: "middle", 1.0: "end"}[share]
        marks.append(
            f'<text x="{across}" y="{HEIGHT - 6}" text-anchor="{anchor}">{step:.0f}</text>'
        )
    lines = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="{width}" '
        f'points="{" ".join(place(x, y) for x, y in line)}"/>'
        for line, colour, width in ((points, "#a9c4e6", 1), (smooth, "#1f5fae", 2))
    )
    return (
        f"<figure><figcaption>{html.escape(name)}</figcaption>"
        f'<svg width="{WIDTH}" height="{HEIGHT}" font-size="11" fill="#555" role="img" '
        f'aria-label="{html.escape(name)} over the steps">{"".join(marks)}{lines}</svg></figure>'
    )


def _picture(path: Path) -> str:
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<h2>Examples</h2><img alt="examples" src="data:image/png;base64,{data}">'


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested entries by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _table(rows: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{cells}</table>"
