"""The flags that say how to read a data set, shared by the commands that open one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import tyro

from vlm2vla_sim.data.datasets.open import DatasetOptions
from vlm2vla_sim.errors import SettingError


@dataclass(frozen=True)
class DatasetFlags:
    """How to read the data set, where its files do not say."""

    format: str = "auto"
    """Format of the data set: lerobot, bridge_raw or rlds; detected from its files by default."""
    picture: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """The camera: a LeRobot column, a BridgeData folder (images0), or an RLDS key (image_0)."""
    state: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """LeRobot's column of states; observation.state by default."""
    action: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """LeRobot's column of actions; action by default."""
    convention: str = ""
    """Convention of states and actions: vlm2vla, bridge (Euler angles, servo reading), or package.module:NAME."""
    split: str = "train"
    """Split of an RLDS data set."""

    def options(self) -> DatasetOptions:
        """The same values for `open_dataset`."""
        return DatasetOptions(**dataclasses.asdict(self))

    def check_default(self, why: str) -> None:
        """SettingError if a flag was given although it cannot be applied. why: the reason, without a full stop."""
        for field in dataclasses.fields(self):
            if getattr(self, field.name) != field.default:
                raise SettingError(f"{why}, so --{field.name} cannot be applied. Leave it out.")
