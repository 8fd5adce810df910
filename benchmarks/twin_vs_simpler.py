"""How near the twin is to the true SIMPLER scenes: images, masks, start positions, and paths of the gripper.

    python benchmarks/twin_vs_simpler.py --out runs/twin_vs_simpler

Needs the extra [simpler] and SIMPLER's assets. For every task: the robot's mask and the objects' colours at the reset
of episode 0, where the objects lie at the reset of all 24 episodes, and 20 sequences of actions, recorded on SIMPLER
from the scripted policy with 1 cm of noise (grasps that succeed, miss and push), played back on the twin. A second set
of 20 random sequences, in any direction and with any turn, is reported apart.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from PIL import Image

from vlm2vla_sim.envs import motion
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies.scripted import ScriptedPolicy

SEQUENCES, RANDOM_STEPS = 20, 50
GRIPPER_PARTS = ("left_finger_link", "right_finger_link", "gripper_link", "gripper_prop_link", "gripper_bar_link")


@dataclass(frozen=True)
class Likeness:
    """The figures of one task; lengths in millimetres."""

    task: str
    robot_iou: float
    gripper_iou: float
    source_iou: float
    colour_difference: float
    """Mean absolute difference of the source's mean colour, 0..255."""
    start_max: float
    """Largest distance between the objects' centres of mass at reset, 24 episodes, source and target."""
    path_mean: float
    path_max: float
    random_mean: float
    random_max: float


def make(task: str, backend: str, **options: Any) -> WidowXEnv:
    """The bare environment of `task`."""
    env = gym.make(TASKS[task].env_id, backend=backend, **options).unwrapped
    assert isinstance(env, WidowXEnv)
    return env


def recorded(env: WidowXEnv, episode_id: int) -> list[np.ndarray]:
    """The actions of the scripted policy in one episode, cut at the task's length."""
    policy = ScriptedPolicy(env.scene_state, lambda: env.status.robot, get_format("vlm2vla"), noise_cm=1.0)
    _, info = env.reset(seed=episode_id, options={"episode_id": episode_id})
    policy.reset(info["instruction"], episode_id)
    actions: list[np.ndarray] = []
    while len(actions) < env.spec_task.max_steps:
        decision = policy.act({})
        if decision is None or decision.chunk is None:
            break
        for step in motion.split(decision.chunk.deltas, gripper=float(actions[-1][6]) if actions else 1.0):
            env.step(step)
            actions.append(step)
    return actions[: env.spec_task.max_steps]


