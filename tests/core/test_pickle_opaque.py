"""A pickle with anything in it: the data is read, the rest is named, and nothing is run, looked up or large."""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import pickle
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm2vla_sim.core import pickle_reader
from vlm2vla_sim.core.pickle_opaque import Opaque, read_with_opaque
from vlm2vla_sim.errors import WireError


class Hostile:
    """Would leave a mark if it were run."""

    def __reduce__(self):
        return os.mkdir, (os.environ["MARK"],)


class Recursive:
    def __init__(self) -> None:
        self.me = (self, [self])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_is_data_is_read_beside_what_is_not(tmp_path, monkeypatch, protocol):
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    value = {
        "hostile": [Hostile(), {"a": Hostile()}],
        "recursive": Recursive(),
        "numbers": np.arange(6.0).reshape(2, 3),
        "ordered": collections.OrderedDict(a=collections.OrderedDict(b=1)),
        "time": datetime.datetime(2022, 5, 1),
        "after": (1, "text", b"bytes", None, 2.5),
    }
    raw = pickle.dumps(value, protocol=protocol)
    found = read_with_opaque(raw)
    assert not (tmp_path / "mark").exists()
    assert found["numbers"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["ordered"] == {"a": {"b": 1}}
    assert found["after"] == value["after"]
    for opaque, name in (
        (found["hostile"][0], "mkdir"),
        (found["hostile"][1]["a"], "mkdir"),
        (found["recursive"], "test_pickle_opaque.Recursive"),
        (found["time"], "datetime.datetime"),
    ):
        assert isinstance(opaque, Opaque)
        assert name in opaque.reason
        assert "Nothing was run" in opaque.reason
    # A peer on the network gets no such leniency.
    with pytest.raises(WireError, match="names a callable"):
        pickle_reader.read(raw)


def test_plain_data_is_read_as_by_the_strict_reader():
    value = {"a": [1, 2.5, "x", (True, None)], "b": np.arange(3), "c": {4, 5}, "d": np.float32(0.5)}
    raw = pickle.dumps(value)
    strict, lenient = pickle_reader.read(raw), read_with_opaque(raw)
    assert strict["a"] == lenient["a"] == value["a"]
    assert strict["b"].tolist() == lenient["b"].tolist() == [0, 1, 2]
    assert strict["c"] == lenient["c"] == {4, 5}
    assert strict["d"] == lenient["d"] == 0.5


@pytest.mark.parametrize(
    "program",
    [
        # An OrderedDict of 50,000 pairs, made again and again of the same list.
        b"\x80\x04]\x94(" + b"K\x01K\x02\x86" * 50_000 + b"e0" + b"h\x00\x85\x8c\x0bcollections",
        b"\x80\x04" + b"]" * 100_000 + b".",
        b"\x80\x04]\x94" + b"h\x00a" * 3 + b".",  # a list in itself
    ],
    ids=["cut off", "deep", "cycle"],
)
def test_a_file_that_makes_no_sense_is_refused(program):
    with pytest.raises(WireError):
        read_with_opaque(program)


def test_copies_are_counted_before_they_are_made():
    pairs = b"]\x94(" + b"K\x01K\x02\x86" * 20_000 + b"e0"
    once = b"ccollections\nOrderedDict\nh\x00\x85R0"
    program = b"\x80\x04" + pairs + once * 20_000 + b"N."
    start = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="would take more than 256 MiB"):
            read_with_opaque(program)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20
    assert time.monotonic() - start < 30


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused(data):
    for raw in (data, b"\x80\x04" + data):
        with contextlib.suppress(WireError):  # and nothing else
            read_with_opaque(raw)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_changed_file_is_read_or_refused(data):
    value = {"x": [Recursive(), collections.OrderedDict(a=1)], "y": np.arange(3), "z": np.array(["a", None], object)}
    raw = bytearray(pickle.dumps(value, protocol=data.draw(st.sampled_from([2, 4, 5]))))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):  # and nothing else
        read_with_opaque(bytes(raw))
