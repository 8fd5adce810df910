"""Add an object record (`tasks.ObjectSpec`) to a MuJoCo model: its body, mass and inertia, and the geoms of its look.

Grasping and success depend on widths, heights and masses; for the built-in objects those are SIMPLER's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np

from vlm2vla_sim.core.finder import find
from vlm2vla_sim.envs.mujoco.arm import COLLISION
from vlm2vla_sim.envs.tasks import ObjectSpec
from vlm2vla_sim.errors import SettingError


def find_builder(kind: str, builder: str | Callable[..., object]) -> Callable[..., object]:
    """A builder given as a function or as "package.module:function"."""
    found: Any = find(kind, builder, {}) if isinstance(builder, str) else builder
    if not callable(found):
        raise SettingError(f"The {kind} {builder!r} is a {type(found).__name__}; expected a function.")
    return found


def add_object(spec: mujoco.MjSpec, object_spec: ObjectSpec, *, free: bool = True) -> mujoco.MjsBody:
    """Add the object to the world as a body of its name; `free` gives it a free joint.

    Raises:
        SettingError: the object has no look, or the look adds no collision geom.
    """
    name = object_spec.name
    if not object_spec.look:
        raise SettingError(
            f"The object {name!r} has no look for MuJoCo. Give its ObjectSpec `look=`: a function (body, spec) that "
            "adds its geoms, or the place of one, package.module:function."
        )
    body = spec.worldbody.add_body(name=name)
    if free:
        body.add_freejoint(name=name)
    find_builder("look", object_spec.look)(body, spec)
    touching = [geom for geom in body.geoms if int(geom.group) == COLLISION]
    if not touching:
        raise SettingError(
            f"The look of {name!r} adds no geom of group {COLLISION}, so that the object would fall through the table. "
            "Add one with drawing.paint.add_box or add_ball."
        )
    inertia = object_spec.inertia
    if inertia is not None:
        body.mass, body.ipos = inertia.mass, inertia.com
        body.fullinertia = inertia.mass * np.array(inertia.moments)
        body.explicitinertial = True
    else:
        for geom in touching:
            geom.mass, geom.density = float("nan"), object_spec.density
    return body
