"""Synthetic trajectories of what teleoperated arms do besides a clean pick: pushes, folds, second grasps, pauses.

Each is made of stages, each of which says what kind of phase it is, so that the kinds that the rules find can be
compared with the truth. Two draws of a seed are the same. Nothing of it was recorded from a robot: the speeds, the
noise of 3 mm and 3 degrees and the slow tilts are chosen to be at least as bad as what BridgeData V2's arms show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vlm2vla_sim.core.frames import matrix_to_euler_sxyz, rotvec_to_matrix
from vlm2vla_sim.data.episode import Trajectory

Vector = Sequence[float] | np.ndarray
FPS = 5.0
NOISE, TREMBLE = 0.003, np.radians(3.0)
"""[m], [rad] standard deviation of each measured coordinate and angle."""
TILTS = np.radians(4.0)
"""[rad] amplitude of the slow tilts of an arm that moves."""
NEUTRAL = "do the task"
"""An instruction that tells nothing of the motion."""


@dataclass(frozen=True)
class Awkward:
    """A trajectory, and what it is made of."""

    trajectory: Trajectory
    group: str
    truth: tuple[tuple[int, int, str], ...]
    """The phases: first frame, one past the last, kind. Contiguous from frame 0; standing still at the end is none."""
    tilts: bool
    """Whether the gripper is meant to tilt."""


class Blank:
    """Images of nothing."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        return np.zeros((4, 4, 3), np.uint8)


