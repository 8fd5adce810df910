"""A policy on a server: its actions, converted to this package's units. `factories.py` makes it of options.

A baseline runs in the same rollout, with the same success check and video, as a language policy. Most write no text, so
the action text of their decisions is a description of the motion, marked with `DESCRIPTION_MARK`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import describe
from vlm2vla_sim.policies.models.proxies import without_password
from vlm2vla_sim.policies.remote.conventions import Convention
from vlm2vla_sim.policies.remote.convert import check_rows, check_scale, delta_to, fill_gripper, read_deltas
from vlm2vla_sim.policies.remote.images import resize
from vlm2vla_sim.policies.remote.observations import write_proprio
from vlm2vla_sim.policies.remote.steps import FrameHistory, TemporalEnsemble
from vlm2vla_sim.policies.remote.wire import PROVENANCE_KEY, Reply, Request, Wire
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
        self._frames = FrameHistory(convention) if convention.history > 1 else None
        self._ensemble = TemporalEnsemble(convention) if convention.ensemble > 1 else None
        self._rows: deque[np.ndarray] = deque()
        """Of the last answer, not carried out yet; in the server's units."""
        self._last_row: np.ndarray | None = None
        self._opening = 1.0
        """What the gripper was last told; an episode begins with it open."""
        self.ended = ""
        """Why a `vlm2vla serve` server says that it is done; empty until then."""

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Start an episode, on the server as well."""
        self._instruction, self._seed = instruction, seed
        for kept in (self._frames, self._ensemble):
            if kept is not None:
                kept.reset()
        self._rows.clear()
        self._last_row, self._opening = None, 1.0
        self.ended = ""
        self._retries = self._wire.start(instruction, seed)

    def act(self, observation: dict[str, Any]) -> Decision | None:
        """The server's next actions; None when the server says that it is done."""
        image = self._see(observation) if self._frames is not None or not self._rows else None
        if self._rows:
            return self._decide(self._next(), Stage("remote", "the next row of the previous answer"), Reply(None, 0))
        assert image is not None
        started = time.perf_counter()
        reply = self._wire.ask(self._request(observation, image))
        seconds = round(time.perf_counter() - started, 4)
        if reply.text.get("done") is True:
            self.ended = _text(reply.text, "ended")
            return None
        rows = check_rows(reply.actions, self._convention)
        stage = Stage("remote", f"{len(rows)} x {rows.shape[1]} numbers", seconds=seconds, retries=self._count(reply))
        rows = fill_gripper(rows, self._opening, self._convention)
        if self._ensemble is not None:
            rows = self._ensemble.add(rows)[None]
        rows = rows[: self._convention.execute or None]
        check_scale(rows, self._convention)
        if self._convention.by_step:
            self._rows.extend(rows)
            return self._decide(self._next(), stage, reply)
        self._last_row = rows[-1]
        return self._decide(read_deltas(rows, self._convention, self._instruction), stage, reply)

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

    def _see(self, observation: dict[str, Any]) -> np.ndarray:
        """The image of this control step as it is sent, with those before it where the convention has a history."""
        if "pixels" not in observation:
            raise SettingError("A policy on a server needs images, and none are rendered; leave out image_size=None.")
        image = resize(np.asarray(observation["pixels"]["primary"]), self._convention)
        return image if self._frames is None else self._frames.add(image)

    def _request(self, observation: dict[str, Any], image: np.ndarray) -> Request:
        convention = self._convention
        proprio = write_proprio(observation["agent_pos"], convention, self._last_row) if convention.proprio else None
        return Request(self._instruction, image, proprio, self._seed)

    def _count(self, reply: Reply) -> int:
        """The retries of this answer; for the first answer of an episode, also those of its start."""
        retries, self._retries = self._retries + reply.retries, 0
        return retries

    def _next(self) -> np.ndarray:
        """The next row, as (1, 7) in our units."""
        row = self._last_row = self._rows.popleft()
        if not self._convention.absolute:
            return read_deltas(row[None], self._convention, self._instruction)
        assert self._robot is not None
        return delta_to(row, self._convention, self._robot(), self._instruction)[None]

    def _decide(self, deltas: np.ndarray, stage: Stage, reply: Reply) -> Decision:
        self._opening = float(deltas[-1, 6])
        text = reply.text
        if not text:
            chunk = ActionChunk(deltas, text="", stepwise=True)
            action = _cut(reply.words) or _description(chunk)
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
    return _cut(str(values.get(key, "")))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text):,} characters)"


def _whole_number(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
