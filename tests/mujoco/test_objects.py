"""The twin's objects weigh, measure and rest as SIMPLER's do."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from vlm2vla_sim.core.rotations import quaternion_to_matrix
from vlm2vla_sim.envs.mujoco import objects
from vlm2vla_sim.envs.mujoco.backend import MujocoBackend
from vlm2vla_sim.envs.mujoco.drawing import scenery
from vlm2vla_sim.envs.mujoco.drawing.shapes import box, lathe, loft, moved, rounded_rectangle, sheet, tube
from vlm2vla_sim.envs.tasks import BASKET, CARROT, EGGPLANT, GREEN_CUBE, PLATE, SINK, SPOON, TASKS, TOWEL, YELLOW_CUBE
from vlm2vla_sim.errors import SettingError

# kg and [m] lowest and highest corner of SIMPLER's collision meshes, model frame.
# simpler-env/ManiSkill2_real2sim@ef7a4d4 data/custom/models/*/collision.obj; masses as PhysX reports them
SIMPLER = {
    CARROT: (0.0547, (-0.0641, -0.0163, -0.0178), (0.0542, 0.0159, 0.0234)),
    PLATE: (0.0392, (-0.0550, -0.0550, 0.0), (0.0550, 0.0550, 0.0060)),
    SPOON: (0.0431, (-0.0732, -0.0178, -0.0117), (0.0679, 0.0178, 0.0153)),
    TOWEL: (0.0267, (-0.0511, -0.0508, -0.0050), (0.0499, 0.0502, 0.0061)),
    GREEN_CUBE: (0.0270, (-0.0150,) * 3, (0.0150,) * 3),
    YELLOW_CUBE: (0.0270, (-0.0150,) * 3, (0.0150,) * 3),
    EGGPLANT: (0.0209, (-0.0449, -0.0189, -0.0203), (0.0338, 0.0185, 0.0177)),
}


def model_of(spec) -> mujoco.MjModel:
    scene = mujoco.MjSpec()
    objects.add_object(scene, spec)
    return scene.compile()


def touching_corners(model: mujoco.MjModel) -> np.ndarray:
    """(n, 3) corners of the boxes around all collision geoms, model frame [m]."""
    signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    corners = []
    for geom in np.flatnonzero(model.geom_group == 3):
        local = model.geom_aabb[geom, :3] + signs * model.geom_aabb[geom, 3:]
        corners.append(local @ quaternion_to_matrix(model.geom_quat[geom]).T + model.geom_pos[geom])
    return np.concatenate(corners)


@pytest.mark.parametrize("spec", list(SIMPLER), ids=lambda spec: spec.name)
def test_an_object_weighs_what_simplers_does(spec):
    model = model_of(spec)
    body = model.body(spec.name)
    mass, low, high = SIMPLER[spec]
    assert body.mass[0] == pytest.approx(mass, abs=1e-6), "drawn and touched shapes add nothing"
    # A solid of that box and mass turns about as hard.
    sides = np.sort(np.subtract(high, low))
    least, most = mass / 12 * (sides[:2] ** 2).sum(), mass / 12 * (sides[1:] ** 2).sum()
    assert 0.3 * least < body.inertia.min() <= body.inertia.max() < 1.2 * most
    assert np.all(body.ipos > low)
    assert np.all(body.ipos < high)


@pytest.mark.parametrize("spec", list(SIMPLER), ids=lambda spec: spec.name)
def test_an_object_is_touched_where_simplers_is(spec):
    """Within 4.2 mm at far ends (the tips are blunt), and 1.5 mm in the width that the fingers meet."""
    corners = touching_corners(model_of(spec))
    _, low, high = SIMPLER[spec]
    assert np.abs(corners.min(axis=0) - low).max() < 0.0042
    assert np.abs(corners.max(axis=0) - high).max() < 0.0042
    assert np.ptp(corners[:, 1]) == pytest.approx(high[1] - low[1], abs=0.0016)


@pytest.mark.parametrize("spec", list(SIMPLER), ids=lambda spec: spec.name)
def test_an_object_is_drawn_where_it_is_touched(spec):
    model = model_of(spec)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    seen = []
    for geom in np.flatnonzero(model.geom_group == 2):
        mesh = model.geom_dataid[geom]
        start, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        seen.append(
            model.mesh_vert[start : start + count] @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]
        )
    seen, touched = np.concatenate(seen), touching_corners(model)
    assert np.abs(seen.min(axis=0) - touched.min(axis=0)).max() < 0.004
    assert np.abs(seen.max(axis=0) - touched.max(axis=0)).max() < 0.004


# COM height above the base [m] after SIMPLER's own settling, tilt of the model's z axis [degrees]; measured on the
# backend "simpler" (mani-skill 3.0.1, sapien 3.0.3), episode 0. Its spoon is one hull there, which moves the COM.
RESTING = {
    "carrot": (0.0175, 5.0),
    "plate": (0.0031, 0.0),
    "towel": (0.0039, 0.0),
    "green_cube": (0.0145, 0.0),
    "yellow_cube": (0.0145, 0.0),
    "spoon": (0.0108, 2.5),
}


@pytest.mark.parametrize("task", [name for name in TASKS if name != "eggplant_in_basket"])
def test_objects_come_to_rest_as_in_simpler(task):
    backend = MujocoBackend(TASKS[task])
    backend.reset(TASKS[task].layout(0), np.random.default_rng(0))
    model, data = backend._model, backend._data
    for spec in (TASKS[task].source, TASKS[task].target):
        height, tilt = RESTING[spec.name]
        body, start = data.body(spec.name), model.joint(spec.name).dofadr[0]
        assert body.xipos[2] == pytest.approx(height, abs=0.001)
        assert np.degrees(np.arccos(body.xmat[8])) == pytest.approx(tilt, abs=1.0)
        assert np.abs(data.qvel[start : start + 3]).max() < 1e-3
        assert np.abs(data.qvel[start + 3 : start + 6]).max() < 1e-2


def dropped_eggplant(x: float, y: float) -> np.ndarray:
    """(3,) [m]: where an eggplant released just above (x, y) in the sink lies three seconds later."""
    scene = mujoco.MjSpec()
    scene.compiler.degree = False
    scenery.add_support(scene, SINK)
    objects.add_object(scene, EGGPLANT)
    for geom in scene.geoms:
        if int(geom.group) == 3:
            geom.condim, geom.friction = 6, [0.75, 0.005, 0.003]
    model = scene.compile()
    data = mujoco.MjData(model)
    data.qpos[:7] = [x, y, 0.17, 0, 0, 0, 1]
    mujoco.mj_step(model, data, nstep=round(3.0 / model.opt.timestep))
    return data.body("eggplant").xipos.copy()


def test_the_tub_and_the_basket_hold_an_eggplant_at_simplers_heights():
    # SIMPLER's eggplants rest at 0.0869 .. 0.0889 in the tub; the basket's floor is 7 mm higher.
    tub, basket = dropped_eggplant(0.24, -0.14), dropped_eggplant(0.255, 0.030)
    assert tub[2] == pytest.approx(0.0879, abs=0.0015)
    assert basket[2] == pytest.approx(0.0950, abs=0.0025)
    assert -0.02 < basket[1] < 0.085, "still in the basket"


def test_an_eggplant_cannot_fall_through_the_sink():
    for x in np.linspace(0.20, 0.33, 4):
        for y in np.linspace(-0.22, 0.07, 7):
            assert dropped_eggplant(float(x), float(y))[2] > 0.08


def test_the_basket_has_no_body_of_its_own_and_says_so():
    with pytest.raises(SettingError, match="'basket' has no look"):
        objects.add_object(mujoco.MjSpec(), BASKET)


def volume(mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def test_shapes_face_outward():
    """MuJoCo draws only fronts: an inside-out carrot shows its far inner wall, lit from the wrong side."""
    assert volume(box((0, 0, 0), (1, 2, 3))) == pytest.approx(6)
    assert volume(moved(box((0, 0, 0), (1, 2, 3)), (5, 5, 5), yaw=1.0)) == pytest.approx(6)
    ball = [(x, r, -r, r) for x in np.linspace(-1, 1, 60) for r in [np.sqrt(max(1 - x * x, 1e-9))]]
    assert volume(loft(np.array(ball), around=60)) == pytest.approx(4 / 3 * np.pi, rel=0.02)
    assert volume(lathe(np.array([(0, 0), (1, 0), (1, 2), (0, 2)]), around=90)) == pytest.approx(2 * np.pi, rel=0.01)
    curves = [rounded_rectangle((0, 0), (2, 1), z, (0.1,) * 4) for z in (0.0, 1.0)]
    ends = [np.broadcast_to(c.mean(axis=0), c.shape) for c in curves]
    assert volume(sheet(np.stack([ends[0], *curves, ends[1]]))) == pytest.approx(2, rel=0.02)
    rod = tube(np.array([(0, 0, 0), (0, 0, 1), (0, 0, 2)]), 0.1, around=40)
    outward = np.cross(*(np.diff(rod.vertices[rod.faces], axis=1).transpose(1, 0, 2)))
    centres = rod.vertices[rod.faces].mean(axis=1) * [1, 1, 0]
    assert np.all(np.einsum("ij,ij->i", outward, centres) > 0)
