"""The table of sessions in docs/real_robot.md: its rows are what the tests measure.

A test that plays a scenario carries the mark `scenario(id)` and hands what it measured to the fixture `outcome`, which
compares it with the row of the page. `python benchmarks/robot_scenarios.py` runs those tests and writes the rows.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "real_robot.md"
BEGIN, END = "<!-- sessions: begin -->", "<!-- sessions: end -->"
HEADER = ("what happens", "promise", "exit status", "recorded", "events")
MEASURED = "VLM2VLA_SCENARIOS"
"""Environment variable: a file to which what was measured is appended, instead of being compared with the page."""


@dataclass(frozen=True)
class Measured:
    """How a session ended."""

    status: str
    """Exit status of the command."""
    recorded: str
    """Labels of the episodes that count."""
    events: str
    """Of `events.jsonl`, in order."""


def scenario(identity: str, *values: Any) -> Any:
    """Parameters of a test that plays the scenario `identity`."""
    assert identity in SCENARIOS, identity
    return pytest.param(*values, id=identity, marks=pytest.mark.scenario(identity))


def check(identity: str, measured: Measured) -> None:
    """Compare what was measured with the page, or note it where `MEASURED` says."""
    if path := os.environ.get(MEASURED):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"id": identity, **dataclasses.asdict(measured)}) + "\n")
        return
    happens = SCENARIOS[identity][0]
    assert rows().get(happens) == row(identity, measured), "run python benchmarks/robot_scenarios.py, and look at it"


def row(identity: str, measured: Measured) -> str:
    """The line of the table."""
    cells = (*SCENARIOS[identity], measured.status, measured.recorded, measured.events)
    assert not any("|" in cell for cell in cells)
    return f"| {' | '.join(cells)} |"


def rows(page: str | None = None) -> dict[str, str]:
    """What happens -> its line, as the page has it."""
    text = PAGE.read_text(encoding="utf-8") if page is None else page
    lines = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()[2:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def write(measured: dict[str, Measured]) -> None:
    """Put the table of everything that was measured into the page."""
    head, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    assert begin, BEGIN
    assert end, END
    lines = [row(identity, measured[identity]) for identity in SCENARIOS if identity in measured]
    table = "\n".join([f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|", *lines])
    PAGE.write_text(f"{head}{begin}\n{table}\n{end}{tail}", encoding="utf-8")


_HOLDS = "nothing moves after it but the step on its way"
_AGAIN = "the episode ends as a fault and is run again; it is no failure of the policy"
_CRASH = "the operator says how it counts; it is not run again by itself"
_ORDER = "the arm is parked, the event written, the video complete"
SCENARIOS: dict[str, tuple[str, str]] = {
    # Stop.
    "stop-session-resetting": ("*Stop session* while the arm drives to its start", f"the session ends; {_HOLDS}"),
    "stop-session-scene": ("*Stop session* while the scene is arranged", f"the session ends; {_HOLDS}"),
    "stop-session-thinking": ("*Stop session* while the model thinks", f"the session ends; {_HOLDS}"),
    "stop-session-running": ("*Stop session* while the arm moves", f"the session ends; {_HOLDS}"),
    "stop-session-judge": ("*Stop session* while success is asked for", "the session ends; the episode does not count"),
    "stop-episode-resetting": ("*Stop episode* while the arm drives to its start", "nothing moves until *Start*"),
    "stop-episode-scene": ("*Stop episode* while the scene is arranged", "nothing moves until *Start*"),
    "stop-episode-first-thought": (
        "*Stop episode* before the first step",
        "nothing to judge; nothing moves until *Start*",
    ),
    "stop-episode-thinking": ("*Stop episode* in a later thought", f"success is asked for; {_HOLDS}"),
    "stop-episode-running": ("*Stop episode* while the arm moves", f"success is asked for; {_HOLDS}"),
    "stop-episode-judge": ("*Stop episode* while success is asked for", "the question stays"),
    "stop-typed-driving": ("`a` typed while the arm drives", f"the session ends; {_HOLDS}"),
    "stop-typed-thinking": ("`s` typed while the model thinks, then `y`", f"success is asked for; {_HOLDS}"),
    "stop-torn": ("a torn line in the file of buttons", "it may have been a stop, so it is one"),
    "stop-full-disk": ("a full disk under the live view, then *Stop session*", "said once; the stop works"),
    # Answers.
    "answer-success": ("`y`", "success"),
    "answer-failure": ("`n`", "failure"),
    "answer-100": ("`100`", "success, progress 100"),
    "answer-progress": ("`note slipped`, `40`", "failure, progress 40, with the note"),
    "answer-nonsense": ("`maybe`, `120`, an empty line, then `n`", "asked again; failure"),
    "answer-redo": ("`r`, then `y`", "the episode is run again and counts once"),
    "answer-abort": ("`a` as the answer", "the session ends; the episode does not count"),
    "answer-end-scene": ("the end of the input before the start", "never a start: the session ends"),
    "answer-end-judge": ("the end of the input at the question of success", "never a success: the session ends"),
    "answer-blind": ("a blind session that is stopped", "no policy is named"),
    # The link, the camera, the arm.
    "link-drop_answer": ("an answer of the server is lost", _AGAIN),
    "link-drop_question": ("a command is lost", _AGAIN),
    "link-late_answer": ("an answer comes after its time limit", _AGAIN),
    "link-late_question": ("a command arrives after its time limit", _AGAIN),
    "link-truncate": ("an answer is cut in half", _AGAIN),
    "link-garble": ("an answer is random bytes", _AGAIN),
    "link-refuse": ("the server calls a command invalid", _AGAIN),
    "link-not_finite": ("the state has a number that is not finite", _AGAIN),
    "link-restart": ("the server is restarted", f"{_AGAIN}; the robot is initialised again"),
    "link-crash": ("the server does a hard reset", _AGAIN),
    "link-freeze": ("the camera freezes", f"{_AGAIN}; no old image is shown"),
    "link-delay": ("an answer is late, within its time limit", "waited for"),
    "link-lie": ("the server reports success and does nothing", "no error that is not one"),
    "link-nobody": ("nobody is at the port", "the session ends with what to do"),
    "link-gone": ("the server is gone for good in an episode", "the session ends with what to do"),
    "link-slow": ("observations take 0.7 s from the start", "the link is named, not the camera's cable"),
    "link-ipv6": ("a server that listens on `::1` only", "it is driven as any other"),
    "client-lock": ("another process of this machine uses the robot", "refused; nothing is sent"),
    "client-sleep": ("`robot sleep` in a second terminal while the model thinks", "refused; the session goes on"),
    "client-moves": ("a client on another machine moves the arm", f"noticed; {_AGAIN}"),
    "image-grey": ("images with one channel", "converted, and that is said"),
    "image-none": ("images that are no JPEG", "the session ends with what to do; no such image is shown"),
    "arm-blocked": ("the arm is held", "its target is set to where it is; no error that is not one"),
    "grip-stuck": ("the gripper stays open when told to close", "`robot_fault` three times, then the session ends"),
    "grip-shut": ("the gripper does not open in the reset", "`robot_fault`: the session ends before the episode"),
    # The policy.
    "crash-MemoryError": ("the policy runs out of memory", _CRASH),
    "crash-SystemExit": ("the policy calls `sys.exit`", _CRASH),
    "crash-zero-rows": ("the policy returns no rows", _CRASH),
    "crash-not-finite": ("the policy returns a number that is not finite", _CRASH),
    "crash-no-decision": ("the policy returns what is no decision", _CRASH),
    "crash-close": ("the policy raises an exception in its `close`", "noted; the episode counts"),
    "crash-reset": ("the policy raises an exception in its `reset`", _CRASH),
    "crash-redo": ("the policy crashes, and the operator answers `r`, then `n`", "it is run again because they say so"),
    "crash-make": ("the policy cannot be made", "the session ends; it is not called the robot's fault"),
    # Signals.
    **{
        f"signal-{name}-{phase}": (f"{word} {while_}", f"the session ends as after Ctrl-C: {what}")
        for name, word in (("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGHUP (ssh is gone)"))
        for phase, while_, what in (
            ("resetting", "while the arm drives", "the event is written; a lost link is not used to park"),
            ("scene", "while the scene is arranged", "the arm is parked, the event written"),
            ("running", "while the arm moves", _ORDER),
        )
    },
    # Files.
    "file-killed": ("SIGKILL at 20 random moments, then `--resume`", "no labelled episode is lost or repeated"),
    "file-two-sessions": ("a second session on the same folder", "refused before anything is sent"),
    "file-other-settings": ("`--resume` with another seed", "refused before anything is sent"),
    "file-torn-record": ("the last record is cut off, then `--resume`", "that episode is run again"),
    "file-live": ("the live view cannot be made", "said once; the session goes on"),
}
"""Scenario -> what happens, and what is promised."""
