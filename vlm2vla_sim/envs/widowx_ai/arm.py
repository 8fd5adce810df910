"""The arm behind the vendor's driver: checked commands, fresh states, and errors of the driver as `LinkLostError`.

What the driver trossen-arm 1.11.0 does not do is done here. It sends numbers that are not finite, joints beyond their
limits and a wrist that turns all the way round in one step. A command longer than 0.2 s starts with the speed of the
last shorter one, even a second after that has ended, and first swings away: by 0.8 rad after 0.2 rad in 0.05 s. The
driver hands out the last state for ever when the controller falls silent, and after an error of its own thread every
call raises it again.

The controller brakes its joints ("idle") when the driver disconnects and when it loses the connection. It never frees
them: no torque is switched off here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.core.rotations import rotvec_to_quaternion
from vlm2vla_sim.envs.robot_link.endpoint import resolve
from vlm2vla_sim.envs.robot_link.server_identity import ROBOT_FAULT
from vlm2vla_sim.envs.widowx_ai.driver import driver_package, explain
from vlm2vla_sim.errors import ActionError, LinkLostError
from vlm2vla_sim.robots.base import Robot
from vlm2vla_sim.robots.kinematics import ArmKinematics
from vlm2vla_sim.types import Pose

PORT = 50001
"""Of the controller's configuration channel; the driver knows no other."""
STATE_TIMEOUT = 0.5
"""[s] within which a new state must come; the controller sends some hundred each second."""
POLL = 0.001
"""[s]"""
DRIVE_SHARE = 0.2
"""Of the controller's limit for a joint's speed: the average of a drive to the start or to rest, 0.6 rad/s. The driver
speeds up and slows down smoothly, to 1.9 times that in the middle."""
SAME_TOOL = 0.01
"""[m] by which the controller's tool frame may differ from the description's: arms are calibrated one by one."""
STRAIGHT = 0.2
"""[s] the longest command that the driver spreads evenly over its time; a longer one speeds up and slows down."""
REST = 0.05
"""[s] of a command to stay, after which the driver takes the arm to be at rest."""
MARGIN = 0.02
"""[rad] that goals keep from a joint's limit, beyond which the controller stops with an error."""
STILL = 0.002
"""[rad] that no joint moves between two looks, `LOOK` apart, of an arm that is at rest."""
LOOK = 0.05
"""[s]"""
ARRIVED = 0.05
"""[rad] from its goal within which every joint has arrived after a drive."""


@dataclass(frozen=True, eq=False)
class ArmState:
    """One output of the controller."""

    joints: np.ndarray
    """(n,) float64 [rad]"""
    finger: float
    """[m] of each finger, 0 closed."""
    grip_effort: float
    """[N] of the gripper's motor, as the controller reports it."""
    tcp: Pose
    """Of the tool frame, as the controller reports it; base frame."""


