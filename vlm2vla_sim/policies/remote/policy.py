"""The policies "openpi", "openvla" and "vla-eval": the actions of a policy server, converted to this package's units.

A baseline runs in the same rollout, with the same success check and video, as a language policy. It writes no text, so
the action text of its decisions is a description of its motion, marked with `DESCRIPTION_MARK`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np

from vlm2vla_sim.core.finder import find, is_place
from vlm2vla_sim.errors import ExtensionError, SettingError
from vlm2vla_sim.language.formats import describe
from vlm2vla_sim.policies import PolicyContext, PolicyFactory
from vlm2vla_sim.policies.base import Policy
from vlm2vla_sim.policies.models.proxies import without_password
from vlm2vla_sim.policies.options import check_types
from vlm2vla_sim.policies.remote.conventions import Convention, conventions_of, find_convention
from vlm2vla_sim.policies.remote.convert import check_rows, delta_to, read_deltas, resize, write_proprio
from vlm2vla_sim.policies.remote.openpi import OpenpiWire
from vlm2vla_sim.policies.remote.openvla import OpenvlaWire, why_single
from vlm2vla_sim.policies.remote.vla_eval import VlaEvalWire
from vlm2vla_sim.policies.remote.wire import PROVENANCE_KEY, Reply, Request, Server, Wire
from vlm2vla_sim.types import ActionChunk, Decision, RobotState, Stage

DESCRIPTION_MARK = "[numbers, described] "
"""Begins the action text of a decision whose policy wrote no text."""
MAX_DESCRIBED_ROWS = 8
"""Rows of an answer that are described; of the others, the text says only how many there are."""
MAX_TEXT = 4000
"""Characters of a text from a server that are kept."""
CUT_OFF = Stage("remote", "", finish="length", error="An answer of the model behind the server was cut off.")
"""Counts as one of `EpisodeResult.truncations`."""
MAX_CUT_OFF = 100
"""Answers of one decision that are counted as cut off."""


class RemotePolicy:
    """Asks a server for actions and executes each row as one control step, as the models were trained."""

    def __init__(
        self, wire: Wire, convention: Convention, robot: Callable[[], RobotState] | None, *, server: str = ""
    ) -> None:
        """robot: returns the present state of the arm, which a convention of absolute poses requires.

        server: the address, for results.
        """
        if convention.absolute and robot is None:
            raise SettingError(
                f"The convention ({convention.about}) has absolute poses, which need the state of the arm; this "
                "backend does not report it. Use a convention of relative actions."
            )
        self._wire, self._convention, self._robot, self._server = wire, convention, robot, server
        self._instruction, self._seed, self._retries = "", 0, 0
        self._poses: deque[np.ndarray] = deque()
        self.ended = ""
        """Why a `vlm2vla serve` server says that it is done; empty until then."""

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode, on the server as well."""
        self._instruction, self._seed = instruction, seed
        self._poses.clear()
        self.ended = ""
        self._retries = self._wire.start(instruction, seed)

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """The server's next actions; None when the server says that it is done."""
        if self._poses:
            return self._decide(self._next_pose(), Stage("remote", "the next row of the previous answer"), {})
        started = time.perf_counter()
        reply = self._wire.ask(self._request(observation))
        seconds = round(time.perf_counter() - started, 4)
        if reply.text.get("done") is True:
            self.ended = _text(reply.text, "ended")
            return None
        rows = check_rows(reply.actions, self._convention)
        stage = Stage("remote", f"{len(rows)} x {rows.shape[1]} numbers", seconds=seconds, retries=self._count(reply))
        rows = rows[: self._convention.execute or None]
        if self._convention.absolute:
            self._poses.extend(rows)
            return self._decide(self._next_pose(), stage, reply.text)
        return self._decide(read_deltas(rows, self._convention), stage, reply.text)

    def provenance(self) -> dict[str, Any]:
        """The server's address and what it says about itself; see `policies.base.provenance`.

        "weights" is what a `vlm2vla serve` server says of its policy, else None. "greeting" is all that a server sent
        as it was connected to; it is not compared on resume, since it may hold times and numbers of connections.
        """
        greeting = getattr(self._wire, "greeting", None) or {}
        weights = _plain(greeting.get(PROVENANCE_KEY)) or None
        rest = {key: value for key, value in greeting.items() if key != PROVENANCE_KEY}
        return {"server": without_password(self._server), "weights": weights, "greeting": _plain(rest) or None}

    def close(self) -> None:
        """Close the connection to the server."""
        self._wire.close()

    # Parts.

    def _request(self, observation: dict[str, Any]) -> Request:
        if "pixels" not in observation:
            raise SettingError("A policy on a server needs images, and none are rendered; leave out image_size=None.")
        convention = self._convention
        proprio = write_proprio(observation["agent_pos"], convention) if convention.proprio else None
        image = resize(np.asarray(observation["pixels"]["primary"]), convention)
        return Request(self._instruction, image, proprio, self._seed)

    def _count(self, reply: Reply) -> int:
        """The retries of this answer; for the first answer of an episode, also those of its start."""
        retries, self._retries = self._retries + reply.retries, 0
        return retries

    def _next_pose(self) -> np.ndarray:
        assert self._robot is not None
        return delta_to(self._poses.popleft(), self._convention, self._robot())[None]

    def _decide(self, deltas: np.ndarray, stage: Stage, text: dict[str, Any]) -> Decision:
        if not text:
            chunk = ActionChunk(deltas, text="", stepwise=True)
            action = _description(chunk)
            return Decision(self._instruction, "", action, dataclasses.replace(chunk, text=action), (stage,))
        failures, cut_off = _whole_number(text.get("parse_failures")), _whole_number(text.get("truncations"))
        action, error = _text(text, "action"), _text(text, "error")
        return Decision(
            subtask=_text(text, "subtask"),
            plan=_text(text, "plan"),
            action=action,
            chunk=None if error else ActionChunk(deltas, action, stepwise=True),
            stages=(stage, *[CUT_OFF] * min(cut_off, MAX_CUT_OFF)),
            parse_failures=failures,
            error=error,
        )


