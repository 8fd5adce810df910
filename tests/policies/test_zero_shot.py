"""A zero-shot model: what its prompts say, what it is shown again, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import pytest
from chat_servers import answering, completion
from PIL import Image

from vlm2vla_sim.cli.flags import PolicyFlags
from vlm2vla_sim.core.pinhole import PinholeCamera, SceneGeometry
from vlm2vla_sim.envs.motion import StepLimits
from vlm2vla_sim.envs.scene_geometry import primary_camera, scene_geometry
from vlm2vla_sim.envs.tasks import get_task
from vlm2vla_sim.envs.tasks.scenes import TABLE
from vlm2vla_sim.envs.variation import Variation
from vlm2vla_sim.errors import SettingError, UnknownNameError
from vlm2vla_sim.evaluation.results import summarize
from vlm2vla_sim.evaluation.usage import Usage, usage
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.zero_shot import GRIPPER_STEPS, LONGEST_STEP
from vlm2vla_sim.language.zero_shot_scene import describe_state
from vlm2vla_sim.policies import PolicyContext, check_policy, load_policy
from vlm2vla_sim.policies.base import Question, provenance
from vlm2vla_sim.policies.models.prices import Prices, read_prices
from vlm2vla_sim.policies.vlm import VlmOptions, assemble, model_options
from vlm2vla_sim.policies.zero_shot.examples import FILE, example_line
from vlm2vla_sim.testing import FakeTextModel
from vlm2vla_sim.types import ActionChunk, EpisodeResult, Outcome, Stage

SIZE = (48, 64)
CAMERA = primary_camera(TABLE, SIZE)
GEOMETRY = scene_geometry(get_task("carrot_on_plate"), "mujoco", SIZE, {})
DOWN, UP = "Subtask: grasp it\nPlan: move down\nAction: [[0, 0, -3, 1]]", "Plan: move up\nAction: [[0, 0, 5, 0]]"


class Model(FakeTextModel):
    """Keeps the questions whole."""

    places_images = True

    def __init__(self, *answers: str | Stage) -> None:
        super().__init__({"action": answers})
        self.questions: list[Question] = []

    def answer(self, questions: Sequence[Question]) -> list[Stage]:
        self.questions += questions
        return super().answer(questions)


def policy_of(model, geometry: SceneGeometry | None = GEOMETRY, action_format="vlm2vla", **options):
    context = PolicyContext("carrot_on_plate", 60, get_format(action_format), geometry=geometry, models=lambda _: model)
    policy = assemble(VlmOptions("base", zero_shot=True, **options), context)
    policy.reset("put carrot on plate", 1)
    return policy


def look(shade: int, z: float = 0.135) -> dict[str, object]:
    picture = np.full((*SIZE, 3), shade, np.uint8)
    return {"pixels": {"primary": picture}, "agent_pos": np.array([0.292, -0.006, z, 0, 0.05, -0.02, 1], np.float32)}


def test_one_question_makes_one_decision_and_says_what_is_known():
    model = Model(DOWN)
    decision = policy_of(model).act(look(1))
    assert (decision.subtask, decision.plan, decision.action) == ("grasp it", "move down", "[[0, 0, -3, 1]]")
    np.testing.assert_allclose(decision.chunk.deltas[0], [0, 0, -0.03, 0, 0, 0, 1], atol=1e-7)
    (question,) = model.questions
    assert question.grammar is None
    for said in (
        "x is forward (away from the robot), y is left and z is up",
        "x from 12 to 50 cm, y from -25 to 30 cm, z from 0 to 40 cm",
        "The camera is at x 0.0, y -16.0, z 36.0 cm. The picture is 64 pixels wide and 48 high",
        "surface at z = 0.0 cm",
        "x 29.2, y -0.6, z 13.5 cm, in the picture at column 33, row 14; roll 0, pitch 3, yaw -1 degrees",
        "the gripper is 100 percent open",
        "within 60 fifths of a second",
        "Now your task: put carrot on plate",
    ):
        assert said in question.prompt, said
    assert "It was sent to" not in question.prompt, "the controller's target is not known here"
    assert question.prompt[: question.places[0]].endswith("The picture:\n")


def test_the_prompt_gives_the_limits_that_the_executor_has():
    limits = StepLimits()
    assert (limits.step, limits.gripper_steps) == (LONGEST_STEP, GRIPPER_STEPS)


@pytest.mark.parametrize("variation", [{}, {"camera_yaw": 6.0, "camera_pitch": -4.0, "camera_fov": 50.0}])
@pytest.mark.parametrize("stretches", [False, True])
def test_pixels_and_places_of_the_surface_are_inverse(variation, stretches):
    camera = primary_camera(TABLE, (120, 200), Variation(**variation), stretches=stretches)
    places = np.array([[0.3, 0.1, 0.02], [0.4, -0.1, 0.02]])
    np.testing.assert_allclose(camera.on_plane(camera.project(places), 0.02), places, atol=1e-9)
    assert np.isnan(camera.on_plane(np.array([[100.0, -5000.0]]), 0.0)).all(), "above the horizon"
    assert np.isnan(camera.project(np.array([[-1.0, 0, 0.3]]))).all(), "behind the camera"


def test_directions_are_those_of_the_picture():
    """Golden: in SIMPLER's picture, forward is up and to the right, left is left, up is up."""
    origin, *moved = primary_camera(TABLE, (480, 640)).project(
        np.vstack([np.zeros(3), 0.1 * np.eye(3)]) + np.array([0.31, 0, 0])
    )
    forward, left, up = moved - origin
    assert forward[0] > 20
    assert forward[1] < -20
    assert left[0] < -50
    assert abs(up[0]) < 10 < -up[1]


