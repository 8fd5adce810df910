"""An episode over a real loopback server is the episode in one process: same steps, same words, same outcome."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from fakes import ScriptedWords
from remote_lane import need_remote, serving

from vlm2vla_sim.evaluation.episode import run_episode
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.policies import PolicyContext, load_policy
from vlm2vla_sim.policies.language_action import PAPER, LanguageActionPolicy, LoopSettings
from vlm2vla_sim.policies.spec import PolicySpec
from vlm2vla_sim.testing import FakeTextModel, FakeVerifier
from vlm2vla_sim.types import EpisodeResult, Outcome, Stage

need_remote()

FORMAT = get_format("vlm2vla")
CONTEXT = PolicyContext("", 0, FORMAT)
ID = "vlm2vla_sim:vlm2vla/WidowXCarrotOnPlate-v0"
# Same control steps whether the client takes all of a decision or one step at a time.
wires = pytest.mark.parametrize(("wire", "rows"), [("openpi", 0), ("openpi", 1), ("vla-eval", 0), ("vla-eval", 1)])


class Filmed(gym.Wrapper):
    """Remembers every step and where it led."""

    def reset(self, **options):
        self.path = []
        return super().reset(**options)

    def step(self, action):
        result = super().step(action)
        self.path.append((np.array(action), self.unwrapped.status.robot.tcp.position.copy(), result[4]["is_success"]))
        return result


def play(policy, *, backend="point", episode=3, **options) -> tuple[EpisodeResult, list]:
    env = Filmed(gym.make(ID, backend=backend, image_size=(48, 64)))
    subject = PolicySpec(policy, options=options) if isinstance(policy, str) else None
    result = run_episode(env, policy, episode_id=episode, seed=11, spec=subject)
    env.close()
    return result, env.path


def the_same(here: tuple[EpisodeResult, list], there: tuple[EpisodeResult, list], *, decisions: bool) -> None:
    (a, path_a), (b, path_b) = here, there
    assert len(path_a) == len(path_b)
    for (action_a, place_a, won_a), (action_b, place_b, won_b) in zip(path_a, path_b, strict=True):
        np.testing.assert_array_equal(action_a, action_b)
        np.testing.assert_array_equal(place_a, place_b)
        assert won_a == won_b
    for name in (
        *("outcome", "reason", "success_at_end", "success_once", "first_success_step", "success_released"),
        *("grasped", "consecutive_grasp", "moved_correct_object", "on_target", "steps", "clipped_steps"),
        "parse_failures",
    ):
        assert getattr(a, name) == getattr(b, name), name
    if decisions:
        for name in ("subtask", "plan", "action", "error", "parse_failures"):
            assert [d[name] for d in a.decisions] == [d[name] for d in b.decisions], name


@wires
def test_random_words_go_the_same_way_over_every_wire(wire, rows):
    here = play("random")
    with serving(lambda: load_policy("random", CONTEXT), wire, rows=rows) as server:
        there = play(wire, server=server.url, convention="vlm2vla")
    the_same(here, there, decisions=rows == 0)


def solution() -> list[str]:
    """The words with which the scripted policy, which sees everything, solves the episode."""
    result, _ = play("scripted")
    assert result.outcome is Outcome.SUCCESS
    return [str(decision["action"]) for decision in result.decisions]


@wires
def test_an_episode_that_is_solved_in_words_is_solved_over_every_wire(wire, rows):
    words = solution()
    here = play(ScriptedWords(CONTEXT, *words))
    with serving(lambda: ScriptedWords(CONTEXT, *words), wire, rows=rows) as server:
        there = play(wire, server=server.url, convention="vlm2vla")
    assert there[0].outcome is Outcome.SUCCESS
    the_same(here, there, decisions=rows == 0)


@pytest.mark.parametrize(
    ("wire", "convention"),
    [("openpi", "pi0-bridge"), ("openpi", "widowx"), ("vla-eval", "simpler"), ("vla-eval", "openvla")],
)
def test_it_is_solved_in_other_peoples_conventions_too(wire, convention):
    """A sign, an order of angles or a gripper that one side mistakes cannot lift a carrot."""
    words = solution()
    here, path_here = play(ScriptedWords(CONTEXT, *words))
    with serving(lambda: ScriptedWords(CONTEXT, *words), wire, convention) as server:
        # Of a chunk of any length, all: the conventions' own chunk lengths belong to their models.
        there, path_there = play(wire, server=server.url, convention=convention, execute=1000)
    assert there.outcome is here.outcome is Outcome.SUCCESS
    assert len(path_here) == len(path_there)
    for (_, place_here, _), (_, place_there, _) in zip(path_here, path_there, strict=True):
        np.testing.assert_allclose(place_here, place_there, atol=1e-5)


def loop() -> LanguageActionPolicy:
    """The paper's loop on a model that is once unreadable, greedy, so that it is not asked again."""
    words = {
        "subtasks": ["1. Grasp the carrot.\n2. Lift it."],
        "plan": ["move down"],
        "action": ["[[3, 0, 0, 1]]", "I would rather not.", "[[0, 0, -5, 1]]", "[[0, 0, 5, 0]]"],
    }
    settings = LoopSettings(sampling=PAPER.greedy(), constrained=False)
    verifier = FakeVerifier([False, False, True, True])
    return LanguageActionPolicy(FakeTextModel(words), FORMAT, verifier, settings=settings)


