"""What the environment returns as an observation: its parts, its space, and the form a learning library needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from gymnasium import spaces

from vlm2vla_sim.envs.lazy_images import LazyImages
from vlm2vla_sim.errors import EpisodeError, SettingError, unknown_name

Observation = dict[str, Any]
"""{"pixels": {"primary": (H, W, 3) uint8 RGB}, "agent_pos": (7,) float32 as `Robot.agent_pos`}"""

FORMS = ("dict", "flat", "image")
"""The forms of an observation:

"dict": `Observation`, which LeRobot and the policies of this package read.
"flat": a dictionary of one level, {"primary": (H, W, 3) uint8, "agent_pos": (7,) float32}, one key for each camera; for
libraries that take no dictionary in a dictionary (the MultiInputPolicy of Stable-Baselines3).
"image": the image of the camera "primary" and nothing else, (H, W, 3) uint8; for libraries that take one image (the
CnnPolicy of Stable-Baselines3).
"""


def check_form(form: str, image_size: tuple[int, int] | None, cameras: Iterable[str]) -> str:
    """`form` if it is one of `FORMS` and can hold the images; UnknownNameError or SettingError otherwise.

    cameras: the names of the cameras besides "primary".
    """
    if form not in FORMS:
        raise unknown_name("form of observation", form, FORMS)
    if form == "image" and image_size is None:
        raise SettingError("observation='image' needs an image, and image_size=None renders none. Give an image_size.")
    if form == "image" and list(cameras):
        raise SettingError(
            f"observation='image' is the image of the camera 'primary' alone; {', '.join(cameras)} would be left out. "
            "Use observation='flat', or leave the cameras out."
        )
    return form


def observation_space(
    image_size: tuple[int, int] | None,
    cameras: Mapping[str, tuple[int, int]] = MappingProxyType({}),
    form: str = "dict",
) -> spaces.Space[Any]:
    """The space of an observation.

    Args:
        image_size: (height, width) of the image of "primary"; None for no images.
        cameras: (height, width) of the image of every other camera, by name.
        form: one of `FORMS`.
    """
    # Wide but finite: metres, radians (Euler angles reach +-pi), opening.
    low = np.array([-1, -1, -1, -np.pi, -np.pi, -np.pi, 0], np.float32)
    high = np.array([1, 1, 1, np.pi, np.pi, np.pi, 1], np.float32)
    state = spaces.Box(low, high)
    sizes = {} if image_size is None else {"primary": image_size, **cameras}
    images: dict[str, spaces.Space[Any]]
    images = {name: spaces.Box(0, 255, (*size, 3), np.uint8) for name, size in sizes.items()}
    if form == "image":
        return images["primary"]
    if form == "flat":
        return spaces.Dict({"agent_pos": state, **images})
    return spaces.Dict({"agent_pos": state, **({"pixels": spaces.Dict(images)} if images else {})})


def in_form(observation: Observation, form: str) -> Any:
    """A copy of `observation` in `form`; it shares no array with it. `LazyImages` stay lazy."""
    pixels = observation.get("pixels", {})
    if isinstance(pixels, LazyImages):
        copied = LazyImages(pixels.keys(), lambda: {name: image.copy() for name, image in pixels.drawn().items()})
        return {"pixels": copied, "agent_pos": observation["agent_pos"].copy()}
    images = {name: image.copy() for name, image in observation.get("pixels", {}).items()}
    if form == "image":
        return images["primary"]
    state = {"agent_pos": observation["agent_pos"].copy()}
    if form == "flat":
        return {**state, **images}
    return {**({"pixels": images} if images else {}), **state}


def check_image_size(size: tuple[int, int], name: str = "image_size") -> tuple[int, int]:
    """(height, width) as whole numbers; EpisodeError unless both are from 16 to 4096.

    name: what the size is called in the error.
    """
    numbers = list(size) if isinstance(size, Iterable) else []
    whole = [n for n in numbers if isinstance(n, (int, float, np.integer)) and n in range(16, 4097)]
    if len(numbers) != 2 or len(whole) != 2:
        raise EpisodeError(f"{name} is {size!r}; expected (height, width), each a whole number from 16 to 4096.")
    return int(whole[0]), int(whole[1])
