"""The log-probability of the same actions in every format under a base model: the paper's figure 3.

It tests, before any training, the claim that actions written as text are close to the model's pretraining distribution.
All formats write the same actions, those of the scripted policy on random layouts or of a data set, and each is scored
with and without the format's rules and example in the prompt.
(Hancock et al., "Actions as Language", arXiv 2509.22195v1, figure 3; how it was computed is not public.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.analysis.intervals import Interval, grouped_ratio
from vlm2vla_sim.analysis.scorer import Scorer
from vlm2vla_sim.data.episode import LabelledTrajectory
from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.language.formats import FORMATS, ActionFormat, get_format, properties_of
from vlm2vla_sim.language.prompts import action_prompt
from vlm2vla_sim.policies.base import Question
from vlm2vla_sim.policies.models.action_symbols import find_symbols

CONTEXTS = ("rules", "task", "nothing")
"""The prompt before the action. "rules": our full prompt, with the format's rules and example; "task": the task in one
line, the same for every format; "nothing": only the model's start token."""
GREY = np.full((224, 224, 3), 128, np.uint8)
"""The image for a model with a vision encoder where the action has none."""


@dataclass(frozen=True, eq=False)
class ReferenceAction:
    """An action to be scored, with its subtask."""

    episode: str
    subtask: str
    deltas: np.ndarray
    """See `ActionChunk.deltas`."""
    image: np.ndarray | None = None
    """(H, W, 3) uint8 RGB before the action."""


@dataclass(frozen=True, eq=False)
class ScoredAction:
    """One action in one format after one context."""

    format: str
    context: str
    episode: str
    text: str
    tokens: int
    total: float
    """[nats] log-probability of the whole text."""


@dataclass(frozen=True)
class FormatScore:
    """A format after a context, over all actions."""

    format: str
    context: str
    actions: int
    tokens: float
    """Mean number of tokens per action."""
    per_token: Interval
    """[nats] mean over all tokens; interval over episodes."""
    per_action: Interval
    """[nats] mean over all actions; interval over episodes."""


def scripted_actions(episodes: int, *, seed: int = 0) -> Iterator[ReferenceAction]:
    """The scripted policy's actions in `episodes` episodes of each task, on random layouts and without physics."""
    import gymnasium as gym

    from vlm2vla_sim.envs.tasks import TASKS

    reader = get_format("vlm2vla")
    for name, task in TASKS.items():
        env = gym.make(task.env_id, backend="point", image_size=None)
        for number in range(episodes):
            result = run_episode(env, "scripted", seed=seed + number, layouts="random")
            for decision in result.decisions:
                chunk = reader.read(str(decision["action"]))
                yield ReferenceAction(f"{name}/{seed + number}", str(decision["subtask"]), chunk.deltas)
        env.close()


def labelled_actions(labelled: Iterable[LabelledTrajectory]) -> Iterator[ReferenceAction]:
    """The actions of a relabelled data set, with their images, but for demonstrations that failed."""
    for one in labelled:
        if one.trajectory.success is False:
            continue
        for phase in one.phases:
            image = one.trajectory.images[phase.start]
            yield ReferenceAction(one.trajectory.name, phase.subtask, phase.chunk.deltas, image)


def score_formats(
    scorer: Scorer,
    actions: Sequence[ReferenceAction],
    *,
    formats: Sequence[str] = (),
    contexts: Sequence[str] = CONTEXTS,
) -> list[ScoredAction]:
    """Score every action in every format after every context; all formats of `FORMATS` by default."""
    if not actions:
        raise SettingError("There are no actions to score; expected at least one.")
    for context in contexts:
        if context not in CONTEXTS:
            raise unknown_name("context", context, CONTEXTS)
    resolved = [
        get_format(name, symbols=find_symbols(scorer) if name == "tokens" else None) for name in formats or FORMATS
    ]
    for how in resolved:
        if (properties := properties_of(how)).span != "motion" or properties.needs_pose:
            says = "where to be" if properties.goals else "the motion of a step, a second or a phrase"
            raise SettingError(
                f"The format {how.name!r} cannot be scored: the same motions are scored in every format, and its texts "
                f"say {says}. Leave it out."
            )
    return [one for how in resolved for context in contexts for one in _score(scorer, actions, how, context)]


def summarise(scored: Sequence[ScoredAction], *, seed: int = 0) -> list[FormatScore]:
    """One summary for each format and context, in the order in which they were scored."""
    summaries = []
    for name, context in dict.fromkeys((one.format, one.context) for one in scored):
        own = [one for one in scored if (one.format, one.context) == (name, context)]
        totals, counts = [one.total for one in own], [one.tokens for one in own]
        episodes = [one.episode for one in own]
        summaries.append(
            FormatScore(
                name,
                context,
                len(own),
                sum(counts) / len(own),
                grouped_ratio(totals, counts, episodes, seed=seed),
                grouped_ratio(totals, [1.0] * len(own), episodes, seed=seed),
            )
        )
    return summaries


def to_json(scores: Sequence[FormatScore]) -> list[dict[str, object]]:
    """Plain values."""
    return [dataclasses.asdict(score) for score in scores]


def _score(
    scorer: Scorer, actions: Sequence[ReferenceAction], action_format: ActionFormat, context: str
) -> list[ScoredAction]:
    """Actions with the same prompt and image are scored in one batch."""
    batches: dict[tuple[str, int], list[int]] = {}
    for index, one in enumerate(actions):
        batches.setdefault((_prompt(one, action_format, context), id(one.image)), []).append(index)
    scored: dict[int, ScoredAction] = {}
    for (prompt, _), indices in batches.items():
        image = actions[indices[0]].image
        images = () if context == "nothing" else (GREY if image is None else image,)
        texts = [action_format.write(actions[index].deltas) for index in indices]
        scores = scorer.score(Question("action", prompt, images, adapter=False), texts)
        for index, text, score in zip(indices, texts, scores, strict=True):
            episode, total = actions[index].episode, float(score.sum())
            scored[index] = ScoredAction(action_format.name, context, episode, text, len(score), total)
    return [scored[index] for index in range(len(actions))]


def _prompt(one: ReferenceAction, action_format: ActionFormat, context: str) -> str:
    if context == "rules":
        return action_prompt(one.subtask, "", action_format)
    if context == "task":
        return f"A robot arm is to do this: {one.subtask}. Write the motion of its gripper."
    return ""
