"""Flags of the commands that reach a robot: which backend, and its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from vlm2vla_sim.cli.flags import read_options
from vlm2vla_sim.envs.backends import check_backend_options
from vlm2vla_sim.envs.bridge.protocol import PORT
from vlm2vla_sim.errors import SettingError

BRIDGE: dict[str, Any] = {"host": "127.0.0.1", "port": PORT, "allow_remote": False, "park": False, "truth": ""}
"""Flags that only the backends of `SERVERS` take, with their defaults."""
SERVERS = ("bridge", "manipulator_gym")
"""Backends of robots behind a server."""


@dataclass(frozen=True, kw_only=True)
class RobotFlags:
    """The robot."""

    backend: str = "bridge"
    """The robot: bridge, manipulator_gym, or your own as package.module:Class; or a simulator to rehearse with."""
    backend_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = ()
    """Options of this backend only."""
    host: str = BRIDGE["host"]
    """With bridge and manipulator_gym: host of the robot server; another machine needs --allow-remote."""
    port: int = BRIDGE["port"]
    """With bridge and manipulator_gym: port of the robot server."""
    allow_remote: bool = BRIDGE["allow_remote"]
    """With bridge and manipulator_gym: let --host be another machine."""
    camera: tuple[str, ...] = ()
    """With bridge and manipulator_gym: further cameras on this machine, NAME=DEVICE, such as wrist=/dev/video2."""

    def env_options(self) -> dict[str, Any]:
        """The options for `gym.make` and `make_backend`; SettingError for what contradicts itself or is for another."""
        options: dict[str, Any] = dict(read_options(self.backend_options))
        check_backend_options(self.backend, options)
        own = {name: getattr(self, name) for name in BRIDGE if hasattr(self, name)}
        if self.backend in SERVERS:
            twice = sorted(name for name in options if name in own and own[name] != BRIDGE[name])
            if twice:
                raise SettingError(f"{', '.join(twice)} was given twice: as a flag and in --backend-options.")
            return {**own, "cameras": read_cameras(self.camera), **options}
        given = [name for name in own if own[name] != BRIDGE[name]] + (["camera"] if self.camera else [])
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise SettingError(
                f"{flags} is for the backends {' and '.join(SERVERS)}; with {self.backend!r} use --backend-options."
            )
        return options


def read_cameras(pairs: tuple[str, ...]) -> dict[str, str]:
    """NAME=DEVICE, ... as a dictionary; SettingError for anything else."""
    cameras: dict[str, str] = {}
    for pair in pairs:
        name, sign, source = pair.partition("=")
        if not (name.isidentifier() and sign and source) or name == "primary" or name in cameras:
            raise SettingError(f"A camera was given as {pair!r}; expected NAME=DEVICE, such as wrist=/dev/video2.")
        cameras[name] = source
    return cameras
