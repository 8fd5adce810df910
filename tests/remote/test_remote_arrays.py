"""Arrays cross every wire unchanged, and nothing else does: no objects, no pickles, no shapes without their bytes."""

from __future__ import annotations

import base64
import io
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from remote_lane import need_remote

from vlm2vla_sim.errors import WireError
from vlm2vla_sim.policies.remote.arrays import from_json, pack_openpi, pack_vla_eval, to_json, unpack

need_remote()

import msgpack  # noqa: E402

DIALECTS = {"openpi": (pack_openpi, unpack), "vla-eval": (pack_vla_eval, unpack), "json": (to_json, from_json)}
in_every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


@in_every_dialect
@pytest.mark.parametrize("dtype", ["|u1", "|b1", "<i8", "<f2", "<f4", "<f8", ">f4", ">i2"])
def test_an_array_comes_back_with_its_numbers_its_shape_and_its_type(dialect, dtype):
    pack, read = DIALECTS[dialect]
    for shape in [(), (0,), (3,), (2, 3), (1, 2, 3)]:
        array = (np.arange(np.prod(shape)) % 2).astype(dtype).reshape(shape)
        found = read(pack({"actions": array, "prompt": "put 1"}))
        assert found["prompt"] == "put 1"
        np.testing.assert_array_equal(found["actions"], array)
        assert np.asarray(found["actions"]).dtype == array.dtype


@in_every_dialect
def test_an_array_that_is_not_in_one_piece_is_sent_right(dialect):
    pack, read = DIALECTS[dialect]
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[:, ::-1]
    np.testing.assert_array_equal(read(pack({"a": array}))["a"], array)


@in_every_dialect
@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.array(["text"]),
        np.array([1 + 2j]),
        np.zeros(2, [("a", "<f4")]),
        np.array(["2026-01-01"], "datetime64[D]"),
        object(),
        {1, 2},
    ],
)
def test_what_is_no_plain_number_is_not_sent(dialect, value):
    pack, _ = DIALECTS[dialect]
    with pytest.raises(WireError, match="cannot be sent"):
        pack({"x": value})


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


def forged(dialect: str, *, dtype, shape, data: bytes) -> bytes:
    """An array that no honest client sends."""
    if dialect == "json":
        text = base64.b64encode(data).decode()
        return json.dumps({"a": {"__numpy__": text, "dtype": dtype, "shape": shape}}).encode()
    fields = {"__ndarray__": True, "data": data, "dtype": dtype, "shape": shape}
    if dialect == "openpi":
        fields = {key.encode(): value for key, value in fields.items()}
    return msgpack.packb({"a": fields})


@in_every_dialect
@pytest.mark.parametrize(
    ("dtype", "shape", "data", "said"),
    [
        ("|O", [1], pickle.dumps(Evil()), "dtype '|O'; expected a plain number"),
        ("O", [1], bytes(8), "dtype 'O'"),
        ("|V8", [1], bytes(8), "expected a plain number"),
        ("<U4", [1], bytes(16), "expected a plain number"),
        ("<M8[ns]", [1], bytes(8), "expected a plain number"),
        ("<c8", [1], bytes(8), "expected a plain number"),
        ("f8,(1000000000,)f8", [1], bytes(8), "expected a plain number"),
        ([["a", "|O"]], [1], bytes(8), "expected a plain number"),
        (None, [1], bytes(8), "expected a plain number"),
        ("<f4", [10**15], b"", "needs 4,000,000,000,000,000 bytes"),
        ("<f4", [2**40, 2**40], b"", "needs"),
        ("<f4", [3], bytes(8), "needs 12 bytes, but has 8 bytes"),
        ("<f4", [-1], bytes(8), "expected up to 8 whole numbers"),
        ("<f4", [1.5], bytes(8), "expected up to 8 whole numbers"),
        ("<f4", [1] * 9, bytes(4), "expected up to 8 whole numbers"),
        ("<f4", "ab", bytes(4), "expected up to 8 whole numbers"),
    ],
)
def test_a_forged_array_is_refused_before_anything_is_made_of_it(dialect, dtype, shape, data, said):
    _, read = DIALECTS[dialect]
    with pytest.raises(WireError) as refusal:
        read(forged(dialect, dtype=dtype, shape=shape, data=data))
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        pack_openpi({"a": np.zeros(9)})[:-3],
        pack_openpi({}) + b"\x00",
        pickle.dumps({"actions": [1]}),
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 100_000 + b"\x90",
        msgpack.packb(msgpack.ExtType(42, b"code")),
        msgpack.packb({b"__npgeneric__": True, b"data": [1], b"dtype": "<f4"}),
        msgpack.packb({(1, 2): 3}),
    ],
)
def test_broken_messages_are_one_error(message):
    with pytest.raises(WireError):
        unpack(message)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_read_or_refused(message):
    for read in (unpack, from_json):
        try:
            read(message)
        except WireError:
            continue  # any other error fails the test


def picture(kind: str) -> dict[str, object]:
    file = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), 7, np.uint8)).save(file, format=kind.upper())
    return {"__image__": True, "format": kind, "data": file.getvalue(), "shape": [20, 30, 3]}


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_vla_evals_compressed_pictures_are_read(kind):
    found = unpack(msgpack.packb({"primary": picture(kind)}))["primary"]
    assert found.shape == (20, 30, 3)
    assert abs(int(found[5, 5, 0]) - 7) <= 2


def test_the_pictures_of_a_message_share_a_limit():
    file = io.BytesIO()
    Image.new("1", (3000, 3000)).save(file, format="PNG")
    one = {"__image__": True, "format": "png", "data": file.getvalue(), "shape": [3000, 3000]}
    assert unpack(msgpack.packb([one]))[0].shape == (3000, 3000)
    with pytest.raises(WireError, match="18,000,000 pixels"):
        unpack(msgpack.packb([one, one]))


def test_the_lists_and_maps_of_a_message_share_a_limit():
    assert len(unpack(msgpack.packb([[]] * 40_000))) == 40_000
    for many in ([[[]] * 40_000] * 3, [[{}] * 40_000] * 3, [list(range(60_000))] * 2):
        with pytest.raises(WireError, match="more than 100,000 items"):
            unpack(msgpack.packb(many))


def test_a_picture_that_would_unfold_to_gigabytes_or_is_none_is_refused():
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, format="PNG")
    huge = {"__image__": True, "format": "png", "data": file.getvalue(), "shape": [20_000, 20_000]}
    with pytest.raises(WireError, match=r"20000 x 20000 pixels|400000000 pixels"):
        unpack(msgpack.packb(huge))
    for broken in ({"format": "tiff"}, {"format": "png", "data": b"GIF89a"}, {"format": "png", "data": 3}):
        with pytest.raises(WireError):
            unpack(msgpack.packb({"__image__": True, **broken}))
