"""How alike the profiles of the backend "simpler" are: the original SIMPLER, and ManiSkill 3 with its rules or ours.

    python benchmarks/simpler_parity.py --python /path/to/env/bin/python --out runs/simpler_parity

For every task and each of its 24 episodes: the first image, where the objects lie, and whether the scripted policy
succeeds. The first 20 action sequences recorded on "original" are played back on the other two. What is in the folder
is not measured again, and the table is made of what is there; `--profiles` measures some of them only. Each task and
profile runs in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from PIL import Image

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.evaluation.episode import run_episode

PROFILES = ("original", "simpler", "maniskill3")
EPISODES = tuple(number * 7 % 24 for number in range(24))
"""All 24, in an order of which every beginning is spread over them."""
SEQUENCES = 20
SHARES = (8, 24)
"""Episodes of every task and profile that are measured before the others of any."""
GREY = 8
"""Levels by which a pixel has to differ to count."""


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps the first image, the start, the actions and the path of an episode."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode, and draw its image."""
        observation, info = super().reset(**options)
        self.frame = observation["pixels"]["primary"].copy()
        self.start, self.actions, self.path = self._objects(), [], [self._tcp()]
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Make a step, and keep it."""
        answer = super().step(action)
        self.actions.append(np.asarray(action, np.float64).tolist())
        self.path.append(self._tcp())
        return answer

    def record(self) -> dict[str, Any]:
        """The episode, as plain values; positions [m] in the robot's frame."""
        return {"start": self.start, "end": self._objects(), "actions": self.actions, "path": self.path}

    def _inner(self) -> WidowXEnv:
        inner = self.unwrapped
        assert isinstance(inner, WidowXEnv)
        return inner

    def _tcp(self) -> list[float]:
        return self._inner().status.robot.tcp.position.tolist()

    def _objects(self) -> dict[str, list[float]]:
        scene = self._inner().scene_state()
        return {
            name: [*body.pose.position.tolist(), *body.pose.quaternion.tolist()]
            for name, body in (("source", scene.source), ("target", scene.target))
        }


def measure(task: str, profile: str, out: Path, python: str, share: int) -> None:
    """Measure what is missing of the first `share` episodes of `EPISODES`."""
    options: dict[str, Any] = {"python": python} if profile == "original" else {}
    env = Recorder(gym.make(TASKS[task].env_id, backend="simpler", profile=profile, **options))
    done = read(out, task, profile)
    originals = read(out, task, "original")
    try:
        for episode in EPISODES[:share]:
            if ("scripted", episode) not in done:
                result = run_episode(env, "scripted", episode_id=episode)
                Image.fromarray(env.frame).save(out / f"{task}-{profile}-{episode}.png")
                verdicts = {"success": result.success_at_end, "upstream": result.upstream_success}
                more = {"settled": result.success_settled, "reason": result.reason, "versions": result.versions}
                write(out, task, profile, {"kind": "scripted", "episode": episode, **verdicts, **more, **env.record()})
        for episode in EPISODES[: min(share, SEQUENCES)]:
            source = originals.get(("scripted", episode))
            if profile != "original" and source and ("replay", episode) not in done:
                _, info = env.reset(options={"episode_id": episode})
                for action in source["actions"]:
                    *_, info = env.step(np.array(action, np.float32))
                told = {"kind": "replay", "episode": episode, "success": info["is_success"], **env.record()}
                write(out, task, profile, told)
    finally:
        env.close()


def read(out: Path, task: str, profile: str) -> dict[tuple[str, int], dict[str, Any]]:
    """What was measured, by kind and episode."""
    path = out / f"{task}-{profile}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries = (json.loads(line) for line in lines)
    return {(entry["kind"], entry["episode"]): entry for entry in entries}