@pytest.mark.parametrize("wire", ["openpi", "vla-eval"])
def test_the_words_the_failures_and_the_end_of_the_papers_loop_come_across(wire):
    here = play(loop())
    with serving(loop, wire, rows=0) as server:
        there = play(wire, server=server.url, convention="vlm2vla")
    assert here[0].parse_failures == 1
    assert here[0].reason.startswith("done: the verifier advanced past the last")
    the_same(here, there, decisions=True)


def cut_off_loop() -> LanguageActionPolicy:
    """The loop on a model that is cut off in the middle of a list that reads well, twice."""
    begun = Stage("subtasks", "1. Grasp the carrot.", tokens=192, finish="length")
    words = {
        "subtasks": [begun, begun, "1. Grasp the carrot.\n2. Lift it."],
        "plan": ["up"],
        "action": ["[[0, 0, 5, 1]]"],
    }
    return LanguageActionPolicy(FakeTextModel(words), FORMAT, FakeVerifier([True]), settings=LoopSettings())


@pytest.mark.parametrize("wire", ["openpi", "vla-eval"])
def test_answers_that_were_cut_off_behind_a_server_are_counted(wire):
    here = play(cut_off_loop())
    with serving(cut_off_loop, wire, rows=0) as server:
        there = play(wire, server=server.url, convention="vlm2vla")
    assert here[0].truncations == there[0].truncations == 2
    assert [stage["error"] != "" for stage in there[0].decisions[0]["stages"]] == [False, True, True]
    the_same(here, there, decisions=True)


@pytest.mark.parametrize("wire", ["openpi", "vla-eval"])
def test_episodes_of_a_run_do_not_leak_into_one_another(wire):
    with serving(lambda: load_policy("random", CONTEXT), wire) as server:
        first, second, first_again = (
            play(wire, episode=k, server=server.url, convention="vlm2vla")[1] for k in (3, 4, 3)
        )
    for (a, *_), (b, *_) in zip(first, first_again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[-1][1], second[-1][1]) or len(first) == len(second)


def test_a_whole_run_on_the_twin_by_two_workers_is_the_same_as_here(tmp_path):
    def run(policy: str, *, workers: int, **options):
        settings = RunSettings(policy, ("carrot_on_plate",), 2, image_size=(48, 64), policy_options=options)
        return run_suite(settings, out=tmp_path / policy, video=policy == "openpi", workers=workers)

    here = run("random", workers=1).results
    with serving(lambda: load_policy("random", CONTEXT), "openpi") as server:
        made = run("openpi", workers=2, server=server.url, convention="vlm2vla")
    assert [(r.outcome, r.steps, r.grasped, r.moved_correct_object) for r in here] == [
        (r.outcome, r.steps, r.grasped, r.moved_correct_object) for r in made.results
    ]
    assert [d["action"] for r in here for d in r.decisions] == [d["action"] for r in made.results for d in r.decisions]
    assert len(list((made.folder / "videos").glob("*.mp4"))) == 2
