"""What the policies of a run really used, recorded once in its settings and compared with every further result.

A path or a server's address is part of the settings; the weights behind it are not. They may be replaced while a run is
interrupted, and its rate would then be that of two policies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vlm2vla_sim.core.store import Store
from vlm2vla_sim.errors import RunFolderError
from vlm2vla_sim.types import EpisodeResult, Outcome

KEY = "provenance"
"""In `settings.json` of a run: the provenance of its results. In `plan.json` of a session: policy -> that."""
NOT_COMPARED = frozenset({"greeting", "decoding"})
"""What a server sends as it is connected to may hold times and numbers of connections. How a model is decoded changes
its speed and not its answers."""
COMPLETED = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNKNOWN)
"""Outcomes of episodes in which the policy was asked to the end; of others, a server may not even have answered."""


class ProvenanceRecord:
    """The provenance of the policies in one folder."""

    def __init__(self, store: Store, *, by_policy: bool) -> None:
        """by_policy: whether the folder holds several policies."""
        self._store, self._by_policy = store, by_policy
        self._known: dict[str, Any] = {}
        saved = store.recorded(KEY)
        if isinstance(saved, dict):
            self._known = saved if by_policy else {"": saved}

    def check(self, result: EpisodeResult) -> None:
        """Record the provenance of the first result of a policy; RunFolderError if that of a later one differs."""
        if result.outcome not in COMPLETED or not result.provenance:
            return
        policy = result.policy if self._by_policy else ""
        if policy not in self._known:
            self._known[policy] = result.provenance
            self._store.record(KEY, self._known if self._by_policy else result.provenance)
            return
        different = "; ".join(differences(self._known[policy], result.provenance))
        if different:
            raise RunFolderError(
                f"The episodes in {self._store.path} were run with other weights or another server than the policy "
                f"{result.policy!r} uses now: {different}. Restore what they were run with, or start a run in another "
                "folder (--out DIR)."
            )


def differences(before: Mapping[str, Any], now: Mapping[str, Any], name: str = "") -> Iterator[str]:
    """What differs, key by key. Where a digest is known, it decides, and where the files are does not matter."""
    for key in [*before, *(key for key in now if key not in before)]:
        if key in NOT_COMPARED:
            continue
        was, value = before.get(key), now.get(key)
        if isinstance(was, Mapping) and isinstance(value, Mapping):
            yield from differences(was, value, f"{name}{key}.")
        elif was != value and not _same_digest(before, now, key):
            yield f"{name}{key} was {_shown(was)} and is {_shown(value)}"


def _same_digest(before: Mapping[str, Any], now: Mapping[str, Any], key: str) -> bool:
    digest = before.get(f"{key}_digest")
    return digest is not None and digest == now.get(f"{key}_digest")


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)
