"""The rule "settled" on the twin: on states that are built by hand, and at every step of whole episodes."""

# MuJoCo's bindings are compiled and bring no stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import dataclasses
import json

import mujoco
import numpy as np
import pytest

from vlm2vla_sim.core import frames
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.judge import REST_STEPS, UNKNOWN
from vlm2vla_sim.envs.robot_link.ground_truth import scene_from_json, scene_to_json
from vlm2vla_sim.envs.tasks import TASKS
from vlm2vla_sim.errors import EpisodeError, LinkLostError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.testing import PointBackend
from vlm2vla_sim.types import Outcome, SceneState

HOLD = np.array([0, 0, 0, 0, 0, 0, 1], np.float32)


def made(task: str) -> WidowXEnv:
    env = WidowXEnv(task, image_size=None)
    env.reset(seed=0, options={"episode_id": 0})
    return env


def put(env: WidowXEnv, offset: tuple[float, float, float], *, velocity: float = 0.0, yaw: float = 0.0) -> None:
    """Place the source's centre of mass at `offset` [m] from the target's, moving up with `velocity` [m/s]."""
    backend = env._backend
    joint = backend._model.joint(env.spec_task.source.name)
    turn = frames.rotvec_to_quaternion(np.array([0.0, 0.0, yaw]))
    at = env.scene_state().target.pose.position + offset
    at -= frames.quaternion_to_matrix(turn) @ backend._model.body(env.spec_task.source.name).ipos
    backend._data.qpos[joint.qposadr[0] : joint.qposadr[0] + 7] = [*at, *turn]
    backend._data.qvel[joint.dofadr[0] : joint.dofadr[0] + 6] = [0, 0, velocity, 0, 0, 0]
    mujoco.mj_forward(backend._model, backend._data)


def steps(env: WidowXEnv, count: int) -> list[tuple[bool, bool, bool]]:
    """(success, released, settled) after each of `count` steps that hold still."""
    infos = [env.step(HOLD)[4] for _ in range(count)]
    return [(info["is_success"], info["released"], info["settled"]) for info in infos]


LIES, NOT_YET, NOWHERE = (True, True, True), (True, True, False), (False, False, False)


def test_a_cube_that_lies_on_the_other_is_settled_after_two_still_steps():
    env = made("stack_cube")
    put(env, (0, 0, 0.030))
    assert steps(env, 4)[-2:] == [LIES, LIES]
    scene = env.scene_state()
    assert (scene.touches_target, scene.touches_robot, scene.touching) == (True, False, frozenset())


def test_a_cube_that_hangs_19_mm_above_the_other_is_released_and_never_settled():
    env = made("stack_cube")
    env._backend._model.body_gravcomp[env._backend._model.body("green_cube").id] = 1.0
    put(env, (0, 0, 0.030 + 0.019))
    assert steps(env, 4) == [NOT_YET] * 4
    assert env.scene_state().touches_target is False


def test_a_cube_in_flight_at_the_last_step_is_released_and_not_settled():
    """Thrown up so that it is 19 mm above the other again when the step of 0.2 s ends."""
    env = made("stack_cube")
    put(env, (0, 0, 0.030 + 0.019), velocity=9.81 * 0.1)
    assert steps(env, 1) == [NOT_YET]
    height = env.scene_state().source.pose.position[2] - env.scene_state().target.pose.position[2]
    assert height == pytest.approx(0.049, abs=0.003)
    assert steps(env, 6)[-1] == LIES, "it has fallen on the other and lies there"


def test_a_spoon_that_rests_on_the_table_too_counts_for_simpler_and_is_not_settled():
    env = made("spoon_on_towel")
    put(env, (0.0, 0.068, 0.030), yaw=np.pi / 2)
    said = steps(env, 6)
    scene = env.scene_state()
    assert scene.touches_target
    assert scene.touching == {"table"}
    assert said[-1] == NOT_YET
    put(env, (0.0, 0.0, 0.030), yaw=np.pi / 2)
    assert steps(env, 6)[-1] == LIES


def test_an_eggplant_settles_in_the_basket_and_not_on_its_rim_or_above_it():
    env = made("eggplant_in_basket")
    put(env, (0.0, -0.02, 0.05))
    assert steps(env, 12)[-1] == LIES
    assert env.scene_state().touching == frozenset(), "a part of the basket is the target"
    env._backend._model.body_gravcomp[env._backend._model.body("eggplant").id] = 1.0
    put(env, (0.0, -0.02, 0.05))
    assert steps(env, 4) == [NOT_YET] * 4


