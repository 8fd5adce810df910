"""Images on demand: drawn when they are read, as at every step else, and never those of another step."""

from __future__ import annotations

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import vlm2vla_sim  # noqa: F401 - registers the environments
from vlm2vla_sim.envs.cameras import Camera
from vlm2vla_sim.envs.lazy_images import LazyImages
from vlm2vla_sim.errors import EpisodeError
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.setup import widowx

CARROT = "vlm2vla/WidowXCarrotOnPlate-v0"
FORWARD = np.array([0.01, 0, 0, 0, 0, 0, 1], np.float32)


@pytest.fixture
def env():
    made = gym.make(CARROT, image_size=(48, 64))
    made.reset(seed=0)
    for _ in range(2):
        made.step(FORWARD)  # Gymnasium's checker reads the observations of the first calls
    yield made
    made.close()


def count_drawings(env, monkeypatch) -> list[int]:
    """A list that grows with every drawing of the backend."""
    backend, drawn = widowx(env)._backend, []
    observe = backend.observe
    monkeypatch.setattr(backend, "observe", lambda: drawn.append(1) or observe())
    return drawn


def walk(env, *, on_demand: bool, looks: set[int]) -> dict[int, np.ndarray]:
    widowx(env).images_on_demand = on_demand
    observation, _ = env.reset(seed=1, options={"episode_id": 3})
    images = {}
    for step in range(6):
        if step in looks:
            images[step] = observation["pixels"]["primary"].copy()
        observation, *_ = env.step(FORWARD)
    return images


def test_the_images_are_those_of_every_step(env, monkeypatch):
    eager = walk(env, on_demand=False, looks={0, 2, 5})
    drawn = count_drawings(env, monkeypatch)
    lazy = walk(env, on_demand=True, looks={0, 2, 5})
    assert len(drawn) == 3
    for step, image in eager.items():
        np.testing.assert_array_equal(lazy[step], image)


def test_plain_use_keeps_its_arrays(env, monkeypatch):
    drawn = count_drawings(env, monkeypatch)
    observation, _ = env.reset(seed=1)
    assert type(observation["pixels"]) is dict
    env.step(FORWARD)
    assert len(drawn) == 2
    check_env(env.unwrapped, skip_render_check=True)


def test_an_image_of_an_earlier_step_is_refused_unless_it_was_read_in_time(env):
    widowx(env).images_on_demand = True
    first, _ = env.reset(seed=1)
    seen = first["pixels"]["primary"].copy()
    second, *_ = env.step(FORWARD)
    third, *_ = env.step(FORWARD)
    np.testing.assert_array_equal(first["pixels"]["primary"], seen)
    with pytest.raises(EpisodeError, match="earlier step"):
        second["pixels"]["primary"]
    assert third["pixels"]["primary"].shape == (48, 64, 3)
    env.close()
    with pytest.raises(EpisodeError, match="earlier step"):
        second["pixels"].items()


def test_an_observation_shares_no_image_with_the_environment():
    env = gym.make(CARROT, image_size=(48, 64), render_mode="rgb_array")
    widowx(env).images_on_demand = True
    observation, _ = env.reset(seed=1)
    before = env.render().copy()
    observation["pixels"]["primary"][:] = 0
    np.testing.assert_array_equal(env.render(), before)
    env.close()


def test_it_is_a_dictionary_in_every_way_of_reading_it(env):
    widowx(env).images_on_demand = True
    env.reset(seed=1)

    def fresh() -> LazyImages:
        return env.step(FORWARD)[0]["pixels"]

    readings = {
        "dict()": dict,
        "**": lambda images: {**images},
        "items": lambda images: dict(images.items()),
        "values": lambda images: dict(zip(images, images.values(), strict=True)),
        "get": lambda images: {name: images.get(name) for name in images},
        "copy": lambda images: images.copy(),
        "copy.copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "pickle": lambda images: pickle.loads(pickle.dumps(images)),
        "|": lambda images: images | {},
        "update": lambda images: {} | images,
    }
    for name, read in readings.items():
        found = read(fresh())
        assert type(found) is dict, name
        assert {key: image.shape for key, image in found.items()} == {"primary": (48, 64, 3)}, name
    assert isinstance(fresh(), dict)
    assert list(fresh()) == ["primary"]
    assert len(fresh()) == 1
    assert fresh().get("wrist") is None
    with pytest.raises(KeyError):
        fresh()["wrist"]


def test_an_image_that_is_put_into_the_dictionary_or_taken_out_of_it_is_never_an_empty_one(env):
    widowx(env).images_on_demand = True
    env.reset(seed=1)
    own = np.full((48, 64, 3), 7, np.uint8)

    def fresh() -> LazyImages:
        return env.step(FORWARD)[0]["pixels"]

    taken = {
        "pop": lambda images: images.pop("primary"),
        "popitem": lambda images: images.popitem()[1],
        "setdefault": lambda images: images.setdefault("primary", own),
    }
    for name, take in taken.items():
        image = take(fresh())
        assert image.shape == own.shape, name
        assert image.std() > 1, name
    earlier, written = fresh(), fresh()
    written["primary"] = own
    np.testing.assert_array_equal(written["primary"], own)
    updated = fresh()
    updated.update(primary=own)
    updated |= {"wrist": own}
    np.testing.assert_array_equal(updated["primary"], own)
    assert list(updated) == ["primary", "wrist"]
    del updated["wrist"]
    assert list(updated) == ["primary"]
    with pytest.raises(EpisodeError, match="earlier step"):
        earlier["primary"] = own
    assert "not drawn yet" in repr(fresh())


def test_further_cameras_are_drawn_too():
    cameras = {"wrist": Camera((0.3, -0.6, 0.4), look_at=(0.3, 0.0, 0.0), size=(32, 48))}
    env = gym.make(CARROT, image_size=(48, 64), cameras=cameras)
    eager = env.reset(seed=1)[0]["pixels"]
    widowx(env).images_on_demand = True
    lazy = env.reset(seed=1)[0]["pixels"]
    assert list(lazy) == list(eager) == ["primary", "wrist"]
    for name in eager:
        np.testing.assert_array_equal(lazy[name], eager[name])
    env.close()


class Looking:
    """A policy that moves, and looks at every third decision."""

    def reset(self, instruction: str, seed: int = 0) -> None:
        self.count, self.seen = 0, []

    def act(self, observation):
        from vlm2vla_sim.types import ActionChunk, Decision

        if self.count % 3 == 0:
            self.seen.append(observation["pixels"]["primary"].mean())
        self.count += 1
        return Decision("", "", "", ActionChunk(FORWARD[None] * [0, 0, 0, 0, 0, 0, 1], "", stepwise=True))


def test_an_episode_draws_what_its_policy_looks_at_and_leaves_the_environment_as_it_was(env, monkeypatch):
    drawn = count_drawings(env, monkeypatch)
    policy = Looking()
    result = run_episode(env, policy)
    assert len(drawn) == len(policy.seen) == 20
    assert result.steps == 60
    assert widowx(env).images_on_demand is False


def test_an_episode_with_a_video_draws_every_frame(env, monkeypatch, tmp_path):
    drawn = count_drawings(env, monkeypatch)
    run_episode(env, Looking(), videos=tmp_path)
    assert len(drawn) == 61
