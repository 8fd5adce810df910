"""The camera that an environment tells of is the one that draws its pictures."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import vlm2vla_sim  # noqa: F401 - registers the environments
from vlm2vla_sim.evaluation.setup import widowx

MOVED = {"camera_shift_x": 3.0, "camera_shift_z": -2.0, "camera_yaw": 6.0, "camera_pitch": -4.0, "camera_fov": 50.0}


@pytest.mark.parametrize(("size", "options"), [((240, 320), {}), ((240, 400), MOVED)])
def test_objects_are_seen_where_the_camera_projects_them(size, options):
    env = gym.make("vlm2vla/WidowXStackCube-v0", image_size=size, **options)
    env.reset(options={"episode_id": 3})
    inner = widowx(env)
    bodies = inner._backend.segmentation()
    for cube in (inner.scene_state().source, inner.scene_state().target):
        numbers = [number for number in np.unique(bodies) if inner._backend.body_name(int(number)) == cube.name]
        rows_columns = np.argwhere(np.isin(bodies, numbers))
        middle = (rows_columns.min(axis=0) + rows_columns.max(axis=0) + 1)[::-1] / 2
        seen = inner.geometry.camera.project(cube.pose.position[None])[0]
        np.testing.assert_allclose(seen, middle, atol=2.0)
    env.close()
