"""`bridge_orig` is read through tensorflow-datasets: a small one is made here with that package, and read back."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trajectory_fakes import motion

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.open import DatasetOptions, check_images, open_dataset
from vlm2vla_sim.errors import DataError, MissingExtraError, UnknownNameError

HERE = (
    importlib.util.find_spec("tensorflow_datasets") is not None and importlib.util.find_spec("tensorflow") is not None
)
if not HERE and "rlds" in os.environ.get("VLM2VLA_REQUIRE", ""):
    raise AssertionError("VLM2VLA_REQUIRE asks for the extra 'rlds', which is not installed")
# TensorFlow's own imports warn about TensorFlow's own imports.
pytestmark = pytest.mark.filterwarnings("default")
needs_tfds = pytest.mark.skipif(not HERE, reason="needs tensorflow-datasets: pip install 'vlm2vla_sim[rlds]'")


@pytest.mark.skipif(HERE, reason="the extra 'rlds' is installed; this is about machines without it")
def test_without_the_package_the_command_that_installs_it_is_named(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(MissingExtraError, match=r"vlm2vla_sim\[rlds\]"):
        open_dataset(tmp_path)


@pytest.fixture(scope="module")
def bridge_orig(tmp_path_factory) -> Path:
    """Two episodes with the features of bridge_orig; the second has an action that is not a number."""
    tfds = pytest.importorskip("tensorflow_datasets")
    image = tfds.features.Image(shape=(48, 64, 3), encoding_format="jpeg")
    numbers = tfds.features.Tensor(shape=(7,), dtype=np.float32)
    features = tfds.features.FeaturesDict(
        {
            "steps": tfds.features.Dataset(
                {
                    "observation": {"image_0": image, "state": numbers},
                    "action": numbers,
                    "language_instruction": tfds.features.Text(),
                    "is_first": np.bool_,
                }
            )
        }
    )

    def steps(bad: bool):
        states, actions = motion()
        theirs = np.column_stack([states[:, :6], 0.2 + 0.88 * states[:, 6]]).astype(np.float32)
        for index in range(-1, len(states)):  # the first step is one before anything was commanded
            yield {
                "observation": {
                    "image_0": np.full((48, 64, 3), 4 * (index + 1), np.uint8),
                    "state": theirs[max(index, 0)],
                },
                "action": np.zeros(7, np.float32) if index < 0 else actions[index] * (np.nan if bad else 1),
                "language_instruction": "put the carrot on the plate",
                "is_first": index < 0,
            }

    def build() -> Path:
        root = tmp_path_factory.mktemp("rlds")
        builder = tfds.dataset_builders.store_as_tfds_dataset(
            name="bridge_orig",
            version="1.0.0",
            features=features,
            split_datasets={"train": [(0, {"steps": list(steps(False))}), (1, {"steps": list(steps(True))})]},
            data_dir=root,
            disable_shuffling=True,
        )
        return Path(builder.data_dir)

    return build()


@needs_tfds
def test_an_episode_is_read_in_our_convention_without_its_empty_first_step(bridge_orig):
    source = open_dataset(bridge_orig)
    assert (source.kind, len(source)) == ("rlds", 2)
    good, bad = source
    assert not isinstance(good, Skipped)
    states, actions = motion()
    assert good.name == "bridge_orig/train/00000"
    assert good.instruction == "put the carrot on the plate"
    assert np.allclose(good.states, states, atol=1e-5)
    assert np.allclose(good.actions, actions, atol=1e-6)
    check_images(good)
    assert good.images[10].mean() == pytest.approx(44, abs=2)
    assert isinstance(bad, Skipped)
    assert "not finite" in bad.reason


def store(root: Path, name: str, action: Any, observation: dict[str, Any], episodes: list[Any], **more: Any) -> Path:
    """An RLDS data set with these features; TensorFlow is installed."""
    import tensorflow_datasets as tfds

    steps = {
        "observation": observation,
        "action": action,
        "language_instruction": tfds.features.Text(),
        "is_last": np.bool_,
    }
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict({"steps": tfds.features.Dataset(steps), **more}),
        split_datasets={"train": list(enumerate(episodes))},
        data_dir=root,
        disable_shuffling=True,
    )
    return Path(builder.data_dir)


def picture() -> Any:
    import tensorflow_datasets as tfds

    return tfds.features.Image(shape=(48, 64, 3), encoding_format="jpeg")


def numbers(count: int) -> Any:
    import tensorflow_datasets as tfds

    return tfds.features.Tensor(shape=(count,), dtype=np.float32)


def ends_open(make_action, **observation: np.ndarray) -> list[dict[str, Any]]:
    """Steps that end with an open gripper, and the action of zeros that the public builder appends."""
    states, actions = motion()
    theirs = np.column_stack([states[:, :6], 0.2 + 0.88 * states[:, 6]]).astype(np.float32)
    actions[-1] = 0
    return [
        {
            "observation": {"state": state, **{key: image + 4 * index for key, image in observation.items()}},
            "action": make_action(action),
            "language_instruction": "put the carrot on the plate",
            "is_last": index == len(actions) - 1,
        }
        for index, (state, action) in enumerate(zip(theirs, actions, strict=True))
    ]


BRIGHT, BLACK = np.full((48, 64, 3), 40, np.uint8), np.zeros((48, 64, 3), np.uint8)


@needs_tfds
def test_the_last_action_of_zeros_does_not_close_the_gripper_and_an_absent_camera_is_skipped(tmp_path):
    flags = {"has_image_0": np.bool_, "has_image_1": np.bool_, "has_language": np.bool_}
    features = {"state": numbers(7), "image_0": picture(), "image_1": picture()}
    steps = ends_open(lambda action: action, image_0=BRIGHT, image_1=BRIGHT)
    black = [step | {"observation": step["observation"] | {"image_1": BLACK}} for step in steps]
    said = [(True, True), (True, False), (False, False)]
    episodes = [
        {"steps": found, "episode_metadata": dict(zip(flags, (*has, True), strict=True))}
        for has, found in zip(said, (steps, steps, black), strict=True)
    ]
    root = store(tmp_path, "bridge_dataset", numbers(7), features, episodes, episode_metadata=flags)
    _, actions = motion()
    actions[-1, :6] = 0
    for found in open_dataset(root):
        assert not isinstance(found, Skipped), found.reason
        assert np.allclose(found.actions, actions, atol=1e-6)
        assert found.actions[-1, 6] == 1
        assert len(found) == len(actions)
    there, denied, dark = open_dataset(root, DatasetOptions(picture="image_1"))
    assert not isinstance(there, Skipped)
    assert isinstance(denied, Skipped)
    assert "has_image_1 is false" in denied.reason
    assert isinstance(dark, Skipped)
    assert "its images are all black" in dark.reason


def parts(action: np.ndarray) -> dict[str, Any]:
    return {
        "world_vector": action[:3],
        "rotation_delta": action[3:6],
        "open_gripper": bool(action[6]),
        "terminate_episode": 0.0,
    }


@needs_tfds
def test_open_x_embodiments_bridge_is_read(tmp_path):
    features = {
        "world_vector": numbers(3),
        "rotation_delta": numbers(3),
        "open_gripper": np.bool_,
        "terminate_episode": np.float32,
    }
    observation = {"state": numbers(7), "image": picture()}
    episodes = [{"steps": ends_open(parts, image=BRIGHT)}]
    (found,) = open_dataset(store(tmp_path, "bridge", features, observation, episodes))
    assert not isinstance(found, Skipped), found.reason
    states, actions = motion()
    actions[-1, :6] = 0
    assert np.allclose(found.actions, actions, atol=1e-6)
    assert np.allclose(found.states, states, atol=1e-5)
    # The same keys in another data set: nothing is known about its frames, unless its user says so.
    other = store(tmp_path, "toto", features, observation, episodes)
    with pytest.raises(DataError, match=r"'toto', whose convention .* is not known.*--convention"):
        open_dataset(other)
    (vouched,) = open_dataset(other, DatasetOptions(convention="bridge"))
    assert not isinstance(vouched, Skipped)
    assert np.array_equal(vouched.actions, found.actions)


@needs_tfds
def test_another_dictionary_of_actions_skips_every_episode_with_a_reason(tmp_path):
    features = {"joint_position": numbers(7), "gripper_position": numbers(1)}
    episodes = [
        {"steps": ends_open(lambda action: {"joint_position": action, "gripper_position": action[6:]}, image_0=BRIGHT)}
    ] * 2
    root = store(tmp_path, "bridge_orig", features, {"state": numbers(7), "image_0": picture()}, episodes)
    for found in open_dataset(root):
        assert isinstance(found, Skipped)
        assert "dictionaries of gripper_position, joint_position; read are world_vector" in found.reason


@needs_tfds
def test_files_that_are_damaged_skip_the_rest_with_a_reason(tmp_path):
    steps = ends_open(lambda action: action, image_0=BRIGHT)
    features = {"state": numbers(7), "image_0": picture()}
    root = store(tmp_path, "bridge_orig", numbers(7), features, [{"steps": steps}] * 3)
    (file,) = root.glob("*.tfrecord*")
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.5)])
    source = open_dataset(root)
    first, second, third = source
    assert not isinstance(first, Skipped)
    for index, found in ((1, second), (2, third)):
        assert isinstance(found, Skipped)
        assert found.name == f"bridge_orig/train/{index:05d}"
        assert "The files cannot be read from here on" in found.reason


@needs_tfds
def test_a_split_or_camera_that_is_not_there_is_named_with_those_that_are(bridge_orig):
    with pytest.raises(UnknownNameError, match=r"'val'.*train"):
        open_dataset(bridge_orig, DatasetOptions(split="val"))
    with pytest.raises(UnknownNameError, match=r"'image_3'.*image_0"):
        open_dataset(bridge_orig, DatasetOptions(picture="image_3"))
