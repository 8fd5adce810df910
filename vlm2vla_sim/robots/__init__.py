"""Robot descriptions. `get_robot` finds one by name, or your own as "package.module:NAME"."""

from __future__ import annotations

from vlm2vla_sim.core.finder import find
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.robots.base import Robot

ROBOTS = {
    "widowx_250s": "vlm2vla_sim.robots.widowx_250s:WIDOWX_250S",
    "widowx_ai": "vlm2vla_sim.robots.widowx_ai:WIDOWX_AI",
}
"""Name -> "module:NAME". The module is imported when the robot is asked for."""


def get_robot(robot: Robot | str) -> Robot:
    """The robot of that name, "package.module:NAME", or the record itself.

    UnknownNameError when there is none, SettingError when the name leads to something else.
    """
    found = robot if isinstance(robot, Robot) else find("robot", robot, ROBOTS)
    if not isinstance(found, Robot):
        raise SettingError(
            f"The robot {robot!r} is a {type(found).__name__}; expected a vlm2vla_sim.robots.base.Robot."
        )
    return found
