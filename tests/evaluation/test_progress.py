"""The line that says how a run stands: right rates, and a time left that is right for workers, tasks and resuming."""

from __future__ import annotations

import dataclasses
import io
import sys

import pytest

from vlm2vla_sim.evaluation.progress import ProgressLine, RunProgress, format_duration
from vlm2vla_sim.evaluation.rates import Rate
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite
from vlm2vla_sim.types import EpisodeResult, Outcome

STEPS = {"carrot_on_plate": 60, "eggplant_in_basket": 120}


def result(task: str, outcome: Outcome = Outcome.SUCCESS, seconds: float = 10.0) -> EpisodeResult:
    made = EpisodeResult(task, 0, 0, "point", "", "hold", "vlm2vla", "grid", "do it", outcome, seconds=seconds)
    return dataclasses.replace(made, success_at_end=outcome is Outcome.SUCCESS)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def simulated(workers: int, durations: list[tuple[str, float]], startup: float = 300.0):
    """Yields (true seconds left, estimate) at the end of each episode of a run with `workers`."""
    clock = Clock()
    progress = RunProgress([(task, STEPS[task]) for task, _ in durations], workers=workers, clock=clock)
    free, ends = [startup] * workers, []
    for task, seconds in durations:
        start = min(free)
        free[free.index(start)] = start + seconds
        ends.append((start + seconds, task, seconds))
    for end, task, seconds in sorted(ends):
        clock.now = 1000.0 + end
        progress.add(result(task, seconds=seconds))
        yield max(free) - end, progress.seconds_left()


@pytest.mark.parametrize("workers", [1, 4])
def test_the_time_left_is_right_with_tasks_of_other_lengths_and_workers_and_without_the_loading_of_a_model(workers):
    durations = [("carrot_on_plate", 9.0 + k % 3) for k in range(24)] + [("eggplant_in_basket", 20.0)] * 24
    estimates = list(simulated(workers, durations))
    for true, estimate in estimates[2 * workers :]:
        assert estimate == pytest.approx(true, rel=0.25, abs=20)
    assert estimates[0][1] == pytest.approx(estimates[0][0], rel=0.6), "already at the first episode"
    assert estimates[-1][1] == 0


def test_results_of_an_earlier_session_count_for_the_rates_and_not_for_the_time():
    clock = Clock()
    earlier = [result("carrot_on_plate", Outcome.FAILURE, seconds=500.0), result("carrot_on_plate", Outcome.ERROR)]
    progress = RunProgress([("carrot_on_plate", 60)] * 3, earlier, clock=clock)
    assert (progress.done, progress.total, progress.seconds_left()) == (2, 5, None)
    assert progress.line() == "success 0 % (0 to 79), 1 error"
    clock.now += 10
    progress.add(result("carrot_on_plate"))
    assert progress.rate() == Rate(1, 2)
    assert progress.line() == "success 50 % (9 to 91), 1 error, 20 s left"
    assert progress.line(at_most=True).endswith("at most 20 s left")
    clock.now += 15
    assert progress.line().endswith(", 5 s left"), "the next episode has begun"


def test_the_line_has_the_current_task_where_there_are_several_and_says_what_is_not_known():
    clock = Clock()
    progress = RunProgress([("carrot_on_plate", 60), ("eggplant_in_basket", 120)], clock=clock)
    clock.now += 10
    progress.add(result("carrot_on_plate", Outcome.UNKNOWN))
    assert progress.line() == "success not known, 20 s left, carrot_on_plate not known", (
        "twice as many steps, twice as long"
    )
    clock.now += 20
    progress.add(result("eggplant_in_basket"))
    assert progress.line() == "success 100 % (21 to 100), eggplant_in_basket 100 % (21 to 100)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99.4, "99 s"), (99.6, "2 min"), (5940, "99 min"), (6000, "1 h 40 min"), (90_000, "25 h 0 min")],
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert format_duration(seconds) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *, every: float = 60.0) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    clock = Clock()
    progress = RunProgress([("carrot_on_plate", 60)] * 4, clock=clock)
    with ProgressLine(progress, every=every) as line:
        for number in range(3):
            clock.now += 10
            progress.add(result("carrot_on_plate", Outcome.FAILURE if number else Outcome.SUCCESS))
            line.show()
    return stream.getvalue()


def test_a_terminal_has_a_bar_a_log_a_line_now_and_then(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    bar = shown(monkeypatch, Terminal())
    assert "\r3/4 |" in bar
    assert "| success 33 % (6 to 79), 10 s left" in bar
    assert max(len(line) for line in bar.split("\r")) <= 80
    log = shown(monkeypatch, io.StringIO(), every=0)
    assert log.splitlines()[-1] == "PROGRESS 3/4 episodes, success 33 % (6 to 79), 10 s left"
    assert log.count("PROGRESS") == 3
    assert shown(monkeypatch, io.StringIO()) == "", "not before a minute has passed"


def test_a_run_shows_the_rate_that_it_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    tasks = ("carrot_on_plate", "stack_cube")
    settings = RunSettings(policy="scripted", tasks=tasks, episodes=2, backend="point", image_size=(48, 64))
    made = run_suite(settings, out=tmp_path / "run", video=False)
    last = stream.getvalue().split("\r")[-1].strip()
    assert last.startswith("4/4 |")
    assert (made.summary.overall.success_at_end.k, made.summary.overall.n) == (4, 4)
    assert last.endswith("| success 100 % (51 to 100), stack_cube 100 % (34 to 100)")
