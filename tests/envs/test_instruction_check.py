"""An instruction is the scene's task in other words, or it is refused: success is judged by the task."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vlm2vla_sim  # noqa: F401 - registers the environments
from vlm2vla_sim.envs.base import WidowXEnv
from vlm2vla_sim.envs.instruction_check import check_instruction
from vlm2vla_sim.envs.tasks import CARROT, PLATE, SPOON, TASKS, TOWEL, Task, get_task
from vlm2vla_sim.errors import SettingError, UnknownNameError
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite
from vlm2vla_sim.language.translations import TRANSLATIONS
from vlm2vla_sim.testing import PointBackend
from vlm2vla_sim.types import Outcome

CARROT_TASK, STACK, SINK = TASKS["carrot_on_plate"], TASKS["stack_cube"], TASKS["eggplant_in_basket"]

FITS = {
    "carrot_on_plate": (
        "put carrot on plate",
        "Put the carrot on the plate.",
        "PUT THE CARROT  ON THE PLATE!",
        "place the carrot onto the plate",
        "please move the carrot to the white plate",
        "Could you put the carrot on the plate?",
        "pick up the carrot and put it on the plate",
        "grasp the carrot, then place it on top of the plate",
        "lift the carrot off the table and put it on the plate",
        "pick up the carrot next to the spoon and put it on the plate",
        "put the carrot next to the spoon on the plate",
        "put the carrot that lies beside the towel on the plate",
        "put the carrot on the plate and do not drop it",
        "put the carrot on the plate, not on the table",
        "do not touch the spoon; put the carrot on the plate",
        "get the carrot onto the plate",
        "lift the carrot onto the plate",
        "lift the carrot over the towel and put it on the plate",
        "put the carrot on the table on the plate",
        "carefully put the carrot on the plate, do not push the plate",
        "put the carrot on the plate but do not drop the carrot",
        "put the carrot on the plate without touching the spoon",
        "put the carrot on the plate without moving the plate",
        "put the carrot (not the spoon) on the plate",
        "put the carrot, rather than the spoon, on the plate",
        "put the carrot on the plate instead of the towel",
        "never mind the spoon; put the carrot on the plate",
        "put the carrot on the plate, leave the spoon alone",
        "take the carrot from beside the plate and put it on the plate",
    ),
    "spoon_on_towel": ("put the spoon on the towel on the table",),
    "stack_cube": (
        "stack the green cube on the yellow cube",
        "put the green-block on top of the yellow_block",
    ),
    "eggplant_in_basket": (
        "put the eggplant in the basket",
        "take the eggplant out of the sink and drop it inside the yellow basket",
        "lift the eggplant out of the sink into the basket",
        "put the eggplant in the sink in the basket",
        "pick up the eggplant in the sink, and put it in the basket",
        "take the eggplant lying in the sink and put it into the basket",
    ),
}
OTHER_WORDS = {
    "carrot_on_plate": (
        "put the orange vegetable on the dish",
        "put the thing left of the plate on the plate",
        "put the vegetable on the plate",
        "put the carrot on the white dish",
        "feed the plate",
        "pick up the carrot, move over the plate, release",
        "do not leave the carrot on the table; put it on the plate",
        "leave the plate where it is and put the carrot on top of it",
        "pick up the carrot",
        "wipe the table",
        "coloca la verdura naranja en el plato",
        "lege die Karotte auf den Teller",
    ),
    "spoon_on_towel": ("put spoon on table cloth", "put the spoon on top of the table-cloth"),
    "stack_cube": (
        "put the block on the other block",
        "put the red block on the yellow block",
        "stack the blocks",
        "put the green one on the yellow one",
    ),
    "eggplant_in_basket": ("put the aubergine into the yellow basket", "put the eggplant in the sink rack"),
}


WORDS = (
    *("put", "move", "pick up", "the", "a", "carrot", "spoon", "plate", "towel", "table", "on", "in", "to", "next to"),
    *("left of", "off", "do not", "not", "then", "and", ",", ";", ".", "it", "that", "beside", "please", "green block"),
)


def cases(table: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(task, text) for task, texts in table.items() for text in texts]


@pytest.mark.parametrize(("task", "text"), cases(FITS))
def test_the_task_by_its_names_is_recognised(task, text):
    assert check_instruction(text, TASKS[task]) is True


@pytest.mark.parametrize(("task", "text"), cases(OTHER_WORDS))
def test_other_words_are_allowed_and_said_not_to_be_recognised(task, text):
    assert check_instruction(text, TASKS[task]) is None


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_recognised_in_every_language_and_refused_in_every_other_scene(task):
    sentences = [TASKS[task].instruction, *(one.text for one in TRANSLATIONS[TASKS[task].instruction].values())]
    for sentence in sentences:
        assert check_instruction(sentence, TASKS[task]) is True
        for other in set(TASKS) - {task}:
            with pytest.raises(SettingError) as refused:
                check_instruction(sentence, TASKS[other])
            assert f"is that of {task}; {other} is judged by the" in str(refused.value)
            assert f"Run the task that it fits, {task} ({TASKS[task].env_id}), with it." in str(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("put the spoon on the plate", "names the spoon as the object"),
        ("put the carrot on the towel", "names the towel as the place"),
        ("put the carrot on the table", "names the table as the place"),
        ("put the carrot in the basket", "names the basket as the place"),
        ("put the plate on the carrot", "names the plate as the object"),
        ("move the plate to the carrot", "names the plate as the object"),
        ("pick up the spoon", "names the spoon as the object"),
        ("put it on the towel", "names the towel as the place"),
        ("the spoon belongs on the towel", "names the spoon"),
        ("could you please put the spoon on the cloth?", "names the spoon as the object"),
        ("put the carrot on the plate and then put the spoon on the towel", "names the spoon as the object"),
        ("first move the spoon away, then put the carrot on the plate", "names the spoon as the object"),
        ("do not put the carrot on the plate", "says what is not to be done"),
        ("don't put the carrot on the plate", "says what is not to be done"),
        ("Don\u2019t move the carrot!", "says what is not to be done"),
        ("never place the carrot on the plate", "says what is not to be done"),
        ("put the carrot anywhere but on the plate", "asks for another place than on the plate"),
        ("put the carrot not on the plate", "asks for another place than on the plate"),
        ("put the carrot next to the plate", "asks for another place than on the plate"),
        ("put the carrot in front of the plate", "asks for another place than on the plate"),
        ("put the carrot on the left side of the plate", "asks for another place than on the plate"),
        ("take the carrot off the plate", "asks for another place than on the plate"),
        ("remove the carrot from the plate", "asks for another place than on the plate"),
        ("get the carrot onto the towel", "names the towel as the place"),
        ("get the spoon onto the plate", "names the spoon as the object"),
        ("put the carrot on the table on the towel", "names the towel as the place"),
        ("put the carrot on the towel instead of the plate", "names the towel as the place"),
        ("put the spoon, not the carrot, on the plate", "names the spoon as the object"),
        ("take the spoon but do not drop it, put the carrot on the plate", "names the spoon as the object"),
        ("lift the carrot without touching the spoon and put it on the towel", "names the towel as the place"),
        ("put the carrot without touching the spoon on the towel", "names the towel as the place"),
        ("leave the carrot where it is", "says what is not to be done"),
        ("do not touch the plate", "says what is not to be done"),
        ("do not put it on the plate", "says what is not to be done"),
        ("take the carrot to the table", "names the table as the place"),
        ("take the carrot on the table and put it in the sink", "names the sink as the place"),
        ("avoid placing the carrot on the plate", "says what is not to be done"),
        ("put the carrot on the plate but do not put the carrot on the plate", "says what is not to be done"),
        ("move over the spoon and grasp it", "names the spoon"),
        ("keep the carrot away from the plate", "asks for another place than on the plate"),
    ],
)
def test_what_asks_for_something_else_is_refused_in_a_sentence(text, why):
    with pytest.raises(SettingError) as refused:
        check_instruction(text, CARROT_TASK)
    said = str(refused.value)
    assert f"{text!r} {why}; carrot_on_plate is judged by the carrot on the plate. " in said
    assert said.endswith("No built-in task fits it: ask for the task in other words, or add a task of your own.")


def test_the_blocks_the_other_way_round_and_the_sink_are_refused():
    with pytest.raises(SettingError, match="names the yellow block as the object"):
        check_instruction("put the yellow block on the green block", STACK)
    with pytest.raises(SettingError, match=r"names the sink as the place; .* by the eggplant in the basket\."):
        check_instruction("put the eggplant in the sink", SINK)
    with pytest.raises(SettingError, match=r"Run the task that it fits, stack_cube \(vlm2vla/WidowXStackCube-v0\)"):
        check_instruction("put the green cube on top of the yellow cube", CARROT_TASK)


@pytest.mark.parametrize("text", ["", "  ", "...", 7, None])
def test_a_blank_one_is_refused(text):
    with pytest.raises(SettingError, match="expected text, or leave it out"):
        check_instruction(text, CARROT_TASK)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)))
def test_any_text_is_recognised_allowed_or_refused_in_a_sentence(text):
    said = ""
    try:
        assert check_instruction(text, CARROT_TASK) in (True, None)
    except SettingError as refused:
        said = str(refused)
    assert not said or re.fullmatch(r"The instruction .+[.]", said, re.DOTALL)


def test_a_long_text_takes_no_longer_than_reading_it():
    started = time.perf_counter()
    for word in ("put the carrot beside ", "do not ", "put the spoon that ", "left of "):
        with contextlib.suppress(SettingError):
            check_instruction(word * 300, CARROT_TASK)
    assert time.perf_counter() - started < 10


# Tasks of a user's.


def own(name: str, instruction: str, **changed: object) -> Task:
    return dataclasses.replace(CARROT_TASK, name=name, instruction=instruction, env_id="vlm2vla/WidowX-v0", **changed)


def test_a_task_of_a_users_is_checked_by_its_own_objects():
    towel = own("carrot_on_towel", "put the carrot on the towel", target=TOWEL)
    assert check_instruction("place the carrot on the towel", towel) is True
    with pytest.raises(SettingError, match=r"is that of carrot_on_plate; carrot_on_towel is judged by .* on the towel"):
        check_instruction("put carrot on plate", towel)
    with pytest.raises(SettingError, match="names the spoon as the object"):
        check_instruction("put the spoon on the towel now", towel)


def test_a_name_that_is_part_of_an_own_objects_name_may_mean_it():
    big = own("big_carrot", "put the big carrot on the plate", source=dataclasses.replace(CARROT, name="big_carrot"))
    assert check_instruction("put the carrot on the plate", big) is True
    red = own("red", "put the red block on the dish", source=dataclasses.replace(SPOON, name="red_cube"), target=PLATE)
    assert check_instruction("put the red block on the plate", red) is True
    assert check_instruction("put the block on the plate", red) is None
    with pytest.raises(SettingError, match="names the green block as the object"):
        check_instruction("put the green block on the plate", red)


def test_the_same_objects_under_another_name_have_the_same_instruction():
    copy = own("carrot_again", "do the vegetable thing")
    assert check_instruction("do the vegetable thing", copy) is True
    assert check_instruction("put carrot on plate", copy) is True


# Tasks of several goals and candidates.


@pytest.mark.parametrize(
    ("task", "text", "fits"),
    [
        ("composition:CARROT_AND_SPOON", "put the spoon on the towel and the carrot on the plate", True),
        ("composition:CARROT_AND_SPOON", "put the carrot on the plate", None),
        ("composition:CARROT_THEN_SPOON", "put the carrot on the plate, then the spoon on the towel", True),
        ("composition:CARROT_THEN_LIFT_SPOON", "put the carrot on the plate and lift the spoon", True),
        ("composition:PICK_PLACE_LIFT", "put the green block on the plate, then pick it up", True),
        ("grounding:COLOUR#red_block_on_plate", "place the red block onto the plate", True),
        ("grounding:COLOUR#red_block_on_plate", "place the block onto the plate", None),
        ("grounding:COLOUR_OF_TARGET#carrot_on_red_plate", "put the carrot on the plate", None),
        ("grounding:NESTED#lift_carrot_on_towel", "pick up the carrot and do not drop it", None),
    ],
)
def test_every_goal_is_asked_for_in_other_words_or_it_is_not_recognised(task, text, fits):
    assert check_instruction(text, get_task(f"vlm2vla_sim.envs.tasks.{task}")) is fits


@pytest.mark.parametrize(
    ("task", "text", "why"),
    [
        ("composition:CARROT_AND_SPOON", "put the carrot on the towel", "names the towel as the place"),
        (
            "composition:CARROT_THEN_SPOON",
            "put the spoon on the towel, then put the carrot on the plate",
            "in another order; carrot_then_spoon is judged by the carrot on the plate and then the spoon on",
        ),
        (
            "grounding:COLOUR#red_block_on_plate",
            "move the blue block to the plate",
            "names the blue block as the object",
        ),
        (
            "grounding:NESTED#lift_carrot_on_towel",
            "pick up the plate",
            "names the plate as the object; .* by holding the carrot",
        ),
    ],
)
def test_another_candidate_or_another_order_is_refused(task, text, why):
    with pytest.raises(SettingError, match=why):
        check_instruction(text, get_task(f"vlm2vla_sim.envs.tasks.{task}"))


# Where an instruction comes in.

CONTRARY = "put the spoon on the towel"


class ClosedBackend(PointBackend):
    closed = 0

    def close(self) -> None:
        ClosedBackend.closed += 1


class Blind(PointBackend):
    knows_scene = False


def test_the_environment_refuses_it_and_releases_the_backend():
    before = ClosedBackend.closed
    with pytest.raises(SettingError, match="is that of spoon_on_towel"):
        WidowXEnv("carrot_on_plate", backend=ClosedBackend, instruction=CONTRARY)
    assert ClosedBackend.closed == before + 1
    with pytest.raises(SettingError, match="expected text"):
        WidowXEnv("carrot_on_plate", backend="point", instruction="  ")
    env = WidowXEnv("carrot_on_plate", backend="point")
    assert env.instruction_fits is True
    with pytest.raises(UnknownNameError, match="No reset option named 'instruction'"):
        env.reset(options={"instruction": CONTRARY})


def test_objects_that_only_lie_beside_do_not_change_what_is_judged():
    with pytest.raises(SettingError, match="is that of spoon_on_towel"):
        WidowXEnv("carrot_on_plate", image_size=None, distractors=2, instruction=CONTRARY)


def test_where_nobody_judges_by_the_scene_any_instruction_is_allowed():
    assert WidowXEnv("carrot_on_plate", backend=Blind, instruction=CONTRARY).instruction_fits is None
    assert WidowXEnv("carrot_on_plate", backend=Blind, instruction="put carrot on plate").instruction_fits is True
    env = WidowXEnv(CONTRARY, backend="bridge", instruction="pour the tea")
    assert env.instruction_fits is None
    env.close()
    assert WidowXEnv(CONTRARY, backend="bridge").instruction_fits is True


@pytest.mark.parametrize("policy", ["scripted", "oracle", "hold"])
def test_a_run_is_refused_before_it_begins(tmp_path, policy):
    """The scripted policy reads the scene: told to move the spoon it moved the carrot, and that counted."""
    run = RunSettings(
        policy=policy, tasks=("carrot_on_plate",), episodes=1, backend="point", instruction=CONTRARY, image_size=None
    )
    with pytest.raises(SettingError, match="is that of spoon_on_towel"):
        run_suite(run, out=tmp_path / "run", video=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("instruction", "fits"), [("", True), ("place the carrot onto the plate", True), ("feed the plate", None)]
)
def test_the_result_says_whether_it_was_recognised(tmp_path, instruction, fits):
    run = RunSettings(tasks=("carrot_on_plate",), episodes=1, backend="point", instruction=instruction, image_size=None)
    (result,) = run_suite(run, out=tmp_path / "run", video=False).results
    assert result.outcome is Outcome.SUCCESS
    assert result.instruction_fits is fits
