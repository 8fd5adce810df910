"""How a `Variation` changes the compiled model of a scene: paint, light, table, backdrop and camera of the twin.

Sizes are in the task's records and `scale_body`, which works before the model is compiled.
"""

# MuJoCo's bindings are compiled and bring no stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco
import numpy as np

from vlm2vla_sim.core.rotations import matrix_to_quaternion, quaternion_to_matrix
from vlm2vla_sim.envs.colours import find_colour, hue
from vlm2vla_sim.envs.mujoco.drawing import scenery
from vlm2vla_sim.envs.patterns import pattern
from vlm2vla_sim.envs.tasks import Scene, Task
from vlm2vla_sim.envs.variation import Variation, part_of_scene
from vlm2vla_sim.errors import SettingError

GAMMA = 2.2
"""MuJoCo adds up light as displayed, not as radiance."""
DIRECTED = 0.25
"""Share of a surface's glow that is left where the light has a direction of its own: glow hides the direction."""
BRIGHTEST = 1.6
"""Limit of the lamp's brightness, so that sides that face a low light are not white."""
TILES = {"table": (3, 5), "backdrop": (1, 1)}
"""Tiles of a texture down and across the scene's own; the walls' own texture is repeated already."""


def paint(model: mujoco.MjModel, name: str, colour: tuple[float, float, float]) -> None:
    """Paint every part of the object `name` in one colour, RGB 0..1, in place of its texture."""
    body = model.body(name).id
    for geom in np.flatnonzero(model.geom_bodyid == body):
        material = int(model.geom_matid[geom])
        if material >= 0:
            _paint_material(model, material, colour)


def vary_model(model: mujoco.MjModel, task: Task, variation: Variation) -> None:
    """Change what is drawn; SettingError for what the scene does not have."""
    if variation.target_colour and task.target.fixed is not None:
        raise part_of_scene(task, "target_colour")
    for spec in task.objects:
        if spec.colour:
            paint(model, spec.name, find_colour(spec.colour))
    for spec, colour in ((task.source, variation.source_colour), (task.target, variation.target_colour)):
        if colour and not (spec is task.source and variation.source_texture):
            paint(model, spec.name, find_colour(colour))
    for part in TILES:
        colour, texture = getattr(variation, f"{part}_colour"), getattr(variation, f"{part}_texture")
        if colour or texture:
            _cover(model, task.scene, part, colour, texture)
    if variation.changes("light_"):
        _light(model, variation)
    if variation.changes("camera_"):
        _move_camera(model, variation)


def scale_body(spec: mujoco.MjSpec, name: str, factor: float) -> None:
    """Scale the geoms of the body `name` about its origin, before the model is compiled."""
    body = next(body for body in spec.bodies if body.name == name)
    meshes = {geom.meshname for geom in body.geoms if geom.meshname}
    for geom in body.geoms:
        geom.pos, geom.size = factor * np.array(geom.pos), factor * np.array(geom.size)
    for mesh in spec.meshes:
        if mesh.name in meshes:
            mesh.scale = factor * np.array(mesh.scale)


def wrap_in_texture(spec: mujoco.MjSpec, name: str, texture: str, colour: str) -> None:
    """Give every drawn part of the body `name` the pattern, projected from six sides, before the model is compiled."""
    body = next(body for body in spec.bodies if body.name == name)
    meshes = {geom.meshname for geom in body.geoms if geom.meshname}
    for mesh in spec.meshes:
        if mesh.name in meshes:
            mesh.usertexcoord, mesh.userfacetexcoord = [], []  # these would be read in place of the six sides
    made = spec.add_texture(name=f"pattern_{name}", type=mujoco.mjtTexture.mjTEXTURE_CUBE)
    image = pattern(texture, colour)
    made.height, made.width, made.nchannel = 6 * image.shape[0], image.shape[1], 3
    made.data = np.tile(image, (6, 1, 1)).tobytes()
    for material in spec.materials:
        if material.name in {geom.material for geom in body.geoms if geom.material}:
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = made.name
            share = 1.0 / (1.0 + material.emission)
            material.rgba = [share, share, share, 1.0]


