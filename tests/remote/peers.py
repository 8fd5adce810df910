"""Run by the interpreter that has the published packages: their clients ask us, their servers and codecs answer us.

Nothing of vlm2vla_sim is imported here. Each part prints JSON, one value a line, and ends by itself or when its
standard input is closed.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import numpy as np


def picture(number: int) -> np.ndarray:
    """(480, 640, 3) uint8: a picture that can be told from the next."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (480, 640, 3), np.uint8)


def say(value: Any) -> None:
    """One line for the test."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def openpi_client(url: str, questions: str) -> None:
    """openpi-client's policy asks us; an error is a RuntimeError there."""
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    policy = WebsocketClientPolicy(url)
    say(sorted(policy.get_server_metadata()))
    for number in range(int(questions)):
        asked = {"observation/image": picture(number), "prompt": "put carrot on plate", "vlm2vla/seed": 5}
        asked["observation/state"] = np.zeros(7)
        answer = policy.infer(asked)
        say({"actions": answer["actions"].tolist(), "dtype": answer["actions"].dtype.str})
    try:
        policy.infer({"prompt": "no picture"})
    except RuntimeError as error:
        say(str(error))


def act_client(url: str, questions: str) -> None:
    """What AutoEval's stations and OpenVLA's clients do: requests, patched to read arrays as json-numpy writes them."""
    import json_numpy
    import requests

    json_numpy.patch()
    session = requests.Session()
    session.trust_env = False
    for _ in range(2):
        say(session.post(f"{url}/reset", timeout=20).json())
        for number in range(int(questions)):
            asked = {"image": picture(number)[:256, :256], "instruction": "put carrot on plate"}
            asked["proprio"] = np.array([0.258, 0, 0.19, 0, np.pi / 2, 0, 0, 0.39], np.float32)
            answer = session.post(f"{url}/act", json=asked, timeout=20).json()
            say({"type": type(answer).__name__, "shape": list(answer.shape), "action": answer.tolist()})


def openpi_broker(url: str, horizon: str) -> None:
    """openpi-client's ActionChunkBroker, which hands out a chunk row by row, around the same."""
    from openpi_client.action_chunk_broker import ActionChunkBroker
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    broker = ActionChunkBroker(WebsocketClientPolicy(url), action_horizon=int(horizon))
    for _ in range(6):
        asked = {"observation/image": picture(0), "prompt": "put carrot on plate", "vlm2vla/seed": 5}
        say(broker.infer(asked)["actions"].tolist())


def openpi_pad(height: str, width: str) -> None:
    """A picture as openpi-client's own `resize_with_pad` sends it."""
    from openpi_client.image_tools import resize_with_pad

    say(resize_with_pad(picture(1)[: int(height), : int(width)], 224, 224).tolist())


