"""The policies "openpi", "openvla" and "vla-eval": a server's numbers, converted, as decisions of ours.

A baseline has to meet the same rollout, judge and video as a policy that speaks, or the comparison is of two harnesses.
It does not speak, though: where a text of the policy would stand, its motion stands in our words and says so.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import describe
from vlm2vla_sim.policies import PolicyContext
from vlm2vla_sim.policies.base import Policy
from vlm2vla_sim.policies.options import check_types
from vlm2vla_sim.policies.remote.conventions import CONVENTIONS, Convention, find_convention
from vlm2vla_sim.policies.remote.convert import check_rows, delta_to, picture, read_deltas, write_proprio
from vlm2vla_sim.policies.remote.openpi import OpenpiWire
from vlm2vla_sim.policies.remote.openvla import OpenvlaWire
from vlm2vla_sim.policies.remote.vla_eval import VlaEvalWire
from vlm2vla_sim.policies.remote.wire import Reply, Server, Sight, Wire
from vlm2vla_sim.types import ActionChunk, Decision, RobotState, Stage

IN_OUR_WORDS = "[numbers, in our words] "
MOST_WORDS = 8
"""Rows of an answer that are put into words; the rest are counted."""
LONGEST_SAID = 4000
"""Characters of a text from a server that are kept."""


class RemotePolicy:
    """Asks a server for rows of numbers, and carries them out one control step each, as they were trained."""

    def __init__(self, wire: Wire, convention: Convention, robot: Callable[[], RobotState] | None) -> None:
        """robot: the arm as of now, which a convention of absolute poses needs."""
        if convention.absolute and robot is None:
            raise SettingError(f"{convention.about}: poses need to know where the arm is, which nobody can tell here.")
        self._wire, self._convention, self._robot = wire, convention, robot
        self._instruction, self._seed, self._retries = "", 0, 0
        self._poses: deque[np.ndarray] = deque()
        self.ended = ""
        """Why a server of ours is done; empty until it is."""

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode, on the server as well."""
        self._instruction, self._seed = instruction, seed
        self._poses.clear()
        self.ended = ""
        self._retries = self._wire.start(instruction, seed)

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """The server's next rows; None when it says that it is done."""
        if self._poses:
            return self._decide(self._next_pose(), Stage("remote", "the next row of the last answer"), {})
        started = time.perf_counter()
        reply = self._wire.ask(self._look(observation))
        seconds = round(time.perf_counter() - started, 4)
        if reply.said.get("done") is True:
            self.ended = _text(reply.said, "ended")
            return None
        rows = check_rows(reply.actions, self._convention)
        stage = Stage("remote", f"{len(rows)} x {rows.shape[1]} numbers", seconds=seconds, retries=self._count(reply))
        rows = rows[: self._convention.execute or None]
        if self._convention.absolute:
            self._poses.extend(rows)
            return self._decide(self._next_pose(), stage, reply.said)
        return self._decide(read_deltas(rows, self._convention), stage, reply.said)

    def close(self) -> None:
        """Leave the server."""
        self._wire.close()

    # Parts.

    def _look(self, observation: dict[str, Any]) -> Sight:
        if "pixels" not in observation:
            raise SettingError("A policy on a server looks at pictures, and none are drawn; leave out image_size=None.")
        convention = self._convention
        proprio = write_proprio(observation["agent_pos"], convention) if convention.proprio else None
        image = picture(np.asarray(observation["pixels"]["primary"]), convention)
        return Sight(self._instruction, image, proprio, self._seed)

    def _count(self, reply: Reply) -> int:
        """The retries of this answer, and before the first one those of the episode's start."""
        retries, self._retries = self._retries + reply.retries, 0
        return retries

    def _next_pose(self) -> np.ndarray:
        assert self._robot is not None
        return delta_to(self._poses.popleft(), self._convention, self._robot())[None]

    def _decide(self, deltas: np.ndarray, stage: Stage, said: dict[str, Any]) -> Decision:
        if not said:
            chunk = ActionChunk(deltas, text="", stepwise=True)
            words = _in_our_words(chunk)
            return Decision(self._instruction, "", words, dataclasses.replace(chunk, text=words), (stage,))
        failures = said.get("parse_failures")
        words, error = _text(said, "action"), _text(said, "error")
        return Decision(
            subtask=_text(said, "subtask"),
            plan=_text(said, "plan"),
            action=words,
            chunk=None if error else ActionChunk(deltas, words, stepwise=True),
            stages=(stage,),
            parse_failures=failures if isinstance(failures, int) and failures >= 0 else 0,
            error=error,
        )


