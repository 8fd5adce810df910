"""Episodes over servers that speak other people's conventions, whose policy is the scripted one.

python benchmarks/conventions.py                # 24 episodes each, on the twin; a table
python benchmarks/conventions.py --episodes 2 --only lap xvla

Every server here answers as the model's own does, in its wire protocol, units, frame and gripper; the numbers come from
the scripted policy, which solves the task. A sign, an order of angles or a gripper that the client mistakes does not
lift the carrot. The servers are written from the sources that the conventions name, not from the client.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vlm2vla_sim.core.rotations import (
    matrix_to_euler_sxyz,
    quaternion_to_matrix,
    rotvec_to_euler_sxyz,
    rotvec_to_matrix,
)
from vlm2vla_sim.envs.executor import Executor
from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.setup import make_env, make_policy, widowx
from vlm2vla_sim.language.formats import describe
from vlm2vla_sim.policies.base import close_policy
from vlm2vla_sim.policies.remote.arrays import from_json, pack_groot, pack_openpi, pack_vla_eval, to_json, unpack
from vlm2vla_sim.policies.remote.conventions import CONVENTIONS, Convention
from vlm2vla_sim.policies.remote.convert import write_deltas
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.robots.widowx_250s import WIDOWX_250S
from vlm2vla_sim.types import ActionChunk, EpisodeResult

MODELS = (
    *(("openpi", "pi0-bridge"), ("openpi", "open-pi-zero"), ("openpi", "widowx"), ("openpi", "lap")),
    *(("openpi", "starvla"), ("openvla", "openvla"), ("openvla", "ecot"), ("openvla", "octo"), ("openvla", "autoeval")),
    *(("openvla", "openvla-oft"), ("openvla", "spatialvla"), ("openvla", "molmoact"), ("openvla", "xvla")),
    *(("groot", "groot"), ("vla-eval", "simpler"), ("vla-eval", "openvla"), ("vla-eval", "cogact")),
    *(("vla-eval", "starvla"), ("vla-eval", "groot"), ("vla-eval", "xvla")),
)
LONGER = {"lap": 180}
"""Control steps where SIMPLER's are too few: every answer of LAP's takes five."""
DECLARED = {
    "openvla": {"rotation": {"format": "axis_angle"}, "gripper": {"format": "binary_close_positive"}},
    "starvla": {"gripper": {"format": "binary_close_positive"}},
    "groot": {"rotation": {"format": "euler_xyz"}, "gripper": {"format": "continuous_01"}},
    "xvla": {"rotation": {"format": "euler_xyz"}, "gripper": {"format": "binary_close_positive"}},
}
"""What vla-eval 0.8.0's model servers declare of their actions, right or wrong."""
ACTIONS = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")


class ScriptedRows:
    """The scripted policy in an environment, as the rows that a model of a convention answers with."""

    def __init__(self, env: Any, convention: Convention) -> None:
        self._env, self._convention = env, convention
        self._policy: Any = None
        self._executor = Executor()
        self._left: list[np.ndarray] = []
        self.words = ""
        """What the policy wrote for the last rows."""
        self.asked: list[Any] = []
        """The requests, as they were read."""

    def answer(self) -> np.ndarray:
        """(T, width) the rows from this control step on; the client carries out as many as the convention says."""
        if not self._left:
            self._left = self._decide()
        if self._convention.absolute:
            rows, self._left = self._poses(self._left), []
            return rows
        if self._convention.sums:
            return self._left.pop(0)[None]
        rows = write_deltas(np.stack(self._left), self._convention)
        self._left = self._left[self._convention.execute or len(self._left) :]
        return rows

    def _decide(self) -> list[np.ndarray]:
        if self._policy is None:
            self._policy = make_policy(self._env, PolicySpec("scripted"))
            self._policy.reset(widowx(self._env).task_description, 0)
        decision = self._policy.act({})
        chunk = None if decision is None else decision.chunk
        self.words = "; ".join(describe(chunk)) if chunk is not None else "hold still"
        if self._convention.sums:
            return self._sums(chunk)
        return [step.action for step in self._executor.steps(chunk)]

    def _sums(self, chunk: ActionChunk | None) -> list[np.ndarray]:
        """Rows that each sum `sums` steps: first the motion, then the gripper; without a gripper where it stays."""
        if chunk is None:
            return [np.zeros(6)]
        found = []
        for delta in np.asarray(chunk.deltas, np.float64):
            steps = max(np.abs(delta[:3]).max() / 0.04, np.linalg.norm(delta[3:6]) / 0.2)
            parts = math.ceil(steps / self._convention.sums) or 0
            part = np.array([*delta[:3] / max(parts, 1), *rotvec_to_euler_sxyz(delta[3:6] / max(parts, 1))])
            found += [part] * parts
            if delta[6] != self._executor.gripper:
                found.append(np.array([0, 0, 0, 0, 0, 0, delta[6]]))
            self._executor.gripper = float(delta[6])
        return found or [np.zeros(6)]

    def _poses(self, actions: list[np.ndarray]) -> np.ndarray:
        target = widowx(self._env).status.robot.target
        position, orientation = target.position.copy(), quaternion_to_matrix(target.quaternion)
        rows = []
        for action in actions:
            position = position + action[:3]
            orientation = rotvec_to_matrix(action[3:6]) @ orientation
            bridge = orientation @ WIDOWX_250S.down.T
            if self._convention.rotation == "rot6d":  # X-VLA's: the chance that it is closed, and a second arm's zeros
                rows.append([*position, *bridge[:, :2].ravel(), 1 - action[6], *np.zeros(10)])
            else:
                euler = matrix_to_euler_sxyz(bridge) + np.array([0, np.pi / 2, 0])
                rows.append([*position, *euler, 1 if action[6] > 0.5 else -1])
        return np.array(rows)


