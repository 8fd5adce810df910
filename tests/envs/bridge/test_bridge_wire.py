"""The wire: every golden frame is read or refused as its manifest says, and no bytes whatever get anything run."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import os
import pickle
import random
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane import need

import vlm2vla_sim
from vlm2vla_sim.core import pickle_reader
from vlm2vla_sim.envs.robot_link import wire, wire_writer
from vlm2vla_sim.errors import WireError

need("robot", "lz4")
import lz4.frame  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "data" / "bridge_wire_golden"
MANIFEST: dict[str, Any] = json.loads((GOLDEN / "manifest.json").read_text())
STORED = sorted(path.name for path in GOLDEN.glob("*.bin"))
MUTATIONS = 30_000


def described(value: Any) -> Any:
    """A value in the manifest's own words."""
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(value.tobytes()).hexdigest()
        return {"ndarray": {"dtype": value.dtype.str, "sha256": digest, "shape": list(value.shape)}}
    if isinstance(value, bytes):
        return {"bytes": {"length": len(value), "sha256": hashlib.sha256(value).hexdigest()}}
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(value)}
    if isinstance(value, dict):
        return {key: described(item) for key, item in value.items()}
    return [described(item) for item in value] if isinstance(value, (list, tuple)) else value


def bomb() -> bytes:
    """A frame of a few hundred kB that decompresses to 100 MB."""
    return lz4.frame.compress(pickle.dumps(bytes(100 * 10**6)))


def test_the_manifest_and_the_stored_frames_name_the_same_files():
    # The bomb is made by the test instead of being stored.
    assert sorted(MANIFEST) == sorted([*STORED, "evil_bomb.bin"])
    assert len(STORED) == 146


@pytest.mark.parametrize("name", [n for n in STORED if "expect" in MANIFEST[n]])
def test_a_golden_frame_is_read_as_its_manifest_says(name):
    assert described(wire.decode((GOLDEN / name).read_bytes())) == MANIFEST[name]["expect"]


REFUSALS = {
    "names a callable": "names a callable",
    "not an lz4 frame": "not an LZ4 frame|cut off",
    "truncated": "cut off",
    "decompresses past 64 MiB": "more than 64 MiB",
}


@pytest.mark.parametrize("name", [n for n in MANIFEST if "refuse" in MANIFEST[n]])
def test_a_hostile_golden_frame_is_refused_for_the_reason_its_manifest_gives(name):
    frame = bomb() if name == "evil_bomb.bin" else (GOLDEN / name).read_bytes()
    with pytest.raises(WireError, match=REFUSALS[MANIFEST[name]["refuse"]]):
        wire.decode(frame)


def test_bytes_that_are_no_frame_are_called_so():
    with pytest.raises(WireError, match="not an LZ4 frame"):
        wire.decode(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_what_follows_the_end_of_a_frame_is_not_ignored():
    with pytest.raises(WireError, match="follow the end"):
        wire.decode(wire.encode({"type": "hash"}) + b"\x00")


def test_a_bomb_costs_no_more_memory_than_the_limit_says():
    frame = bomb()
    tracemalloc.start()
    with pytest.raises(WireError):
        wire.decode(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * wire.MAX_MESSAGE


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"\x80\x04(l.", "opcode"),  # LIST, which plain data does not need
        (b"\x80\x04]\x94h\x00a.", "levels"),  # a list that holds itself
        (b"\x80\x04]\x94" + b"(h\x00h\x00h\x00e" * 5 + b".", "levels"),
        (b"\x80\x04" + b"]" * 199_000 + b".", "values"),
        (b"\x80\x04" + b"N0" * 150_000 + b".", "opcode"),
        (b"\x80\x04" + b"N" * 250_000 + b".", "operations"),
        (b"\x80\x04\x8a\xff" + b"\x01" * 255 + b".", "whole number"),
        (b"\x80\x04cnumpy\nndarray\n.", "name"),
        (b"\x80\x04cnumpy\ndtype\n\x8c\x02O8\x85R.", "plain numbers"),
        (b"\x80\x04cnumpy\nndarray\n(J\x00\x00\x00\x7f\x85\x8c\x03<f8C\x00tR.", "bytes for an array"),
        (b"\x80\x04}]Ns.", "as a key"),
        (b"\x80\x01N.", "protocol"),
        (b"\x80\x04N.N.", "nothing after"),
        (b"\x80\x04cvlm2vla_sim.errors\nWireError\n)R.", "names a callable"),
    ],
)
def test_a_program_that_is_not_plain_data_is_refused(program, words):
    with pytest.raises(WireError, match=words):
        pickle_reader.read(program)


def test_a_value_shared_billions_of_times_is_refused_quickly():
    laughs = b"\x80\x04]\x94" + b"".join(b"](h%bh%be\x94" % (bytes([n]), bytes([n])) for n in range(30)) + b"0" * 0
    with pytest.raises(WireError):
        pickle_reader.read(laughs + b".")


def test_the_array_written_again_and_again_does_not_copy_without_end():
    text = b"X" + (2**24).to_bytes(4, "little") + b"a" * 2**24
    encode = b"c_codecs\nencode\n"
    program = b"\x80\x04(" + text + b"\x94" + (encode + b"h\x00\x8c\x06latin1\x86R") * 1000 + b"t."
    with pytest.raises(WireError, match="MiB"):
        pickle_reader.read(program)


