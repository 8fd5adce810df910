"""How natural a base model finds each way to write the same motion: the paper's figure on log-probabilities.

The claim that actions in words stay near what the model knows can be checked before anything is trained. What was
scored decides the answer, so the actions are those of the scripted policy on random layouts (or of a data set), every
format writes the same ones, and the same question is asked with the format's rules and example and without.
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
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.language.formats import FORMATS, ActionFormat, get_format
from vlm2vla_sim.language.prompts import action_prompt
from vlm2vla_sim.policies.base import Question
from vlm2vla_sim.policies.models.rare_tokens import find_symbols

CONTEXTS = ("rules", "task", "nothing")
"""What stands before the action: our whole prompt, with the format's rules and example; the task in one line, the same
for every format; nothing but the model's start of a text."""
GREY = np.full((224, 224, 3), 128, np.uint8)
"""What a model with eyes is shown where there is no picture."""


@dataclass(frozen=True, eq=False)
class ReferenceAction:
    """A motion that somebody made, and what for."""

    episode: str
    subtask: str
    deltas: np.ndarray
    """See `ActionChunk.deltas`."""
    picture: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class ScoredAction:
    """One motion, in one format, after one context."""

    format: str
    context: str
    episode: str
    text: str
    tokens: int
    total: float
    """[nats] log-probability of the whole text."""


@dataclass(frozen=True)
class FormatScore:
    """A format after a context, over all motions."""

    format: str
    context: str
    actions: int
    tokens: float
    """Of an action, on average."""
    per_token: Interval
    """[nats] mean over all tokens; the interval over whole episodes."""
    per_action: Interval


def scripted_actions(episodes: int, *, seed: int = 0) -> Iterator[ReferenceAction]:
    """What the scripted policy says in so many episodes of each task, on random layouts and without physics."""
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
    """The motions of a relabelled data set, with their pictures."""
    for one in labelled:
        for phase in one.phases:
            picture = one.trajectory.images[phase.start]
            yield ReferenceAction(one.trajectory.name, phase.subtask, phase.chunk.deltas, picture)


def score_formats(
    scorer: Scorer,
    spoken: Sequence[ReferenceAction],
    *,
    formats: Sequence[str] = (),
    contexts: Sequence[str] = CONTEXTS,
) -> list[ScoredAction]:
    """Every motion in every format after every context; all formats of `FORMATS` by default."""
    if not spoken:
        raise SettingError("There is no action to score.")
    scored: list[ScoredAction] = []
    for name in formats or FORMATS:
        how = get_format(name, symbols=find_symbols(scorer) if name == "tokens" else None)
        for context in contexts:
            scored += _score(scorer, spoken, how, context)
    return scored


def summarise(scored: Sequence[ScoredAction], *, seed: int = 0) -> list[FormatScore]:
    """One line for each format and context, in the order in which they were scored."""
    found = []
    for name, context in dict.fromkeys((one.format, one.context) for one in scored):
        own = [one for one in scored if (one.format, one.context) == (name, context)]
        totals, counts = [one.total for one in own], [one.tokens for one in own]
        episodes = [one.episode for one in own]
        found.append(
            FormatScore(
                name,
                context,
                len(own),
                sum(counts) / len(own),
                grouped_ratio(totals, counts, episodes, seed=seed),
                grouped_ratio(totals, [1.0] * len(own), episodes, seed=seed),
            )
        )
    return found


def _score(scorer: Scorer, spoken: Sequence[ReferenceAction], how: ActionFormat, context: str) -> list[ScoredAction]:
    """Those with the same question and picture are scored together."""
    together: dict[tuple[str, int], list[int]] = {}
    for place, one in enumerate(spoken):
        together.setdefault((_prompt(one, how, context), id(one.picture)), []).append(place)
    scored: dict[int, ScoredAction] = {}
    for (prompt, _), places in together.items():
        picture = spoken[places[0]].picture
        images = () if context == "nothing" else (GREY if picture is None else picture,)
        texts = [how.write(spoken[place].deltas) for place in places]
        marks = scorer.score(Question("action", prompt, images, adapter=False), texts)
        for place, text, mark in zip(places, texts, marks, strict=True):
            scored[place] = ScoredAction(how.name, context, spoken[place].episode, text, len(mark), float(mark.sum()))
    return [scored[place] for place in range(len(spoken))]


def _prompt(one: ReferenceAction, how: ActionFormat, context: str) -> str:
    if context == "rules":
        return action_prompt(one.subtask, "", how)
    if context == "task":
        return f"A robot arm is to do this: {one.subtask}. Write the motion of its gripper."
    if context == "nothing":
        return ""
    raise SettingError(f"No context named {context!r}; expected one of: {', '.join(CONTEXTS)}.")


def to_json(scores: Sequence[FormatScore]) -> list[dict[str, object]]:
    """Plain values."""
    return [dataclasses.asdict(score) for score in scores]
