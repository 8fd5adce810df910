"""Who answers at the other end and how long to wait for it: timeouts, identity, and which hosts are allowed.

The robots' own clients give up after 0.8 s while the arm is still moving; the timeouts here are longer than any method.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.envs.robot_link.endpoint import is_loopback, show_address
from vlm2vla_sim.errors import BackendFaultError, SettingError

ROBOT_FAULT = "robot_fault"
"""`LinkLostError.reason` when the link works and the robot behind it does not."""


@dataclass(frozen=True)
class ServerKind:
    """What a kind of robot server is called, and what it must offer."""

    name: str
    """Such as "BridgeData robot server"."""
    needed: tuple[str, ...]
    """Methods that an episode needs."""
    source: str
    """The project to update when one is missing."""
    port: int | None = None
    """On which it listens unless it is told otherwise."""


@dataclass(frozen=True)
class Timeouts:
    """[s] to wait for a reply. The server is serial: a long action delays every other reply."""

    hash: float = 2.0
    obs: float = 3.0
    step: float = 5.0
    move: float = 5.0
    """Beyond the duration of the move."""
    reset: float = 30.0
    init: float = 60.0
    resync: float = 60.0
    """Until the link is given up."""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not 0 < value <= 600:
                raise SettingError(f"The timeout {name} is {value} s; expected more than 0 and at most 600 s.")

    def scaled(self, factor: float) -> Timeouts:
        """All of them times `factor`, for tests on a mock server that is faster than a robot."""
        return Timeouts(**{name: value * factor for name, value in dataclasses.asdict(self).items()})


@dataclass(frozen=True)
class ServerIdentity:
    """Which server replied; part of every result."""

    host: str
    port: int
    version: str
    methods: tuple[str, ...]
    text: str
    """The server's description of itself, JSON."""

    @property
    def label(self) -> str:
        """One line: address, version, and a hash of the server's description."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:8]
        return f"widowx250s at {show_address(self.host, self.port)}, server {self.version} {digest}"

    @classmethod
    def from_reply(cls, reply: Any, host: str, port: int, kind: ServerKind) -> ServerIdentity:
        """From the reply to {"type": "hash"}; BackendFaultError when it is not that of a server of this `kind`."""
        try:
            text = reply["payload"]
            config = json.loads(text)
            methods, version = tuple(map(str, config["action_keys"])), str(config.get("version", "unknown"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BackendFaultError(
                f"{show_address(host, port)} answered {str(reply)[:100]!r}; expected the description of a {kind.name}."
            ) from error
        missing = [name for name in kind.needed if name not in methods]
        if missing:
            raise BackendFaultError(
                f"The server at {show_address(host, port)} offers {', '.join(methods)}; {', '.join(missing)} is "
                f"missing. Is it a {kind.name}? If so, update {kind.source} on the robot's computer."
            )
        return cls(host, port, version, methods, text)


def check_host(host: str, port: int, *, allow_remote: bool) -> str:
    """The same host; SettingError unless it is this machine or remote hosts were allowed."""
    if is_loopback(host) or allow_remote:
        return host
    raise SettingError(
        f"The robot's host is {host!r}. The protocol has neither password nor encryption, so only this machine is "
        f"allowed: forward the port (ssh -L {port}:localhost:{port} {host}) and use 127.0.0.1, or allow it "
        "(allow_remote=True, --allow-remote) on a network that you trust."
    )