@pytest.mark.parametrize("task", TASKS)
def test_it_is_not_settled_as_long_as_the_gripper_or_anything_else_touches_it(task):
    """Every step of an episode: from the hand that opens to the object that lies still."""
    seen: list[tuple[SceneState, bool, bool]] = []

    class Watched(WidowXEnv):
        def step(self, action):
            result = super().step(action)
            seen.append((self.scene_state(), result[4]["released"], result[4]["settled"]))
            return result

    result = run_episode(Watched(task, image_size=None), "scripted", episode_id=3)
    assert result.outcome is Outcome.SUCCESS
    assert result.success_settled is True
    first = next(k for k, (_, _, settled) in enumerate(seen) if settled)
    let_go = next(k for k, (_, released, _) in enumerate(seen) if released)
    assert first >= let_go + 1, "released comes first"
    for k, (scene, released, settled) in enumerate(seen):
        if not settled:
            continue
        assert released
        assert scene.touches_target
        assert not scene.touches_robot
        assert not scene.grasped
        for before, *_ in seen[k - REST_STEPS : k]:
            assert np.linalg.norm(before.source.pose.position - scene.source.pose.position) <= 0.001
    assert any(scene.touches_robot and released for scene, released, _ in seen) or first > let_go + 1


@pytest.mark.parametrize("backend", ["mujoco", "point"])
def test_nothing_of_an_episode_is_left_in_the_flags_of_the_next_one(backend):
    env = WidowXEnv("stack_cube", backend=backend, image_size=None)
    run_episode(env, "scripted", episode_id=3)
    _, info = env.reset(seed=0, options={"episode_id": 3})
    assert {name: info[name] for name in UNKNOWN} == dict.fromkeys(UNKNOWN, False)
    assert info["is_success"] is False
    info = env.step(HOLD)[4]
    assert {name: info[name] for name in UNKNOWN} == dict.fromkeys(UNKNOWN, False)


def test_a_reset_that_fails_leaves_no_state_of_the_episode_before():
    class FailsOnce(PointBackend):
        resets = 0

        def reset(self, layout, rng):
            FailsOnce.resets += 1
            if FailsOnce.resets == 2:
                raise LinkLostError("The arm does not answer.")
            super().reset(layout, rng)

    env = WidowXEnv("stack_cube", backend=FailsOnce, image_size=None)
    run_episode(env, "scripted", episode_id=3)
    assert env.scene_state().touches_target
    with pytest.raises(LinkLostError):
        env.reset(seed=0)
    for call in (env.scene_state, lambda: env.step(HOLD)):
        with pytest.raises(EpisodeError, match=r"Call env\.reset\(\) first"):
            call()
    env.reset(seed=0)
    assert env.step(HOLD)[4]["grasped"] is False


def test_a_backend_without_contacts_says_unknown_from_the_first_moment_to_the_result():
    class NoContacts(PointBackend):
        def status(self):
            status = super().status()
            assert status.scene is not None
            return dataclasses.replace(
                status, scene=dataclasses.replace(status.scene, touches_target=None, touches_robot=None)
            )

    env = WidowXEnv("stack_cube", backend=NoContacts, image_size=None)
    assert env.reset(seed=0)[1]["settled"] is None
    assert env.step(HOLD)[4]["settled"] is None
    for policy, outcome in (("scripted", Outcome.SUCCESS), ("hold", Outcome.FAILURE)):
        result = run_episode(env, policy, episode_id=3)
        assert (result.outcome, result.success_settled) == (outcome, None)


def test_the_state_channel_of_the_mock_robot_carries_the_contacts():
    with_another = made("stack_cube").scene_state()
    with_another = dataclasses.replace(with_another, others=(with_another.target,))
    for scene in (made("stack_cube").scene_state(), made("eggplant_in_basket").scene_state(), with_another):
        values = json.loads(json.dumps(scene_to_json(scene)))
        assert scene_to_json(scene_from_json(values)) == values
        assert len(scene_from_json(values).others) == len(scene.others)
        older = {key: value for key, value in values.items() if not key.startswith("touches_")}
        assert scene_from_json(older).touches_target is None
        assert scene_from_json(older).touches_robot is None
