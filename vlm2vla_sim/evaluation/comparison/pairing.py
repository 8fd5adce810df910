"""Which episodes of two sides belong together."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any

from vlm2vla_sim.types import EpisodeResult, Outcome


class Pairing(enum.StrEnum):
    """How the episodes of two sides were matched."""

    EPISODE = "task, episode and seed"
    """And, with a suite, its condition; so below."""
    SCENE = "task and scene"
    """The same layouts of the grid, with other seeds: what a policy samples differs, the scene does not."""
    NONE = "none"
    """The sides share no episode; they are taken as independent samples."""


def won(episode: EpisodeResult, rule: str) -> bool:
    """Whether a scored episode is a success under the rule."""
    return bool(getattr(episode, rule))


def is_scored(episode: EpisodeResult, rule: str) -> bool:
    """Whether its success under the rule is known."""
    return episode.outcome in (Outcome.SUCCESS, Outcome.FAILURE) and getattr(episode, rule, None) is not None


def scored(episodes: Iterable[EpisodeResult], rule: str, side: str, left_out: dict[str, int]) -> list[EpisodeResult]:
    """The episodes whose success under the rule is known; the others are counted in `left_out`."""
    kept = []
    for episode in episodes:
        if is_scored(episode, rule):
            kept.append(episode)
            continue
        known = episode.outcome in (Outcome.SUCCESS, Outcome.FAILURE)
        reason = f"{rule} unknown ({side})" if known else f"outcome {episode.outcome.value} ({side})"
        left_out[reason] = left_out.get(reason, 0) + 1
    return kept


def pair(
    first: Sequence[EpisodeResult], second: Sequence[EpisodeResult], left_out: dict[str, int]
) -> tuple[Pairing, list[tuple[EpisodeResult, EpisodeResult]]]:
    """The pairs, and how they were matched; episodes without a partner are counted in `left_out`."""
    for pairing in (Pairing.EPISODE, Pairing.SCENE):
        if pairing is Pairing.SCENE and any(e.layouts != "grid" for e in (*first, *second)):
            continue  # with random layouts, another seed is another scene
        keys = [{key(e, pairing): e for e in side} for side in (first, second)]
        if len(keys[0]) < len(first) or len(keys[1]) < len(second):
            continue  # several episodes of one scene: which of them belong together is arbitrary
        shared = [one for one in keys[0] if one in keys[1]]
        if shared:
            for count in (len(first) - len(shared), len(second) - len(shared)):
                if count:
                    left_out["without a partner"] = left_out.get("without a partner", 0) + count
            return pairing, [(keys[0][one], keys[1][one]) for one in shared]
    return Pairing.NONE, []


def scene_of(episode: EpisodeResult) -> tuple[str, int | str]:
    """Equal for episodes with the same layout: of the grid, or drawn from one seed."""
    return episode.task, episode.episode_id if episode.layouts == "grid" else f"seed {episode.seed}"


def key(episode: EpisodeResult, pairing: Pairing) -> tuple[Any, ...]:
    """Equal for the two episodes of a pair."""
    return (*episode.key, episode.seed) if pairing is Pairing.EPISODE else episode.key
