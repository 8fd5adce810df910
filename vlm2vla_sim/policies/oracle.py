"""The policy "oracle": a text model in the closed loop that answers the prompts from the simulator's ground truth.

It shows that prompts, grammar, parsers and loop can solve a task, so that a failure of a real model in the same loop is
the model's. What it needs to know of the episode it reads from the prompts; the objects' poses come from the simulator.
An upper bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from vlm2vla_sim.core.goals import ON, Goal
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import ActionFormat
from vlm2vla_sim.language.prompts import ADVANCE, RETRY
from vlm2vla_sim.policies import PolicyContext, PolicyFactory
from vlm2vla_sim.policies.base import Policy, Question
from vlm2vla_sim.policies.commanded_pose import CommandedPose
from vlm2vla_sim.policies.language_action import LanguageActionPolicy, LoopSettings
from vlm2vla_sim.policies.scripted import ScriptedPolicy
from vlm2vla_sim.policies.verifier import ModelVerifier, TruthVerifier
from vlm2vla_sim.types import Decision, RobotState, SceneState, Stage

_SUBTASK = re.compile(r"Its subtask: (.*)")
_PLAN = re.compile(r"Its motion plan: (.*)")
_CURRENT = re.compile(r"It was to do this: (.*)")


class OracleModel:
    """A `TextModel` for the four questions of the loop."""

    def __init__(
        self,
        see: Callable[[], SceneState],
        robot: Callable[[], RobotState],
        action_format: ActionFormat,
        *,
        goals: Sequence[Goal] = (),
    ) -> None:
        """`see` and `robot` return ground truth as of the last step. goals: `PolicyContext.goals`."""
        self._see, self._goals = see, goals
        self._scripted = ScriptedPolicy(see, robot, action_format, goals=goals)
        self._truth = TruthVerifier(see, goals)
        self._next: Decision | None = None

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        """See `TextModel.answer`."""
        return [Stage(question.stage, self._answer(question), finish="stop") for question in questions]

    def _answer(self, question: Question) -> str:
        answers = {"subtasks": self._list, "plan": self._plan, "action": self._act, "verify": self._verify}
        text = answers[question.stage](question.prompt)
        if question.grammar is not None and not re.fullmatch(question.grammar.regex, text):
            raise AssertionError(f"The grammar of {question.stage!r} does not allow the answer {text!r}.")
        return text

    def _list(self, prompt: str) -> str:
        self._scripted.reset("")
        scene = self._see()
        goals = self._goals or (Goal(ON, scene.source.name, scene.target.name),)
        subtasks = []
        for goal in goals:
            moved, place = goal.moved.replace("_", " "), goal.place.replace("_", " ")
            subtasks += [f"Grasp the {moved}.", f"Put the {moved} on the {place}." if place else f"Lift the {moved}."]
        return "\n".join(f"{number}. {words}" for number, words in enumerate(subtasks, start=1))

    def _plan(self, prompt: str) -> str:
        _find(_SUBTASK, prompt)
        self._next = self._scripted.act({})
        return self._next.plan if self._next else "stay where you are"

    def _act(self, prompt: str) -> str:
        plan = _find(_PLAN, prompt)
        if self._next is None or self._next.plan != plan:
            raise AssertionError(f"The action prompt holds the plan {plan!r}, not the one that the model gave.")
        return self._next.action

    def _verify(self, prompt: str) -> str:
        return ADVANCE if self._truth.is_done(_find(_CURRENT, prompt)) else RETRY


def make(context: PolicyContext) -> Policy:
    """The factory behind "oracle" in `policies.POLICIES`."""
    if context.see is None or context.robot is None:
        raise SettingError("The oracle needs ground truth, which this backend does not have. Use another policy.")
    model = OracleModel(context.see, context.robot, context.action_format, goals=context.goals)
    pose = CommandedPose(context.robot, context.arm)
    settings = LoopSettings()
    return LanguageActionPolicy(model, context.action_format, ModelVerifier(model), settings=settings, pose=pose)


def _find(pattern: re.Pattern[str], prompt: str) -> str:
    found = pattern.search(prompt)
    if found is None:
        raise AssertionError(f"The prompt does not match {pattern.pattern!r}: {prompt[:200]!r}.")
    return found.group(1)


FACTORY = PolicyFactory(make, needs_truth=True)
"""The policy "oracle"."""