def test_an_answer_that_cannot_be_used_is_given_back_with_the_reason():
    model = Model("I cannot do that.", Stage("action", "Plan: mo", 1024, finish="length"), DOWN)
    decision = policy_of(model, sampling="greedy").act(look(1))
    assert decision.chunk is not None
    assert decision.parse_failures == 2
    assert [bool(stage.error) for stage in decision.stages] == [True, True, False]
    assert "Your last answer was:\nI cannot do that.\nIt could not be used: " in model.prompts[1][1]
    assert "Raise answer_tokens" in model.prompts[2][1]


def test_after_the_last_try_the_decision_has_no_motion_and_the_next_prompt_says_so():
    model = Model("No.", "No.", DOWN)
    policy = policy_of(model, resample=1, history=1)
    decision = policy.act(look(1))
    assert (decision.chunk, decision.parse_failures) == (None, 2)
    assert decision.error.startswith("action: ")
    assert policy.act(look(2)).chunk is not None
    assert "Decision 1.\n" in model.prompts[-1][1]
    assert "The arm did not move: " in model.prompts[-1][1]


def test_history_shows_the_last_decisions_with_their_pictures_in_order():
    model = Model(DOWN, UP, DOWN, "Action: done")
    policy = policy_of(model, history=2)
    for shade in (1, 2, 3):
        policy.act(look(shade))
    assert policy.act(look(4)) is None
    assert policy.ended == "the model said that the task is done, after 3 decisions"
    question = model.questions[-1]
    assert [int(picture[0, 0, 0]) for picture in question.images] == [2, 3, 4]
    shown = [question.prompt[:place].splitlines()[-2] for place in question.places]
    assert shown == ["Decision 2.", "Decision 3.", "Decision 4, now."]
    assert question.prompt.count("You answered:") == 2
    assert "Plan: move up\nAction: [[0, 0, 5, 0]]" in question.prompt


def test_the_beginning_of_every_prompt_is_the_same_for_the_caches_of_servers():
    model = Model(DOWN)
    policy = policy_of(model)
    for shade in (1, 2):
        policy.act(look(shade, 0.1 * shade))
    first, second = (text for _, text in model.prompts)
    start = first.index("Decision 1, now.")
    assert first[:start] == second[:start]


def test_a_model_that_does_not_place_pictures_gets_them_first():
    model = Model(DOWN)
    model.places_images = False
    policy_of(model).act(look(1))
    assert model.questions[0].places == ()


def test_a_format_of_goals_reads_the_pose_and_its_prompt_asks_for_no_relative_motion():
    action_format = get_format("goal-json")
    model = Model(f"Plan: move\nAction: {action_format.example}")
    assert policy_of(model, action_format="goal-json", resample=0).act(look(1)).chunk is not None
    assert "A motion is relative" not in model.prompts[0][1]
    assert action_format.rules in model.prompts[0][1]


