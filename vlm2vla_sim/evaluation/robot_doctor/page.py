"""The page of an examination: one HTML file with its pictures, which loads nothing and prints."""

from __future__ import annotations

import base64
import html
import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlm2vla_sim.core.atomic import write_bytes, write_text
from vlm2vla_sim.core.checks import Check
from vlm2vla_sim.core.file_names import file_name
from vlm2vla_sim.evaluation.robot_doctor.examine import Examination

WIDTH, HEIGHT = 320, 56
"""[px] of a plot of times."""
_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1c1c1c; --soft: #5a5a5a; --line: #d5d5d5;
  --ok: #17702f; --fails: #b3261e; --unknown: #6b5b00; }
@media (prefers-color-scheme: dark) { :root { --back: #16181a; --text: #ececec; --soft: #a8a8a8; --line: #3a3d40;
  --ok: #6fd08c; --fails: #ff8a80; --unknown: #e3c65b; } }
@media print { :root { color-scheme: light; --back: #fff; --text: #000; --soft: #444; --line: #999;
  --ok: #17702f; --fails: #b3261e; --unknown: #6b5b00; } section, figure, li { break-inside: avoid; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--back); color: var(--text);
  font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: .5rem 0; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
.verdict { border-left: 6px solid; padding: .5rem .8rem; font-weight: 600; } .what { color: var(--soft); }
.ok { color: var(--ok); } .FAILS { color: var(--fails); } .unknown, .absent { color: var(--unknown); }
ul { list-style: none; margin: 0; padding: 0; }
li { border-top: 1px solid var(--line); padding: .45rem 0; display: grid; gap: 0 .8rem;
  grid-template-columns: 5.2rem 9.5rem 1fr; }
li b { font-weight: 600; } li p { grid-column: 3; margin: .15rem 0 0; overflow-wrap: anywhere; }
li span { overflow-wrap: anywhere; }
.advice { font-weight: 600; }
@media (max-width: 40rem) { li { grid-template-columns: 5.2rem 1fr; }
  li span:last-of-type, li p { grid-column: 1 / -1; } }
.row { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; max-width: 100%; }
figure.camera { flex: 1 1 20rem; max-width: 30rem; } img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: .9rem; } svg { max-width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; } svg line { stroke: var(--line); }
svg circle { fill: var(--text); fill-opacity: .45; }
"""


def save_pictures(found: Examination, page: Path) -> list[Path]:
    """Write the newest image of each camera beside the page, as JPEG; the files."""
    written = []
    for camera, image in found.pictures.items():
        path = page.with_name(f"{page.stem}-{file_name(camera)}.jpg")
        write_bytes(path, _jpeg(image))
        written.append(path)
    return written


def write_page(found: Examination, path: Path) -> None:
    """Write the page, whole or not at all."""
    write_text(path, render(found))


def render(found: Examination) -> str:
    """The page as HTML."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.started))
    state = "ok" if found.passed else "FAILS" if any(check.works is False for check in found.checks) else "unknown"
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Robot examination</title>',
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>',
        f'<h1>Robot examination</h1><p class="what">{_text(found.backend)}, {when}</p>',
        f'<p class="verdict {state}">{_text(found.verdict)}</p>',
        f"<section><h2>Checks</h2><ul>{''.join(map(_item, found.checks))}</ul></section>",
        _section("Cameras", [_camera(name, image) for name, image in found.pictures.items()]),
        _section("Times", [_times(check) for check in found.checks if "seconds" in check.measured]),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _item(check: Check) -> str:
    advice = f'<p class="advice">{_text(check.advice)}</p>' if check.advice else ""
    return (
        f'<li><b class="{check.state}">{check.state}</b><span>{_text(check.name)}</span>'
        f"<span>{_text(check.found)}</span>{advice}</li>"
    )


def _section(title: str, figures: Sequence[str]) -> str:
    return f'<section><h2>{title}</h2><div class="row">{"".join(figures)}</div></section>' if figures else ""


def _camera(name: str, image: np.ndarray) -> str:
    data = base64.b64encode(_jpeg(image)).decode()
    height, width = image.shape[:2]
    return (
        f'<figure class="camera"><img alt="what the camera {_text(name)} sees" width="{width}" height="{height}" '
        f'src="data:image/jpeg;base64,{data}"><figcaption>{_text(name)}, {width} x {height} px</figcaption></figure>'
    )


def _times(check: Check) -> str:
    """Every measured time as a dot on a line from 0 to the longest."""
    seconds = [float(one) for one in check.measured["seconds"]]  # type: ignore[attr-defined]
    longest = max(max(seconds), 1e-6)
    inner = WIDTH - 24
    dots = "".join(f'<circle cx="{12 + inner * one / longest:.1f}" cy="20" r="5"/>' for one in seconds)
    return (
        f'<figure><svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="times of {_text(check.name)}"><line x1="12" y1="20" x2="{WIDTH - 12}" y2="20"/>{dots}'
        f'<text x="12" y="46">0</text><text x="{WIDTH - 12}" y="46" text-anchor="end">{1000 * longest:.1f} ms</text>'
        f"</svg><figcaption>{_text(check.name)}: {len(seconds)} times</figcaption></figure>"
    )


def _jpeg(image: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=90)
    return file.getvalue()


def _text(words: str) -> str:
    return html.escape(words)
