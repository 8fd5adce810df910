"""The arm as a robot link: the messages of `robot_link.link.RobotLink`, carried out by the vendor's driver."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from vlm2vla_sim.envs.robot_link.link import LinkState, RawObservation, RobotLink
from vlm2vla_sim.envs.robot_link.server_identity import ServerIdentity, ServerKind
from vlm2vla_sim.envs.widowx_ai.arm import PORT, STRAIGHT, TrossenArm
from vlm2vla_sim.envs.widowx_ai.settings import ArmSettings
from vlm2vla_sim.errors import ActionError, LinkLostError
from vlm2vla_sim.types import Pose

DRIVE_PERIODS = 5
"""Control steps, one second, that a drive takes at least."""
HOLD_EFFORT = 20.0
"""[N] of the gripper's motor above which closing fingers give way, halfway to where they are with every step."""


class ControllerIdentity(ServerIdentity):
    """Which controller answered."""

    @property
    def label(self) -> str:
        """One line: robot, address, versions of driver and firmware."""
        return f"widowx_ai at {self.host}, {self.version}"


class TrossenLink(RobotLink):
    """A connection to one controller, which forgets what it was sent when the connection is lost."""

    server = ServerKind("Trossen controller", (), "trossen-arm", PORT)

    def __init__(self, host: str, settings: ArmSettings, *, timeout: float, clock: Callable[[], float]) -> None:
        """Nothing is sent before `connect`. timeout: [s] for the connection and for every answer on it."""
        super().__init__(host, PORT, workspace=settings.workspace, allow_remote=True, clock=clock)
        self._settings, self._gripper = settings, settings.robot.gripper
        self._arm = TrossenArm(settings.robot, host, timeout=timeout, clock=clock)
        self._home = settings.start_joints()
        self._finger = self._gripper.open
        self.effort: float | None = None
        """[N] of the gripper's motor, as last reported."""
        self.unreachable = 0
        """Steps since the last reset whose target was out of reach of the joints, and which were not sent."""

    # Queries.

    def connect(self) -> ServerIdentity:
        """Connect; the controller then holds every joint where it is."""
        with self._watched():
            self._arm.connect()
        version = ", ".join(f"{name} {number}" for name, number in self._arm.versions.items())
        text = json.dumps(self._arm.versions)
        self.identity = ControllerIdentity(self._host, self._port, version, (), text)
        self.link = LinkState.OK
        return self.identity

    def round_trip(self) -> float:
        """[s] until the controller has sent another state."""
        asked = self._clock()
        self.joints()
        return self._clock() - asked

    def resync(self, *, settle: float = 0.3) -> bool:
        """Connect again; False, because the arm has to be driven to its start."""
        self.connect()
        return False

    def observe(self) -> RawObservation:
        """The arm's state, sent by the controller after this call; it has no camera."""
        asked = self._clock()
        with self._watched():
            state = self._arm.read()
        self.effort = state.grip_effort
        numbers = [*self._settings.robot.pose_to_numbers(state.tcp), state.finger / self._gripper.open]
        return RawObservation(np.array(numbers), b"", asked, self._clock())

    @property
    def versions(self) -> dict[str, str]:
        """Of the driver and the controller's firmware; empty before the first connection."""
        return self._arm.versions

    def joints(self) -> np.ndarray:
        """(n,) [rad] the joints' angles, sent by the controller after this call."""
        with self._watched():
            return self._arm.read().joints

    # Actions.

    def prepare(self, settings: ArmSettings) -> None:
        """Nothing: a controller that is connected can move."""

    def reset(self) -> None:
        """Open the gripper where the arm is, lift it to the start's height, and drive to the start."""
        self.unreachable, self._finger = 0, self._gripper.open
        with self._watched():
            self._arm.settle()
            self._drive(self._arm.hold_goal())
            self._lift()
            self._drive(self._home)

    def step(self, action: np.ndarray, *, before: Pose, after: Pose, blocking: bool = False) -> None:
        """One control step: the fingers, and the joints that bring the tool to `after`.

        A target out of reach of the joints is not sent; the fingers are.
        """
        action = np.asarray(action, dtype=np.float64)
        self._check(action, (7,), "step")
        if not 0.0 <= action[6] <= 1.0:
            raise ActionError(f"The gripper was told {action[6]}; expected 0 closed .. 1 open.")
        self._check_inside(after.position, "target", start=before.position)
        self._check_link()
        with self._watched():
            seconds = min(self._settings.period, STRAIGHT)
            joints = self._arm.plan(after, seconds)
            if joints is None:
                self.unreachable += 1
                joints = self._arm.hold_goal()
            self._arm.send(joints, self._finger_goal(float(action[6])), seconds)

    def move(self, pose: Pose, seconds: float) -> None:
        """Drive to `pose` in `seconds`, or more slowly, and wait; where it is out of reach, the arm stays."""
        self._check_inside(pose.position, "pose")
        self._check_link()
        with self._watched():
            self._arm.settle()
            joints = self._arm.plan(pose, np.inf)
            self._arm.drive(self._arm.hold_goal() if joints is None else joints, self._finger, at_least=seconds)

    def sleep(self) -> bool:
        """Lift the arm, then fold it to the pose in which it rests without power."""
        assert self._settings.robot.trossen is not None
        self._check_link()
        with self._watched():
            self._lift()
            self._drive(self._arm.within_limits(np.array(self._settings.robot.trossen.park)))
        return True

    def close(self) -> None:
        """Disconnect; the controller brakes the joints where they are. May be called twice."""
        self._arm.close()
        super().close()

    # Parts.

    def _drive(self, joints: np.ndarray) -> None:
        self._arm.drive(joints, self._finger, at_least=DRIVE_PERIODS * self._settings.period)

    def _lift(self) -> None:
        """Straight up to the start's height, so that the way from there passes above the objects."""
        tcp, height = self._arm.read().tcp, float(self._settings.start[2])
        if tcp.position[2] < height:
            above = self._arm.plan(Pose(np.array([*tcp.position[:2], height]), tcp.quaternion), np.inf)
            if above is not None:
                self._drive(above)

    def _finger_goal(self, opening: float) -> float:
        """[m] of the fingers for the opening; where they squeeze too hard, halfway to where they are."""
        wanted = self._gripper.finger(opening)
        state = self._arm.read()
        if wanted < state.finger and abs(state.grip_effort) > HOLD_EFFORT:
            wanted = max(wanted, (self._finger + state.finger) / 2)
        self._finger = float(np.clip(wanted, self._gripper.closed, self._gripper.open))
        return self._finger

    def _check_link(self) -> None:
        if self.link is not LinkState.OK:
            raise LinkLostError(f"The link is {self.link.value}: nothing is sent until reset() has restored it.")

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """The link is closed when the arm has disconnected."""
        try:
            yield
        finally:
            if not self._arm.connected:
                self.link = LinkState.CLOSED
