"""The wire protocols a policy can be served over, by name; your own is "package.module:NAME"."""

from __future__ import annotations

from vlm2vla_sim.core.finder import find
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.serving.server import ServerProtocol

PROTOCOLS = {
    "openpi": "vlm2vla_sim.serving.openpi:PROTOCOL",
    "vla-eval": "vlm2vla_sim.serving.vla_eval:PROTOCOL",
    "act": "vlm2vla_sim.serving.act:PROTOCOL",
}
"""Name -> where its `ServerProtocol` is."""


def find_protocol(name: str) -> ServerProtocol:
    """The protocol `name` of `PROTOCOLS`, or your own; UnknownNameError, or SettingError for another kind of object."""
    found = find("wire", name, PROTOCOLS)
    if not isinstance(found, ServerProtocol):
        raise SettingError(f"{name} is {found!r}; expected a ServerProtocol of vlm2vla_sim.serving.server.")
    return found
