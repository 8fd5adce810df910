"""The SIMPLER scenes for the tests of this folder, or the reason why they cannot run here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import pytest
from lane import cannot_run

from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.simpler import assets, devices


def why_not() -> str:
    """Why the SIMPLER scenes cannot run here; empty when they can."""
    if importlib.util.find_spec("mani_skill") is None:
        return "mani_skill is not installed: pip install 'vlm2vla_sim[simpler]'"
    inventory = assets.inspect()
    if inventory.missing:
        return " ".join(inventory.lines())
    return devices.probe().problem


@pytest.fixture(scope="session")
def true_scenes() -> None:
    """Ask for this in whatever makes an environment, so that it is not tried in vain."""
    reason = why_not()
    if reason:
        cannot_run("simpler", reason)


@pytest.fixture(scope="session")
def make_env(true_scenes: None) -> Iterator[Callable[..., WidowXEnv]]:
    """`make_env(task, **options)`: an environment on the SIMPLER scenes; the same arguments give the same one again."""
    made: dict[tuple[object, ...], WidowXEnv] = {}

    def make(task: str, **options: object) -> WidowXEnv:
        key = (task, *sorted(options.items()))
        if key not in made:
            made[key] = WidowXEnv(task, backend="simpler", **options)  # pyright: ignore[reportArgumentType]
        return made[key]

    yield make
    for env in made.values():
        env.close()
