"""Variations of a scene: what differs from SIMPLER's own, as flat options that both simulators take by name.

A policy that finds the carrot by its colour, or because the camera never moves, scores like one that recognises carrots
until a scene differs in just that. The defaults change nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlm2vla_sim.core.rotations import quaternion_to_matrix, rotvec_to_matrix
from vlm2vla_sim.envs.colours import find_colour
from vlm2vla_sim.envs.patterns import PATTERNS
from vlm2vla_sim.envs.tasks import ObjectSpec, RestPose, Task
from vlm2vla_sim.errors import SettingError, unknown_name
from vlm2vla_sim.robots.kinematics import ArmKinematics
from vlm2vla_sim.types import Pose


def _number(default: float | None, low: float, high: float, unit: str, *, whole: bool = False) -> Any:
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "unit": unit, "whole": whole})


def _name(kind: str) -> Any:
    return dataclasses.field(default="", metadata={"kind": kind})


@dataclass(frozen=True)
class Variation:
    """What differs from SIMPLER's scene. Lengths are in cm and angles in degrees; axes are those of the robot's base.

    A colour is a name of `colours.COLOURS` or six hexadecimal digits ("#ffd9a0"), a texture a name of
    `patterns.PATTERNS`; an empty text leaves the scene's own. A backend refuses what it cannot do.
    """

    light_strength: float = _number(1.0, 0.1, 3.0, "times")
    """Times the scene's own light, as radiance: half the light is 0.73 of the brightness in an image."""
    light_azimuth: float | None = _number(None, -360, 360, "degrees")
    """[degrees] where the main light comes from, about the vertical: 0 from ahead of the robot, 90 from its left."""
    light_elevation: float | None = _number(None, 15, 90, "degrees")
    """[degrees] of the main light above the horizon; 90 shines straight down."""
    light_colour: str = _name("colour")
    """Of all light: its brightest channel keeps its strength."""
    table_colour: str = _name("colour")
    """Of the table."""
    table_texture: str = _name("texture")
    """Of the table, in `table_colour` where that is given."""
    backdrop_colour: str = _name("colour")
    """Of what is behind and below the table."""
    backdrop_texture: str = _name("texture")
    """The same, in `backdrop_colour` where that is given."""
    camera_shift_x: float = _number(0.0, -15, 15, "cm")
    """[cm] of the camera "primary", forward."""
    camera_shift_y: float = _number(0.0, -15, 15, "cm")
    """[cm] to the left."""
    camera_shift_z: float = _number(0.0, -15, 15, "cm")
    """[cm] up."""
    camera_yaw: float = _number(0.0, -20, 20, "degrees")
    """[degrees] turn of the camera to the left, about the vertical."""
    camera_pitch: float = _number(0.0, -20, 20, "degrees")
    """[degrees] turn of the camera upward."""
    camera_fov: float | None = _number(None, 20, 70, "degrees")
    """[degrees] vertical field of view; SIMPLER's is 42.1."""
    source_colour: str = _name("colour")
    """Of the object that is to be moved, in place of its texture."""
    target_colour: str = _name("colour")
    """The same for the object it is put on."""
    source_texture: str = _name("texture")
    """Of the object that is to be moved, in `source_colour` where that is given."""
    source_size: float = _number(1.0, 0.5, 1.5, "times")
    """Times the size of the object that is to be moved: mesh, collision, declared extents; its mass by the cube."""
    target_size: float = _number(1.0, 0.5, 1.5, "times")
    """The same for the object it is put on."""
    distractors: int = _number(0, 0, 4, "objects", whole=True)
    """Number of further objects on the table, placed at random at every reset."""
    start_x: float = _number(0.0, -15, 15, "cm")
    """[cm] by which the gripper starts ahead of its usual place."""
    start_y: float = _number(0.0, -15, 15, "cm")
    """[cm] to the left."""
    start_z: float = _number(0.0, -15, 15, "cm")
    """[cm] up."""
    layout_margin: float = _number(0.0, 0, 10, "cm")
    """[cm] by which random layouts may leave the task's region, on every side; for layouts="random" only."""
    image_noise: float = _number(0.0, 0, 100, "grey levels")
    """Standard deviation of Gaussian noise, new in every image and channel [0..255]."""
    jpeg_quality: int = _number(0, 0, 100, "", whole=True)
    """Quality of a JPEG compression, 1 (worst) to 100; 0 for none."""
    image_brightness: float = _number(1.0, 0.1, 3, "times")
    """Factor of all pixel values."""
    image_contrast: float = _number(1.0, 0.1, 3, "times")
    """Factor of each pixel's difference from the image's mean."""
    image_saturation: float = _number(1.0, 0.0, 3, "times")
    """Factor of each pixel's difference from its own grey; 0 makes the image grey."""
    image_tint: str = _name("colour")
    """Colour that multiplies the image; its brightest channel stays."""

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if "kind" in entry.metadata:
                self._check_name(entry, value)
            elif value is not None or entry.default is not None:
                _check_number(entry, value)

    @staticmethod
    def _check_name(entry: dataclasses.Field[Any], value: object) -> None:
        if not isinstance(value, str):
            raise SettingError(f"{entry.name} is {value!r}; expected the name of a {entry.metadata['kind']}.")
        if value and entry.metadata["kind"] == "colour":
            find_colour(value)
        elif value and value not in PATTERNS:
            raise unknown_name("texture", value, PATTERNS)

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the options that are not at their default."""
        return tuple(entry.name for entry in dataclasses.fields(self) if getattr(self, entry.name) != entry.default)

    def changes(self, *beginnings: str) -> tuple[str, ...]:
        """Those of `changed` that begin with one of `beginnings`."""
        return tuple(name for name in self.changed if name.startswith(beginnings))

    # What both simulators compute from it.

    def scale(self, task: Task) -> Task:
        """`task` with objects of these sizes; SettingError for an object that is part of the scene."""
        if self.target_size != 1 and task.target.fixed is not None:
            raise part_of_scene(task, "target_size")
        source, target = scale_object(task.source, self.source_size), scale_object(task.target, self.target_size)
        floor = task.scene.support_height - task.scene.base.z
        rests = tuple(_scale_rest(rest, self.source_size, floor) for rest in task.source_rests)
        return dataclasses.replace(task, source=source, target=target, source_rests=rests)

    def home(self, task: Task) -> np.ndarray:
        """(n,) [rad] joint angles at the start of an episode; SettingError where the arm does not reach them."""
        home = np.array(task.setup.home)
        shift = np.array([self.start_x, self.start_y, self.start_z]) / 100
        if not shift.any():
            return home
        chain = ArmKinematics(task.arm)
        usual = chain.forward(home)
        place = usual.position + shift
        box = task.setup.workspace
        inside = bool((place >= box.low).all() and (place <= box.high).all())
        angles = chain.solve(Pose(place, usual.quaternion), home) if inside else None
        if angles is None:
            given = ", ".join(f"{name}={getattr(self, name):g}" for name in self.changes("start_"))
            raise SettingError(f"The gripper cannot start there ({given} cm): it is out of the arm's reach.")
        return angles

    def turn_camera(self, axes: np.ndarray) -> np.ndarray:
        """(3, 3) columns of a camera's forward, left and up, turned by yaw and pitch; base frame."""
        yaw = rotvec_to_matrix(np.array([0.0, 0.0, math.radians(self.camera_yaw)]))
        return yaw @ rotvec_to_matrix(-math.radians(self.camera_pitch) * axes[:, 1]) @ axes

    @property
    def camera_shift(self) -> np.ndarray:
        """(3,) [m] of the camera "primary"; base frame."""
        return np.array([self.camera_shift_x, self.camera_shift_y, self.camera_shift_z]) / 100


