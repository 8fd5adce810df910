"""Writes an HTML page for checking labels by eye: images, labels and the gripper's path.

Some label errors are found only by looking: a subtask named after the wrong object, a phase boundary a second late,
left instead of right. The page is a single file that loads nothing from the network. Its paths are small inline SVGs: a
plotting library would make the page larger and the command slower without showing more.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vlm2vla_sim.core.atomic import replacing
from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.episode import LabelledTrajectory, Phase, Trajectory
from vlm2vla_sim.language.formats.prose import describe

WIDTH = 240
"""[px] width of an image on the page."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of the subtasks; the palette of Okabe and Ito, distinguishable with colour blindness."""
PLOT = 260
"""[px] width and height of a plot."""

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #222; }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin: 2.5rem 0 .3rem; border-top: 1px solid #ccc; padding-top: 1rem }
.paths { display: flex; gap: 1.5rem; flex-wrap: wrap; margin: .6rem 0 } figure { margin: 0 } figcaption { color: #555 }
.phases { display: flex; flex-wrap: wrap; gap: 1rem }
.phase { width: 15.5rem; border-top: 5px solid; padding-top: .3rem }
.phase img { width: 100%; display: block } .subtask { font-weight: 600 } .what { color: #555; font-size: .85em }
code { font-size: .8em; overflow-wrap: anywhere; background: #f3f3f3; padding: 0 .2em } ul { margin: .3rem 0 }
.skipped { color: #a00 } svg { background: #fafafa; border: 1px solid #ddd }
"""


def write_page(path: Path, title: str, labelled: Iterable[LabelledTrajectory], skipped: Sequence[Skipped] = ()) -> int:
    """Write the page atomically and return the number of trajectories; one is held in memory at a time."""
    count = 0
    with replacing(path) as draft, draft.open("w", encoding="utf-8") as file:
        file.write(
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
            f"<style>{_STYLE}</style>\n<h1>{html.escape(title)}</h1>\n"
            "<p>Every phase shows its first image. Paths are seen from above (forward is up, left is left) and from "
            "the robot's right (forward is to the right); a dot is a control step, a ring a gripper change.</p>\n"
        )
        if skipped:
            lines = "".join(f"<li>{html.escape(one.name)}: {html.escape(one.reason)}</li>" for one in skipped)
            file.write(f'<h2>Skipped: {len(skipped)}</h2><ul class="skipped">{lines}</ul>\n')
        for one in labelled:
            file.write(_section(one))
            count += 1
        file.write("</html>\n")
    return count


def _remark(trajectory: Trajectory) -> str:
    """What is known about an episode besides its motion."""
    english = f"; in English: {trajectory.instruction_en}" if trajectory.instruction_en else ""
    return english + ("; failed: training uses it for the verifier only" if trajectory.success is False else "")


def _section(labelled: LabelledTrajectory) -> str:
    trajectory = labelled.trajectory
    colours = {subtask: COLOURS[n % len(COLOURS)] for n, subtask in enumerate(labelled.subtasks)}
    seconds = len(trajectory) / trajectory.fps
    parts = [
        f"<section><h2>{html.escape(trajectory.name)}: {html.escape(trajectory.instruction)}</h2>",
        f'<p class="what">{len(trajectory)} steps, {seconds:.1f} s{html.escape(_remark(trajectory))}</p>',
        '<div class="paths">',
        _plot(labelled, colours, axes=(1, 0), caption="from above"),
        _plot(labelled, colours, axes=(0, 2), caption="from the side"),
        _gripper_plot(trajectory),
        '</div><div class="phases">',
        *(_phase(trajectory, phase, colours[phase.subtask]) for phase in labelled.phases),
        _end(trajectory, labelled.phases),
        "</div></section>\n",
    ]
    return "\n".join(parts)


def _phase(trajectory: Trajectory, phase: Phase, colour: str) -> str:
    moves = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in describe(phase.chunk))
    return (
        f'<div class="phase" style="border-color:{colour}">{_image(trajectory, phase.start)}'
        f'<div class="what">steps {phase.start} to {phase.stop}</div>'
        f'<div class="subtask">{html.escape(phase.subtask)}</div><div>{html.escape(phase.plan)}</div>'
        f'<code>{html.escape(phase.chunk.text)}</code><ul class="what">{moves}</ul></div>'
    )


def _end(trajectory: Trajectory, phases: Sequence[Phase]) -> str:
    image = _image(trajectory, min(phases[-1].stop, len(trajectory) - 1))
    return f'<div class="phase" style="border-color:#999">{image}<div class="what">end of the trajectory</div></div>'


def _image(trajectory: Trajectory, frame: int) -> str:
    from PIL import Image

    image = Image.fromarray(trajectory.images[frame])
    image = image.resize((WIDTH, round(WIDTH * image.height / image.width)))
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=80)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="step {frame}" src="data:image/jpeg;base64,{data}">'


def _plot(labelled: LabelledTrajectory, colours: dict[str, str], *, axes: tuple[int, int], caption: str) -> str:
    """The path in the plane of two state columns, (horizontal, vertical); y points to the left of the page."""
    states = labelled.trajectory.states
    across = states[:, axes[0]] * (-1 if axes[0] == 1 else 1)
    points = np.stack([across, states[:, axes[1]]], axis=1).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (PLOT - 40) / max(float((high - low).max()), 0.05)
    places = (points - (low + high) / 2) * [scale, -scale] + PLOT / 2
    parts = [f'<figure><svg width="{PLOT}" height="{PLOT}" role="img" aria-label="path {caption}">', _ruler(scale)]
    ends = [(phase.start, phase.stop, colours[phase.subtask]) for phase in labelled.phases]
    for start, stop, colour in [*ends, (labelled.phases[-1].stop, len(states) - 1, "#999")]:
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places[start : min(stop, len(states) - 1) + 1])
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6" fill="#333"/>' for x, y in places]
    commanded_open = labelled.trajectory.actions[:, 6] > 0.5
    for frame in np.flatnonzero(commanded_open[1:] != commanded_open[:-1]) + 1:
        x, y = places[frame]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="none" stroke="#222" stroke-width="1.5"/>')
    x, y = places[0]
    parts.append(f'<text x="{x + 6:.1f}" y="{y - 6:.1f}" font-size="11">start</text>')
    return "".join([*parts, f"</svg><figcaption>{caption}</figcaption></figure>"])


def _ruler(scale: float) -> str:
    length = 0.05 * scale
    return (
        f'<line x1="10" y1="{PLOT - 8}" x2="{10 + length:.1f}" y2="{PLOT - 8}" stroke="#888" stroke-width="2"/>'
        f'<text x="10" y="{PLOT - 12}" font-size="10" fill="#666">5 cm</text>'
    )


def _gripper_plot(trajectory: Trajectory) -> str:
    """The measured and the commanded gripper opening over time."""
    count = len(trajectory)
    x = 20 + np.arange(count) * (PLOT - 40) / max(count - 1, 1)

    def line(values: np.ndarray) -> str:
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, PLOT - 30 - values * (PLOT - 60), strict=True))

    measured, commanded = line(trajectory.states[:, 6]), line((trajectory.actions[:, 6] > 0.5).astype(float))
    return (
        f'<figure><svg width="{PLOT}" height="{PLOT}" role="img" aria-label="gripper opening">'
        f'<polyline points="{commanded}" fill="none" stroke="#bbb" stroke-width="2"/>'
        f'<polyline points="{measured}" fill="none" stroke="#222" stroke-width="2"/></svg>'
        "<figcaption>gripper opening: measured, commanded (grey)</figcaption></figure>"
    )
