"""Painted objects and distractors: seen, apart from the rest, the same again from a seed, and harmless."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from vlm2vla_sim.envs.colours import COLOURS
from vlm2vla_sim.errors import SettingError, UnknownNameError
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite


def start(task: str, seed: int = 3, **options):
    env = gym.make(f"vlm2vla_sim:vlm2vla/{task}-v0", **options).unwrapped
    observation, _ = env.reset(seed=seed, options={"episode_id": 4})
    return env, observation["pixels"]["primary"]


@pytest.mark.parametrize(("which", "name"), [("source_colour", "carrot"), ("target_colour", "plate")])
def test_an_object_is_painted_and_nothing_else_changes(which, name):
    plain, before = start("WidowXCarrotOnPlate")
    painted, after = start("WidowXCarrotOnPlate", **{which: "magenta"})
    shown = painted._backend.segmentation()
    number = next(n for n in np.unique(shown) if painted._backend.body_name(int(n)) == name)
    inside = shown == number
    red, green, blue = after[inside].astype(float).mean(axis=0)
    assert min(red, blue) > 2 * green, "magenta"
    assert abs(red / blue - COLOURS["magenta"][0] / COLOURS["magenta"][2]) < 0.35
    changed = np.abs(before.astype(int) - after).max(axis=2) > 12
    assert (changed & ~inside).mean() < 0.002, "no more than the object's rim"
    plain.close(), painted.close()


def test_distractors_lie_apart_from_the_tasks_objects_and_anew_with_every_seed():
    env, _ = start("WidowXCarrotOnPlate", distractors=3)
    names = [other.name for other in env._backend._distractors]
    assert names == ["spoon", "green_cube", "yellow_cube"]
    places = []
    for seed in (3, 3, 4):
        env.reset(seed=seed, options={"layout": "random"})
        spots = {name: env._backend._com(name).position[:2].copy() for name in ("carrot", "plate", *names)}
        places.append(np.array(list(spots.values())))
        gaps = [np.linalg.norm(a - b) for i, a in enumerate(places[-1]) for b in places[-1][:i]]
        assert min(gaps) > 0.03
    assert np.array_equal(places[0], places[1])
    assert not np.allclose(places[1], places[2])
    env.close()


def test_with_distractors_the_upper_bound_still_reaches_its_goal(tmp_path):
    settings = RunSettings(
        tasks=("carrot_on_plate",),
        episodes=2,
        image_size=None,
        backend_options={"distractors": 2, "source_colour": "navy"},
    )
    assert run_suite(settings, out=tmp_path / "run", video=False).summary.overall.success_at_end.k == 2


@pytest.mark.parametrize(
    ("task", "options", "kind", "words"),
    [
        ("WidowXCarrotOnPlate", {"source_colour": "mauve"}, UnknownNameError, "magenta"),
        ("WidowXCarrotOnPlate", {"distractors": 9}, SettingError, "expected 0 to 4"),
        ("WidowXEggplantInBasket", {"distractors": 1}, SettingError, "no room"),
        ("WidowXEggplantInBasket", {"target_colour": "red"}, SettingError, "part of the scene"),
    ],
)
def test_what_cannot_be_varied_is_said(task, options, kind, words):
    with pytest.raises(kind, match=words):
        gym.make(f"vlm2vla_sim:vlm2vla/{task}-v0", **options)