def test_without_a_known_scene_the_prompt_leaves_out_what_nobody_knows():
    model = Model(UP)
    assert policy_of(model, geometry=None, reasoning=False).act(look(1)).chunk is not None
    prompt = model.prompts[0][1]
    assert "Where the camera stands is not known" in prompt
    assert not re.search("The camera is at|surface at|can go to|Scene:", prompt)


def test_a_real_arm_knows_its_box_and_not_its_camera():
    geometry = scene_geometry(get_task("carrot_on_plate"), "bridge", SIZE, {})
    assert geometry.camera is None
    model = Model(UP)
    policy_of(model, geometry=geometry).act(look(1))
    assert "x from 12 to 50 cm" in model.prompts[0][1]
    with pytest.raises(SettingError, match="where the camera is, is not known here"):
        policy_of(model, geometry=geometry, overlay="grid")


@pytest.mark.parametrize("overlay", ["axes", "grid"])
def test_the_overlay_is_where_the_camera_sees_those_places(overlay):
    size = (480, 640)
    geometry = scene_geometry(get_task("carrot_on_plate"), "mujoco", size, {})
    model = Model(DOWN)
    policy = policy_of(model, geometry=geometry, overlay=overlay)
    picture = np.full((*size, 3), 128, np.uint8)
    policy.act(look(1) | {"pixels": {"primary": picture}})
    (drawn,) = model.questions[0].images
    assert (picture == 128).all(), "the environment's own picture stays as it is"
    # Points of x = 30 cm, of y = 0, and one of neither line.
    red, green, none = (
        geometry.camera.project(np.array([[*xy, geometry.surface]]))[0] for xy in ((0.3, 0.05), (0.35, 0), (0.37, 0.06))
    )
    if overlay == "axes":
        red, green = green, red  # x runs along y = 0
    for pixel, channel in ((red, 0), (green, 1)):
        column, row = pixel.round().astype(int)
        patch = drawn[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3).astype(int)
        assert any(colour.argmax() == channel and np.ptp(colour) > 50 for colour in patch)
    column, row = none.round().astype(int)
    assert (drawn[row - 2 : row + 3, column - 2 : column + 3] == 128).all()
    assert "Drawn on every picture" in model.prompts[0][1]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"adapter": "runs/lora"}, "zero_shot is set with an adapter"),
        ({"verifier": "truth"}, "judges by itself"),
        ({"grounded_plan": True}, "asks for the scene by itself"),
        ({"commanded_state": True}, "where it was sent"),
        ({"max_attempts": 3}, "no subtasks"),
        ({"ensemble": 2, "max_rows": 1}, "every control step"),
        ({"free_tokens": 99}, "answer_tokens"),
        ({"server": "http://127.0.0.1:1/v1", "constraint": "grammar"}, "no grammar"),
        ({"history": -1}, "expected 0 or more"),
        ({"history": 16}, "17 pictures"),
        ({"answer_tokens": 0}, "max_tokens"),
        ({"overlay": "lines"}, "overlay"),
        ({"examples": "/nowhere"}, "cannot be read"),
        ({"prices": "cheap"}, "2.5/10/0.25"),
        ({"prices": "-1/2"}, "2.5/10/0.25"),
        ({"currency": "EUR"}, "no prices"),
    ],
)
def test_what_cannot_be_honoured_is_refused(options, why):
    with pytest.raises((SettingError, UnknownNameError), match=why):
        policy_of(Model(DOWN), **options)


@pytest.mark.parametrize("option", [{"history": 2}, {"overlay": "grid"}, {"answer_tokens": 9}, {"image_check": False}])
def test_options_of_a_zero_shot_model_are_refused_without_zero_shot(option):
    with pytest.raises(SettingError, match="zero_shot is not set"):
        VlmOptions("base", **option)


def test_the_flag_is_the_option_and_is_refused_by_other_policies():
    spec = PolicyFlags(model="base", zero_shot=True).spec("vlm")
    assert spec.options == {"model": "base", "zero_shot": True}
    assert PolicyFlags(model="base", policy_options=("zero_shot=true",)).spec("vlm").options == spec.options
    with pytest.raises(UnknownNameError, match="zero_shot"):
        check_policy("openvla", {"zero_shot": True})
    with pytest.raises(SettingError, match="with an adapter"):
        check_policy("mini", {"zero_shot": True})


