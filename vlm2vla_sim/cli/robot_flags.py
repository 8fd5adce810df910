"""Flags of the commands that reach a robot: which backend, and its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from vlm2vla_sim.cli.flags import read_options
from vlm2vla_sim.envs.backends import check_backend_options, is_real_robot, load_backend, own_options
from vlm2vla_sim.envs.robot_link.cameras import read_cameras
from vlm2vla_sim.errors import SettingError

OWN: dict[str, Any] = {"host": None, "port": None, "allow_remote": False, "park": False, "truth": ""}
"""Flags that only the backends of robots take, and their values where they are not given: a backend has its own host
and port, and an address that is given is the one that is used, whatever another backend's is."""
SERVERS = ("bridge", "manipulator_gym")
"""Backends of robots behind a server."""


@dataclass(frozen=True, kw_only=True)
class RobotFlags:
    """The robot."""

    backend: str = "bridge"
    """The robot: bridge, manipulator_gym, widowx_ai, or your own as package.module:Class; or a simulator to rehearse
    with."""
    backend_options: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE...")] = ()
    """Options of this backend only."""
    host: str | None = OWN["host"]
    """With bridge and manipulator_gym: host of the robot server, by default 127.0.0.1; another machine needs
    --allow-remote. With widowx_ai: the controller's address, by default 192.168.1.2."""
    port: int | None = OWN["port"]
    """With bridge and manipulator_gym: port of the robot server, by default 5556."""
    allow_remote: bool = OWN["allow_remote"]
    """With bridge and manipulator_gym: let --host be another machine."""
    camera: tuple[str, ...] = ()
    """Cameras on this machine, NAME=DEVICE, such as wrist=/dev/video2. With bridge and manipulator_gym further ones;
    with widowx_ai all of them, "primary" among them."""

    def env_options(self) -> dict[str, Any]:
        """The options for `gym.make` and `make_backend`; SettingError for what contradicts itself or is for another."""
        options: dict[str, Any] = dict(read_options(self.backend_options))
        check_backend_options(self.backend, options)
        given = {name: getattr(self, name) for name in OWN if getattr(self, name, OWN[name]) != OWN[name]}
        twice = sorted(given.keys() & options.keys())
        if twice:
            raise SettingError(f"{', '.join(twice)} was given twice: as a flag and in --backend-options.")
        takes = own_options(self.backend) if is_real_robot(self.backend) else ()
        names = [*given, *(["cameras"] if self.camera else [])]
        refused = [name for name in names if takes is not None and name not in takes]
        if refused:
            flags = ", ".join(f"--{name.removesuffix('s').replace('_', '-')}" for name in refused)
            raise SettingError(
                f"{flags} is for the backends {' and '.join(SERVERS)}; with {self.backend!r} use --backend-options."
                if not takes
                else f"The backend {self.backend!r} takes no {flags}."
            )
        if self.camera:
            own_camera = getattr(load_backend(self.backend), "own_camera", True)
            given["cameras"] = read_cameras(self.camera, primary=not own_camera)
        return {**given, **options}
