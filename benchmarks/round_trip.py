"""Round trip of more than picks: demonstrations on the twin, relabelled by rules, carried out again open loop.

    python benchmarks/round_trip.py                 # 24 demonstrations of each kind
    python benchmarks/round_trip.py --json

A demonstrator moves the arm by control steps along free paths, off the grid of the text: pushes, drags, second grasps,
two objects in a row, arcs. Its states and commands are relabelled, and the text is carried out from the same start
without a look at anything. A demonstration counts if it did what it was to do; a repetition succeeds if it leaves every
object within 3 cm of where the demonstration left it. The picks of the four tasks are in `relabel_replay.py`.

The twin has no cloth: its towel is a rigid board of 1 cm, which can be pushed and not be folded.
"""

from __future__ import annotations

import dataclasses
import json as json_module
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import tyro
from awkward_motion import Blank

from vlm2vla_sim.data.episode import LabelledTrajectory, Trajectory
from vlm2vla_sim.data.relabel.path import RowThresholds
from vlm2vla_sim.data.relabel.rules import LabelingRules, relabel
from vlm2vla_sim.envs.base import CONTROL_HZ, WidowXEnv
from vlm2vla_sim.envs.executor import Executor
from vlm2vla_sim.envs.tasks import GREEN_CUBE, OWN_TASK_ID, TABLE, TOWEL, YELLOW_CUBE, Layout, Region, Task
from vlm2vla_sim.evaluation.rates import Rate
from vlm2vla_sim.language.formats import Resolution, get_format
from vlm2vla_sim.types import Body, SceneState

NEAR = 0.03
"""[m] between where a demonstration and its repetition leave an object."""
MOVED = 0.04
"""[m] a demonstration has moved an object by at least this."""
BLOCKS = Task(
    name="blocks",
    instruction="move the green block",
    max_steps=300,
    scene=TABLE,
    source=GREEN_CUBE,
    target=YELLOW_CUBE,
    layouts=(Layout((-0.16, 0.05), 0.0, (-0.16, -0.05)),),
    region=Region((-0.19, 0.0), (-0.13, 0.06), (-0.24, -0.11), (-0.09, -0.08), 0.0, 0.0, distance=0.08),
    height_slack=0.02,
    only_target_contact=False,
)
BOARD = dataclasses.replace(
    BLOCKS,
    name="board",
    source=TOWEL,
    region=dataclasses.replace(BLOCKS.region, source_low=(-0.17, 0.02), source_high=(-0.15, 0.05)),
)


class Teleoperator:
    """Moves the arm by control steps along free paths, and keeps states and commands."""

    def __init__(self, env: gym.Env, seed: int) -> None:
        """Reset `env` to the layout of `seed`."""
        self.env, self.rng = env, np.random.default_rng(seed)
        self._observation, _ = env.reset(seed=seed, options={"layout": "random"})
        self.gripper = 1.0
        self.states: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []
        self.home = self.at[2]

    @property
    def scene(self) -> SceneState:
        """The truth."""
        return _unwrapped(self.env).scene_state()

    @property
    def at(self) -> np.ndarray:
        """(3,) [m] the arm's target."""
        return _unwrapped(self.env).status.robot.target.position.copy()

    def step(self, move: np.ndarray | None = None) -> None:
        """One control step."""
        action = np.array([*(np.zeros(3) if move is None else move), 0, 0, 0, self.gripper], np.float32)
        self.states.append(np.array(self._observation["agent_pos"], np.float32))
        self._observation, _, _, _, info = self.env.step(action)
        self.actions.append(info["sent_action"].astype(np.float32))

    def follow(self, curve: Callable[[float], np.ndarray], length: float) -> None:
        """Along `curve`, a function of 0 .. 1 to positions, of `length` [m]; slower at its ends."""
        steps = max(2, int(np.ceil(length / self.rng.uniform(0.014, 0.022))))
        for number in range(1, steps + 1):
            at = number / steps
            self.step(curve(0.6 * at + 0.4 * (3 * at**2 - 2 * at**3)) - self.at)

    def go(self, *place: float) -> None:
        """Straight to a position x, y, z [m, base frame]."""
        start, end = self.at, np.array(place)
        self.follow(lambda at: start + at * (end - start), float(np.linalg.norm(end - start)))

    def act(self, gripper: float) -> None:
        """Wait a step, open or close, and wait for the fingers."""
        self.step()
        self.gripper = gripper
        for _ in range(4):
            self.step()

    def up(self) -> None:
        """To the height of travel."""
        self.go(*self.at[:2], self.home)

    def grasp(self, body: Body, *, aside: float = 0.0) -> None:
        """Go over a body, down, and close; `aside` [m]: beside it."""
        x, y, _ = body.pose.position
        self.go(x, y + aside, self.home)
        self.go(x, y + aside, low(body))
        self.act(0.0)

    def put(self, x: float, y: float, z: float) -> None:
        """Lift, carry over a place, lower and open, and leave."""
        self.up()
        self.go(x, y, self.home)
        self.go(x, y, z)
        self.act(1.0)
        self.up()