def openpi_server() -> None:
    """A server with openpi-client's codec, as its WebsocketPolicyServer behaves; the package brings no server."""
    from openpi_client import msgpack_numpy
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import serve

    def handle(connection: Any) -> None:
        packer = msgpack_numpy.Packer()
        connection.send(packer.pack({"model": "peer", "scale": np.float32(1.5)}))
        try:
            while True:
                asked = msgpack_numpy.unpackb(connection.recv())
                image, state = asked["observation/primary_image"], asked["observation/state"]
                say([asked["prompt"], list(image.shape), image.dtype.str, int(image.sum()), state.tolist()])
                rows = np.tile(np.array([0.01, 0, -0.02, 0, 0, 0.1, 0.2], np.float32), (50, 1))
                connection.send(packer.pack({"actions": rows, "policy_timing": {"infer_ms": np.float64(3.5)}}))
        except ConnectionClosed:
            return

    with serve(handle, "127.0.0.1", 0, compression=None, max_size=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        say(f"ws://127.0.0.1:{server.socket.getsockname()[1]}")
        sys.stdin.read()


def harness(url: str, steps: str) -> None:
    """vla-eval's own runner and connection play an episode of a benchmark of its kind against us."""
    import anyio
    from vla_eval.benchmarks.base import StepBenchmark, StepResult
    from vla_eval.connection import Connection
    from vla_eval.runners.sync_runner import SyncEpisodeRunner
    from vla_eval.specs import GRIPPER_01, IMAGE_RGB, LANGUAGE, POSITION_DELTA, ROTATION_AA, DimSpec, check_specs

    class Bench(StepBenchmark):
        def get_tasks(self) -> list[Any]:
            return [{"name": "carrot"}]

        def reset(self, task: Any) -> int:
            self.count = 0
            return 0

        def step(self, action: Any) -> StepResult:
            say({"action": np.asarray(action["actions"]).tolist()})
            self.count += 1
            return StepResult(obs=self.count, reward=0.0, done=self.count == int(steps), info={})

        def make_obs(self, raw_obs: int, task: Any) -> dict[str, Any]:
            return {"images": {"primary": picture(raw_obs)}, "task_description": "put carrot on plate"}

        def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
            return {"success": step_result.done}

    async def play() -> None:
        connection = Connection(url, timeout=20, max_retries=1)
        await connection.connect(benchmark="bench")
        info = connection.server_info
        theirs = {name: DimSpec.from_dict(spec) for name, spec in info["action_spec"].items()}
        seen = {name: DimSpec.from_dict(spec) for name, spec in info["observation_spec"].items()}
        mine = {"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_01}
        say(check_specs(theirs, mine, seen, {"primary": IMAGE_RGB, "language": LANGUAGE}))
        task = {"name": "carrot", "seed": 5}
        for _ in range(2):
            say(await SyncEpisodeRunner().run_episode(Bench(), task, connection))
        try:
            await connection.act({"task_description": "no picture"})
        except RuntimeError as error:
            say(str(error))
        await connection.close()

    anyio.run(play)


def vla_eval_server(chunk: str) -> None:
    """A model server of vla-eval's kind, served by its own code."""
    import anyio
    from anyio.to_thread import run_sync
    from vla_eval.model_servers.predict import PredictModelServer
    from vla_eval.model_servers.serve import serve_async
    from vla_eval.specs import GRIPPER_CLOSE_POS, IMAGE_RGB, LANGUAGE, POSITION_DELTA, ROTATION_AA

    class Model(PredictModelServer):
        def predict(self, obs: Any, ctx: Any) -> dict[str, Any]:
            image = obs["images"]["primary"]
            say([obs["task_description"], list(image.shape), image.dtype.str, int(image.sum()), ctx.step])
            row = np.array([0.01, 0, -0.02, 0, 0, 0.1, 1.0], np.float32)  # closed, as its OpenVLA server says it
            return {"actions": np.tile(row, (3, 1)) if chunk != "1" else row}

        def get_action_spec(self) -> dict[str, Any]:
            return {"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_CLOSE_POS}

        def get_observation_spec(self) -> dict[str, Any]:
            return {"image": IMAGE_RGB, "language": LANGUAGE}

        async def on_episode_start(self, config: Any, ctx: Any) -> None:
            say({"start": config["task"]["name"]})
            await super().on_episode_start(config, ctx)

    async def run() -> None:
        model = Model(chunk_size=3) if chunk == "buffered" else Model()
        async with anyio.create_task_group() as group:
            say(f"ws://127.0.0.1:{await group.start(serve_async, model, '127.0.0.1', 0)}")
            await run_sync(sys.stdin.read)
            group.cancel_scope.cancel()

    anyio.run(run)


def act_server() -> None:
    """POST /act with json-numpy, as OpenVLA's deploy.py answers; without its framework."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    import json_numpy

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json_numpy.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = 404, b""
            if self.path == "/act":
                image = asked["image"]
                say([asked["instruction"], asked["unnorm_key"], list(image.shape), image.dtype.str, int(image.sum())])
                action = np.array([0.01, 0, -0.02, 0, 0, 0.1, 0.996])
                status, answer = 200, json_numpy.dumps(action).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        say(f"http://127.0.0.1:{server.server_address[1]}")
        sys.stdin.read()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
