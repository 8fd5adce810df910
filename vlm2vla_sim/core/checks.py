"""The outcome of one check of a machine or a robot, and a list of them as text for a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Check:
    """The outcome of one check."""

    name: str
    works: bool | None
    """None: it was not found out, and `found` says why."""
    needed: bool
    """Whether anything but True is a fault."""
    found: str
    """What was found, or what failed."""
    advice: str = ""
    """How to fix it; empty if nothing is to be done."""
    measured: Mapping[str, object] = field(default_factory=dict)
    """Numbers behind `found`, with their unit in the name; plain values."""

    @property
    def state(self) -> str:
        """One word: ok, FAILS, absent (does not work and need not) or unknown."""
        if self.works is None:
            return "unknown"
        return "ok" if self.works else "FAILS" if self.needed else "absent"


def all_work(checks: Iterable[Check]) -> bool:
    """Whether every check that is needed works. One that was not made does not."""
    return all(check.works for check in checks if check.needed)


def to_json(checks: Iterable[Check]) -> list[dict[str, object]]:
    """The checks as plain values for JSON; `works` is null where it is unknown."""
    return [dataclasses.asdict(check) for check in checks]


def format_checks(checks: Sequence[Check]) -> str:
    """Aligned lines: state, name, what was found; the advice below."""
    first = max(6, *(len(check.state) for check in checks))
    width = max(len(check.name) for check in checks)
    return "\n".join(_line(check, first, width) for check in checks)


def _line(check: Check, first: int, width: int) -> str:
    line = f"{check.state:>{first}}  {check.name:<{width}}  {check.found}"
    return line + (f"\n{'':>{first + width + 4}}{check.advice}" if check.advice else "")
