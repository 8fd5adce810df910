"""The flags by which a command finds a data set, the same wherever one is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from vlm2vla_sim.data.datasets.open import DatasetOptions


@dataclass(frozen=True)
class DatasetFlags:
    """How the data set is read, where it does not say so itself."""

    format: str = "auto"
    """What kind of data set it is: lerobot, bridge_raw, rlds; by default found from its files."""
    picture: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """The camera: LeRobot's column, BridgeData's folder (images0), RLDS's key (image_0)."""
    state: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """LeRobot's column of states; by default observation.state."""
    action: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """LeRobot's column of actions; by default action."""
    convention: str = ""
    """What the numbers mean: vlm2vla, or bridge (Euler angles, the gripper servo's reading)."""
    split: str = "train"
    """RLDS's split."""

    def options(self) -> DatasetOptions:
        """The same, for `open_dataset`."""
        return DatasetOptions(
            format=self.format,
            picture=self.picture,
            state=self.state,
            action=self.action,
            convention=self.convention,
            split=self.split,
        )