class Hand:
    """Moves a gripper in stages and keeps what happens in every frame."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.position = np.array([rng.uniform(0.22, 0.32), rng.uniform(-0.1, 0.1), rng.uniform(0.14, 0.2)])
        self.turned = np.zeros(3)
        self.gripper, self.opening, self.width = 1.0, 1.0, 1.0
        self.speed = rng.uniform(0.012, 0.028)  # [m] per frame
        self.frames: list[tuple[np.ndarray, np.ndarray, float, float]] = []
        self.kinds: list[str] = []

    def _frame(self, kind: str) -> None:
        self.frames.append((self.position.copy(), self.turned.copy(), self.opening, self.gripper))
        self.kinds.append(kind)
        aim = 1.0 if self.gripper else self.width
        self.opening += float(np.clip(aim - self.opening, -0.45, 0.45))

    def follow(self, kind: str, curve: Callable[[float], np.ndarray], length: float, turn: Vector = ()) -> None:
        """Along `curve`, a function of 0 .. 1, of `length` [m]; `turn`: rotation vector [rad] made on the way."""
        turning = np.zeros(3) if not len(turn) else np.array(turn)
        steps = max(2, int(np.ceil(max(length / self.speed, np.linalg.norm(turning) / 0.2))))
        soft = self.rng.uniform(0.0, 0.7)
        before = self.turned
        for step in range(1, steps + 1):
            at = step / steps
            at = (1 - soft) * at + soft * (3 * at**2 - 2 * at**3)  # how slowly it starts and stops
            self._frame(kind)
            self.position, self.turned = curve(at), before + at * turning

    def go(self, kind: str, move: Vector, turn: Vector = ()) -> None:
        """Straight by `move` [m]."""
        start, move = self.position, np.array(move, float)
        self.follow(kind, lambda at: start + at * move, float(np.linalg.norm(move)), turn)

    def still(self, kind: str, frames: int) -> None:
        """Stand still."""
        for _ in range(frames):
            self._frame(kind)

    def close(self, kind: str, *, on: float) -> None:
        """Close on something that keeps the fingers open by `on`."""
        self.gripper, self.width = 0.0, on
        self.still(kind, 4)

    def open(self, kind: str) -> None:
        """Open."""
        self.gripper = 1.0
        self.still(kind, 3)

    def reach(self, *, above: float, turn: float = 0.0) -> None:
        """To above a thing; half of the time it comes down on the way."""
        aside = self.rng.uniform(-1, 1, 2) * [0.08, 0.12]
        aside += 0.05 * np.sign(aside)
        drop = 0.005 + above - self.position[2] if self.rng.random() < 0.5 else 0.0
        self.go("reach", [*aside, drop], (0, 0, turn))

    def grasp(self, *, on: float, kind: str = "grasp") -> None:
        """Down to the table, and close."""
        self.go(kind, [0, 0, 0.005 - self.position[2]])
        self.close(kind, on=on)

    def pick(self, *, on: float | None = None) -> None:
        """Reach and grasp."""
        self.reach(above=self.rng.uniform(0.06, 0.11), turn=self.rng.uniform(-1, 1))
        self.grasp(on=self.rng.uniform(0.2, 0.7) if on is None else on)

    def bring(self) -> None:
        """Lift, carry, place and leave."""
        self.go("lift", [0, 0, self.rng.uniform(0.06, 0.12)])
        self.go("carry", self.aside(0.08, 0.18))
        self.place()

    def place(self) -> None:
        """Down, open, and leave."""
        self.go("place", [0, 0, self.rng.uniform(0.005, 0.02) - self.position[2]])
        self.open("place")
        self.leave()

    def leave(self) -> None:
        """Up, and away."""
        self.go("retreat", [0, 0, self.rng.uniform(0.06, 0.12)])

    def aside(self, least: float, most: float, *, angle: float | None = None) -> np.ndarray:
        """(3,) a horizontal move of a length between the two [m]."""
        angle = self.rng.uniform(-np.pi, np.pi) if angle is None else angle
        return self.rng.uniform(least, most) * np.array([np.cos(angle), np.sin(angle), 0.0])

    def down_to_push(self) -> None:
        """To the table beside a thing, with the fingers open or closed."""
        if self.rng.random() < 0.5:
            self.go("reach", self.aside(0.05, 0.12))
            self.close("reach", on=self.rng.choice([0.0, 0.01]))
        self.go("reach", self.aside(0.04, 0.12))
        self.go("reach", [0, 0, 0.01 - self.position[2]])


def _push(hand: Hand) -> str:
    hand.down_to_push()
    angle = hand.rng.uniform(-0.7 * np.pi, 0.7 * np.pi)  # not towards the robot
    hand.go("push", hand.aside(0.05, 0.16, angle=angle))
    hand.leave()
    return "push the can to the side"


def _push_twice(hand: Hand) -> str:
    hand.down_to_push()
    angle = hand.rng.uniform(-0.7 * np.pi, 0.7 * np.pi)
    for again in (False, True):
        stroke = hand.aside(0.06, 0.12, angle=angle)
        hand.go("push", stroke)
        if not again:
            hand.go("reach", [0, 0, hand.rng.uniform(0.05, 0.08)])
            hand.go("reach", -stroke * hand.rng.uniform(0.3, 0.6))
            hand.go("reach", [0, 0, 0.01 - hand.position[2]])
    hand.leave()
    return "push the box across the table"


def _pull(hand: Hand) -> str:
    angle = np.pi + hand.rng.uniform(-0.6, 0.6)
    if hand.rng.random() < 0.5:
        hand.down_to_push()
        hand.go("pull", hand.aside(0.06, 0.14, angle=angle))
    else:
        hand.pick()
        hand.go("pull", hand.aside(0.06, 0.14, angle=angle))
        hand.open("release")
    hand.leave()
    return "pull the tray towards you"


def _again(hand: Hand) -> str:
    way = hand.rng.integers(3)
    if way < 2:
        hand.pick(on=hand.rng.choice([0.0, 0.01]))
        if way:
            hand.go("release", [0, 0, hand.rng.uniform(0.05, 0.09)])
        hand.open("release")
        hand.go("reach", [*hand.aside(0.02, 0.04)[:2], 0.05])
    else:
        hand.pick()
        hand.go("lift", [0, 0, hand.rng.uniform(0.05, 0.09)])
        hand.go("place", [0, 0, 0.005 - hand.position[2]])
        hand.open("place")
        hand.go("retreat", [0, 0, hand.rng.uniform(0.05, 0.07)])
        hand.go("reach", hand.aside(0.02, 0.03))
    hand.grasp(on=hand.rng.uniform(0.2, 0.7), kind="regrasp")
    hand.bring()
    return "put the carrot on the plate"


def _pause(hand: Hand) -> str:
    def wait() -> None:
        if hand.rng.random() < 0.6:
            hand.still("pause", int(hand.rng.integers(7, 16)))

    hand.reach(above=0.09, turn=hand.rng.uniform(-1, 1))
    wait()
    hand.grasp(on=hand.rng.uniform(0.2, 0.7))
    hand.go("lift", [0, 0, hand.rng.uniform(0.06, 0.12)])
    wait()
    hand.go("carry", hand.aside(0.08, 0.18))
    wait()
    hand.place()
    return "move the cup next to the bowl"


def _fold(hand: Hand) -> str:
    hand.pick(on=hand.rng.uniform(0.025, 0.05))
    start, across = hand.position, hand.aside(0.08, 0.18)
    high = hand.rng.uniform(0.4, 0.7) * np.linalg.norm(across)
    hand.follow(
        "fold",
        lambda at: start + across * (1 - np.cos(np.pi * at)) / 2 + np.array([0, 0, high * np.sin(np.pi * at)]),
        float(np.linalg.norm(across)) * 1.3,
    )
    hand.open("release")
    hand.leave()
    return "fold the towel in half"


def _arc(hand: Hand) -> str:
    held = hand.rng.random() < 0.6
    if held:
        hand.pick()
    else:
        hand.down_to_push()
    start, radius = hand.position, hand.rng.uniform(0.08, 0.2)
    heading, sweep = hand.rng.uniform(-np.pi, np.pi), hand.rng.choice([-1, 1]) * hand.rng.uniform(0.9, 1.7)
    hinge = start[:2] - radius * np.array([np.cos(heading), np.sin(heading)])

    def curve(at: float) -> np.ndarray:
        angle = heading + at * sweep
        return np.array([*(hinge + radius * np.array([np.cos(angle), np.sin(angle)])), start[2]])

    hand.follow("arc", curve, radius * abs(sweep), (0, 0, sweep if hand.rng.random() < 0.5 else 0))
    if held:
        hand.open("release")
    hand.leave()
    return str(hand.rng.choice(["open the cabinet door", "close the microwave"]))


def _wipe(hand: Hand) -> str:
    cloth = hand.rng.random() < 0.5
    hand.pick(on=hand.rng.uniform(0.025, 0.05) if cloth else hand.rng.uniform(0.2, 0.6))
    if hand.rng.random() < 0.5:
        hand.go("lift", [0, 0, hand.rng.uniform(0.06, 0.1)])
        hand.go("carry", hand.aside(0.08, 0.14))
        hand.go("carry", [0, 0, 0.006 - hand.position[2]])
    angle, drift = hand.rng.uniform(-np.pi, np.pi), hand.aside(0.0, 0.01)
    for number in range(int(hand.rng.integers(3, 7))):
        hand.go("wipe", hand.aside(0.07, 0.13, angle=angle + np.pi * (number % 2)) + drift)
    hand.open("release")
    hand.leave()
    return "wipe the table with the cloth"


def _sweep(hand: Hand) -> str:
    hand.down_to_push()
    angle = hand.rng.uniform(-np.pi, np.pi)
    for number in range(int(hand.rng.integers(3, 6))):
        hand.go("sweep", hand.aside(0.07, 0.13, angle=angle + np.pi * (number % 2)))
    hand.leave()
    return "sweep the beans into a pile"


def _pour(hand: Hand) -> str:
    hand.pick()
    hand.go("lift", [0, 0, hand.rng.uniform(0.08, 0.12)])
    hand.go("carry", hand.aside(0.08, 0.16))
    tilt = hand.rng.uniform(0.9, 1.7) * hand.rng.choice([-1, 1])
    axis = np.eye(3)[hand.rng.integers(2)]
    hand.go("pour", hand.aside(0.0, 0.02), tilt * axis)
    hand.still("pour", int(hand.rng.integers(0, 4)))
    hand.go("pour", hand.aside(0.0, 0.02), -tilt * axis)
    hand.place()
    return "pour the beans into the bowl"


def _turn(hand: Hand) -> str:
    hand.pick()
    angle = hand.rng.uniform(0.7, 1.8) * hand.rng.choice([-1, 1])
    twice = hand.rng.random() < 0.5
    hand.go("turn", (0, 0, 0), (0, 0, angle))
    hand.open("release")
    if twice:
        hand.go("regrasp", (0, 0, 0), (0, 0, -angle))
        hand.close("regrasp", on=hand.rng.uniform(0.2, 0.6))
        hand.go("turn", (0, 0, 0), (0, 0, angle))
        hand.open("release")
    hand.leave()
    return "turn the knob"


def _pick(hand: Hand) -> str:
    hand.pick()
    hand.bring()
    return "put the spoon into the pot"


GROUPS: dict[str, Callable[[Hand], str]] = {
    "push": _push,
    "push twice": _push_twice,
    "pull": _pull,
    "re-grasp": _again,
    "pause": _pause,
    "fold": _fold,
    "arc": _arc,
    "wipe": _wipe,
    "sweep": _sweep,
    "pour": _pour,
    "turn": _turn,
    "pick": _pick,
}
"""Name -> the function that moves a hand through all stages and returns the instruction."""


def awkward(seed: int, number: int, *, neutral: bool = False, exact: bool = False) -> Awkward:
    """The `number`-th trajectory of a seed.

    neutral: with an instruction that tells nothing of the motion. exact: without noise.
    """
    rng = np.random.default_rng([seed, number])
    group = list(GROUPS)[number % len(GROUPS)]
    hand = Hand(rng)
    instruction = GROUPS[group](hand)
    meant = len(hand.kinds)
    hand.still("", int(rng.integers(1, 8)))
    states, actions = _measured(hand, rng, exact=exact)
    said = NEUTRAL if neutral else instruction
    trajectory = Trajectory(f"{group}/{number}", said, FPS, Blank(len(states)), states, actions)
    borders = [0, *(np.flatnonzero([a != b for a, b in zip(hand.kinds, hand.kinds[1:], strict=False)]) + 1)]
    truth = tuple(
        (int(first), int(last), hand.kinds[first])
        for first, last in zip(borders, [*borders[1:], len(hand.kinds)], strict=True)
        if first < meant
    )
    return Awkward(trajectory, group, truth, tilts=group == "pour")


def _measured(hand: Hand, rng: np.random.Generator, *, exact: bool) -> tuple[np.ndarray, np.ndarray]:
    """(T, 7) states and actions, as in `Trajectory`."""
    count = len(hand.frames)
    positions = np.array([frame[0] for frame in hand.frames])
    turned = np.array([frame[1] for frame in hand.frames])
    openings, told = (np.array([frame[part] for frame in hand.frames]) for part in (2, 3))
    actions = np.zeros((count, 7))
    actions[:-1, :3], actions[:-1, 3:6], actions[:, 6] = np.diff(positions, axis=0), np.diff(turned, axis=0), told
    scale = 0.0 if exact else 1.0
    time, phase = np.arange(count) / FPS, rng.uniform(0, 2 * np.pi, 2)
    sway = scale * TILTS * np.sin(2 * np.pi * time[:, None] / rng.uniform(3, 6, 2) + phase)
    turned = turned + np.concatenate([sway, np.zeros((count, 1))], axis=1)
    angles = np.array([matrix_to_euler_sxyz(rotvec_to_matrix(vector)) for vector in turned])
    states = np.concatenate(
        [
            positions + scale * rng.normal(0, NOISE, positions.shape),
            angles + scale * rng.normal(0, TREMBLE, angles.shape),
            np.clip(openings + scale * rng.normal(0, 0.002, count), 0, 1)[:, None],
        ],
        axis=1,
    )
    return states, actions