def _unwrapped(env: gym.Env) -> WidowXEnv:
    found = env.unwrapped
    assert isinstance(found, WidowXEnv)
    return found


def low(body: Body) -> float:
    """[m] height of the gripper at which it grasps or pushes a body that lies on the table."""
    arm = BLOCKS.arm.gripper
    surface = body.pose.position[2] - body.extents[2] / 2
    return float(max(body.pose.position[2] - 0.004, surface + arm.fingertip + 0.004))


def _beside(hand: Teleoperator, body: Body, angle: float) -> np.ndarray:
    """Closed fingers go down beside a body, on the side from which it is pushed; (2,) unit vector of the push."""
    ahead = np.array([np.cos(angle), np.sin(angle)])
    start = body.pose.position[:2] - (max(body.extents[:2]) / 2 * 1.1 + 0.035) * ahead
    hand.act(0.0)
    hand.go(*start, hand.home)
    hand.go(*start, low(body))
    return ahead


def push(hand: Teleoperator) -> str:
    """A block, forward or to a side."""
    body, angle = hand.scene.source, hand.rng.uniform(-1.2, 1.2)
    ahead = _beside(hand, body, angle)
    hand.go(*(hand.at[:2] + ahead * hand.rng.uniform(0.09, 0.13)), hand.at[2])
    hand.up()
    return "push the green block away"


def push_board(hand: Teleoperator) -> str:
    """The towel, which is a board."""
    ahead = _beside(hand, hand.scene.source, hand.rng.uniform(-0.3, 0.3))
    hand.go(*(hand.at[:2] + ahead * hand.rng.uniform(0.09, 0.12)), hand.at[2])
    hand.up()
    return "push the towel away"


def pull(hand: Teleoperator) -> str:
    """A block, towards the robot: grasped, and not lifted."""
    hand.grasp(hand.scene.source)
    x, y, z = hand.at
    hand.go(x - hand.rng.uniform(0.06, 0.1), y + hand.rng.uniform(-0.03, 0.03), z)
    hand.act(1.0)
    hand.up()
    return "pull the green block towards you"


def arc(hand: Teleoperator) -> str:
    """A block along an arc, as a drawer or a door is drawn."""
    hand.grasp(hand.scene.source)
    start, radius = hand.at, hand.rng.uniform(0.08, 0.13)
    turn = hand.rng.choice([-1, 1]) * hand.rng.uniform(1.0, 1.5)
    heading = np.pi / 2 * np.sign(turn) * -1 + np.pi  # it begins towards the robot
    hinge = start[:2] - radius * np.array([np.cos(heading), np.sin(heading)])

    def curve(at: float) -> np.ndarray:
        angle = heading + at * turn
        return np.array([*(hinge + radius * np.array([np.cos(angle), np.sin(angle)])), start[2]])

    hand.follow(curve, radius * abs(turn))
    hand.act(1.0)
    hand.up()
    return "open the drawer"


def grasp_again(hand: Teleoperator) -> str:
    """A grasp beside the block, and then a pick."""
    body = hand.scene.source
    hand.grasp(body, aside=hand.rng.choice([-1, 1]) * hand.rng.uniform(0.055, 0.065))
    hand.act(1.0)
    hand.go(*hand.at[:2], hand.home - hand.rng.uniform(0.0, 0.03))
    hand.grasp(hand.scene.source)
    x, y, z = hand.at
    hand.put(x - 0.02, y + hand.rng.uniform(0.05, 0.08), z + 0.003)
    return "move the green block to the left"


def two_steps(hand: Teleoperator) -> str:
    """Both blocks, one after the other."""
    hand.grasp(hand.scene.target)
    x, y, z = hand.at
    hand.put(x, y - hand.rng.uniform(0.04, 0.07), z + 0.003)
    hand.grasp(hand.scene.source)
    x, y, z = hand.at
    hand.put(x + hand.rng.uniform(-0.03, 0.03), y + hand.rng.uniform(0.05, 0.09), z + 0.003)
    return "move the yellow block to the right, then move the green block to the left"


