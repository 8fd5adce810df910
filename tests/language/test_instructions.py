"""The policy may be told its task in another language or in your words; what counts stays the task's rule."""

from __future__ import annotations

import pytest

from vlm2vla_sim.errors import SettingError, UnknownNameError
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.evaluation.suite import run_suite
from vlm2vla_sim.types import Outcome


def test_the_policy_hears_the_instruction_in_another_language_or_in_your_own_words(tmp_path):
    translated = RunSettings(tasks=("carrot_on_plate",), episodes=1, language="es", image_size=None)
    own = RunSettings(tasks=("carrot_on_plate",), episodes=1, instruction="feed the plate", image_size=None)
    for settings, words in ((translated, "pon la zanahoria en el plato"), (own, "feed the plate")):
        (result,) = run_suite(settings, out=tmp_path / words, video=False).results
        assert result.instruction == words
        assert result.outcome is Outcome.SUCCESS, "what counts is still the task's own rule"


@pytest.mark.parametrize("tasks", [("carrot_on_plate", "stack_cube"), ("carrot_on_plate",)])
def test_words_of_your_own_are_for_one_task_and_in_one_language(tasks):
    language = "es" if len(tasks) == 1 else "en"
    with pytest.raises(SettingError, match="for one task"):
        RunSettings(tasks=tasks, instruction="feed the plate", language=language)


def test_a_language_nobody_translated_into_is_refused_before_the_run(tmp_path):
    with pytest.raises(UnknownNameError, match="es"):
        run_suite(RunSettings(language="fr"), out=tmp_path / "run", video=False)
    assert not (tmp_path / "run").exists()
