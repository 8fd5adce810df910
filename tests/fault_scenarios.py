"""Seeded mishaps on the robot's wire, and what must be true after each; shared by the tests and by the benchmark."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from robot_bench import QUICK, Bench, Fault, bench

from vlm2vla_sim.envs.motion import StepLimits
from vlm2vla_sim.envs.robot_link import wire
from vlm2vla_sim.envs.robot_link.link import RobotLink
from vlm2vla_sim.envs.robot_link.mock.fault_proxy import KINDS, random_faults
from vlm2vla_sim.envs.tasks import get_task
from vlm2vla_sim.errors import LinkLostError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.types import ActionChunk, Decision, Outcome

STEPS = 12
QUESTIONS = 2 * STEPS + 2
"""About so many are asked in an episode: a look, and then a step and a look each."""
MOTIONS = ("step_action", "move", "move_eef")
WORKSPACE = get_task("carrot_on_plate").setup.workspace
LIMIT = QUICK.resync + QUICK.reset + QUICK.init + 2.0
"""[s] no call may take longer."""


@dataclass(frozen=True)
class Scenario:
    """One seeded mishap or several."""

    kind: str
    faults: tuple[Fault, ...]
    seed: int
    wild: bool
    """Whether the policy pushes against the workspace and out of reach."""


@dataclass
class Played:
    """What became of it."""

    ending: str
    broken: list[str] = field(default_factory=list)
    longest_wait: float = 0.0


def make_scenarios(count: int, rng: random.Random) -> list[Scenario]:
    """`count` scenarios, every kind of fault in turn, and several faults at once as one more kind."""
    kinds = [*sorted(KINDS), "many", "blocked_arm", "none"]
    scenarios = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        seed = rng.randrange(2**31)
        if kind == "many":
            faults = random_faults(seed, requests=QUESTIONS, rate=0.15, seconds=0.6)
        elif kind in ("none", "blocked_arm"):
            faults = ()
        else:
            # The first question of an episode is the reset: from there to its last look.
            seconds = rng.uniform(0.0, 0.3) if kind == "delay" else rng.uniform(0.45, 0.9)
            faults = (Fault(rng.randrange(1, QUESTIONS - 2), kind, seconds=seconds, count=rng.choice((2, 40, 400))),)
        scenarios.append(Scenario(kind, faults, seed, wild=rng.random() < 0.4))
    return scenarios


class TwelveSteps:
    """A policy of single steps, no two alike, so that an act that is carried out twice is seen."""

    def __init__(self, seed: int, *, wild: bool) -> None:
        self._rng = np.random.default_rng(seed)
        self._wild = wild
        self._left = 0

    def reset(self, instruction: str, seed: int = 0) -> None:
        self._left = STEPS
        self._towards = self._rng.normal(size=3)

    def act(self, observation: object) -> Decision | None:
        self._left -= 1
        if self._left < 0:
            return None
        delta = np.zeros((1, 7), np.float32)
        if self._wild:
            delta[0, :3] = 0.044 * self._towards / np.linalg.norm(self._towards) + self._rng.normal(scale=1e-3, size=3)
        else:
            delta[0, :3] = self._rng.uniform(-0.012, 0.012, 3)
        delta[0, 3:6] = self._rng.uniform(-0.05, 0.05, 3)
        delta[0, 6] = float(self._left > 6)
        return Decision("", "", "step", ActionChunk(delta, "step"))


def play_all(scenarios: list[Scenario], backend: str = "bridge") -> Iterator[Played]:
    """Play them one after the other on one mock server, which must recover from every one."""
    with bench(backend=backend) as stage:
        env = stage.env(max_episode_steps=STEPS)
        try:
            for scenario in scenarios:
                yield play(scenario, env, stage)
        finally:
            env.close()


def play(scenario: Scenario, env: object, stage: Bench) -> Played:
    """One episode with its faults, then one look at everything that was promised."""
    inner = env.unwrapped  # type: ignore[attr-defined]
    backend = inner._backend
    played = Played(ending="")
    sent: list[bytes] = []
    ask = RobotLink._request

    def spy(client: RobotLink, message: dict, **options: object) -> object:
        started = time.monotonic()
        if message["type"] == "act" and message["key"] in MOTIONS:
            sent.append(wire.encode(message))
        try:
            return ask(client, message, **options)  # type: ignore[arg-type]
        finally:
            played.longest_wait = max(played.longest_wait, time.monotonic() - started)

    recover(env, stage)
    stage.proxy.arm(scenario.faults)
    stage.truth.ask(type="block", on=scenario.kind == "blocked_arm")
    before = len(stage.server.robot.acts)
    ages: list[float] = []
    observer = backend._observer
    look = observer.update

    def aged_look() -> None:
        look()
        ages.append(observer.age)

    RobotLink._request = spy  # type: ignore[method-assign, assignment]
    observer.update = aged_look
    started = time.monotonic()
    try:
        policy = TwelveSteps(scenario.seed, wild=scenario.wild)
        whole = StepLimits(step=0.05, gripper_steps=1)
        result = run_episode(env, policy, episode_id=0, seed=scenario.seed, limits=whole)  # type: ignore[arg-type]
    finally:
        RobotLink._request = ask  # type: ignore[method-assign]
        observer.update = look
        stage.proxy.arm(())
        stage.truth.ask(type="block", on=False)
    seconds = time.monotonic() - started
    time.sleep(max((f.seconds for f in scenario.faults), default=0.0) if "question" in scenario.kind else 0.0)
    played.ending = result.outcome.value if result.outcome is not Outcome.ERROR else _reason(result.reason)
    if inner._backend._stalls:
        played.ending += ", stall seen"
    acts = stage.server.robot.acts[before:]
    _check(scenario, played, acts, sent, ages, seconds, fault_seen=result.outcome is Outcome.ERROR)
    return played


def recover(env: object, stage: Bench) -> None:
    """Bring the link to where an episode can start without a fault: at most a few resets."""
    stage.proxy.arm(())
    for _ in range(3):
        try:
            env.reset(options={"episode_id": 0})  # type: ignore[attr-defined]
            return
        except LinkLostError:
            continue
    raise AssertionError("The link did not come back within three resets.")


def _reason(text: str) -> str:
    for reason in ("link_lost", "camera_stale", "robot_fault"):
        if reason in text:
            return reason
    return "link_lost" if "LinkLostError" in text else f"error: {text[:80]}"


def _check(
    scenario: Scenario,
    played: Played,
    acts: list,
    sent: list[bytes],
    ages: list[float],
    seconds: float,
    *,
    fault_seen: bool,
) -> None:
    where = f"{scenario.kind} seed {scenario.seed} {scenario.faults}"
    done = [act for act in acts if act.key in MOTIONS]
    # The policy's own steps all differ; only the client's standing still (a soft hold, after a stall) may look alike.
    moving = [frame for frame in sent if _moves(frame)]
    if len(set(moving)) != len(moving):
        played.broken.append(f"an act was sent twice: {where}")
    if Counter(act.raw for act in done) - Counter(sent):
        played.broken.append(f"an act was carried out more often than it was sent: {where}")
    low, high = np.array(WORKSPACE.low) - 1e-3, np.array(WORKSPACE.high) + 1e-3
    for act in done:
        position = act.numbers if act.key == "move" else act.target
        if not np.isfinite(act.numbers).all() or (position < low).any() or (position > high).any():
            played.broken.append(f"{act.key} {act.numbers} leads outside: {where}")
    if any(age > 0.15 for age in ages):
        played.broken.append(f"a frame {max(ages):.2f} s old was shown: {where}")
    if seconds > LIMIT or played.longest_wait > QUICK.init + 1:
        played.broken.append(f"it took {seconds:.1f} s, one question {played.longest_wait:.1f} s: {where}")
    if played.ending.startswith("error:"):
        played.broken.append(f"an unnamed error: {played.ending}: {where}")
    # A server that says SUCCESS and does nothing is found out by the arm's pose, and only from 3 cm on.
    if not fault_seen and len(done) < STEPS and scenario.kind not in ("lie", "many"):
        played.broken.append(f"only {len(done)} of {STEPS} steps were carried out and nobody noticed: {where}")


def _moves(frame: bytes) -> bool:
    message = wire.decode(frame)
    payload = message["payload"]
    action = payload.get("action") if isinstance(payload, dict) else payload
    return message["key"] == "step_action" and bool(np.abs(np.asarray(action)[:6]).max() > 0)