class TrossenArm:
    """A connection to one controller. Not for use by several threads."""

    def __init__(self, robot: Robot, host: str, *, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is sent before `connect`. timeout: [s] for the connection and for every answer on it."""
        assert robot.trossen is not None
        self._robot, self._host, self._timeout, self._clock = robot, host, timeout, clock
        self._kinematics = ArmKinematics(robot)
        self._driver: Any = None
        self._faulted = False
        self._low, self._high = self._kinematics.low, self._kinematics.high
        self._fastest = np.full(len(self._low) + 1, np.inf)
        self._goal: np.ndarray | None = None
        self._sent: np.ndarray | None = None
        self._until, self._straight = -np.inf, False
        self.versions: dict[str, str] = {}
        """Of "trossen-arm" and "firmware", once connected."""

    @property
    def connected(self) -> bool:
        """Whether the driver is connected, as far as is known."""
        return self._driver is not None

    # Connection.

    def connect(self) -> None:
        """Connect, and have the controller hold every joint where it is. After a fault, its error is cleared.

        MissingExtraError without the driver; LinkLostError when nobody answers, or the controller is in error.
        """
        self.close()
        trossen, setup, address = driver_package(), self._robot.trossen, self._ipv4()
        assert setup is not None
        driver = trossen.TrossenArmDriver()
        model = getattr(trossen.Model, setup.model)
        tool = getattr(trossen.StandardEndEffector, setup.end_effector)
        try:
            driver.configure(model, tool, address, self._faulted, self._timeout)
            limits = driver.get_joint_limits()
            driver.set_all_modes(trossen.Mode.position)
            self.versions = {
                "trossen-arm": driver.get_driver_version(),
                "firmware": driver.get_controller_version(),
            }
        except (trossen.RuntimeError, trossen.LogicError) as error:
            raise self._lose(error, driver) from error
        self._driver, self._faulted, self._goal, self._sent = driver, False, None, None
        self._low = np.maximum(self._kinematics.low, [limit.position_min for limit in limits[:-1]]) + MARGIN
        self._high = np.minimum(self._kinematics.high, [limit.position_max for limit in limits[:-1]]) - MARGIN
        self._fastest = np.array([limit.velocity_max for limit in limits])
        self._check_tool(self.read())

    def close(self) -> None:
        """Disconnect, within the timeout: the controller brakes the joints where they are. May be called twice."""
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.cleanup()  # logs its own errors and raises none

    # Queries.

    def read(self) -> ArmState:
        """A state that the controller sent after this call.

        LinkLostError when none came within `STATE_TIMEOUT`, or the driver or the controller failed.
        """
        if self._driver is None:
            raise LinkLostError("The arm is not connected: nothing is sent until reset() has connected it.")
        trossen = driver_package()
        try:
            last = self._driver.get_robot_output().header.id
            end = self._clock() + STATE_TIMEOUT
            while (output := self._driver.get_robot_output()).header.id == last:
                if self._clock() > end:
                    raise self._silent()
                time.sleep(POLL)
            positions = np.array(output.joint.all.positions, dtype=np.float64)
            cartesian = np.array(output.cartesian.positions, dtype=np.float64)
            effort = float(output.joint.gripper.effort)
        except (trossen.RuntimeError, trossen.LogicError) as error:
            raise self._lose(error) from error
        if not (np.isfinite(positions).all() and np.isfinite(cartesian).all()):
            self.close()
            raise LinkLostError(f"The arm reports joints that are not finite: {positions}.", reason=ROBOT_FAULT)
        tcp = Pose(cartesian[:3], rotvec_to_quaternion(cartesian[3:]))
        return ArmState(positions[:-1], float(positions[-1]), effort, tcp)

    def plan(self, pose: Pose, seconds: float) -> np.ndarray | None:
        """(n,) joint angles [rad] that bring the tool frame to `pose` in `seconds`, from the last goal.

        None when there are none within the joints' limits, or none that the joints are fast enough for.
        """
        start = self.hold_goal()
        angles = self._kinematics.solve(pose, start, low=self._low, high=self._high)
        if angles is None or (np.abs(angles - start) > seconds * self._fastest[:-1]).any():
            return None
        return angles

    def within_limits(self, joints: np.ndarray) -> np.ndarray:
        """(n,) [rad] the nearest joint angles that may be sent."""
        return np.clip(joints, self._low, self._high)

    # Commands.

    def hold_goal(self, state: ArmState | None = None) -> np.ndarray:
        """(n,) [rad] the joint goals that hold the arm: the last that were sent, else the measured angles."""
        return self.within_limits((state or self.read()).joints) if self._goal is None else self._goal

    def settle(self) -> None:
        """Wait until the arm is at rest, a second at most; from then on the goal that holds it is where it is."""
        end, last = self._clock() + 1.0, self.read().joints
        while self._clock() < end:
            time.sleep(LOOK)
            before, last = last, self.read().joints
            if np.abs(last - before).max() < STILL:
                break
        self._goal = None

    def send(self, joints: np.ndarray, finger: float, seconds: float) -> None:
        """One command, sent at most once: joint goals and the fingers', reached in `seconds`; it is not waited for.

        One that is longer than `STRAIGHT` waits for the end of the last command, and starts from rest.

        Args:
            joints: (n,) [rad], within the limits.
            finger: [m], within the gripper's range.
            seconds: more than 0; the joints must be fast enough.

        Raises:
            ActionError: a number that is not finite or beyond a limit; nothing was sent.
            LinkLostError: the controller is silent or in error; the command may have been carried out.
        """
        goal = np.append(np.asarray(joints, dtype=np.float64), float(finger))
        if seconds > STRAIGHT:
            self._come_to_rest()
        before = self.read()  # nothing is sent to a controller that does not answer
        self._check(goal, np.append(self.hold_goal(before), before.finger), seconds)
        self._goal = goal[:-1]
        self._command(goal, float(seconds))

    def drive(self, joints: np.ndarray, finger: float, *, at_least: float) -> ArmState:
        """Drive to joint angles, slowly, in `at_least` seconds; LinkLostError when they are not reached."""
        start = self.read()
        slow = (np.abs(joints - start.joints) / (DRIVE_SHARE * self._fastest[:-1])).max()
        seconds = max(at_least, float(slow))
        self.send(joints, finger, seconds)
        end, state = self._clock() + seconds, start
        while self._clock() < end:
            time.sleep(min(0.02, max(end - self._clock(), 0.0)))
            state = self.read()
        settled = self._clock() + 1.0
        while (missed := float(np.abs(joints - state.joints).max())) > ARRIVED:
            if self._clock() > settled:
                raise LinkLostError(
                    f"A joint stopped {np.degrees(missed):.0f} degrees from where the arm was driven to. Is something "
                    "in its way? Check the arm before the next reset.",
                    reason=ROBOT_FAULT,
                )
            state = self.read()
        return state

    # Parts.

    def _ipv4(self) -> str:
        """The address of the host, of the only kind that the driver takes."""
        found = [address for address in resolve(self._host, PORT) if ":" not in address]
        if not found:
            raise LinkLostError(f"The host {self._host!r} has no IPv4 address, and the arm's driver takes no other.")
        return found[0]

    def _command(self, goal: np.ndarray, seconds: float) -> None:
        if self._driver is None:
            raise LinkLostError("The arm is not connected: nothing is sent until reset() has connected it.")
        trossen = driver_package()
        self._sent, self._until, self._straight = goal, self._clock() + seconds, seconds <= STRAIGHT
        try:
            self._driver.set_all_positions(trossen.VectorDouble(goal.tolist()), seconds, False)
        except (trossen.RuntimeError, trossen.LogicError) as error:
            raise self._lose(error) from error

    def _come_to_rest(self) -> None:
        """Wait for the end of the last command; after an evenly spread one, have the driver end its speed as well."""
        time.sleep(max(self._until + REST - self._clock(), 0.0))
        if self._straight and self._sent is not None:
            self._command(self._sent, REST)
            time.sleep(2 * REST)

    def _check(self, goal: np.ndarray, before: np.ndarray, seconds: float) -> None:
        gripper = self._robot.gripper
        if goal.shape != before.shape or not np.isfinite(goal).all() or not seconds > 0:
            raise ActionError(
                f"The joint goals {goal.tolist()} in {seconds} s are not {len(before)} finite numbers and a time; they "
                "were not sent."
            )
        low, high = np.append(self._low, gripper.closed), np.append(self._high, gripper.open)
        if (goal < low - 1e-9).any() or (goal > high + 1e-9).any():
            raise ActionError(
                f"The joint goals {np.round(goal, 4).tolist()} leave the limits {np.round(low, 4).tolist()} .. "
                f"{np.round(high, 4).tolist()} [rad; m of the fingers]; they were not sent."
            )
        speed = np.abs(goal - before) / seconds
        if (speed > self._fastest + 1e-6).any():
            raise ActionError(
                f"The joint goals {np.round(goal, 4).tolist()} in {seconds:g} s need speeds of "
                f"{np.round(speed, 2).tolist()}; the controller allows {np.round(self._fastest, 2).tolist()} [rad/s; "
                "m/s of the fingers]. They were not sent."
            )

    def _check_tool(self, state: ArmState) -> None:
        expected = self._kinematics.forward(state.joints)
        apart = float(np.linalg.norm(expected.position - state.tcp.position))
        if apart > SAME_TOOL:
            self.close()
            raise LinkLostError(
                f"The controller's tool frame is {100 * apart:.1f} cm from that of the robot {self._robot.name!r}. Has "
                "the arm another gripper, or is it another model?",
                reason=ROBOT_FAULT,
            )

    def _silent(self) -> LinkLostError:
        self.close()
        return LinkLostError(
            f"The controller at {self._host} sent no new state for {STATE_TIMEOUT:g} s. Check its cable and its power."
        )

    def _lose(self, error: Exception, driver: Any = None) -> LinkLostError:
        """Disconnect after an error of the driver, so that nothing is sent later, and say what happened."""
        lost = explain(error, self._host)
        self._faulted |= lost.reason == ROBOT_FAULT
        self._driver = self._driver or driver
        self.close()
        return lost
