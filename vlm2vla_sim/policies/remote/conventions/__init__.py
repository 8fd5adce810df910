"""Conventions of policy servers, one module for each published model; `record` says what a convention declares.

The sources are named with the values. Where a model's own repository could not be read, the copy that was is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vlm2vla_sim.core.finder import find
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.remote.conventions import (
    autoeval,
    bridge_data,
    cogact,
    groot,
    lap,
    molmoact,
    octo,
    openvla,
    openvla_oft,
    ours,
    pi0,
    simpler,
    spatialvla,
    starvla,
    widowx,
    xvla,
)
from vlm2vla_sim.policies.remote.conventions.record import Convention, Key

__all__ = ["CONVENTIONS", "Convention", "Key", "conventions_of", "find_convention"]

_MODULES = (
    *(ours, pi0, widowx, lap, starvla, openvla, openvla_oft, octo, spatialvla, molmoact, xvla, groot),
    *(autoeval, simpler, cogact, bridge_data),
)


def _tables() -> Mapping[str, Mapping[str, Convention]]:
    tables: dict[str, dict[str, Convention]] = {}
    for module in _MODULES:
        for (wire, name), convention in module.CONVENTIONS.items():
            tables.setdefault(wire, {})[name] = convention
    return MappingProxyType({wire: MappingProxyType(table) for wire, table in tables.items()})


CONVENTIONS = _tables()
"""Wire protocol, or "lerobot" for policies that LeRobot loads -> name -> convention."""


def conventions_of(wire: str) -> Mapping[str, Convention]:
    """The conventions of a wire protocol by name; for a protocol that is not in the table, only this package's own."""
    return CONVENTIONS.get(wire, {"vlm2vla": CONVENTIONS["openpi"]["vlm2vla"]})


def find_convention(wire: str, name: str) -> Convention:
    """The convention `name` of the protocol `wire`, or your own as "package.module:NAME".

    UnknownNameError lists the names there are; SettingError for an object that is not a Convention.
    """
    found = find(f"convention of the wire {wire!r}", name, conventions_of(wire))
    if not isinstance(found, Convention):
        raise SettingError(f"{name} is {found!r}; expected a Convention of vlm2vla_sim.policies.remote.conventions.")
    return found
