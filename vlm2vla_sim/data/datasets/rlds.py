"""Reads RLDS data sets such as `bridge_orig` through tensorflow-datasets, episode by episode.

Most published Bridge models were trained on this copy. TensorFlow is imported only here, when a data set is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.rlds_steps import CONVENTION_OF, read_steps, usual_camera
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError, missing_extra, unknown_name


class RldsFolder:
    """A folder with a `dataset_info.json`, as a `TrajectoryDataset`."""

    kind = "rlds"

    def __init__(
        self, root: Path, *, split: str = "train", camera: str = "", fps: float = 5.0, convention: str = ""
    ) -> None:
        """Read the metadata only.

        Args:
            root: the folder.
            split: of the data set.
            camera: key of the images; empty for `image_0`, `image`, or the only one.
            fps: [Hz] control rate, which RLDS does not store; BridgeData has 5.
            convention: of states and actions, see `conventions`; empty for that of a data set known by its name.

        DataError for a folder that is not an RLDS data set of steps, or whose convention is not known; UnknownNameError
        for an unknown split or camera.
        """
        self.root, self._split, self._fps = root, split, fps
        self._tfds = _import_tfds()
        try:
            self._builder = self._tfds.builder_from_directory(str(root))
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            raise DataError(f"{root} cannot be opened as an RLDS data set: {str(error).splitlines()[0]}") from error
        if split not in self._builder.info.splits:
            raise unknown_name("split", split, self._builder.info.splits)
        self._convention = convention or CONVENTION_OF.get(self._builder.name, "")
        if not self._convention:
            raise DataError(
                f"{root} is the RLDS data set {self._builder.name!r}, whose convention of states and actions is not "
                f"known; known are {', '.join(CONVENTION_OF)}. Set it with --convention: bridge for BridgeData (Euler "
                "angles, gripper servo reading), or your own as package.module:NAME."
            )
        try:
            keys = self._builder.info.features["steps"]["observation"]
            self._cameras = [key for key in keys if key.startswith("image")]
        except (KeyError, TypeError) as error:
            raise DataError(f"{root} has no steps with observations; expected an RLDS data set.") from error
        self._camera = camera or usual_camera(self._cameras)
        if self._camera not in self._cameras:
            raise unknown_name("camera (name one with --picture)", self._camera, self._cameras or ["none"])

    def __len__(self) -> int:
        return int(self._builder.info.splits[self._split].num_examples)

    def __iter__(self) -> Iterator[Trajectory | Skipped]:
        """See `TrajectoryDataset`. Images stay encoded until they are accessed."""
        count, lost = 0, "The files end before it."
        for index, (steps, metadata) in enumerate(self._episodes()):
            if isinstance(steps, str):
                lost = steps
                break
            name, count = self._name(index), index + 1
            try:
                yield read_steps(
                    steps, metadata, name=name, camera=self._camera, fps=self._fps, convention=self._convention
                )
            except (DataError, ValueError) as error:
                yield Skipped(name, str(error))
        yield from (Skipped(self._name(index), lost) for index in range(count, len(self)))

    def _episodes(self) -> Iterator[tuple[list[Any] | str, Any]]:
        """The steps and the metadata of every episode; a reason in place of the steps where the files end early."""
        from tensorflow.errors import OpError

        encoded = {camera: self._tfds.decode.SkipDecoding() for camera in self._cameras}
        config = self._tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        episodes = self._builder.as_dataset(
            split=self._split, decoders={"steps": {"observation": encoded}}, read_config=config, shuffle_files=False
        )
        try:
            for episode in episodes:
                metadata = self._tfds.as_numpy(episode.get("episode_metadata", {}))
                yield list(self._tfds.as_numpy(episode["steps"])), metadata
        except OpError as error:
            yield f"The files cannot be read from here on: {str(error.message).splitlines()[0]}.", None

    def _name(self, index: int) -> str:
        return f"{self._builder.name}/{self._split}/{index:05d}"


def _import_tfds() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise missing_extra("Reading RLDS data sets", "tensorflow-datasets", "rlds") from error
    return tensorflow_datasets
