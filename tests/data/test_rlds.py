"""`bridge_orig` is read through tensorflow-datasets: a small one is made here with that package, and read back."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from trajectory_fakes import motion

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.open import DatasetOptions, check_images, open_dataset
from vlm2vla_sim.errors import MissingExtraError, UnknownNameError

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


@needs_tfds
def test_a_split_or_camera_that_is_not_there_is_named_with_those_that_are(bridge_orig):
    with pytest.raises(UnknownNameError, match=r"'val'.*train"):
        open_dataset(bridge_orig, DatasetOptions(split="val"))
    with pytest.raises(UnknownNameError, match=r"'image_3'.*image_0"):
        open_dataset(bridge_orig, DatasetOptions(picture="image_3"))
