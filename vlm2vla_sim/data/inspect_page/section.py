"""One trajectory on the page: its paths, and every phase with its words beside the image that it begins with."""

from __future__ import annotations

import base64
import html
import io

from vlm2vla_sim.data.episode import LabelledTrajectory, Phase, Trajectory
from vlm2vla_sim.data.inspect_page.drawing import gripper_plot, over_image, plan_of_phase, plot
from vlm2vla_sim.data.inspect_page.survey import Strangeness, corrections
from vlm2vla_sim.evaluation.report.charts import text
from vlm2vla_sim.language.formats.prose import describe

WIDTH = 240
"""[px] width of an image on the page."""
COLOURS = 6
"""Classes of the style file, r0 to r5, that colour the subtasks."""
NO_CAMERA = (
    "The pose of the camera is not in the data set, so the path is drawn in plan view (forward is up, left is left)."
)


def section(labelled: LabelledTrajectory, number: int, strangeness: Strangeness, *, is_open: bool, last: int) -> str:
    """A trajectory as an element that opens and closes. number: its place on the page; last: that of the last one."""
    trajectory = labelled.trajectory
    colours = {subtask: f"r{n % COLOURS}" for n, subtask in enumerate(labelled.subtasks)}
    agreement = labelled.agreement
    differences = "".join(f"<li>{text(line)}</li>" for line in agreement.differences) if agreement else ""
    parts = [
        f'<details class="trajectory"{" open" * is_open}><summary><b>{text(trajectory.name)}</b> '
        f"{text(trajectory.instruction)} {_badges(labelled, strangeness)}</summary>",
        f'<div id="t{number}" class="inside">{_way_on(number, last)}',
        f'<p class="what">{_facts(labelled, strangeness)}</p>',
        f'<ul class="trouble-text">{differences}</ul>' if differences else "",
        f'<p class="remark">{NO_CAMERA}</p>' if trajectory.camera is None else "",
        '<div class="paths">',
        plot(labelled, colours, axes=(1, 0), caption="from above"),
        plot(labelled, colours, axes=(0, 2), caption="from the side"),
        gripper_plot(trajectory),
        '</div><ol class="phases">',
        *(_phase(labelled, phase, colours[phase.subtask]) for phase in labelled.phases),
        _end(trajectory, labelled.phases[-1].stop),
        "</ol></div></details>\n",
    ]
    return "\n".join(parts)


def _way_on(number: int, last: int) -> str:
    before = f'<a href="#t{number - 1}">Previous</a>' if number else ""
    after = f'<a href="#t{number + 1}">Next</a>' if number < last else ""
    return f'<p class="way-on">{before}{after}<a href="#trajectories">All</a></p>'


def _badges(labelled: LabelledTrajectory, strangeness: Strangeness) -> str:
    badges = []
    if labelled.agreement and labelled.agreement.score is not None and labelled.agreement.score < 1:
        badges.append(f"rules agree {100 * labelled.agreement.score:.0f} %")
    if strangeness.reasons:
        badges.append("unusual")
    if labelled.trajectory.success is False:
        badges.append("failed")
    return "".join(f'<span class="badge" data-outcome="error">{badge}</span>' for badge in badges)


def _facts(labelled: LabelledTrajectory, strangeness: Strangeness) -> str:
    trajectory, phases = labelled.trajectory, labelled.phases
    count = corrections(labelled)
    facts = [
        f"{len(trajectory)} steps, {len(trajectory) / trajectory.fps:.1f} s",
        f"{len(phases)} phases, {sum(len(phase.chunk.deltas) for phase in phases)} rows",
        f"{count} correction{'s'[: count != 1]}" if count else "",
        f"in English: {trajectory.instruction_en}" if trajectory.instruction_en else "",
        "failed: training uses it for the verifier only" if trajectory.success is False else "",
        f"unusual: {', '.join(strangeness.reasons)}" if strangeness.reasons else "",
    ]
    return "; ".join(html.escape(fact) for fact in facts if fact)


def _phase(labelled: LabelledTrajectory, phase: Phase, colour: str) -> str:
    moves = html.escape("\n".join(describe(phase.chunk)))
    kind = phase.kind
    plan = plan_of_phase(labelled, phase, colour) if labelled.trajectory.camera is None else ""
    return (
        f'<li class="phase {colour}">{_frame(labelled, phase, colour)}<div class="words">'
        f'<p class="what">steps {phase.start} to {phase.stop}{f", {html.escape(kind)}" if kind else ""}</p>'
        f'<p class="subtask">{html.escape(phase.subtask)}</p><p>{html.escape(phase.plan)}</p>'
        f'<p class="code">{html.escape(phase.chunk.text)}</p><p class="what moves">{moves}</p>{plan}</div></li>'
    )


def _frame(labelled: LabelledTrajectory, phase: Phase, colour: str) -> str:
    image, size = _image(labelled.trajectory, phase.start)
    return f'<div class="frame">{image}{over_image(labelled, phase, colour, size)}</div>'


def _end(trajectory: Trajectory, stop: int) -> str:
    image, _ = _image(trajectory, min(stop, len(trajectory) - 1))
    return (
        f'<li class="phase"><div class="frame">{image}</div><div class="words"><p class="what">the end</p></div></li>'
    )


def _image(trajectory: Trajectory, frame: int) -> tuple[str, tuple[int, int]]:
    """The image of a frame as an element, and its (height, width)."""
    from PIL import Image

    image = Image.fromarray(trajectory.images[frame])
    size = (WIDTH, round(WIDTH * image.height / image.width))
    image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=75)
    data = base64.b64encode(file.getvalue()).decode()
    element = (
        f'<img alt="step {frame}" width="{image.width}" height="{image.height}" src="data:image/jpeg;base64,{data}">'
    )
    return element, (image.height, image.width)