def test_the_model_that_workers_share_is_asked_for_no_grammar():
    assert not model_options(VlmOptions("base", server="http://127.0.0.1:1/v1", zero_shot=True)).uses_grammar


def test_the_state_names_where_the_arm_was_sent():
    text = describe_state(np.array([0.1, 0, 0, 0, 0, np.pi / 2, 0.5]), sent=np.array([0.123, -0.04, 0.2, 0, 0, 1.5]))
    assert "yaw 90 degrees; the gripper is 50 percent open" in text
    assert "It was sent to x 12.3, y -4.0, z 20.0 cm; roll 0, pitch 0, yaw 86 degrees." in text


# Few-shot examples.


def write_example(folder, camera: PinholeCamera | None = CAMERA, **changes) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), 77, np.uint8)).save(folder / "0.png")
    chunk = ActionChunk(np.array([[0, 0, -0.03, 0, 0, 0, 1]]), "")
    values = {"scene": "table", "task": "put spoon on towel", "picture": "0.png", "sees": "a spoon at x 30 cm"}
    values |= {"subtask": "grasp the spoon", "plan": "move down"} | changes
    state = np.array([0.3, 0, 0.1, 0, 0, 0, 1])
    line = example_line(state=state, sent=state[:6], camera=camera, chunk=chunk, **values)
    with (folder / FILE).open("a") as file:
        file.write(line + "\n")


def test_examples_precede_the_task_in_the_format_of_the_run(tmp_path):
    write_example(tmp_path / "few")
    write_example(tmp_path / "few", scene="sink", task="another scene")
    model = Model("Action: move down 3 cm, open gripper")
    policy_of(model, action_format="prose", examples=str(tmp_path / "few")).act(look(1))
    (question,) = model.questions
    assert [int(picture[0, 0, 0]) for picture in question.images] == [77, 1]
    told = question.prompt[question.prompt.index("Example 1.") : question.prompt.index("Now your task")]
    assert "The task: put spoon on towel" in told
    assert "Plan: move down\nAction: move down 3 cm, open gripper\n" in told
    assert "another scene" not in question.prompt


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"scene": "sink"}, "0 examples of the scene 'table'"),
        ({"picture": "none.png"}, "is no example"),
        ({"camera": primary_camera(TABLE, (96, 128))}, "another camera"),
    ],
)
def test_examples_that_do_not_fit_are_refused(tmp_path, changes, why):
    write_example(tmp_path / "few", **changes)
    with pytest.raises(SettingError, match=why):
        policy_of(Model(DOWN), examples=str(tmp_path / "few"))


# On a server.


