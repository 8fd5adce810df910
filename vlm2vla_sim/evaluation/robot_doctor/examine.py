"""The examination of one robot, in the order in which a person beside it would make it.

Nothing moves without a yes: the drive to the start, 2 cm up and down, and the gripper are asked for one by one. It uses
the methods of every backend, and `probe` where there is one (`envs.probe`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlm2vla_sim.core.checks import Check, all_work
from vlm2vla_sim.core.versions import collect_versions
from vlm2vla_sim.envs.backends import backend_name, make_backend
from vlm2vla_sim.envs.probe import CameraLook, Look, Probe
from vlm2vla_sim.envs.tasks import Task
from vlm2vla_sim.errors import BackendFaultError, MissingExtraError, SettingError, Vlm2VlaError
from vlm2vla_sim.evaluation.robot_doctor import standing
from vlm2vla_sim.evaluation.robot_doctor.moving import RISE, Mover

IMAGE_SIZE = (480, 640)
"""(height, width) [px] that policies are shown."""
QUESTIONS = {
    "start": "The arm opens its gripper and drives to its start pose. Is its whole reach clear, without hands in it?",
    "motion": "The gripper moves 2 cm up, then 2 cm down.",
    "gripper": "The gripper closes and opens. Is nothing between its fingers?",
}
"""What the person is asked before each motion."""
MOTIONS = {
    "start": ("start",),
    "motion": ("2 cm up", "2 cm down"),
    "gripper": ("gripper closes", "gripper opens"),
}
STANDING = ("set-up", "versions", "server", "link", "observations", "cameras", "pose", "joint ranges", "workspace")
NEXT_IMAGE = 0.4
"""[s] in which a live camera has made another image."""
NO_MOTION = "not made: --no-motion"


@dataclass
class Examination:
    """What was found."""

    backend: str
    started: float = field(default_factory=time.time)
    """[s since 1970]"""
    versions: Mapping[str, str] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    """Camera -> its newest image, uint8, (H, W, 3) RGB or (H, W)."""
    interrupted: KeyboardInterrupt | None = None
    """Ctrl-C or another signal that ended it."""

    @property
    def passed(self) -> bool:
        """Whether everything that is needed was checked and is right."""
        return self.interrupted is None and all_work(self.checks)

    @property
    def verdict(self) -> str:
        """One sentence."""
        wrong = [check.name for check in self.checks if check.works is False]
        left = [check.name for check in self.checks if check.needed and check.works is None]
        words = [f"Something is wrong: {', '.join(wrong)}."] if wrong else []
        words += [f"Not checked: {', '.join(left)}."] if left else []
        words += ["It was interrupted; the arm holds its position."] if self.interrupted is not None else []
        return " ".join(words) or "Everything that was checked is right."


def examine(
    task: Task,
    backend: str | type,
    options: Mapping[str, Any],
    *,
    ask: Callable[[str], bool],
    say: Callable[[str], None] = lambda text: None,
    motion: bool = True,
) -> Examination:
    """Examine the robot behind `backend`; a fault of it is a check that fails, Ctrl-C ends it with what is known.

    Args:
        task: Whose scene decides the workspace and the start.
        backend: A name of `backends.BACKENDS`, "package.module:Class", or a class.
        options: Of the backend.
        ask: Asks the person a question; True only for yes. EOFError at the end of the input: nothing more is asked.
        say: Told what is done.
        motion: False: nothing moves and nothing is asked.
    """
    found = Examination(backend_name(backend), versions=collect_versions())
    try:
        try:
            robot = make_backend(backend, task, image_size=IMAGE_SIZE, quality="fast", **options)
        except (SettingError, MissingExtraError, BackendFaultError) as error:
            found.checks.append(Check("set-up", False, True, str(error), "Correct the option that is named."))
            return found
        examiner = _Examiner(task, robot, found, ask, say)
        try:
            examiner.run(motion=motion)
        finally:
            examiner.close()
    except KeyboardInterrupt as stop:
        found.interrupted = stop
    finally:
        _fill_in(found)
    return found


class _Examiner:
    """Goes through the checks with one backend."""

    def __init__(
        self,
        task: Task,
        backend: Any,
        found: Examination,
        ask: Callable[[str], bool],
        say: Callable[[str], None],
    ) -> None:
        self._task, self._backend, self._found, self._ask, self._say = task, backend, found, ask, say
        self._probe = Probe()

    def run(self, *, motion: bool) -> None:
        """All checks; those that stand still are made again once the arm is at its start."""
        self._say("Asking the robot who it is; nothing moves.")
        if not self._look():
            return
        if not motion:
            self._leave_out([name for names in MOTIONS.values() for name in names], NO_MOTION, needed=False)
            return
        if not self._may("start"):
            return
        started = self._start()
        self._say("Looking again from the start.")
        if not (self._look(after_reset=started) and started):
            return
        mover = Mover(self._backend, self._probe.workspace or self._task.setup.workspace)
        makers: dict[str, Callable[[str], Check]] = {
            "2 cm up": lambda name: mover.rise(name, RISE),
            "2 cm down": lambda name: mover.rise(name, -RISE),
            "gripper closes": lambda name: mover.set_gripper(name, 0.0),
            "gripper opens": lambda name: mover.set_gripper(name, 1.0),
        }
        for what in ("motion", "gripper"):
            if self._may(what) and not all(self._make(name, makers[name]) for name in MOTIONS[what]):
                return

    def close(self) -> None:
        """Release the robot, which holds its position."""
        try:
            self._backend.close()
        except Vlm2VlaError as error:
            self._add(Check("release", False, True, str(error), "Restart the robot's server."))

    # Parts.

    def _look(self, *, after_reset: bool = False) -> bool:
        """Probe the robot and put what it says in place of what it said before; False where nobody answers."""
        try:
            self._probe = self._ask_backend(after_reset=after_reset)
        except Vlm2VlaError as error:
            answers = after_reset or not isinstance(error, BackendFaultError)
            advice = "" if answers else "Start the robot's server; check host, port and the tunnel."
            self._add(Check("link", False, True, str(error), advice))
            return False
        probe = self._probe
        last = probe.looks[-1] if probe.looks else None
        if last is not None:
            self._remove("cameras")
        for check in (
            standing.check_versions(self._found.versions, probe.versions),
            standing.check_server(probe),
            standing.check_link(probe),
            standing.check_observations(probe),
            *standing.check_cameras(probe, IMAGE_SIZE),
            Check("pose", None, True, f"not known: {probe.no_looks}") if last is None else standing.check_pose(last),
            standing.check_joints(probe.joints, self._task.arm),
            standing.check_workspace(last, probe.start, probe.workspace or self._task.setup.workspace),
        ):
            self._add(check)
        for look in probe.looks:
            self._found.pictures |= {name: one.image for name, one in look.cameras.items() if one.image is not None}
        return True

    def _ask_backend(self, *, after_reset: bool) -> Probe:
        ask = getattr(self._backend, "probe", None)
        if ask is not None:
            probe = ask()
            if standing.seem_frozen(probe.looks):  # or they came faster than the camera makes images
                time.sleep(NEXT_IMAGE)
                probe = dataclasses.replace(probe, looks=(*probe.looks, *ask().looks))
            return probe
        if not after_reset:
            return Probe(no_looks="this backend tells nothing before the arm is at its start")
        observation = self._backend.observe()
        cameras = {name: CameraLook(image) for name, image in observation.get("pixels", {}).items()}
        return Probe(looks=(Look(None, np.asarray(observation["agent_pos"]), cameras),))

    def _start(self) -> bool:
        self._say("The arm drives to its start; this takes some seconds.")
        asked = time.monotonic()
        try:
            self._backend.reset(self._task.layouts[0], np.random.default_rng(0))
        except Vlm2VlaError as error:
            self._add(Check("start", False, True, str(error), "Then run this command again."))
            return False
        seconds = time.monotonic() - asked
        position = self._backend.status().robot.tcp.position
        text = f"driven to in {seconds:.1f} s: x {position[0]:.3f}, y {position[1]:.3f}, z {position[2]:.3f} m"
        self._add(Check("start", True, True, text, measured={"drive_s": seconds, "position_m": position.tolist()}))
        return True

    def _may(self, what: str) -> bool:
        """Ask before a motion; the checks that need it are left out unless the answer is yes."""
        try:
            if self._ask(QUESTIONS[what]):
                return True
            reason = "not made: you did not say yes"
        except EOFError:
            reason = "not made: nobody answered the question"
        self._leave_out(MOTIONS[what], reason)
        return False

    def _leave_out(self, names: list[str] | tuple[str, ...], reason: str, *, needed: bool = True) -> None:
        for name in names:
            self._add(Check(name, None, needed, reason))

    def _make(self, name: str, maker: Callable[[str], Check]) -> bool:
        """Make one motion; False after a fault, from which nothing more is sent."""
        self._say(f"{name} ...")
        try:
            self._add(maker(name))
        except Vlm2VlaError as error:
            self._add(Check(name, False, True, str(error), "Look at the arm before anything else moves it."))
            return False
        return True

    def _add(self, check: Check) -> None:
        """Add a check, in place of an earlier one of that name."""
        names = [one.name for one in self._found.checks]
        if check.name in names:
            self._found.checks[names.index(check.name)] = check
        else:
            self._found.checks.append(check)

    def _remove(self, name: str) -> None:
        self._found.checks = [check for check in self._found.checks if check.name != name]


def _fill_in(found: Examination) -> None:
    """Put the checks in order, with those that were not reached as checks that were not made."""
    names = {check.name for check in found.checks}
    reason = "not made: interrupted" if found.interrupted is not None else "not made: see what is wrong"
    order = [*STANDING, *(name for group in MOTIONS.values() for name in group)]
    seen = any(name.startswith("camera ") for name in names)
    missing = [name for name in order if name not in names and name != "set-up" and not (name == "cameras" and seen)]
    found.checks += [Check(name, None, True, reason) for name in missing]

    def place(check: Check) -> int:
        name = "cameras" if check.name.startswith("camera ") else check.name
        return order.index(name) if name in order else len(order)

    found.checks.sort(key=place)