class Place:
    """Where a server finds the rows of the episode that is played."""

    rows: ScriptedRows


@contextlib.contextmanager
def serving(wire: str, name: str) -> Iterator[tuple[str, Place]]:
    """A server of that protocol and convention: its address, and the place for the rows of an episode."""
    place = Place()
    convention = CONVENTIONS[wire][name]
    if wire == "openvla":
        with _http(lambda query: _act(place.rows, query, name)) as url:
            yield url, place
    elif wire == "groot":
        with _zeromq(lambda query: _groot(place.rows, query)) as url:
            yield url, place
    else:
        handle = _openpi if wire == "openpi" else _vla_eval
        with _websocket(lambda connection: handle(connection, place, name, convention)) as url:
            yield url, place


def _openpi(connection: Any, place: Place, name: str, convention: Convention) -> None:
    connection.send(pack_openpi({}))
    while True:
        query = unpack(connection.recv())
        place.rows.asked.append(query)
        rows = place.rows.answer()
        if name == "starvla":
            found = {"status": "ok", "ok": True, "type": "inference_result", "data": {"actions": rows[None]}}
        elif convention.sums:
            found = {"actions": rows[0], "reasoning": place.rows.words}
        else:
            found = {"actions": rows}
        connection.send(pack_openpi(found))


def _vla_eval(connection: Any, place: Place, name: str, convention: Convention) -> None:
    while True:
        message = unpack(connection.recv())
        kind, answer = message["type"], None
        if kind == "hello":
            answer = "hello", {"protocol_version": 1, "action_spec": DECLARED.get(name, {})}
        elif kind == "observation":
            place.rows.asked.append(message["payload"])
            rows = place.rows.answer()
            answer = "action", {"actions": rows[0] if convention.execute == 1 else rows}
        if answer is not None:
            connection.send(
                pack_vla_eval(
                    {"type": answer[0], "payload": answer[1], "seq": message["seq"], "timestamp": time.time()}
                )
            )


def _act(rows: ScriptedRows, query: dict[str, Any], name: str) -> bytes:
    if name == "xvla":  # its server reads every text that is JSON
        query = {key: _or_text(value) for key, value in query.items()}
        rows.asked.append(query)
        return json.dumps({"action": rows.answer().tolist()}).encode()
    rows.asked.append(query)
    found = rows.answer()
    if name == "openvla-oft":
        return to_json(list(found))
    return to_json(found if name == "spatialvla" else found[0])


def _or_text(value: Any) -> Any:
    try:
        return from_json(value) if isinstance(value, str) else value
    except Exception:
        return value


def _groot(rows: ScriptedRows, query: dict[str, Any]) -> Any:
    if query["endpoint"] == "reset":
        return {}
    rows.asked.append(query["data"]["observation"])
    found = rows.answer().astype(np.float32)
    return [{f"action.{key}": found[None, :, column, None] for column, key in enumerate(ACTIONS)}, {}]


# The three transports.


@contextlib.contextmanager
def _websocket(handle: Callable[[Any], None]) -> Iterator[str]:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import serve

    def until_closed(connection: Any) -> None:
        with contextlib.suppress(ConnectionClosed):
            handle(connection)

    with serve(until_closed, "127.0.0.1", 0, compression=None, max_size=None, close_timeout=0.2) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"


@contextlib.contextmanager
def _http(answer: Callable[[dict[str, Any]], bytes]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found = answer(from_json(body)) if self.path == "/act" else b"{}"
            self.send_response(200 if self.path == "/act" else 404)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextlib.contextmanager
def _zeromq(answer: Callable[[dict[str, Any]], Any]) -> Iterator[str]:
    import zmq

    context = zmq.Context()
    socket = context.socket(zmq.REP)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            if socket.poll(50):
                socket.send(pack_groot(answer(unpack(socket.recv()))))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        over.set()
        thread.join(timeout=5)
        socket.close(linger=0)
        context.term()


def play(wire: str, name: str, url: str, place: Place, *, episode: int, backend: str, **options: Any) -> EpisodeResult:
    """One episode of carrot_on_plate, asked over the server."""
    settings = RunSettings(
        "scripted", ("carrot_on_plate",), backend=backend, image_size=(48, 64), max_steps=LONGER.get(name)
    )
    env = make_env(settings, "carrot_on_plate")
    place.rows = ScriptedRows(env, CONVENTIONS[wire][name])
    spec = PolicySpec(wire, options={"server": url, "convention": name, **options})
    policy = make_policy(env, spec)
    try:
        return run_episode(env, policy, episode_id=episode, spec=spec)
    finally:
        close_policy(policy)
        env.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=24)
    parser.add_argument("--backend", default="mujoco")
    parser.add_argument("--only", nargs="*", default=[], help="names of conventions")
    asked = parser.parse_args()
    print("| policy | convention | success at the last step | control steps | clipped |\n|---|---|---|---|---|")
    for wire, name in MODELS:
        if asked.only and name not in asked.only:
            continue
        with serving(wire, name) as (url, place):
            made = [play(wire, name, url, place, episode=k, backend=asked.backend) for k in range(asked.episodes)]
        won, clipped = sum(bool(one.success_at_end) for one in made), sum(one.clipped_steps for one in made)
        print(f"| `{wire}` | `{name}` | {won} of {len(made)} | {made[0].max_steps} | {clipped} |", flush=True)


if __name__ == "__main__":
    main()
