"""Replay of relabelled demonstrations: scripted episodes, relabelled by rules, carried out from the same start.

    python benchmarks/relabel_replay.py             # 24 episodes of each task on the twin
    python benchmarks/relabel_replay.py --json

Every demonstration is recorded as a data set, read back, relabelled from its measured motion, and the words are
written, read and carried out chunk after chunk, without a look at anything: what the rules leave out, nobody puts back.
The demonstrations themselves are replayed as well, by the action texts that were recorded with them.
"""

from __future__ import annotations

import json as json_module
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import tyro

from vlm2vla_sim.data.datasets.lerobot_layout import EpisodeAnnotation, read_annotations
from vlm2vla_sim.data.datasets.open import open_dataset, read_trajectories
from vlm2vla_sim.data.recording.record import record
from vlm2vla_sim.data.relabel.rules import LabelingRules, relabel
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.rates import Rate
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.language.formats import ActionFormat, get_format
from vlm2vla_sim.types import Decision, Outcome

ARMS: dict[str, tuple[LabelingRules, str]] = {
    "reached motion (default)": (LabelingRules(), "vlm2vla"),
    "reached motion, in prose": (LabelingRules(), "prose"),
    "reached, rounded by phase": (LabelingRules(carry_rest=False), "vlm2vla"),
    "commanded motion": (LabelingRules(motion="commanded"), "vlm2vla"),
}
"""Name -> the rules, and the format the action text is written and read in."""

Text = tuple[str, str, str]
"""Subtask, plan, action."""


@dataclass(frozen=True)
class SayAgain:
    """A policy that says what it is given, whatever it sees."""

    texts: Sequence[Text]
    action_format: ActionFormat

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Begin again."""
        object.__setattr__(self, "_left", list(self.texts))

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """The next text, or None after the last."""
        left: list[Text] = getattr(self, "_left")  # noqa: B009 - set by reset, the class is frozen
        if not left:
            return None
        subtask, plan, text = left.pop(0)
        return Decision(subtask, plan, text, self.action_format.read(text))


def replay(
    episodes: Iterable[tuple[EpisodeAnnotation, Sequence[tuple[str, str, str]]]], format_name: str
) -> dict[str, Rate]:
    """Successes by task, of action texts carried out from the starts of their episodes."""
    counts: dict[str, list[int]] = {}
    env, task = None, ""
    for words, texts in episodes:
        if env is None or task != words.task:
            if env is not None:
                env.close()
            env, task = gym.make(TASKS[words.task].env_id, image_size=None), words.task
        policy = SayAgain(texts, get_format(format_name))
        result = run_episode(env, policy, episode_id=words.episode_id, seed=words.seed, layouts=words.layouts)
        succeeded, tried = counts.setdefault(words.task, [0, 0])
        counts[words.task] = [succeeded + (result.outcome is Outcome.SUCCESS), tried + 1]
    if env is not None:
        env.close()
    return {name: Rate(*count) for name, count in counts.items()}


def total(rates: dict[str, Rate]) -> Rate:
    """All tasks together."""
    return Rate(sum(rate.k for rate in rates.values()), sum(rate.n for rate in rates.values()))


def main(
    *,
    episodes: int = 24,
    workers: int = 2,
    image_size: Annotated[tuple[int, int], tyro.conf.arg(metavar="HEIGHT WIDTH")] = (120, 160),
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    json: bool = False,
) -> None:
    """Print the table.

    Args:
        episodes: of every task.
        workers: processes that record.
        image_size: of the recorded images, which the rules do not use.
        data: keep the recorded data set here, and use it again when it is there.
        json: print one JSON object as the last line.
    """
    report = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = data or Path(scratch) / "demonstrations"
        settings = RunSettings(tasks=tuple(TASKS), episodes=episodes, image_size=image_size)
        record(settings, folder, keep_failures=True, resume=folder.exists(), workers=workers)
        words = {one.name: one for one in read_annotations(folder)}
        order = sorted(words, key=lambda name: (list(TASKS).index(words[name].task), name))
        trajectories = {trajectory.name: trajectory for trajectory in read_trajectories(open_dataset(folder))}
        decisions = [(words[name], [(s.subtask, s.plan, s.action) for s in words[name].decisions]) for name in order]
        recorded = {
            task: Rate(sum(w.outcome == "success" for w in words.values() if w.task == task), episodes)
            for task in TASKS
        }
        table = {"the demonstrations": recorded, "their own action texts": replay(decisions, "vlm2vla")}
        print(f"{'':28} {' '.join(f'{task:>20}' for task in TASKS)}  all", flush=True)
        for name, (rules, format_name) in ARMS.items():
            spoken = get_format(format_name)
            made = {key: relabel(trajectory, rules) for key, trajectory in trajectories.items()}
            texts = [
                (words[key], [(p.subtask, p.plan, spoken.write(p.chunk.deltas)) for p in made[key].phases])
                for key in order
            ]
            table[name] = replay(texts, format_name)
    for name, rates in table.items():
        cells = " ".join(f"{f'{rates[task].k}/{rates[task].n}':>20}" for task in TASKS)
        print(f"{name:28} {cells}  {total(rates)}", flush=True)
        report[name] = {**{task: rate.to_json() for task, rate in rates.items()}, "all": total(rates).to_json()}
    if json:
        print(json_module.dumps({"episodes": episodes, "success_at_end": report}))


if __name__ == "__main__":
    tyro.cli(main)
