"""Reads RLDS data sets such as `bridge_orig` through tensorflow-datasets, episode by episode.

Most published Bridge models were trained on this copy. TensorFlow is imported only here, when a data set is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.conventions import convert
from vlm2vla_sim.data.datasets.stored_images import EncodedImages
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError, missing_extra, unknown_name


class RldsFolder:
    """A folder with a `dataset_info.json`, as a `TrajectoryDataset`."""

    kind = "rlds"

    def __init__(
        self, root: Path, *, split: str = "train", camera: str = "image_0", fps: float = 5.0, convention: str = "bridge"
    ) -> None:
        """fps: [Hz] control rate, which RLDS does not store; BridgeData has 5.

        DataError for a folder that is not an RLDS data set of steps; UnknownNameError for an unknown split or camera.
        """
        self.root, self._split, self._camera, self._fps, self._convention = root, split, camera, fps, convention
        self._tfds = _import_tfds()
        try:
            self._builder = self._tfds.builder_from_directory(str(root))
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            raise DataError(f"{root} cannot be opened as an RLDS data set: {str(error).splitlines()[0]}") from error
        if split not in self._builder.info.splits:
            raise unknown_name("split", split, self._builder.info.splits)
        try:
            cameras = [key for key in self._builder.info.features["steps"]["observation"] if key.startswith("image")]
        except (KeyError, TypeError) as error:
            raise DataError(f"{root} has no steps with observations; expected an RLDS data set.") from error
        if camera not in cameras:
            raise unknown_name("camera", camera, cameras or ["none"])

    def __len__(self) -> int:
        return int(self._builder.info.splits[self._split].num_examples)

    def __iter__(self) -> Iterator[Trajectory | Skipped]:
        """See `TrajectoryDataset`. Images stay encoded until they are accessed."""
        keep = {"steps": {"observation": {self._camera: self._tfds.decode.SkipDecoding()}}}
        config = self._tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        episodes = self._builder.as_dataset(split=self._split, decoders=keep, read_config=config, shuffle_files=False)
        for index, episode in enumerate(episodes):
            name = f"{self._builder.name}/{self._split}/{index:05d}"
            try:
                yield self._read(list(self._tfds.as_numpy(episode["steps"])), name)
            except (DataError, ValueError, KeyError) as error:
                yield Skipped(name, str(error))

    def _read(self, steps: list[dict[str, Any]], name: str) -> Trajectory:
        if not steps:
            raise DataError("It has no steps.")
        actions = np.array([step["action"] for step in steps], dtype=np.float64)
        # The first step of bridge_orig has an all-zero action, which would close the gripper: it was never commanded.
        # openvla/openvla@c8f03f4 prismatic/vla/datasets/rlds/oxe/transforms.py:61
        first = int(len(steps) > 1 and not np.any(actions[0]))
        steps = steps[first:]
        states = np.array([step["observation"]["state"] for step in steps], dtype=np.float64)
        states, actions = convert(states, actions[first:], self._convention)
        images = EncodedImages([bytes(step["observation"][self._camera]) for step in steps])
        stored = steps[0].get("language_instruction", b"")
        instruction = stored.decode("utf-8", errors="replace") if isinstance(stored, bytes) else str(stored)
        return Trajectory(name, instruction.strip(), self._fps, images, states, actions)


def _import_tfds() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise missing_extra("Reading RLDS data sets", "tensorflow-datasets", "rlds") from error
    return tensorflow_datasets