def random_actions(seed: int) -> list[np.ndarray]:
    """Small moves and turns in any direction, the gripper changing now and then."""
    rng = np.random.default_rng(seed)
    moves = rng.uniform(-0.02, 0.02, (RANDOM_STEPS, 3))
    turns = rng.uniform(-0.1, 0.1, (RANDOM_STEPS, 3))
    gripper = np.repeat(rng.integers(0, 2, RANDOM_STEPS // 10), 10)[:, None]
    return list(np.concatenate([moves, turns, gripper], axis=1).astype(np.float32))


def path(env: WidowXEnv, episode_id: int, actions: list[np.ndarray]) -> np.ndarray:
    """(T, 3) TCP positions [m] after each action, from the reset of an episode."""
    env.reset(seed=episode_id, options={"episode_id": episode_id})
    positions = []
    for action in actions:
        env.step(action)
        positions.append(env.status.robot.tcp.position)
    return np.array(positions)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two (H, W) bool masks."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def simpler_masks(env: WidowXEnv) -> dict[str, np.ndarray]:
    """(H, W) bool masks by the name of the body, from ManiSkill's segmentation."""
    scene = env._backend._env
    numbers = scene.get_obs(unflattened=True)["sensor_data"]["3rd_view_camera"]["segmentation"][0, ..., 0].numpy()
    return {str(part.name): numbers == number for number, part in scene.segmentation_id_map.items()}


def twin_masks(env: WidowXEnv) -> dict[str, np.ndarray]:
    """(H, W) bool masks by the name of the body."""
    seen = env._backend.segmentation()
    return {env._backend.body_name(int(number)): seen == number for number in np.unique(seen)}


def union(masks: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    """The mask of several bodies together."""
    return np.any([masks[name] for name in names if name in masks], axis=0)


def starts(env: WidowXEnv) -> np.ndarray:
    """(24, 2, 3) centres of mass [m] of source and target at the reset of every episode."""
    found = []
    for episode_id in range(len(env.spec_task.layouts)):
        env.reset(seed=0, options={"episode_id": episode_id})
        scene = env.scene_state()
        found.append([scene.source.pose.position, scene.target.pose.position])
    return np.array(found)


def compare(name: str, out: Path) -> Likeness:
    """All figures of one task; writes its image."""
    task = TASKS[name]
    twin, simpler = make(name, "mujoco"), make(name, "simpler")
    pictures = [env.reset(seed=0, options={"episode_id": 0})[0]["pixels"]["primary"] for env in (twin, simpler)]
    Image.fromarray(np.hstack(pictures)).save(out / f"{name}.png")
    ours, theirs = twin_masks(twin), simpler_masks(simpler)
    links = [part for part in theirs if part.endswith("_link")]
    source = ours[task.source.name], theirs[task.source.model]
    colours = [picture[mask].mean(axis=0) for picture, mask in zip(pictures, source, strict=True)]
    twin.close()
    quick, true = make(name, "mujoco", image_size=None), simpler
    true._backend._image_size = None  # the rest needs no images
    distances = np.linalg.norm(starts(quick) - starts(true), axis=2)
    sequences = [recorded(true, k) for k in range(SEQUENCES)]
    gaps = [np.linalg.norm(path(quick, k, s) - path(true, k, s), axis=1) for k, s in enumerate(sequences)]
    wild = [
        np.linalg.norm(path(quick, k, random_actions(k)) - path(true, k, random_actions(k)), axis=1)
        for k in range(SEQUENCES)
    ]
    simpler.close()
    return Likeness(
        task=name,
        robot_iou=iou(union(ours, links), union(theirs, links)),
        gripper_iou=iou(union(ours, list(GRIPPER_PARTS)), union(theirs, list(GRIPPER_PARTS))),
        source_iou=iou(*source),
        colour_difference=float(np.abs(colours[0] - colours[1]).mean()),
        start_max=1000 * float(distances.max()),
        path_mean=1000 * float(np.concatenate(gaps).mean()),
        path_max=1000 * float(np.concatenate(gaps).max()),
        random_mean=1000 * float(np.concatenate(wild).mean()),
        random_max=1000 * float(np.concatenate(wild).max()),
    )


def main(
    *, out: Path = Path("runs/twin_vs_simpler"), tasks: tuple[str, ...] = tuple(TASKS), as_json: bool = False
) -> None:
    """Print the table and write the images.

    Args:
        out: folder for the side-by-side images.
        tasks: which tasks.
        as_json: print one JSON object as the last line.
    """
    out.mkdir(parents=True, exist_ok=True)
    print(
        "task               | robot, gripper, source IoU | colour | start max | path mean, max | random mean, max [mm]"
    )
    rows = []
    for name in tasks:
        row = compare(name, out)
        rows.append(asdict(row))
        print(
            f"{name:18} | {row.robot_iou:.3f}  {row.gripper_iou:.3f}  {row.source_iou:.3f}        | "
            f"{row.colour_difference:6.1f} | {row.start_max:9.1f} | {row.path_mean:6.2f} {row.path_max:6.1f} | "
            f"{row.random_mean:6.2f} {row.random_max:6.1f}",
            flush=True,
        )
    if as_json:
        print(json.dumps(rows))


if __name__ == "__main__":
    tyro.cli(main)