def _paint_material(model: mujoco.MjModel, material: int, colour: tuple[float, float, float]) -> None:
    model.mat_texid[material] = -1
    share = 1.0 / (1.0 + model.mat_emission[material])
    model.mat_rgba[material, :3] = share * np.array(colour)


def _cover(model: mujoco.MjModel, scene: Scene, part: str, colour: str, texture: str) -> None:
    """Give table or backdrop another colour or texture."""
    looks = scene.table_looks if part == "table" else scene.backdrop_looks
    if not looks:
        raise SettingError(
            f"The scene {scene.name!r} does not say which of its materials are its {part} (Scene.{part}_looks); leave "
            f"{part}_colour and {part}_texture out."
        )
    for name in looks:
        material = model.material(name).id
        number = int(model.mat_texid[material].max())
        if not texture or number < 0:
            _paint_material(model, material, find_colour(colour or "gray"))
            continue
        height, width, start = model.tex_height[number], model.tex_width[number], model.tex_adr[number]
        tile, tiles = pattern(texture, colour), TILES[part]
        rows = np.arange(height) * tiles[0] * tile.shape[0] // height % tile.shape[0]
        columns = np.arange(width) * tiles[1] * tile.shape[1] // width % tile.shape[1]
        model.tex_data[start : start + height * width * 3] = tile[rows][:, columns].ravel()


def _light(model: mujoco.MjModel, variation: Variation) -> None:
    lamp = model.light("lamp").id
    directed = variation.light_azimuth is not None or variation.light_elevation is not None
    if directed:
        _aim(model, lamp, variation)
    strength = variation.light_strength ** (1 / GAMMA)
    tint = np.array(hue(variation.light_colour)) ** (1 / GAMMA)
    glow = model.mat_emission / (1 + model.mat_emission)
    colours = model.mat_rgba[:, :3] / (1 - glow[:, None])
    glow = DIRECTED * glow if directed else glow
    model.mat_rgba[:, :3] = colours * (1 - glow[:, None]) * tint
    model.mat_emission[:] = strength * glow / (1 - glow)
    model.vis.headlight.ambient[:] *= strength
    model.light_diffuse[lamp] *= strength
    model.light_specular[lamp] *= strength


def _aim(model: mujoco.MjModel, lamp: int, variation: Variation) -> None:
    """Turn the lamp; a surface that faces up keeps its brightness as far as `BRIGHTEST` allows."""
    before = model.light_dir[lamp].copy()
    azimuth, elevation = float(np.arctan2(-before[1], -before[0])), float(np.arcsin(-before[2]))
    azimuth = azimuth if variation.light_azimuth is None else np.radians(variation.light_azimuth)
    elevation = elevation if variation.light_elevation is None else np.radians(variation.light_elevation)
    level = np.cos(elevation)
    towards = np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)])
    onto_top = model.light_diffuse[lamp] * -before[2]
    centre = model.light_pos[lamp] + before / -before[2]
    model.light_dir[lamp], model.light_pos[lamp] = -towards, centre + towards
    model.light_diffuse[lamp] = np.minimum(onto_top / towards[2], BRIGHTEST)


def _move_camera(model: mujoco.MjModel, variation: Variation) -> None:
    camera = model.camera(scenery.CAMERA).id
    # MuJoCo's cameras look along -z with y up.
    right, up, back = quaternion_to_matrix(model.cam_quat[camera]).T
    forward, left, up = variation.turn_camera(np.stack([-back, -right, up], axis=1)).T
    model.cam_quat[camera] = matrix_to_quaternion(np.stack([-left, up, -forward], axis=1))
    model.cam_pos[camera] += variation.camera_shift
    if variation.camera_fov is not None:
        model.cam_fovy[camera] = variation.camera_fov
