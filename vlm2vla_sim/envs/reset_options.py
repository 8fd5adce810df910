"""The options of `WidowXEnv.reset`, and the layout they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vlm2vla_sim.envs.tasks import Layout, Task
from vlm2vla_sim.errors import EpisodeError, SettingError, unknown_name

RESET_OPTIONS = ("episode_id", "layout")
LAYOUTS = ("grid", "random")


def choose_layout(
    task: Task, options: Mapping[str, Any] | None, default: str, rng: np.random.Generator, margin: float = 0.0
) -> tuple[Layout, int]:
    """The layout of the next episode, and its number.

    Args:
        task: whose layouts.
        options: of `reset`; an option that is None counts as not given.
        default: one of `LAYOUTS`, where the options ask for none.
        rng: draws the episode of the grid, or the random layout.
        margin: [cm] by which random layouts may leave the task's region (`Variation.layout_margin`).

    Returns:
        The layout, and the number of SIMPLER's episode; -1 for a random layout.

    Raises:
        EpisodeError: there is no such episode, or `options` is no mapping.
        UnknownNameError: an option or a layout that does not exist.
        SettingError: an episode of the grid and a random layout at once, or a margin with an episode of the grid.
    """
    if options is not None and not isinstance(options, Mapping):
        raise EpisodeError(f"The options of reset are {options!r}; expected a mapping such as {{'episode_id': 3}}.")
    given = {key: value for key, value in (options or {}).items() if value is not None}
    for key in options or {}:
        if key not in RESET_OPTIONS:
            raise unknown_name("reset option", key, RESET_OPTIONS)
    kind = given.get("layout", default)
    if not isinstance(kind, str) or kind not in LAYOUTS:
        raise unknown_name("layout", kind, LAYOUTS)
    if margin and (kind != "random" or "episode_id" in given):
        raise SettingError(
            f"layout_margin={margin:g} is for random layouts, and an episode of the grid was asked for. Use "
            "layouts='random', or --layouts random, or leave layout_margin out."
        )
    if "episode_id" in given:
        if given.get("layout") == "random":
            raise SettingError(
                f"The options of reset ask for episode {given['episode_id']} of the grid and for a random layout. "
                "Leave out one of episode_id and layout."
            )
        return task.layout(given["episode_id"]), int(given["episode_id"])
    if kind == "random":
        return task.random_layout(rng, margin / 100), -1
    episode_id = int(rng.integers(len(task.layouts)))
    return task.layout(episode_id), episode_id