def write(out: Path, task: str, profile: str, entry: dict[str, Any]) -> None:
    """Append an entry."""
    with (out / f"{task}-{profile}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


@dataclass(frozen=True)
class Row:
    """A profile beside "original" on one task, over the episodes that both have; None where there is none."""

    task: str
    profile: str
    episodes: int
    scripted: str
    """Successes of the scripted policy at the last step, of the episodes of this profile."""
    upstream: str
    """The same by the verdict of SIMPLER's own code."""
    pixels_mean: float | None
    pixels_max: float | None
    """[%] of the first image that differ by more than `GREY`, mean and largest of the episodes."""
    source_mean: float | None
    source_max: float | None
    target_max: float | None
    """[mm] between the centres of mass after the reset."""
    turn_max: float | None
    """[degrees] between the source's orientations after the reset."""
    same: str
    """Sequences recorded on "original" that end as there when they are played back."""
    path_mean: float | None
    path_max: float | None
    """[mm] between the grippers, step by step, of these sequences."""


def compare(out: Path, task: str, profile: str) -> Row:
    """The row of one task and profile."""
    ours, theirs = read(out, task, profile), read(out, task, "original")
    scripted = {episode: entry for (kind, episode), entry in ours.items() if kind == "scripted"}
    replays = {episode: entry for (kind, episode), entry in ours.items() if kind == "replay"}
    verdicts = [entry["upstream"] for entry in scripted.values() if entry["upstream"] is not None]
    pairs = [(entry, theirs["scripted", e]) for e, entry in scripted.items() if ("scripted", e) in theirs]
    pairs = [] if profile == "original" else pairs
    images = [differing(out, task, profile, entry["episode"]) for entry, _ in pairs]
    played = [(entry, theirs["scripted", episode]) for episode, entry in replays.items()]
    gaps = [np.linalg.norm(np.subtract(one["path"], other["path"]), axis=1) * 1e3 for one, other in played]
    return Row(
        task,
        profile,
        len(scripted),
        f"{sum(entry['success'] is True for entry in scripted.values())}/{len(scripted)}",
        f"{sum(verdicts)}/{len(verdicts)}" if verdicts else "",
        *spread(images),
        *spread([apart(one, other, "source") for one, other in pairs]),
        spread([apart(one, other, "target") for one, other in pairs])[1],
        spread([turned(one, other) for one, other in pairs])[1],
        f"{sum(one['success'] == other['success'] for one, other in played)}/{len(played)}" if played else "",
        *spread(np.concatenate(gaps).tolist() if gaps else []),
    )


def spread(values: list[float]) -> tuple[float | None, float | None]:
    """Mean and largest; None of nothing."""
    return (float(np.mean(values)), float(np.max(values))) if values else (None, None)


def differing(out: Path, task: str, profile: str, episode: int) -> float:
    """[%] of the pixels of the first image that are not those of "original"."""
    ours, theirs = (np.array(Image.open(out / f"{task}-{p}-{episode}.png"), int) for p in (profile, "original"))
    return float((np.abs(ours - theirs).max(axis=2) > GREY).mean() * 100)


def apart(one: dict[str, Any], other: dict[str, Any], name: str) -> float:
    """[mm] between two starts of an object."""
    return float(np.linalg.norm(np.subtract(one["start"][name][:3], other["start"][name][:3])) * 1e3)


def turned(one: dict[str, Any], other: dict[str, Any]) -> float:
    """[degrees] between two starts of the source."""
    cosine = abs(float(np.dot(one["start"]["source"][3:], other["start"]["source"][3:])))
    return float(np.degrees(2 * np.arccos(min(cosine, 1.0))))


def main(
    *,
    out: Path = Path("runs/simpler_parity"),
    python: str = "",
    tasks: tuple[str, ...] = ("carrot_on_plate", "eggplant_in_basket", "stack_cube", "spoon_on_towel"),
    profiles: tuple[str, ...] = PROFILES,
    measured: tuple[str, str, int] | None = None,
    table_only: bool = False,
    as_json: bool = False,
) -> None:
    """Measure what is missing and print the table.

    Args:
        out: folder of what was measured.
        python: interpreter with simpler_env; by default as the backend finds it.
        tasks: in this order.
        profiles: those to measure.
        measured: task, profile and share, to measure in this process.
        table_only: measure nothing.
        as_json: print one JSON object as the last line.
    """
    out.mkdir(parents=True, exist_ok=True)
    if measured is not None:
        measure(measured[0], measured[1], out, python, measured[2])
        return
    for share in () if table_only else SHARES:
        for task in tasks:
            for profile in profiles:
                own = ["--measured", task, profile, str(share), "--out", str(out), "--python", python]
                subprocess.run([sys.executable, __file__, *own], check=True)
                print(f"measured: {task}, {profile}, {share} episodes", flush=True)
    rows = [asdict(compare(out, task, profile)) for task in tasks for profile in PROFILES]
    print(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        cells = (f"{v:.2f}" if isinstance(v, float) else "" if v is None else str(v) for v in row.values())
        print(f"| {' | '.join(cells)} |")
    if as_json:
        print(json.dumps(rows))


if __name__ == "__main__":
    tyro.cli(main)
