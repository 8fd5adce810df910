"""GR00T's wire: what its server may answer that is no action, and what may go wrong on the way."""

from __future__ import annotations

import dataclasses
import io
import threading
from typing import Any

import msgpack
import numpy as np
import pytest
from remote_lane import need_remote, scripted

need_remote()
zmq = pytest.importorskip("zmq", reason="GR00T's protocol needs pyzmq: pip install 'vlm2vla_sim[groot]'")

from vlm2vla_sim.errors import ServerError, SettingError, WireError  # noqa: E402
from vlm2vla_sim.policies.remote.arrays import pack_groot, pack_openpi, unpack  # noqa: E402
from vlm2vla_sim.policies.remote.conventions import find_convention  # noqa: E402
from vlm2vla_sim.policies.remote.groot import ACTIONS, GrootWire  # noqa: E402
from vlm2vla_sim.policies.remote.openpi import OpenpiWire  # noqa: E402
from vlm2vla_sim.policies.remote.wire import Request, Server  # noqa: E402

GROOT = find_convention("groot", "groot")
REQUEST = Request("put carrot on plate", np.zeros((256, 256, 3), np.uint8), np.zeros(8, np.float32), 0)


class Answering:
    """A socket that gives one answer after another to whatever it is asked; None for no answer at all."""

    def __init__(self, *answers: Any) -> None:
        self._answers, self.asked = list(answers), []
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self.url = f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._over.is_set():
            if not self._socket.poll(20):
                continue
            *way, message = self._socket.recv_multipart()
            self.asked.append(unpack(message))
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if answer is not None:
                self._socket.send_multipart([*way, answer if isinstance(answer, bytes) else pack_groot(answer)])

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(timeout=5)
        self._socket.close(linger=0)
        self._context.term()


def good(rows: int = 2) -> list[Any]:
    numbers = np.arange(7 * rows, dtype=np.float32).reshape(7, rows) / 100
    return [{f"action.{name}": row[None, :, None] for name, row in zip(ACTIONS, numbers, strict=True)}, {}]


def ask(url: str, **limits: Any) -> Any:
    wire = GrootWire(
        Server(url, backoff=0.01, **({"retries": 1, "timeout": 5.0} | limits)), GROOT, sleep=lambda s: None
    )
    try:
        wire.start("put carrot on plate", 0)
        return wire.ask(REQUEST)
    finally:
        wire.close()


def test_the_columns_of_the_answer_are_rows_here_and_the_key_is_sent(monkeypatch):
    monkeypatch.setenv("VLM2VLA_API_KEY", "secret")
    with Answering({}, good()) as server:
        reply = ask(server.url)
    np.testing.assert_allclose(reply.actions[1], np.arange(1, 15, 2) / 100)
    assert [one["endpoint"] for one in server.asked] == ["reset", "get_action"]
    assert {one["api_token"] for one in server.asked} == {"secret"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": "Unauthorized: Invalid API token"}, "refuses the request: Unauthorized"),
        ([{"x": np.zeros((1, 2, 1))}, {}], r"answers with .*'x'.*use-sim-policy-wrapper, for Bridge"),
        ([{**good()[0], "action.yaw": np.zeros((1, 3, 1), np.float32)}, {}], r"of one shape \(1, T, 1\)"),
        ([{**good()[0], "action.yaw": "left"}, {}], "of one shape"),
        ("well", "answers with 'well'; expected action.x"),
        (b"\xc1", "asked 2 times.*is not msgpack"),
    ],
)
def test_what_is_no_action_is_one_sentence(answer, said):
    with Answering({}, answer) as server, pytest.raises(ServerError, match=said):
        ask(server.url)


def test_an_answer_that_does_not_come_costs_a_retry_and_is_not_taken_for_the_next():
    with Answering({}, None, good()) as server:
        reply = ask(server.url, timeout=0.2)
    assert reply.retries == 1
    with Answering(None) as server, pytest.raises(ServerError, match=r"asked 2 times.*longer than 0\.2 s"):
        ask(server.url, timeout=0.2)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def message(data: Any) -> bytes:
    return msgpack.packb({"__ndarray_class__": True, "as_npy": data})


def test_arrays_come_back_as_they_were_and_nothing_large_or_alive_is_made_of_a_message():
    for array in (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.float32(2.5)):
        np.testing.assert_array_equal(unpack(pack_groot({"a": np.asarray(array)}))["a"], array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    for data in (
        header.getvalue() + bytes(8),
        npy(np.array([{}], object)),
        npy(np.zeros(3))[:-1],
        b"\x93NUMPY",
        "text",
    ):
        with pytest.raises(WireError):
            unpack(message(data))


def test_a_convention_of_other_numbers_is_refused_before_anything_is_sent():
    with pytest.raises(SettingError, match="10 and 7 numbers"):
        GrootWire(Server("tcp://127.0.0.1:1"), dataclasses.replace(GROOT, proprio="franka10"))


def test_starvlas_error_is_told_as_one():
    def server(connection: Any) -> None:
        connection.send(pack_openpi({}))
        connection.recv()
        connection.send(pack_openpi({"status": "error", "ok": False, "error": {"message": "unnorm_key not specified"}}))

    with scripted(server) as url:
        wire = OpenpiWire(Server(url, retries=0), find_convention("openpi", "starvla"))
        wire.start("put carrot on plate", 0)
        with pytest.raises(ServerError, match=r"refuses the request: .*unnorm_key not specified"):
            wire.ask(REQUEST)
        wire.close()
