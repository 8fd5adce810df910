"""Sessions with a person, each a row of the table in docs/real_robot.md: each ends as promised."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenario_table
from lane import need
from scenario_table import SCENARIOS, Measured, scenario

need("robot", "zmq", "lz4", "cv2")

import cv2  # noqa: E402
from robot_bench import Bench, Fault, bench  # noqa: E402
from session_bench import DRIVES, LATE, STEPS, THINKS, Motions, play, read  # noqa: E402

from vlm2vla_sim.cli.main import main  # noqa: E402
from vlm2vla_sim.core import atomic  # noqa: E402
from vlm2vla_sim.envs.bridge.client import BridgeClient  # noqa: E402
from vlm2vla_sim.envs.bridge.mock import robot as mock_robot  # noqa: E402
from vlm2vla_sim.envs.robot_link import endpoint_lock  # noqa: E402
from vlm2vla_sim.envs.robot_link.endpoint_lock import EndpointLock  # noqa: E402
from vlm2vla_sim.envs.tasks import get_task  # noqa: E402
from vlm2vla_sim.evaluation.operator.episode_log import EpisodeLog, SessionSettings  # noqa: E402
from vlm2vla_sim.policies.spec import PolicySpec  # noqa: E402

Outcome = Callable[[Measured], None]
BUSY = 0.5
"""[s] after a stop in which the step on its way may begin; the promise is 0.2 s, and the machine has other work."""
WRITES = ("drop_answer", "drop_question", "late_answer", "late_question", "truncate", "garble", "refuse", "not_finite")


@pytest.fixture(scope="module")
def stage() -> Iterator[Bench]:
    with bench() as made:
        yield made


@pytest.fixture(scope="module")
def watched(stage: Bench) -> Motions:
    motions = Motions()
    motions.watch(stage)
    return motions


@pytest.fixture
def motions(stage: Bench, watched: Motions) -> Iterator[Motions]:
    """The robot with nothing wrong, and what it is told to do."""
    watched.made.clear()
    watched.driving.clear()
    yield watched
    watched.drives = 0.0
    stage.proxy.arm(())
    stage.truth.ask(type="block", on=False)
    stage.truth.ask(type="jam", reading=None)


def test_every_row_of_the_page_is_a_scenario_and_every_scenario_is_played(request):
    happens = {texts[0]: identity for identity, texts in SCENARIOS.items()}
    assert len(happens) == len(SCENARIOS) >= 40
    played = [mark.args[0] for item in request.session.items for mark in item.iter_markers("scenario")]
    assert set(played) <= set(SCENARIOS)
    assert len(set(played)) == len(played), "each is played once"
    files = {item.path.name for item in request.session.items}
    if files >= {"test_session_scenarios.py", "test_session.py", "test_robot_docs_and_cli.py"}:
        assert set(SCENARIOS) - set(played) == set()
    if scenario_table.MEASURED not in os.environ:
        assert list(scenario_table.rows()) == list(happens), "run python benchmarks/robot_scenarios.py"


# Stop.

START, SUCCESS = "start", "success"
USUAL: dict[str, list[Any]] = {"scene": [START, START, START], "judge": [SUCCESS]}
PHASES = ("resetting", "scene", "thinking", "running", "judge")
SLOW = {"thinks": THINKS, "steps": 10}


def with_button(phase: str, button: str) -> dict[str, list[Any]]:
    later = [""] if phase == "thinking" else []  # the second thought, after ten steps
    return {**USUAL, phase: [*later, button, *USUAL.get(phase, [])]}


@pytest.mark.parametrize("phase", [scenario(f"stop-session-{phase}", phase) for phase in PHASES])
def test_the_sessions_stop_ends_it_in_every_phase_and_nothing_moves_after_it(stage, motions, tmp_path, outcome, phase):
    motions.drives = DRIVES
    plan = with_button(phase, "stop")
    if phase == "resetting":
        plan[phase] = [motions.press_in_reset("stop")]
    ended = play(tmp_path / "s", stage.server.port, plan=plan, policy=SLOW)
    after = [(at - ended.pressed, key) for at, key in motions.made if at > ended.pressed]
    assert len(after) <= 1
    assert all(key == "step_action" and seconds < BUSY for seconds, key in after)
    assert ended.states[-1]["phase"] == "over"
    received = [state["at"] for state in ended.states if state.get("stop") == "Stop of the session received."]
    assert phase in ("scene", "judge") or received[0] - ended.pressed < 1.0, "acknowledged, even while it waits"
    outcome(ended.measured())


@pytest.mark.parametrize("phase", [scenario(f"stop-episode-{phase}", phase) for phase in PHASES])
def test_an_episodes_stop_ends_the_episode_in_every_phase_and_waits_for_the_operator(
    stage, motions, tmp_path, outcome, phase
):
    motions.drives = DRIVES
    plan = with_button(phase, "stop_episode")
    waited: list[float] = []
    if phase == "resetting":

        def late(person: Any, episode: int) -> None:
            waited.append(time.monotonic())
            time.sleep(0.6)
            person.press(START, episode)

        plan |= {"resetting": [motions.press_in_reset("stop_episode")], "scene": [late, START, START]}
    ended = play(tmp_path / "s", stage.server.port, plan=plan, policy=SLOW)
    assert any(state.get("stop") == "Stopped. The arm holds." for state in ended.states), "it is shown to have worked"
    if phase in ("thinking", "running"):
        after = [(at - ended.pressed, key) for at, key in motions.made if at > ended.pressed]
        assert len(after) <= 1
        assert all(seconds < BUSY for seconds, _ in after)
        assert ended.records[0]["result"]["steps"] < 20
    elif phase == "resetting":
        assert not [at for at, _ in motions.made if waited[0] < at < waited[0] + 0.6], "nothing drives before the start"
    else:
        assert ended.records[0]["result"]["steps"] == 20
    outcome(ended.measured())


@pytest.mark.scenario("stop-episode-first-thought")
def test_an_episodes_stop_before_its_first_step(stage, motions, tmp_path, outcome):
    plan = {**USUAL, "thinking": ["stop_episode"]}
    ended = play(tmp_path / "s", stage.server.port, plan=plan, policy=SLOW)
    assert [event["reason"] for event in ended.events] == ["before its first step"]
    assert [key for _, key in motions.made].count("step_action") == 20
    outcome(ended.measured())


@pytest.mark.parametrize(
    "plan",
    [
        scenario("stop-typed-driving", {"resetting": ["keys: a"]}),
        scenario("stop-typed-thinking", {"scene": ["keys: "] * 3, "thinking": ["", "keys: s"], "judge": ["keys: y"]}),
    ],
)
def test_a_stop_typed_at_a_terminal(stage, motions, tmp_path, outcome, plan):
    motions.drives = DRIVES
    driving = {phase: [motions.press_in_reset(key) for key in keys] for phase, keys in plan.items()}
    ended = play(tmp_path / "s", stage.server.port, plan=plan if "thinking" in plan else driving, policy=SLOW)
    if "thinking" not in plan:
        assert motions.after(ended.pressed) == []
    outcome(ended.measured())


@pytest.mark.scenario("stop-torn")
def test_a_torn_line_of_a_button(stage, motions, tmp_path, outcome):
    plan = {**USUAL, "thinking": ["", '{"button": "stop", "epi\n']}
    ended = play(tmp_path / "s", stage.server.port, plan=plan, policy=SLOW)
    assert len(motions.after(ended.pressed)) <= 1
    outcome(ended.measured())


@pytest.mark.scenario("stop-full-disk")
def test_a_full_disk_under_the_live_view_is_said_once_and_the_stop_still_works(
    stage, motions, tmp_path, outcome, monkeypatch
):
    room = itertools.count()

    def full(path: Path, content: bytes, *, sync: bool = True) -> None:
        if path.parent.name == "live" and path.name != "state.json" and next(room) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(path, content, sync=sync)

    original = atomic.write_bytes
    monkeypatch.setattr("vlm2vla_sim.evaluation.operator.live_view.write_bytes", full)
    plan = {**USUAL, "thinking": ["", "stop"]}
    ended = play(tmp_path / "s", stage.server.port, plan=plan, policy=SLOW)
    assert next(room) > 5
    assert ended.said.count("No space left on device. The session goes on.") == 1
    assert len(motions.after(ended.pressed)) <= 1
    outcome(ended.measured())


# Answers.


@pytest.mark.parametrize(
    ("answers", "resets"),
    [
        scenario("answer-success", "\ny\n", 1),
        scenario("answer-failure", "\nn\n", 1),
        scenario("answer-100", "\n100\n", 1),
        scenario("answer-progress", "\nnote slipped\n40\n", 1),
        scenario("answer-nonsense", "\nmaybe\n120\n\nn\n", 1),
        scenario("answer-redo", "\nr\n\ny\n", 2),
        scenario("answer-abort", "\na\n", 1),
        scenario("answer-end-scene", "", 0),
        scenario("answer-end-judge", "\n", 1),
    ],
)
def test_an_answer_means_one_thing(stage, motions, tmp_path, outcome, answers, resets):
    ended = play(tmp_path / "s", stage.server.port, answers=answers)
    assert [key for _, key in motions.made].count("step_action") == 2 * STEPS * resets
    outcome(ended.measured())


@pytest.mark.scenario("answer-blind")
def test_a_blind_session_that_is_stopped_names_no_policy(stage, motions, tmp_path, outcome):
    ended = play(
        tmp_path / "s",
        stage.server.port,
        words=("--blind", "--policies", "session_bench:steps", "hold"),
        answers="\ny\n\na\n",
    )
    assert "hold" not in ended.printed + ended.said
    assert "steps" not in ended.printed + ended.said.replace("Steps", "")
    outcome(ended.measured())


# The link, the camera, the arm.


@pytest.mark.parametrize("kind", [scenario(f"link-{kind}", kind) for kind in (*WRITES, "restart", "crash")])
def test_a_fault_of_the_link_in_an_episode(stage, motions, tmp_path, outcome, kind):
    stage.proxy.arm([Fault(9, kind, seconds=LATE)])
    ended = play(tmp_path / "s", stage.proxy.port, answers="\n\ny\n")
    assert [fault.kind for fault in stage.proxy.injected] == [kind]
    assert len(ended.events) == 1
    assert ended.records[0]["result"]["outcome"] == "success"
    outcome(ended.measured())


@pytest.mark.scenario("link-freeze")
def test_a_camera_that_freezes(stage, motions, tmp_path, outcome):
    """It is mended once the fault is known, before the arm is sent to its start again."""

    def mend(person: Any, episode: int) -> None:
        if read(tmp_path / "s" / "events.jsonl"):
            stage.proxy.arm(())

    stage.proxy.arm([Fault(9, "freeze", count=10_000)])
    plan = {**USUAL, "resetting": [mend] * 4}
    quick = {"max_frame_age": 0.3, "frame_timeout": 0.5}
    ended = play(tmp_path / "s", stage.proxy.port, plan=plan, policy={"thinks": 0.35}, backend=quick)
    assert "camera_stale" in ended.events[0]["reason"]
    outcome(ended.measured())


@pytest.mark.parametrize(
    "faults",
    [
        scenario("link-delay", [Fault(at, "delay", seconds=0.1) for at in range(6, 12)]),
        scenario("link-lie", [Fault(at, "lie") for at in (9, 11)]),
    ],
)
def test_what_is_no_fault_of_the_episode(stage, motions, tmp_path, outcome, faults):
    stage.proxy.arm(faults)
    ended = play(tmp_path / "s", stage.proxy.port, answers="\ny\n")
    assert len(stage.proxy.injected) == len(faults)
    outcome(ended.measured())


@pytest.mark.scenario("link-nobody")
def test_nobody_is_at_the_port(tmp_path, outcome):
    ended = play(tmp_path / "s", 1, answers="\n")
    assert "Stopped: Nothing replies at 127.0.0.1:1; nothing was sent. Fix the robot" in ended.printed
    outcome(ended.measured())


@pytest.mark.scenario("link-gone")
def test_the_server_is_gone_for_good(stage, motions, tmp_path, outcome):
    stage.proxy.arm([Fault(at, "drop_question") for at in range(9, 200)])
    ended = play(tmp_path / "s", stage.proxy.port, answers="\n\n\n")
    assert "Fix the robot, then rerun with --resume." in ended.printed
    outcome(ended.measured())


@pytest.mark.scenario("link-slow")
def test_observations_that_are_slow_from_the_start(stage, motions, tmp_path, outcome, monkeypatch):
    reply = stage.server.robot.reply

    def late(message: dict[str, Any], *more: Any) -> Any:
        time.sleep(0.7 if message["type"] == "obs" else 0.0)
        return reply(message, *more)

    monkeypatch.setattr(stage.server.robot, "reply", late)
    ended = play(tmp_path / "s", stage.server.port, answers="\n")
    assert "An observation takes 0.7" in ended.printed
    assert "cable" not in ended.printed
    outcome(ended.measured())


@pytest.mark.scenario("link-ipv6")
def test_a_server_on_ipv6_only(tmp_path, outcome):
    with bench(host="::1") as six:
        ended = play(tmp_path / "s", six.server.port, backend={"host": "::1"}, answers="\ny\n")
    outcome(ended.measured())


@pytest.mark.scenario("client-lock")
def test_a_robot_that_another_client_of_this_machine_uses(stage, motions, tmp_path, outcome, monkeypatch):
    monkeypatch.setattr(endpoint_lock, "PATIENCE", 0.1)
    lock, before = EndpointLock("127.0.0.1", stage.server.port), stage.server.requests
    lock.acquire()
    try:
        ended = play(tmp_path / "s", stage.server.port, answers="\ny\n")
    finally:
        lock.release()
    assert "in use by" in ended.printed
    assert stage.server.requests == before
    outcome(ended.measured())


@pytest.mark.scenario("client-sleep")
def test_sleep_in_a_second_terminal_does_not_disturb_a_session(stage, motions, tmp_path, outcome, monkeypatch):
    monkeypatch.setattr(endpoint_lock, "PATIENCE", 0.1)
    status: list[int] = []

    def sleep(person: Any, episode: int) -> None:
        status.append(main(["robot", "sleep", "--port", str(stage.server.port)]))

    ended = play(tmp_path / "s", stage.server.port, plan={**USUAL, "thinking": ["", sleep]}, policy=SLOW)
    assert status == [1]
    assert "in use by" in ended.said
    outcome(ended.measured())


@pytest.mark.scenario("client-moves")
def test_another_client_that_no_lock_knows_moves_the_arm(stage, motions, tmp_path, outcome):
    def push(person: Any, episode: int) -> None:
        other = BridgeClient("127.0.0.1", stage.server.port, workspace=get_task("carrot_on_plate").setup.workspace)
        other.connect()
        here = stage.server.robot._twin.tcp()
        for _ in range(2):
            other.step(np.array([0.05, 0, 0, 0, 0, 0, 1.0]), before=here, after=here)
        other.close()

    ended = play(tmp_path / "s", stage.server.port, plan={**USUAL, "thinking": ["", push]}, policy=SLOW)
    assert "robot_fault" in ended.events[0]["reason"]
    outcome(ended.measured())


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        scenario("image-grey", lambda image: cv2.imencode(".jpg", image[..., 0])[1].tobytes(), "grey to 640 x 480 RGB"),
        scenario("image-none", lambda image: b"\x00" * 5000, "The camera's image cannot be decoded"),
    ],
)
def test_images_that_were_not_expected(stage, motions, tmp_path, outcome, monkeypatch, picture, sentence):
    monkeypatch.setattr(mock_robot, "jpeg", picture)
    ended = play(tmp_path / "s", stage.server.port, answers="\ny\n")
    assert sentence in ended.printed + ended.said
    outcome(ended.measured())


@pytest.mark.scenario("arm-blocked")
def test_an_arm_that_is_held(stage, motions, tmp_path, outcome):
    def hold(person: Any, episode: int) -> None:
        stage.server.robot._twin.blocked = True

    plan = {**USUAL, "thinking": [hold]}
    ended = play(tmp_path / "s", stage.server.port, plan=plan, policy=SLOW)
    assert "move" in [key for _, key in motions.made], "the target was set to where the arm is"
    outcome(ended.measured())


@pytest.mark.parametrize(
    ("reading", "policy", "sentence"),
    [
        scenario("grip-stuck", 1.08, {"closing": True, "steps": 10}, "it does not follow"),
        scenario("grip-shut", 0.3, {}, "should be open"),
    ],
)
def test_a_gripper_that_does_not_follow(stage, motions, tmp_path, outcome, reading, policy, sentence):
    stage.truth.ask(type="jam", reading=reading)
    ended = play(tmp_path / "s", stage.server.port, policy=policy, answers="\n\n\n")
    assert sentence in ended.printed
    outcome(ended.measured())


# The policy.


@pytest.mark.parametrize(
    ("how", "answers"),
    [
        *(
            scenario(f"crash-{how}", how, "\nn\n")
            for how in ("MemoryError", "SystemExit", "zero-rows", "not-finite", "no-decision", "reset", "close")
        ),
        scenario("crash-redo", "MemoryError", "\nr\n\nn\n"),
        scenario("crash-make", "make", "\n"),
    ],
)
def test_a_policys_crash_is_the_policys_and_the_operator_says_how_it_counts(
    stage, motions, tmp_path, outcome, how, answers
):
    ended = play(tmp_path / "s", stage.server.port, policy={"how": how}, answers=answers)
    crashes = [event["event"] for event in ended.events].count("policy crash")
    if how != "close":
        assert ended.said.count("The policy crashed at step 0") == 2 * crashes, "said, and asked about"
    assert all(bool(record["result"]["policy_crash"]) is (how != "close") for record in ended.records)
    if how == "make":
        assert "The policy cannot be made (SystemExit: the weights do not fit). Fix it" in ended.printed
    outcome(ended.measured())


# Files.


def settings(**changes: Any) -> SessionSettings:
    values: dict[str, Any] = {"policies": (PolicySpec("session_bench:steps"),), "tasks": ("push the cup",)}
    return SessionSettings(**(values | {"episodes": 1, "backend": "session_bench:QuickBridge"} | changes))


@pytest.mark.scenario("file-two-sessions")
def test_a_second_session_on_a_folder(stage, motions, tmp_path, outcome):
    log = EpisodeLog(tmp_path / "s", settings(), resume=False)
    try:
        ended = play(tmp_path / "s", stage.server.port, words=("--resume",), answers="\ny\n")
    finally:
        log.close()
    assert "Another process is writing" in ended.said
    assert motions.made == []
    outcome(ended.measured())


@pytest.mark.scenario("file-other-settings")
def test_a_session_is_not_resumed_with_another_seed(stage, motions, tmp_path, outcome):
    EpisodeLog(tmp_path / "s", settings(seed=4), resume=False).close()
    ended = play(tmp_path / "s", stage.server.port, words=("--resume",), answers="\ny\n")
    assert "made with seed 4, not 0" in ended.said
    assert motions.made == []
    outcome(ended.measured())


@pytest.mark.scenario("file-torn-record")
def test_a_record_that_was_cut_off(stage, motions, tmp_path, outcome):
    play(tmp_path / "s", stage.server.port, answers="\nn\n")
    path = tmp_path / "s" / "episodes.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    ended = play(tmp_path / "s", stage.server.port, words=("--resume",), answers="\ny\n")
    outcome(ended.measured())


@pytest.mark.scenario("file-live")
def test_a_live_view_that_cannot_be_made(stage, motions, tmp_path, outcome):
    (tmp_path / "s").mkdir()
    EpisodeLog(tmp_path / "s", settings(), resume=False).close()
    (tmp_path / "s" / "live").write_text("a file, not a folder")
    ended = play(tmp_path / "s", stage.server.port, words=("--resume",), answers="\ny\n")
    assert ended.said.count("The session goes on.") == 1
    outcome(ended.measured())
