"""The policies "openpi", "openvla", "vla-eval", "groot" and "remote": what they take, and how they are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

from vlm2vla_sim.core.finder import find, is_place
from vlm2vla_sim.errors import ExtensionError, SettingError
from vlm2vla_sim.policies import PolicyContext, PolicyFactory
from vlm2vla_sim.policies.base import Policy
from vlm2vla_sim.policies.options import check_types
from vlm2vla_sim.policies.remote.conventions import Convention, conventions_of, find_convention
from vlm2vla_sim.policies.remote.groot import GrootWire
from vlm2vla_sim.policies.remote.openpi import OpenpiWire
from vlm2vla_sim.policies.remote.openvla import OpenvlaWire, why_single
from vlm2vla_sim.policies.remote.policy import RemotePolicy
from vlm2vla_sim.policies.remote.vla_eval import VlaEvalWire
from vlm2vla_sim.policies.remote.wire import Server, Wire


@dataclass(frozen=True)
class RemoteOptions:
    """Options of a policy on a server: `--server`, `--convention` and `--policy-options NAME=VALUE`."""

    protocol: ClassVar[str] = ""
    """Key of `conventions.CONVENTIONS`, and the policy's name."""
    schemes: ClassVar[tuple[str, ...]] = ("ws", "wss")
    """URL schemes of the server's address; none if the client checks it."""
    server: str = ""
    """The server's address."""
    convention: str = ""
    """The convention of its actions: a name of `conventions.CONVENTIONS`, or your own as package.module:NAME."""
    execute: int = 0
    """Rows of an answer that are executed before the next request; 0 for as many as the convention says."""
    history: int = 0
    """Images in a request; 0 for as many as the convention says."""
    history_interval: int = 0
    """Control steps between them; 0 as the convention says."""
    ensemble: int = 0
    """Answers whose predictions for a control step are averaged, 1 for none; 0 as the convention says."""
    ensemble_temperature: float = 0.0
    """With ensemble: an answer k steps younger than the oldest weighs exp(-temperature k)."""
    ensemble_alpha: float = 0.0
    """With ensemble: an answer weighs exp(alpha c), c being its cosine similarity with the newest."""
    timeout: float = Server.timeout
    """[s] for one response."""
    retries: int = Server.retries

    def __post_init__(self) -> None:
        check_types(self)
        names = ", ".join(conventions_of(self.protocol))
        example = f"{self.schemes[0]}://127.0.0.1:8000" if self.schemes else "ADDRESS"
        if not self.server:
            raise SettingError(f"The policy {self.protocol!r} needs a server: --server {example}.")
        if not self.convention:
            raise SettingError(
                f"The policy {self.protocol!r} needs the convention of the server's actions: --convention with one of: "
                f"{names}; or your own as package.module:NAME."
            )
        for name in ("execute", "history", "history_interval", "ensemble"):
            if (value := getattr(self, name)) < 0:
                raise SettingError(f"{name} is {value}; expected 0 (as the convention says) or more.")
        if (self.ensemble_temperature or self.ensemble_alpha) and self.ensemble < 2:
            raise SettingError(
                f"ensemble_temperature is {self.ensemble_temperature:g} and ensemble_alpha {self.ensemble_alpha:g} "
                "without an ensemble to weigh: give ensemble=N, with N answers, as well."
            )
        self.meaning()
        if self.schemes:
            self.address().check(self.schemes)

    def address(self) -> Server:
        """Address, time limit and retries of the server."""
        return Server(self.server, timeout=self.timeout, retries=self.retries)

    def published_steps(self) -> int | None:
        """See `policies.published_steps`."""
        return self.meaning().max_steps

    def meaning(self) -> Convention:
        """The convention, with the options applied."""
        convention = find_convention(self.protocol, self.convention)
        changed: dict[str, float] = {
            name: value
            for name in ("execute", "history", "history_interval", "ensemble")
            if (value := getattr(self, name))
        }
        if self.ensemble:
            changed |= {"ensemble_temperature": self.ensemble_temperature, "ensemble_alpha": self.ensemble_alpha}
            changed.setdefault("execute", 1 if self.ensemble > 1 else convention.execute)
        return dataclasses.replace(convention, **changed)  # type: ignore[arg-type]


@dataclass(frozen=True)
class OpenpiOptions(RemoteOptions):
    """Options of the policy "openpi"."""

    protocol = "openpi"


@dataclass(frozen=True)
class VlaEvalOptions(RemoteOptions):
    """Options of the policy "vla-eval"."""

    protocol = "vla-eval"


@dataclass(frozen=True)
class GrootOptions(RemoteOptions):
    """Options of the policy "groot"."""

    protocol = "groot"
    schemes = ("tcp",)


@dataclass(frozen=True)
class OpenvlaOptions(RemoteOptions):
    """Options of the policy "openvla"."""

    protocol = "openvla"
    schemes = ("http", "https")
    unnorm_key: str = ""
    """Name of the statistics that un-normalise a fine-tuned model's actions; empty for the convention's."""

    def meaning(self) -> Convention:
        """See `RemoteOptions.meaning`."""
        convention = super().meaning()
        if not self.unnorm_key:
            return convention
        extras = {**dict(convention.extras), "unnorm_key": self.unnorm_key}
        return dataclasses.replace(convention, extras=tuple(extras.items()))


@dataclass(frozen=True)
class RemoteClientOptions(RemoteOptions):
    """Options of the policy "remote": a server whose wire protocol is your own."""

    protocol = "remote"
    schemes = ()
    wire: str = ""
    """The client of the protocol as package.module:NAME, called as `NAME(server, convention) -> Wire`."""

    def __post_init__(self) -> None:
        if not is_place(self.wire):
            raise SettingError(
                f"The policy 'remote' needs the client of a wire protocol, but wire is {self.wire!r}: --policy-options "
                "wire=package.module:NAME. For the built-in protocols, use the policies openpi, openvla, vla-eval "
                "and groot."
            )
        _find_client(self.wire)
        super().__post_init__()


def _find_client(name: str) -> Callable[..., Wire]:
    client = find("wire protocol's client", name, {})
    if not callable(client):
        raise ExtensionError(f"The client {name!r} is {client!r}; expected a class or function that makes a Wire.")
    return cast("Callable[..., Wire]", client)


def _make_own(context: PolicyContext) -> Policy:
    options = RemoteClientOptions(**context.options)  # type: ignore[arg-type]  # checked by RemoteOptions itself
    return _make(RemoteClientOptions, _find_client(options.wire), context)


def _make(kind: type[RemoteOptions], wire: Callable[..., Wire], context: PolicyContext) -> Policy:
    options = kind(**context.options)  # type: ignore[arg-type]  # checked by RemoteOptions itself
    convention = options.meaning()
    return RemotePolicy(wire(options.address(), convention), convention, context.robot, server=options.server)


OPENPI = PolicyFactory(partial(_make, OpenpiOptions, OpenpiWire), options=OpenpiOptions)
"""The policy "openpi"."""
OPENVLA = PolicyFactory(partial(_make, OpenvlaOptions, OpenvlaWire), options=OpenvlaOptions, why_single=why_single)
"""The policy "openvla"."""
VLA_EVAL = PolicyFactory(partial(_make, VlaEvalOptions, VlaEvalWire), options=VlaEvalOptions)
"""The policy "vla-eval"."""
GROOT = PolicyFactory(partial(_make, GrootOptions, GrootWire), options=GrootOptions)
"""The policy "groot"."""
REMOTE = PolicyFactory(_make_own, options=RemoteClientOptions)
"""The policy "remote"."""