def seeing(request) -> dict:
    """A server whose model sees: it names the colours of plain pictures, and moves down."""
    parts = request["messages"][0]["content"]
    asked = "".join(part.get("text", "") for part in parts)
    used = {"completion_tokens": 40, "prompt_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 600}}
    if "of one colour each" not in asked:
        return completion(DOWN, usage=used)
    return completion(", ".join(colour_of(part) for part in parts if part["type"] == "image_url"), usage=used)


def colour_of(part) -> str:
    import base64
    import io

    from vlm2vla_sim.policies.zero_shot.image_check import COLOURS

    data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    pixel = Image.open(io.BytesIO(data)).getpixel((0, 0))
    return next(name for name, colour in COLOURS.items() if colour == pixel)


def served(url, **options):
    context = PolicyContext("carrot_on_plate", 60, get_format("vlm2vla"), geometry=GEOMETRY)
    return load_policy(
        "vlm", PolicyContext(**{**vars(context), "options": {"model": "base", "server": url, **options}})
    )


def test_a_server_gets_no_grammar_and_its_tokens_are_paid():
    with answering(seeing) as (url, asked):
        policy = served(url, zero_shot=True, prices="2/10/0.5", currency="EUR", history=1)
        policy.reset("put carrot on plate")
        (stage,) = policy.act(look(1)).stages
    assert (stage.prompt_tokens, stage.cached_tokens, stage.tokens) == (1000, 600, 40)
    assert stage.cost == pytest.approx((400 * 2 + 600 * 0.5 + 40 * 10) / 1e6)
    assert not any({"structured_outputs", "guided_regex", "response_format"} & set(request) for request in asked)
    assert [len(request["messages"][0]["content"]) for request in asked[:2]] == [3, 3], "two pictures and the question"
    said = provenance(policy)
    assert (said["model"]["currency"], said["model"]["constrained"]) == ("EUR", False)
    assert len(said["zero_shot"]["prompts"]) == 64


def test_a_minimal_request_holds_no_sampling():
    with answering(seeing) as (url, asked):
        policy = served(url, zero_shot=True, minimal_request=True)
        policy.reset("put carrot on plate")
        assert policy.act(look(1)).chunk is not None
    assert all(set(request) == {"model", "messages", "max_completion_tokens"} for request in asked)
    assert asked[-1]["max_completion_tokens"] == 1024
    for options in ({"server": "http://127.0.0.1:1/v1", "sampling": "greedy"}, {}):
        with pytest.raises(SettingError, match=r"sends no temperature|there is no server"):
            VlmOptions("base", minimal_request=True, **options)


def blind(request) -> dict:
    return completion("blue")


def test_a_server_that_drops_the_pictures_is_refused():
    with answering(blind) as (url, _):
        with pytest.raises(SettingError, match="does not see the pictures"):
            served(url, zero_shot=True)
        served(url, zero_shot=True, image_check=False)

    def last_only(request):
        parts = [part for part in request["messages"][0]["content"] if part["type"] == "image_url"]
        return completion(", ".join([colour_of(parts[-1])] * len(parts)))

    with answering(last_only) as (url, _), pytest.raises(SettingError, match="2 pictures in one question"):
        served(url, zero_shot=True, history=1)


# Money.


def result_of(*stages: dict, **provenance) -> EpisodeResult:
    return EpisodeResult(
        task="carrot_on_plate",
        episode_id=0,
        seed=0,
        backend="mujoco",
        profile="",
        policy="vlm",
        action_format="vlm2vla",
        layouts="grid",
        instruction="",
        outcome=Outcome.SUCCESS,
        decisions=({"stages": list(stages)},),
        provenance={"model": provenance},
    )


def paid(tokens=10, prompt_tokens=100, cached_tokens=None, cost=None) -> dict:
    counts = {"tokens": tokens, "prompt_tokens": prompt_tokens, "cached_tokens": cached_tokens, "cost": cost}
    return {"name": "action", "text": "", "seconds": 1.0, **counts}


def test_sums_are_known_only_where_every_answer_is():
    script = {"name": "plan", "text": "", "tokens": 0, "seconds": 0.0}
    known = result_of(paid(cost=0.5, cached_tokens=40), script, currency="USD")
    assert usage([known, known]) == Usage(2, 20, 200, 80, 1.0, "USD")
    part = result_of(paid(), currency="USD")
    assert usage([known, part]) == Usage(2, 20, 200, None, None, "USD")
    assert usage([result_of(script)]) == Usage(0, None, None, None, None, "")
    assert usage([known, result_of(paid(cost=0.5), currency="EUR")]).cost is None
    silent = result_of(paid(tokens=None, prompt_tokens=None))
    assert usage([silent]) == Usage(1, None, None, None, None, "")
    overall = summarize([known]).overall
    assert (overall.prompt_tokens, overall.cached_tokens, overall.cost, overall.currency) == (100, 40, 0.5, "USD")
    assert json.loads(json.dumps(summarize([part]).to_json()))["overall"]["cost"] is None


def test_prices_are_of_a_million_tokens():
    stage = Stage("action", "", 100_000, prompt_tokens=1_000_000, cached_tokens=400_000)
    assert read_prices("3/20").of(stage) == pytest.approx(5.0)
    assert read_prices("3/20/1").of(stage) == pytest.approx(0.6 * 3 + 0.4 + 2)
    assert Prices(3, 20, 1).of(Stage("action", "", 5, prompt_tokens=9)) is None, "which were cached is not known"
    assert Prices(3, 20).of(Stage("action", "", 5)) is None
    assert Prices(3, 20).of(Stage("action", "", None, prompt_tokens=9)) is None