OPTIONS = tuple(entry.name for entry in dataclasses.fields(Variation))


def take_variation(options: Mapping[str, Any]) -> tuple[Variation, dict[str, Any]]:
    """The variation that is given among `options`, and the other options."""
    given = {name: value for name, value in options.items() if name in OPTIONS}
    return Variation(**given), {name: value for name, value in options.items() if name not in OPTIONS}


def scale_object(spec: ObjectSpec, factor: float) -> ObjectSpec:
    """The record of the object at `factor` times its size, of the same density."""
    if factor == 1:
        return spec
    x, y, z = (factor * length for length in spec.extents)
    inertia = spec.inertia
    if inertia is not None:
        com = _times(inertia.com, factor)
        moments = _times(inertia.moments, factor**2)
        inertia = dataclasses.replace(inertia, mass=inertia.mass * factor**3, com=com, moments=moments)
    return dataclasses.replace(spec, extents=(x, y, z), inertia=inertia)


def part_of_scene(task: Task, option: str) -> SettingError:
    """The error for `option` where the target has no body of its own."""
    return SettingError(
        f"The {task.target.name} is part of the scene {task.scene.name!r}, and {option} cannot change it; leave it out."
    )


def refuse(names: Iterable[str], why: str) -> None:
    """SettingError with the sentence `why` if there are any `names`."""
    names = list(names)
    if names:
        raise SettingError(f"{', '.join(names)}: {why}")


def axes_of(quaternion: tuple[float, float, float, float]) -> np.ndarray:
    """(3, 3) columns: a camera's forward, left and up."""
    return quaternion_to_matrix(np.array(quaternion) / np.linalg.norm(quaternion))


def _scale_rest(rest: RestPose, factor: float, floor: float) -> RestPose:
    """The rest pose of an object of `factor` times its size: its centre is as many times as high above the floor."""
    if factor == 1:
        return rest
    x, y, z = rest.position
    return dataclasses.replace(rest, position=(x, y, floor + factor * (z - floor)))


def _times(numbers: tuple[float, ...], factor: float) -> Any:
    return tuple(factor * number for number in numbers)


def _check_number(entry: dataclasses.Field[Any], value: object) -> None:
    low, high = entry.metadata["low"], entry.metadata["high"]
    number = isinstance(value, int if entry.metadata["whole"] else (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # pyright: ignore[reportOperatorIssue]
        unit = f" {entry.metadata['unit']}" if entry.metadata["unit"] else ""
        kind = ", a whole number" if entry.metadata["whole"] else ""
        raise SettingError(f"{entry.name} is {value!r}; expected {low:g} to {high:g}{unit}{kind}.")