KINDS: dict[str, tuple[Task, Callable[[Teleoperator], str]]] = {
    "push a block": (BLOCKS, push),
    "push a board (the towel)": (BOARD, push_board),
    "pull a block": (BLOCKS, pull),
    "pull along an arc": (BLOCKS, arc),
    "grasp again, and pick": (BLOCKS, grasp_again),
    "two picks in a row": (BLOCKS, two_steps),
}
"""Name -> the task, and what demonstrates it and returns the instruction."""

ARMS = {
    "default": LabelingRules(),
    "the paper's rows (2.5 cm, 5 cm)": LabelingRules(cuts=RowThresholds(straight_cm=0)),
    "resolution 2 mm": LabelingRules(resolution=Resolution(0.002, 1.0), cuts=RowThresholds(straight_cm=0.1)),
}


def places(scene: SceneState) -> np.ndarray:
    """(2, 3) [m] where the two objects are."""
    return np.array([scene.source.pose.position, scene.target.pose.position])


def demonstrate(env: gym.Env, show: Callable[[Teleoperator], str], seed: int) -> tuple[Trajectory, np.ndarray, bool]:
    """A demonstration; where it leaves the objects; whether it moved one and dropped none."""
    hand = Teleoperator(env, seed)
    before = places(hand.scene)
    instruction = show(hand)
    for _ in range(6):
        hand.step()
    after = places(hand.scene)
    moved = np.linalg.norm((after - before)[:, :2], axis=1)
    good = moved.max() >= MOVED and np.abs(after[:, 2] - before[:, 2]).max() < 0.01
    if show is two_steps:
        good = good and moved.min() >= 0.03
    states, actions = np.array(hand.states), np.array(hand.actions)
    return Trajectory(f"{seed}", instruction, CONTROL_HZ, Blank(len(states)), states, actions), after, bool(good)


def repeat(env: gym.Env, labelled: LabelledTrajectory, seed: int) -> np.ndarray:
    """Where the text of `labelled`, read and carried out, leaves the objects."""
    observation, _ = env.reset(seed=seed, options={"layout": "random"})
    executor, spoken = Executor(), get_format("vlm2vla")
    executor.reset(observation["agent_pos"])
    for phase in labelled.phases:
        for step in executor.steps(spoken.read(phase.chunk.text)):
            env.step(step.action)
    for _ in range(6):
        env.step(executor.hold())
    return places(_unwrapped(env).scene_state())


def main(*, episodes: int = 24, seed: int = 0, show: bool = False, json: bool = False) -> None:
    """Print the table.

    Args:
        episodes: demonstrations of each kind.
        seed: of the layouts and the ways.
        show: print the phases of the first demonstration of each kind.
        json: print one JSON object as the last line.
    """
    report: dict[str, object] = {}
    for name, (task, demonstrator) in KINDS.items():
        env = gym.make(OWN_TASK_ID, task=task, image_size=None)
        again, rows, good = dict.fromkeys(ARMS, 0), dict.fromkeys(ARMS, 0), 0
        kinds: dict[str, int] = {}
        for number in range(episodes):
            trajectory, after, counts = demonstrate(env, demonstrator, 1000 * seed + number)
            if not counts:
                continue
            good += 1
            for arm, rules in ARMS.items():
                labelled = relabel(trajectory, rules)
                ends = repeat(env, labelled, 1000 * seed + number)
                again[arm] += bool(np.linalg.norm(ends - after, axis=1).max() <= NEAR)
                rows[arm] += sum(len(phase.chunk.deltas) for phase in labelled.phases)
                if arm == "default":
                    told = " ".join(phase.kind for phase in labelled.phases)
                    kinds[told] = kinds.get(told, 0) + 1
                    if show and good == 1:
                        for phase in labelled.phases:
                            print(f"    {phase.start}-{phase.stop} {phase.kind}: {phase.plan} {phase.chunk.text}")
        env.close()
        print(f"{name}: {good} of {episodes} demonstrations", flush=True)
        for arm in ARMS:
            print(f"  {arm:34} {Rate(again[arm], good)}, {rows[arm] / max(good, 1):.1f} rows", flush=True)
        for told, times in sorted(kinds.items(), key=lambda item: -item[1])[:3]:
            print(f"    {times} {told}", flush=True)
        report[name] = {"demonstrations": good, "again": again, "rows": rows}
    if json:
        print(json_module.dumps({"episodes": episodes, "seed": seed, **report}))


if __name__ == "__main__":
    tyro.cli(main)
