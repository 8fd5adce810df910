"""A stand-in for `simpler_env`, as little of it as the worker asks for, with physics of a few lines.

`test_simpler_worker` copies this file as `simpler_env.py` into a virtual environment of its own. The gripper is where
its target is; a closed one carries a source within 5 cm, which falls straight down when it is let go. The task's name
in `ENVIRONMENT_MAP` may say what goes wrong.
"""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import gymnasium
import numpy as np

ENVIRONMENT_MAP = {"widowx_carrot_on_plate": ("PutCarrotOnPlateInScene-v0", {})}
HOME, BASE = np.array([0.29, -0.006, 0.135]), np.array([0.147, 0.028, 0.87])
TABLE = 0.8875
"""[m, world] height of the source's centre on the table."""


class Pose:
    def __init__(self, p, q=(1.0, 0.0, 0.0, 0.0)):
        self.p, self.q = np.array(p, float), np.array(q, float)


def in_world(point):
    """The robot's base is turned by half a turn."""
    return BASE + point * [-1, -1, 1]


class Agent:
    def __init__(self, env):
        links = [SimpleNamespace(name=name) for name in ("base_link", "left_finger_link", "right_finger_link")]
        self.robot = SimpleNamespace(get_links=lambda: links, get_qpos=lambda: np.array([0.0] * 6 + [env.finger] * 2))
        self.controller = SimpleNamespace(controllers={"arm": env.arm})
        self.check_grasp = lambda actor: env.held


class Scene:
    """What `gymnasium.make` returns is wrapped once, as SIMPLER's is."""

    def __init__(self):
        self._xy_configs = [np.array([[-0.235, -0.075], [-0.235, 0.075]]), np.array([[-0.085, 0.0], [-0.235, 0.0]])]
        self._quat_configs = [np.array([[1.0, 0, 0, 0], [1, 0, 0, 0]]), np.array([[0.0, 0, 0, 1], [1, 0, 0, 0]])]
        self.arm = SimpleNamespace(_target_pose=Pose(HOME, (0.6867, 0.0053, 0.7269, -0.0081)))
        self.agent, self.unwrapped, self.closed = Agent(self), self, False
        self._scene = SimpleNamespace(get_contacts=self.contacts)
        self.seen = []

    def reset(self, options):
        assert options["reconfigure"]
        number = options["obj_init_options"]["episode_id"]
        xy = self._xy_configs[(number // len(self._quat_configs)) % len(self._xy_configs)]
        turns = self._quat_configs[number % len(self._quat_configs)]
        self.arm._target_pose = Pose(HOME, (0.6867, 0.0053, 0.7269, -0.0081))
        self.finger, self.held, self._elapsed_steps = 0.037, False, 0
        self.source_obj_pose = Pose([*xy[0], TABLE], turns[0])
        self.target_obj_pose = Pose([*xy[1], 0.8731], turns[1])
        named = [("source", self.source_obj_pose), ("target", self.target_obj_pose)]
        self.episode_source_obj, self.episode_target_obj = (SimpleNamespace(name=n, pose=p) for n, p in named)
        os.write(1, b"as native code prints")  # must not come between the answers
        return self.get_obs(), {}

    @property
    def tcp(self):
        return SimpleNamespace(pose=Pose(in_world(self.arm._target_pose.p), (0.0, -0.7269, 0.0, 0.6867)))

    def step_action(self, action):
        assert isinstance(action, np.ndarray)
        assert action.dtype == np.float32
        self.seen.append([round(float(number), 6) for number in action])
        if os.environ.get("FAKE_FAULT") == "raise":
            raise RuntimeError("the physics exploded")
        if os.environ.get("FAKE_FAULT") == "crash":
            os.abort()
        if os.environ.get("FAKE_FAULT") == "hang":
            time.sleep(60)
        self.arm._target_pose.p = self.arm._target_pose.p + action[:3]
        self.finger = 0.037 if action[6] > 0 else 0.016
        gap = np.linalg.norm(self.source_obj_pose.p - self.tcp.pose.p)
        self.held = bool(action[6] < 0 and (self.held or gap < 0.05))
        if self.held:
            self.source_obj_pose.p = self.tcp.pose.p
        else:
            self.source_obj_pose.p = np.array([*self.source_obj_pose.p[:2], self.floor()])

    def over_target(self):
        return np.linalg.norm((self.source_obj_pose.p - self.target_obj_pose.p)[:2]) < 0.05

    def floor(self):
        return TABLE + 0.006 if self.over_target() else TABLE

    def contacts(self):
        below = "target" if self.over_target() else "arena"
        found = [("left_finger_link", 1.0), ("right_finger_link", 1.0)] if self.held else [(below, 1.0)]
        found.append(("far away", 1e-9))
        points = [(name, [SimpleNamespace(impulse=np.array([0.0, 0.0, impulse]))]) for name, impulse in found]
        source = SimpleNamespace(name="source")
        return [SimpleNamespace(actor0=source, actor1=SimpleNamespace(name=n), points=p) for n, p in points]

    def get_info(self):
        return {"success": bool(self.over_target() and not self.held)}

    def get_obs(self):
        color = np.zeros((480, 640, 4), np.float32)
        color[:240, :, 0], color[240:, :, 2] = 1.0, 0.5
        return {"image": {"3rd_view_camera": {"Color": color}}}

    def close(self):
        path = os.environ.get("FAKE_LOG")
        if path:
            with open(path, "w") as file:
                json.dump(self.seen, file)


class Pictures(gymnasium.ObservationWrapper):
    """As SIMPLER's: numbers from 0 to 1 become 8 bits."""

    def observation(self, observation):
        image = observation["image"]["3rd_view_camera"]
        image["rgb"] = np.clip(image.pop("Color")[..., :3] * 255, 0, 255).astype(np.uint8)
        return observation


def make(name):
    assert name in ENVIRONMENT_MAP
    return Pictures(Scene())
