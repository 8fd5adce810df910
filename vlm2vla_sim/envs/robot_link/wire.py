"""Encode and decode messages of robot servers: an LZ4 frame around a pickle, without using pickle.

The robot's own stack calls `pickle.loads` on what the network sends, in both directions: whatever reaches the port can
run code on the robot's computer, and a compromised robot computer can run code on yours. This codec writes the same
format and reads it with an interpreter for data only, which never looks up or calls anything that a frame names.

Format: youliangtan/edgeml@b4b8495 internal/utils.py:56-57 and youliangtan/agentlace@76984f9 internal/utils.py:55-57,
`lz4.frame.compress(pickle.dumps(message))`.
"""

from __future__ import annotations

from typing import Any

from vlm2vla_sim.core import pickle_reader
from vlm2vla_sim.envs.robot_link import wire_writer
from vlm2vla_sim.errors import WireError, missing_extra

MAX_MESSAGE = 64 * 2**20
"""[bytes] of a decompressed message; an observation of the robot takes 1 MiB."""
MAX_FRAME = 64 * 2**20
"""[bytes] of a frame as it arrives."""


def encode(message: Any) -> bytes:
    """The frame for `message`, made of None, bool, int, float, str, bytes, list, tuple, dict and numeric NumPy arrays.

    It holds only names that NumPy 1 and NumPy 2 share. A pickle written under NumPy 2 holds others, and crashes the
    robot's server (NumPy 1.24).
    """
    return _lz4().compress(wire_writer.write(message))


def decode(frame: bytes) -> Any:
    """The message in `frame`; WireError for anything but data, with bounded memory and time.

    Sets come back as frozensets, NumPy scalars as Python numbers; arrays are read-only views of the message.
    """
    if len(frame) > MAX_FRAME:
        raise WireError(f"The frame has {len(frame)} bytes; expected at most {MAX_FRAME}.")
    return pickle_reader.read(_decompress(bytes(frame)))


def _decompress(frame: bytes) -> bytes:
    decompressor = _lz4().LZ4FrameDecompressor()
    try:
        # Not `lz4.frame.decompress`, which trusts the size that the frame declares.
        message = decompressor.decompress(frame, max_length=MAX_MESSAGE + 1)
    except (RuntimeError, EOFError, ValueError) as error:
        raise WireError(f"This is not an LZ4 frame ({error}). Is the peer a robot server?") from error
    if len(message) > MAX_MESSAGE:
        raise WireError(f"The frame decompresses to more than {MAX_MESSAGE // 2**20} MiB and was refused.")
    if not decompressor.eof:
        raise WireError(f"The frame is cut off after {len(frame)} bytes.")
    if decompressor.unused_data:
        raise WireError(f"{len(decompressor.unused_data)} bytes follow the end of the frame.")
    return message


def _lz4() -> Any:
    try:
        import lz4.frame
    except ImportError as error:
        raise missing_extra("The protocol of the robot server", "lz4", "robot") from error
    return lz4.frame