# What we write.

NUMBERS = [np.dtype(code) for code in ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")]
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**100), 2**100) | st.floats(allow_nan=False) | st.text() | st.binary()
)
ARRAYS = st.builds(
    lambda dtype, shape, seed: np.asarray(np.random.default_rng(seed).random(shape) * 200).astype(dtype),
    st.sampled_from(NUMBERS),
    st.lists(st.integers(0, 9), max_size=3).map(tuple),
    st.integers(0, 2**32),
)
MESSAGES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and bool((left == right).all())
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_what_we_write_is_read_the_same_by_us_and_by_pickle(message):
    frame = wire.encode(message)
    assert same(message, wire.decode(frame))
    assert same(message, pickle.loads(lz4.frame.decompress(frame)))


@settings(max_examples=200, deadline=None)
@given(MESSAGES, st.integers(2, 5))
def test_what_pickle_writes_under_this_numpy_we_read_the_same(message, protocol):
    assert same(message, wire.decode(lz4.frame.compress(pickle.dumps(message, protocol))))


def test_a_written_message_names_nothing_that_numpy_1_or_2_lacks():
    message = {"a": np.zeros(7), "b": np.zeros((480, 640, 3), np.uint8), "c": [1.5, "x", (None, True)]}
    found: set[str] = set()

    class Watcher(pickle.Unpickler):
        def find_class(self, module_name: str, global_name: str) -> Any:
            found.add(f"{module_name}.{global_name}")
            return super().find_class(module_name, global_name)

    Watcher(io.BytesIO(wire_writer.write(message))).load()
    assert found == {"numpy.array", "numpy.ndarray"}


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array(["a"]), 1j, 2**200, np.array([object()])])
def test_what_is_not_plain_data_is_not_sent(value):
    with pytest.raises(WireError, match="cannot be sent"):
        wire.encode({"value": value})


def test_no_module_of_the_robot_backend_imports_pickle():
    rooms = Path(vlm2vla_sim.__file__).parent / "envs"
    files = [path for room in ("robot_link", "bridge", "manipulator_gym") for path in (rooms / room).rglob("*.py")]
    assert len(files) >= 30
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"pickle", "pickletools", "dill", "cloudpickle"}, (
                path
            )


# What nobody wrote.


class Evil:
    """A value whose pickle asks for something to be run."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


WATCHED = ("os.system", "os.posix_spawn", "subprocess.Popen", "exec", "compile", "import", "open", "socket.connect")
_heard: list[str] | None = None


def _hook(event: str, _: Any) -> None:
    if _heard is not None and event in WATCHED:
        _heard.append(event)


sys.addaudithook(_hook)


def seeds(canary: Path) -> list[bytes]:
    """Messages to mutate: the golden ones, and ones that would create `canary` if anything in them were run."""
    evil = [
        Evil(os.system, f"touch {canary}"),
        Evil(eval, f"open({str(canary)!r}, 'w')"),
        Evil(exec, f"open({str(canary)!r}, 'w')"),
        Evil(open, str(canary), "w"),
        {"status": Evil(os.mkdir, str(canary))},
    ]
    written = [pickle.dumps(value, protocol) for value in evil for protocol in (2, 4)]
    golden = [lz4.frame.decompress((GOLDEN / name).read_bytes()) for name in STORED if "expect" in MANIFEST[name]]
    return [message for message in golden if len(message) < 2000] + written * 4


def mutated(message: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """`message` with a few bytes changed, dropped, doubled, or grafted from another one."""
    data = bytearray(message)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = data[at : at + rng.randrange(1, 40)]
        elif kind == 3:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            data[at:at] = other[start : start + rng.randrange(1, 60)]
        else:
            data[at:at] = bytes([rng.choice(b"cR\x93b(t.qhr\x94\x8c}]aeus0N\x81")])
    return bytes(data)


def test_thirty_thousand_mutated_messages_run_nothing_and_raise_nothing_but_wire_errors(tmp_path):
    global _heard
    canary = tmp_path / "canary"
    originals = seeds(canary)
    pickle.loads(originals[-2])  # The canary works: pickle itself does run what the message asks for.
    assert canary.exists()
    canary.rmdir()
    rng = random.Random(20261121)
    frames = [mutated(rng.choice(originals), originals, rng) for _ in range(MUTATIONS)]
    # One in six is damaged as it travels, the others before they are packed.
    packed = [
        mutated(lz4.frame.compress(raw), [raw], rng) if n % 6 == 0 else lz4.frame.compress(raw)
        for n, raw in enumerate(frames)
    ]
    read = refused = 0
    _heard = heard = []
    try:
        for frame in packed:
            try:
                wire.decode(frame)
                read += 1
            except WireError:
                refused += 1
    finally:
        _heard = None
    assert heard == []
    assert not canary.exists()
    assert read + refused == MUTATIONS
    assert min(read, refused) > 300  # Both ways were taken, so the mutations are neither all noise nor all harmless.


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused(data):
    for reader in (wire.decode, pickle_reader.read, lambda raw: pickle_reader.read(b"\x80\x04" + raw)):
        with contextlib.suppress(WireError):  # and nothing else
            reader(data)
