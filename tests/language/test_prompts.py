"""Prompts hold what a model needs to answer them, and their hash tells whether two runs asked the same."""

from __future__ import annotations

import numpy as np
import pytest
from formats_under_test import in_every_format

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language import prompts
from vlm2vla_sim.language.formats import ActionFormat, get_format


def test_the_first_prompt_holds_the_instruction_and_how_many_subtasks_are_read() -> None:
    prompt = prompts.subtasks_prompt("put carrot on plate")
    assert "put carrot on plate" in prompt
    assert f"at most {prompts.MAX_SUBTASKS}" in prompt


def test_the_plan_is_asked_for_in_directions_without_numbers() -> None:
    prompt = prompts.plan_prompt("grasp the carrot")
    assert "grasp the carrot" in prompt
    assert "without numbers" in prompt
    for word in ("forward", "backward", "left", "right", "up", "down"):
        assert word in prompt


@in_every_format
def test_the_action_prompt_says_axes_units_ranges_and_shows_an_example(action_format: ActionFormat) -> None:
    prompt = prompts.action_prompt("grasp the carrot", "move down", action_format)
    for needed in (
        "grasp the carrot",
        "move down",
        "x is forward",
        "y is left",
        "z is up",
        "50 cm",
        "180 degrees",
        "32 steps",
        action_format.rules,
        f"Example: {action_format.example}\n",
    ):
        assert needed in prompt


def test_without_a_plan_the_action_prompt_does_not_speak_of_one() -> None:
    prompt = prompts.action_prompt("put carrot on plate", "", get_format("vlm2vla"))
    assert "plan" not in prompt
    assert prompts.action_prompt("put carrot on plate", "PLAN", get_format("vlm2vla")).replace(
        "Its motion plan: PLAN\n", ""
    ) == prompt  # fmt: skip


def test_the_verifier_is_told_both_subtasks_and_its_two_words() -> None:
    prompt = prompts.verify_prompt("grasp the carrot", "move it over the plate")
    for needed in ("before", "after", "grasp the carrot", "move it over the plate", "advance", "retry"):
        assert needed in prompt
    assert "That is the last subtask." in prompts.verify_prompt("release the carrot", "")
    state = prompts.describe_state(np.array([0.3, 0.1, 0.05, 0, 0, 0, 0.4]))
    told = prompts.verify_prompt("grasp the carrot", "", state=state)
    assert told.replace(state, "") == prompts.verify_prompt("grasp the carrot", "")
    assert "and 40 percent open.\nIs it done?" in told


def test_what_is_filled_in_stays_on_its_line_and_is_taken_literally() -> None:
    prompt = prompts.plan_prompt("grasp\n\n the {carrot}\tnow ")
    assert "Its subtask: grasp the {carrot} now\n" in prompt
    assert len(prompt.splitlines()) == len(prompts.plan_prompt("x").splitlines())


@pytest.mark.parametrize("nothing", ["", "  \n"])
def test_a_prompt_about_nothing_is_refused(nothing: str) -> None:
    with pytest.raises(SettingError, match="The instruction is empty; expected a few words"):
        prompts.subtasks_prompt(nothing)
    with pytest.raises(SettingError, match="The subtask is empty"):
        prompts.action_prompt(nothing, "move down", get_format("prose"))
    with pytest.raises(SettingError, match="The current subtask is empty"):
        prompts.verify_prompt(nothing, "")


def test_the_hash_is_the_same_each_time() -> None:
    assert prompts.prompts_hash() == prompts.prompts_hash()
    assert len(prompts.prompts_hash()) == 64


@pytest.mark.parametrize("template", ["_AXES", "_SUBTASKS", "_PLAN", "_ACTION", "_VERIFY", "ADVANCE", "RETRY"])
def test_the_hash_changes_with_every_template(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prompts.prompts_hash()
    monkeypatch.setattr(prompts, template, getattr(prompts, template) + " Please.")
    assert prompts.prompts_hash() != before


@pytest.mark.parametrize("name", ["vlm2vla", "prose", "integers", "tokens"])
def test_the_hash_changes_with_the_rules_of_every_format(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prompts.prompts_hash()
    kind = type(get_format(name, symbols="zabcdefghi" if name == "tokens" else None))
    monkeypatch.setattr(kind, "rules", property(lambda _: "Other rules."))
    assert prompts.prompts_hash() != before
