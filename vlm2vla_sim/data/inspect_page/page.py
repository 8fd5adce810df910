"""Writes the page about a labelled data set: one HTML file that loads nothing from a network and runs no script.

Some label errors are found only by looking: a subtask named after the wrong object, a phase boundary a second late,
left instead of right. A data set is too large to look at all of it, so the page begins with what its numbers say:
distributions, the trajectories for which model and rules disagree, and the most unusual ones.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

import vlm2vla_sim.data.inspect_page as package
from vlm2vla_sim.core.atomic import replacing
from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.episode import LabelledTrajectory
from vlm2vla_sim.data.inspect_page import survey as surveys
from vlm2vla_sim.data.inspect_page.distributions import distributions
from vlm2vla_sim.data.inspect_page.section import section
from vlm2vla_sim.data.inspect_page.survey import Survey
from vlm2vla_sim.evaluation.report.charts import table, text
from vlm2vla_sim.evaluation.report.page_files import content_policy, style

OPEN = 8
"""How many trajectories are open at first."""
LISTED = 200
"""How many skipped trajectories are listed by name."""
SENTENCES = 3
"""How many reasons or differences a line of a list gives."""
LOOKED_AT = 20
"""How many disagreements are listed."""


def write_page(
    path: Path,
    title: str,
    labelled: Iterable[LabelledTrajectory],
    skipped: Sequence[Skipped] = (),
    *,
    survey: Survey | None = None,
    most: int | None = None,
) -> int:
    """Write the page atomically and return the number of trajectories that it shows with images.

    Args:
        path: the HTML file.
        title: of the page.
        labelled: the trajectories; iterated a second time if there is no `survey`.
        skipped: those that could not be used.
        survey: of all trajectories; by default it is made from `labelled`.
        most: how many trajectories are shown besides the unusual ones and those for which model and rules disagree
            the most; None for all.
    """
    survey = survey or surveys.survey(labelled)
    order = _order(survey, most)
    places = {name: number for number, name in enumerate(order)}
    shown: dict[str, str] = {}
    for one in labelled:
        name = one.trajectory.name
        if name in places and name not in shown:
            number = places[name]
            is_open, strangeness = number < OPEN, survey.strangeness[name]
            shown[name] = section(one, number, strangeness, is_open=is_open, last=len(order) - 1)
            if len(shown) == len(order):
                break
    with replacing(path) as draft, draft.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(_head(title, survey, skipped, places))
        for name in order:
            file.write(shown.pop(name, ""))
        file.write("</section>\n</main>\n</body>\n</html>\n")
    return len(order)


def _order(survey: Survey, most: int | None) -> list[str]:
    """The names of the trajectories that are shown, in the order of the page."""
    first = [*survey.disagreeing()[:LOOKED_AT], *survey.strangest()]
    names = [entry.name for entry in survey.entries]
    others = [name for name in names if name not in set(first)]
    return list(dict.fromkeys([*first, *others[:most]]))


def _head(title: str, survey: Survey, skipped: Sequence[Skipped], places: dict[str, int]) -> str:
    css = style()
    sections = list(_sections(survey, skipped, places))
    links = [("distributions", "Distributions"), *((key, name) for key, name, _ in sections)]
    count, failed = len(survey.entries), sum(entry.success is False for entry in survey.entries)
    facts = [
        f"{count} trajectories, {sum(len(entry.rows) for entry in survey.entries)} phases",
        f"{failed} failed demonstrations" if failed else "",
        f"{len(skipped)} skipped" if skipped else "",
        f"{len(places)} shown with images",
    ]
    template = (files(package) / "files" / "inspect.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        policy=content_policy(css),
        style=css,
        title=html.escape(title),
        heading=text(title),
        what="; ".join(filter(None, facts)),
        links="".join(f'<a href="#{key}">{name}</a>' for key, name in [*links, ("trajectories", "Trajectories")]),
        distributions=distributions(survey),
        sections="\n".join(f'<section id="{key}"><h2>{name}</h2>{body}</section>' for key, name, body in sections),
        order="Those for which model and rules disagree come first, then the unusual ones."
        if survey.disagreeing()
        else "The unusual ones come first.",
    )


def _sections(survey: Survey, skipped: Sequence[Skipped], places: dict[str, int]) -> Iterator[tuple[str, str, str]]:
    """(id, heading, HTML) of the sections that not every data set has."""
    if any(entry.agreement is not None for entry in survey.entries):
        yield "disagreements", "Model and rules", _disagreements(survey, places)
    yield "strangest", "Unusual", _strangest(survey, places)
    if skipped:
        yield "skipped", f"Skipped: {len(skipped)}", _skipped(skipped)


def _disagreements(survey: Survey, places: dict[str, int]) -> str:
    known = {entry.name: entry for entry in survey.entries if entry.agreement is not None}
    mean = sum(entry.agreement or 0.0 for entry in known.values()) / len(known)
    names = survey.disagreeing()
    said = f"<p>The labels of the model agree with those of the rules by {100 * mean:.1f} % on average; "
    said += f"{len(names)} of {len(known)} trajectories differ.</p>"
    if not names:
        return said
    rows = []
    for entry in (known[name] for name in names[:LOOKED_AT]):
        why = " ".join(entry.differences[:SENTENCES])
        rows.append([_link(entry.name, places), f"<b>{100 * (entry.agreement or 0.0):.0f} %</b> {text(why)}"])
    caption = f"The {len(rows)} that agree the least, and what differs"
    return said + table(["trajectory", "agreement"], rows, caption, "looked-at")


def _strangest(survey: Survey, places: dict[str, int]) -> str:
    measures = ", ".join(measure.name for measure in surveys.MEASURES)
    how = (
        f'<p class="remark">Unusual is what lies {surveys.UNUSUAL:g} spreads or more from the median of the data set, '
        f"in one of: {measures}. A spread is 1.4826 times the median absolute deviation; a rarity is the logarithm "
        "(base 2) of one over the share of trajectories that name the same.</p>"
    )
    names = survey.strangest()
    if not names:
        return f"<p>No trajectory is unusual.</p>{how}"
    rows = []
    for name in names:
        strangeness = survey.strangeness[name]
        why = html.escape("; ".join(strangeness.reasons[:SENTENCES]))
        rows.append([_link(name, places), f"<b>{strangeness.score:.1f}</b> {why}"])
    caption = f"The {len(rows)} most unusual trajectories, with their distance in spreads"
    return table(["trajectory", "why"], rows, caption, "looked-at") + how


def _link(name: str, places: dict[str, int]) -> str:
    return f'<a href="#t{places[name]}">{text(name)}</a>' if name in places else text(name)


def _skipped(skipped: Sequence[Skipped]) -> str:
    lines = [f"<li>{html.escape(one.name)}: {html.escape(one.reason)}</li>" for one in skipped[:LISTED]]
    if len(skipped) > LISTED:
        lines.append(f"<li>and {len(skipped) - LISTED} more</li>")
    return f'<ul class="skipped">{"".join(lines)}</ul>'