def _in_our_words(chunk: ActionChunk) -> str:
    rows = describe(chunk)
    more = f"; and {len(rows) - MOST_WORDS} more rows" if len(rows) > MOST_WORDS else ""
    return IN_OUR_WORDS + "; ".join(rows[:MOST_WORDS]) + more


def _text(said: dict[str, Any], key: str) -> str:
    return str(said.get(key, ""))[:LONGEST_SAID]


# Options and factories ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RemoteOptions:
    """What can be said about a policy on a server, as `--server`, `--convention` and `--policy-options NAME=VALUE`."""

    wire: ClassVar[str] = ""
    schemes: ClassVar[tuple[str, ...]] = ("ws", "wss")
    server: str = ""
    """Its address."""
    convention: str = ""
    """What its numbers mean: a name of `conventions.CONVENTIONS`, or your own as package.module:NAME."""
    execute: int = 0
    """Rows of an answer that are carried out before the next question; 0 as the convention says."""
    timeout: float = Server.timeout
    """[s] for one answer."""
    retries: int = Server.retries

    def __post_init__(self) -> None:
        check_types(self)
        names = ", ".join(CONVENTIONS[self.wire])
        if not self.server:
            raise SettingError(f"The policy {self.wire!r} needs a server: --server {self.schemes[0]}://127.0.0.1:8000.")
        if not self.convention:
            raise SettingError(
                f"The policy {self.wire!r} needs to be told what the server's numbers mean: --convention with one of: "
                f"{names}; or your own as package.module:NAME."
            )
        if self.execute < 0:
            raise SettingError(f"execute is {self.execute}; expected 0 (as the convention says) or more rows.")
        find_convention(self.wire, self.convention)
        self.address().check(self.schemes)

    def address(self) -> Server:
        """The server, as the wires take it."""
        return Server(self.server, timeout=self.timeout, retries=self.retries)

    def meaning(self) -> Convention:
        """The convention, with what the options change of it."""
        convention = find_convention(self.wire, self.convention)
        return dataclasses.replace(convention, execute=self.execute or convention.execute)


@dataclass(frozen=True)
class OpenpiOptions(RemoteOptions):
    """Options of the policy "openpi"."""

    wire = "openpi"


@dataclass(frozen=True)
class VlaEvalOptions(RemoteOptions):
    """Options of the policy "vla-eval"."""

    wire = "vla-eval"


@dataclass(frozen=True)
class OpenvlaOptions(RemoteOptions):
    """Options of the policy "openvla"."""

    wire = "openvla"
    schemes = ("http", "https")
    unnorm_key: str = ""
    """The statistics a fine-tuned model is un-normalised with; empty for the convention's."""

    def meaning(self) -> Convention:
        """See `RemoteOptions.meaning`."""
        convention = super().meaning()
        if not self.unnorm_key:
            return convention
        extras = {**dict(convention.extras), "unnorm_key": self.unnorm_key}
        return dataclasses.replace(convention, extras=tuple(extras.items()))


def make_openpi(context: PolicyContext) -> Policy:
    """The factory behind "openpi" in `policies.POLICIES`."""
    return _make(OpenpiOptions, OpenpiWire, context)


def make_openvla(context: PolicyContext) -> Policy:
    """The factory behind "openvla" in `policies.POLICIES`."""
    return _make(OpenvlaOptions, OpenvlaWire, context)


def make_vla_eval(context: PolicyContext) -> Policy:
    """The factory behind "vla-eval" in `policies.POLICIES`."""
    return _make(VlaEvalOptions, VlaEvalWire, context)


def _make(kind: type[RemoteOptions], wire: Callable[..., Wire], context: PolicyContext) -> Policy:
    options = kind(**context.options)  # type: ignore[arg-type]  # checked by RemoteOptions itself
    convention = options.meaning()
    return RemotePolicy(wire(options.address(), convention), convention, context.robot)
