"""The command that runs a run again, and what of it no command says."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from vlm2vla_sim.evaluation.report.runs import ReportRun
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.with_suite import suites_of
from vlm2vla_sim.policies.spec import SHORTHAND

FLAGS = {
    "backend": "--backend",
    "action_format": "--format",
    "layouts": "--layouts",
    "max_steps": "--max-steps",
    "seed": "--seed",
    "language": "--language",
    "instruction": "--instruction",
    "noise_cm": "--noise",
    "quality": "--quality",
}
"""Setting -> flag, for those with a single value."""


def commands(run: ReportRun) -> tuple[list[str], list[str]]:
    """A command for each folder of the run, and sentences about what they leave open."""
    notes: list[str] = []
    if run.is_session:
        notes.append("A session has a person and a scene in it: its plan is below, and no command repeats it.")
    found = []
    for settings in run.settings:
        if "policy" in settings:
            found.append(_command(settings, notes))
    if not found and not run.is_session:
        notes.append("The folder has no settings.json, so that the command is not known.")
    return found, list(dict.fromkeys(notes))


def _command(settings: Mapping[str, Any], notes: list[str]) -> str:
    default = RunSettings()
    words = ["vlm2vla", "evaluate", "--policy", str(settings["policy"])]
    if settings.get("suite"):
        words += ["--suite", suites_of(str(settings["suite"]))]
        notes.append(
            f"The suite was {settings['suite']}. One that is not the package's own is given as its .toml file; results "
            "of another version cannot be compared."
        )
    words += ["--tasks", *map(str, settings.get("tasks", ()))]
    words += ["--episodes", str(settings.get("episodes", default.episodes))]
    for name, flag in FLAGS.items():
        value = settings.get(name, getattr(default, name))
        if value != getattr(default, name):
            words += [flag, str(value)]
    size = settings.get("image_size")
    if size is None and "image_size" in settings:
        notes.append("The images were switched off (image_size=None), which only Python can do.")
    elif isinstance(size, list) and tuple(size) != default.image_size:
        words += ["--image-size", *map(str, size)]
    options = dict(settings.get("policy_options") or {})
    for name in SHORTHAND:
        if name in options:
            words += [f"--{name}", str(options.pop(name))]
    words += _options("--policy-options", options) + _options("--backend-options", settings.get("backend_options"))
    if settings.get("metrics"):
        words += ["--metrics", *map(str, settings["metrics"])]
    if settings.get("shard"):
        words += ["--shard", str(settings["shard"])]
    if settings.get("policy_name"):
        notes.append(f"The policy was read from a file that names it {settings['policy_name']}.")
    return shlex.join(words)


def _options(flag: str, options: Mapping[str, Any] | None) -> list[str]:
    if not options:
        return []
    return [flag, *(f"{name}={_plain(value)}" for name, value in options.items())]


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
