"""Variations of the SIMPLER scenes: sizes, paint, distractors, start, light and camera, all in one environment."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.simpler.maniskill3 import CAMERA
from vlm2vla_sim.evaluation.episode import run_episode

pytestmark = pytest.mark.simpler
MakeEnv = Callable[..., WidowXEnv]
VARIED = {
    "source_size": 1.15,
    "source_texture": "stripes",
    "target_colour": "cyan",
    "distractors": 2,
    "start_y": 4.0,
    "light_strength": 0.5,
    "light_azimuth": 90,
    "table_colour": "navy",
    "camera_yaw": 3.0,
    "camera_fov": 36,
}


def test_a_scene_that_differs_in_everything_is_solved_and_leaves_the_next_one_alone(make_env: MakeEnv) -> None:
    plain = make_env("carrot_on_plate")
    before = plain.reset(options={"episode_id": 5})[0]["pixels"]["primary"]
    usual = plain.status
    assert usual.scene is not None
    varied = WidowXEnv("carrot_on_plate", backend="simpler", **VARIED)
    result = run_episode(varied, "scripted", episode_id=5, seed=1)
    assert result.reason == ""
    assert result.success_settled

    image = varied.reset(seed=1, options={"episode_id": 5})[0]["pixels"]["primary"]
    robot, scene = varied.status.robot, varied.scene_state()
    assert [other.name for other in scene.others] == ["spoon", "green_cube"]
    assert np.allclose(robot.tcp.position - usual.robot.tcp.position, [0, 0.04, 0], atol=1e-3)
    assert np.allclose(scene.source.extents, 1.15 * usual.scene.source.extents)
    ground = varied.spec_task.scene.support_height - varied.spec_task.scene.base.z
    heights = [one.source.pose.position[2] - ground for one in (scene, usual.scene)]
    assert heights[0] / heights[1] == pytest.approx(1.15, abs=0.03)
    masses = [env._backend.simulation.env.objs[env.spec_task.source.model]._bodies[0].mass for env in (varied, plain)]
    assert masses[0] / masses[1] == pytest.approx(1.15**3, rel=0.01)

    # Between robot and objects is the photo, turned and painted as `envs.photo` does it.
    photo = varied._backend.simulation.env._rgb_overlay_images[CAMERA].cpu().numpy()
    behind = (image == photo).all(axis=-1)
    assert 0.6 < behind.mean() < 0.98
    red, _, blue = image[~behind].reshape(-1, 3).mean(axis=0)
    assert blue > 1.2 * red, "the plate is cyan and the carrot striped in blue"
    varied.close()
    assert np.array_equal(plain.reset(options={"episode_id": 5})[0]["pixels"]["primary"], before)


def test_the_light_reaches_what_glows_of_itself(make_env: MakeEnv) -> None:
    images = {}
    for strength in (1.0, 0.4):
        options = {} if strength == 1 else {"light_strength": strength}
        env = make_env("stack_cube", **options)
        images[strength] = env.reset(options={"episode_id": 3})[0]["pixels"]["primary"].astype(float)
    share = images[0.4] / np.maximum(images[1.0], 1)
    # Photo, robot and cubes alike: 0.4 of the light is 0.66 of the brightness.
    assert np.percentile(share[images[1.0] > 60], [2, 98]) == pytest.approx([0.659, 0.659], abs=0.09)
