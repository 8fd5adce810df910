"""Metrics of an episode besides success.

A metric follows one episode step by step. Its value is a number, true or false, or None if unknown. It is
found by a name of `METRICS` or as "package.module:NAME", and appears in `results.jsonl`, in `summary.json` and in the
printed table by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from vlm2vla_sim.core.finder import find, making
from vlm2vla_sim.errors import ExtensionError

METRICS = {"path_length_cm": "vlm2vla_sim.evaluation.metrics:PathLength"}
"""Name -> "module:class"."""

Value = bool | int | float | None


class Metric(Protocol):
    """Measures one episode. A new one is made, without arguments, for every episode."""

    def reset(self, observation: dict[str, Any], info: dict[str, Any]) -> None:
        """The episode starts; the arguments are what `WidowXEnv.reset` returned."""
        ...

    def step(self, observation: dict[str, Any], info: dict[str, Any]) -> None:
        """One control step was made; the arguments are from what `WidowXEnv.step` returned."""
        ...

    def result(self) -> Value:
        """The value for this episode: a finite number, true or false, or None if unknown."""
        ...


class PathLength:
    """[cm] How far the gripper moved, measured from step to step."""

    def reset(self, observation: dict[str, Any], info: dict[str, Any]) -> None:
        """See `Metric.reset`."""
        self._at = np.array(observation["agent_pos"][:3], np.float64)
        self._length = 0.0

    def step(self, observation: dict[str, Any], info: dict[str, Any]) -> None:
        """See `Metric.step`."""
        now = np.array(observation["agent_pos"][:3], np.float64)
        self._length += float(np.linalg.norm(now - self._at))
        self._at = now

    def result(self) -> Value:
        """See `Metric.result`."""
        return round(100 * self._length, 3)


class EpisodeMetrics:
    """The metrics of one episode."""

    def __init__(self, names: Sequence[str]) -> None:
        """names: as `make_metric` takes them."""
        self._metrics = {short_name(name): make_metric(name) for name in names}

    def reset(self, observation: dict[str, Any], info: dict[str, Any]) -> None:
        """See `Metric.reset`."""
        for metric in self._metrics.values():
            metric.reset(observation, info)

    def step(self, observation: dict[str, Any], info: dict[str, Any]) -> None:
        """See `Metric.step`."""
        for metric in self._metrics.values():
            metric.step(observation, info)

    def results(self, *, whole: bool) -> dict[str, Value]:
        """Short name -> value; None for an episode that did not run to its end (`whole` is False)."""
        return {name: check_value(name, metric.result()) if whole else None for name, metric in self._metrics.items()}


def make_metric(name: str) -> Metric:
    """The metric called `name`, for one episode; ExtensionError where it lacks a method of `Metric`."""
    factory = find("metric", name, METRICS)
    with making("metric", name):
        made: Any = factory() if callable(factory) else factory
    missing = [method for method in ("reset", "step", "result") if not callable(getattr(made, method, None))]
    if missing:
        raise ExtensionError(
            f"The metric {name!r} has no method {', '.join(missing)} (see `evaluation.metrics.Metric`)."
        )
    return made


def check_value(name: str, value: object) -> Value:
    """`value` as a plain number, true, false or None; ExtensionError for anything else."""
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, int | float | np.integer | np.floating) and np.isfinite(value):
        return int(value) if isinstance(value, int | np.integer) else float(value)
    raise ExtensionError(
        f"The metric {name!r} measured {value!r}; expected a finite number, true or false, or None if unknown."
    )


def short_name(name: str) -> str:
    """What a metric is called in results and tables: its name, or NAME of "package.module:NAME"."""
    return name.rpartition(":")[2]
