"""What a robot server tells without a motion: identity, round trips, and observations if there are any."""

from __future__ import annotations

from collections.abc import Callable

from vlm2vla_sim.envs.probe import LOOKS, ROUND_TRIPS, Look, Probe
from vlm2vla_sim.envs.robot_link.link import RobotLink
from vlm2vla_sim.envs.robot_link.observer import Observer
from vlm2vla_sim.envs.robot_link.server_identity import ROBOT_FAULT
from vlm2vla_sim.envs.robot_link.settings import RobotSettings
from vlm2vla_sim.errors import LinkLostError


def probe_robot(client: RobotLink, observer: Observer, settings: RobotSettings, *, clock: Callable[[], float]) -> Probe:
    """See `envs.probe`. These wires do not tell the joints' angles. LinkLostError where nobody answers."""
    trips: list[float] = []
    identity = client.connect()
    for _ in range(ROUND_TRIPS):
        asked = clock()
        client.connect()
        trips.append(clock() - asked)
    looks, reason = _look(observer)
    return Probe(
        identity.label,
        tuple(trips),
        looks,
        reason,
        workspace=settings.workspace,
        start=settings.start[:3],
        versions={"robot server": identity.version},
    )


def _look(observer: Observer) -> tuple[tuple[Look, ...], str]:
    try:
        return tuple(observer.look() for _ in range(LOOKS)), ""
    except LinkLostError as lost:
        if lost.reason != ROBOT_FAULT:
            raise
        return (), str(lost)
