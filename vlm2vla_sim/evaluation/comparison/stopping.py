"""Stops a run as soon as its comparison with a baseline is decided.

The rule looks at the pairs in the order of the plan, round by round, whatever the order in which episodes end; so the
decision does not depend on how fast or where they are run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from vlm2vla_sim.core.settings_diff import to_plain
from vlm2vla_sim.envs.base import find_task
from vlm2vla_sim.errors import NotComparableError, SettingError
from vlm2vla_sim.evaluation.comparison.cells import Cell, Verdict, verdict
from vlm2vla_sim.evaluation.comparison.compare import Pair, check_level, sequential_cells
from vlm2vla_sim.evaluation.comparison.groups import groups_of
from vlm2vla_sim.evaluation.comparison.pairing import is_scored
from vlm2vla_sim.evaluation.comparison.sides import (
    Side,
    differences,
    episode_conditions,
    other_limit,
    other_profile,
    read_side,
    setting_conditions,
)
from vlm2vla_sim.evaluation.rates import CONFIDENCE
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.setup import episode_seed
from vlm2vla_sim.evaluation.stop_record import Episode, StopRecord, StopState, random_order
from vlm2vla_sim.types import EpisodeResult


@dataclass(frozen=True)
class StopRule:
    """Stop once the run is worse than the baseline, or not worse by more than the margin."""

    baseline: str
    """A run, as `vlm2vla compare` takes it."""
    margin: float = 0.15
    """The largest drop of the overall rate that counts as not worse, 0 .. 1."""
    confidence: float = CONFIDENCE
    rule: str = "success_at_end"
    """The success that is compared."""


class StopWatch:
    """Decides when a run is stopped."""

    def __init__(self, rule: StopRule, settings: RunSettings) -> None:
        """Read the baseline, and draw the order of the episodes.

        settings: of the run, checked (`suite.check_settings`).

        Raises:
            SettingError: a margin or confidence that is none.
            RunFolderError: the baseline cannot be read.
            NotComparableError: it was run under other conditions, may itself have stopped early, or lacks an episode.
            SettingError: the suite runs the same scenes in several conditions.
        """
        check_level(rule.margin, rule.confidence)
        self._baseline = read_side(rule.baseline)
        self._rule = rule
        names = {place: find_task(place, settings.backend).name for place in settings.tasks}
        self._places = {name: place for place, name in names.items()}
        planned = [(names[place], condition, number) for place, condition, number in settings.plan]
        if len({(task, number) for task, _, number in planned}) < len(planned):
            raise SettingError(
                "This suite runs the same scenes in several conditions, whose outcomes are not independent: a run that "
                "stops when its comparison is decided (--stop-when) would be wrong more often than it says. Run all of "
                "it and use `vlm2vla compare`, which accounts for that."
            )
        self._by_episode = _episodes_of(self._baseline, settings, planned)
        self._check_conditions(setting_conditions(to_plain(settings)), whole=False)
        self.record = StopRecord(
            rule.baseline,
            _digest(list(self._by_episode.values()), rule.rule),
            rule.rule,
            rule.margin,
            rule.confidence,
            random_order(list(dict.fromkeys(e[:2] for e in planned)), settings.episodes, settings.seed),
        )
        partners = list(self._by_episode.values())
        self._groups = groups_of(partners, partners)
        self._results: dict[Episode, EpisodeResult] = {}
        self._looked, self._checked = 0, False

    @property
    def plan(self) -> list[Episode]:
        """All episodes in their order, each with its task as the settings name it."""
        return [(self._places[task], condition, k) for round_ in self.record.rounds for task, condition, k in round_]

    def add(self, result: EpisodeResult) -> StopState | None:
        """The state at the stop, once `result` completes what decides, else None.

        NotComparableError where the result shows that the run has other conditions than the baseline.
        """
        if is_scored(result, self._rule.rule):
            if not self._checked:
                self._check_conditions(episode_conditions([result]), whole=True)
            pair = [(self._by_episode[result.key], result)]
            self._refuse([other_profile(pair), other_limit(pair)])
            self._checked = True
        self._results[result.key] = result
        rounds = self.record.rounds
        while self._looked < len(rounds) and all(episode in self._results for episode in rounds[self._looked]):
            self._looked += 1
            state = self._look()
            if state.verdict != Verdict.UNDERPOWERED or self._looked == len(rounds):
                return state
        return None

    def _look(self) -> StopState:
        """The state after the rounds that are complete."""
        rule = self._rule
        upto = StopState("", self._looked, 0, 0.0, -1.0, 1.0)
        scored = {
            episode: (self._by_episode[episode], result)
            for episode, result in self._results.items()
            if is_scored(result, rule.rule) and is_scored(self._by_episode[episode], rule.rule)
        }
        counted = dataclasses.replace(self.record, state=upto).counted(self._results, scored)
        cells = self._cells([scored[episode] for episode in counted])
        overall = cells[-1]
        return StopState(
            verdict(cells, rule.margin).value,
            self._looked,
            overall.baseline.n,
            overall.difference,
            overall.low,
            overall.high,
        )

    def _cells(self, pairs: Sequence[Pair]) -> list[Cell]:
        return sequential_cells(pairs, self._groups, self._rule.rule, self._rule.confidence)

    def _check_conditions(self, conditions: dict[str, str], *, whole: bool) -> None:
        """whole: whether versions that these conditions lack differ from those of the baseline."""
        known = self._baseline.conditions
        shared = {name: value for name, value in known.items() if name in conditions}
        if whole:
            shared |= {name: value for name, value in known.items() if name.startswith("version of ")}
        self._refuse(differences(shared, conditions))

    def _refuse(self, different: Sequence[str]) -> None:
        if any(different):
            raise NotComparableError(
                f"This run and its baseline {self._baseline.name} do not have the same conditions (baseline, run): "
                f"{'; '.join(filter(None, different))}. Run the baseline again as this run is, or leave out "
                "--stop-when."
            )


def _episodes_of(baseline: Side, settings: RunSettings, planned: Sequence[Episode]) -> dict[Episode, EpisodeResult]:
    """The baseline's partner of every episode of the run."""
    if baseline.stopping is not None:
        raise NotComparableError(
            f"The baseline {baseline.name} may itself have stopped early, so its rates are not those of a full run. "
            "Run it without --stop-when."
        )
    there = {(*e.key, e.seed): e for e in baseline.episodes}
    wanted = {episode: episode_seed(settings.seed, episode[0], episode[2]) for episode in planned}
    found = {episode: there[*episode, seed] for episode, seed in wanted.items() if (*episode, seed) in there}
    missing = [f"{condition} {task} {k}".strip() for task, condition, k in wanted if (task, condition, k) not in found]
    if missing:
        raise NotComparableError(
            f"{len(missing)} of the {len(wanted)} episodes have no partner in the baseline {baseline.name}: "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}. Episodes are paired by task, number and "
            "seed: run the baseline with the same tasks, --suite, --episodes and --seed."
        )
    return found


def _digest(episodes: Sequence[EpisodeResult], rule: str) -> str:
    # Without a suite as it was before there were any, so that such a run can be resumed.
    lines = sorted(
        [e.task, *filter(None, (e.condition,)), e.episode_id, e.seed, e.outcome.value, getattr(e, rule, None)]
        for e in episodes
    )
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()
