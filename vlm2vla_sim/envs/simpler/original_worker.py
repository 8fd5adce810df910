"""The original SIMPLER in a process of its own: a script for an interpreter that has `simpler_env`.

It runs where nothing of this package is installed, so it imports the standard library and what simpler-env brings, and
is written for Python 3.8 or newer. `original_process` starts it and speaks with it over its standard input and output.

A message is two lengths (unsigned 32-bit, big-endian), a JSON object and bytes. Each request has a number, "id", and is
answered by one message with the same number, which has an "error" where it failed.

MS2 below is simpler-env/ManiSkill2_real2sim@ef7a4d4 `mani_skill2_real2sim/`.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import select
import signal
import struct
import sys
import threading
import traceback
from typing import IO, Any

LENGTHS = struct.Struct(">II")
CAMERA = "3rd_view_camera"
MIN_IMPULSE = 1e-6
"""[N s] from which a contact counts. MS2 envs/custom_scenes/put_on_in_scene.py:112"""


class Worker:
    """One environment of `simpler_env`."""

    env: Any = None
    inner: Any = None

    def make(self, task: str) -> dict[str, Any]:
        """task: SIMPLER's id, such as "PutCarrotOnPlateInScene-v0"."""
        import simpler_env

        name = next(name for name, entry in simpler_env.ENVIRONMENT_MAP.items() if entry[0] == task)
        self.env = simpler_env.make(name)
        self.inner = self.env.unwrapped
        return {"links": [link.name for link in self.inner.agent.robot.get_links()]}

    def reset(self, episode_id: int | None = None, xy: Any = None, quaternions: Any = None) -> dict[str, Any]:
        """Start SIMPLER's episode `episode_id`, or one with the objects where `xy` and `quaternions` say.

        xy: (2, 2) [m, world] of source and target; quaternions: (2, 4), w, x, y, z. The scene is built anew: in a used
        one the same episode would end differently.
        """
        import numpy as np

        own = self.inner._xy_configs, self.inner._quat_configs
        if episode_id is None:
            self.inner._xy_configs, self.inner._quat_configs = [np.array(xy)], [np.array(quaternions)]
        try:
            self.env.reset(options={"reconfigure": True, "obj_init_options": {"episode_id": episode_id or 0}})
        finally:
            self.inner._xy_configs, self.inner._quat_configs = own
        return self.tell(None)

    def step(self, action: list[float]) -> dict[str, Any]:
        """One control step without its images, which take most of its time: `image` draws them when they are asked for.

        action: (7,) dx, dy, dz [m], rotation vector [rad], gripper +1 open or -1 closed. As MS2 envs/sapien_env.py
        BaseEnv.step, in which drawing comes after the step and changes nothing.
        """
        import numpy as np

        self.inner.step_action(np.array(action, np.float32))
        self.inner._elapsed_steps += 1
        return self.tell(self.inner.get_info())

    def tell(self, info: dict[str, Any] | None) -> dict[str, Any]:
        """What is known of robot and scene now; info: SIMPLER's own of this step, None after a reset."""
        inner = self.inner
        source, target = inner.episode_source_obj, inner.episode_target_obj
        arm = inner.agent.controller.controllers["arm"]
        return {
            "tcp": numbers(inner.tcp.pose),
            "goal": numbers(arm._target_pose),
            "fingers": [float(joint) for joint in inner.agent.robot.get_qpos()[-2:]],
            "source": place(inner.source_obj_pose, source),
            "target": place(inner.target_obj_pose, target),
            "pressed": self.pressed(source.name),
            "names": [source.name, target.name],
            "grasped": bool(inner.agent.check_grasp(source)),
            "success": None if info is None else bool(info["success"]),
        }

    def pressed(self, source: str) -> list[str]:
        """Names of what the source presses against. MS2 envs/custom_scenes/put_on_in_scene.py:88-117."""
        found = set()
        for contact in self.inner._scene.get_contacts():
            names = [contact.actor0.name, contact.actor1.name]
            impulse = [sum(float(point.impulse[axis]) for point in contact.points) for axis in range(3)]
            if source in names and sum(one * one for one in impulse) > MIN_IMPULSE**2:
                found.add(names[1] if names[0] == source else names[0])
        return sorted(found)

    def image(self) -> tuple[dict[str, Any], bytes]:
        """The camera's image, (480, 640, 3) uint8, as the environment's own observation has it."""
        import gymnasium

        wrappers, outer = [], self.env
        while outer is not self.inner:
            wrappers.append(outer)
            outer = outer.env
        observation = self.inner.get_obs()
        for wrapper in reversed(wrappers):
            if isinstance(wrapper, gymnasium.ObservationWrapper):
                observation = wrapper.observation(observation)
        picture = observation["image"][CAMERA]["rgb"]
        return {"shape": list(picture.shape)}, picture.tobytes()

    def close(self) -> dict[str, Any]:
        """Release the scene."""
        if self.env is not None:
            self.env.close()
        return {}


def numbers(pose: Any) -> list[float]:
    """x, y, z [m] and the quaternion w, x, y, z of a pose of SAPIEN."""
    return [float(value) for value in (*pose.p, *pose.q)]


def place(centre: Any, actor: Any) -> list[float]:
    """Of an object the position of its centre of mass, and the rotation of the object itself."""
    return [float(value) for value in (*centre.p, *actor.pose.q)]


def read_exactly(stream: IO[bytes], count: int) -> bytes:
    """`count` bytes, or fewer at the end of the stream."""
    parts = []
    while count:
        part = stream.read(count)
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def watch(stream: IO[bytes], parent: int, requests: queue.Queue[dict[str, Any]]) -> None:
    """Hand on the requests of `stream`; end this process when the one that started it is gone.

    The end of the stream is not enough: a process that the parent has forked may hold the pipe open.
    """
    while os.getppid() == parent:
        if not select.select([stream], [], [], 1.0)[0]:
            continue
        header = read_exactly(stream, LENGTHS.size)
        if len(header) < LENGTHS.size:
            break
        text, _ = (read_exactly(stream, length) for length in LENGTHS.unpack(header))
        requests.put(json.loads(text))
    os._exit(0)


def serve(parent: int) -> None:
    """Answer requests until the process that started this one closes the pipe or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the pipe.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What native code prints must not come between the answers.
    stream = os.fdopen(os.dup(0), "rb", buffering=0)
    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=watch, args=(stream, parent, requests), daemon=True).start()
    worker = Worker()
    while True:
        request = requests.get()
        number, what, seconds = request.pop("id"), request.pop("do"), request.pop("seconds")
        # Ends even a call that hangs in native code and lets no thread run: the parent has given up by then.
        faulthandler.dump_traceback_later(seconds + 5, exit=True)
        try:
            answer, blob = getattr(worker, what)(**request), b""
            if isinstance(answer, tuple):
                answer, blob = answer
        except Exception as error:  # the parent turns it into its own
            traceback.print_exc()
            answer, blob = {"error": f"{type(error).__name__}: {error}"}, b""
        faulthandler.cancel_dump_traceback_later()
        text = json.dumps(dict(answer, id=number)).encode()
        answers.write(LENGTHS.pack(len(text), len(blob)) + text + blob)
        answers.flush()
        if what == "close":
            os._exit(0)  # SAPIEN 2 may crash while the interpreter is taken down.


if __name__ == "__main__":
    serve(parent=int(sys.argv[1]))