def _description(chunk: ActionChunk) -> str:
    rows = describe(chunk)
    more = f"; and {len(rows) - MAX_DESCRIBED_ROWS} more rows" if len(rows) > MAX_DESCRIBED_ROWS else ""
    return DESCRIPTION_MARK + "; ".join(rows[:MAX_DESCRIBED_ROWS]) + more


def _plain(value: Any) -> Any:
    """What a server said about itself as JSON holds it; only its digest where it is long."""
    text = json.dumps(value, default=str, skipkeys=True)
    if len(text) > MAX_TEXT:
        return {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    return json.loads(text)


def _text(values: dict[str, Any], key: str) -> str:
    text = str(values.get(key, ""))
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text):,} characters)"


def _whole_number(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0


# Options and factories ------------------------------------------------------------------------------------------------


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
        if self.execute < 0:
            raise SettingError(f"execute is {self.execute}; expected 0 (as the convention says) or more rows.")
        find_convention(self.protocol, self.convention)
        if self.schemes:
            self.address().check(self.schemes)

    def address(self) -> Server:
        """Address, time limit and retries of the server."""
        return Server(self.server, timeout=self.timeout, retries=self.retries)

    def meaning(self) -> Convention:
        """The convention, with the options applied."""
        convention = find_convention(self.protocol, self.convention)
        return dataclasses.replace(convention, execute=self.execute or convention.execute)


@dataclass(frozen=True)
class OpenpiOptions(RemoteOptions):
    """Options of the policy "openpi"."""

    protocol = "openpi"


@dataclass(frozen=True)
class VlaEvalOptions(RemoteOptions):
    """Options of the policy "vla-eval"."""

    protocol = "vla-eval"


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
                "wire=package.module:NAME. For the built-in protocols, use the policies openpi, openvla and vla-eval."
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
REMOTE = PolicyFactory(_make_own, options=RemoteClientOptions)
"""The policy "remote"."""
