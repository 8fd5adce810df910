"""An instruction in another language or in other words keeps the English one beside it, from which labels are named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from trajectory_fakes import SIZE, trajectory, words

from vlm2vla_sim.cli import main
from vlm2vla_sim.data.datasets.lerobot_layout import read_annotations
from vlm2vla_sim.data.datasets.lerobot_write import LeRobotWriter
from vlm2vla_sim.data.datasets.open import open_dataset
from vlm2vla_sim.data.examples.maker import ExampleMaker, ExampleSettings
from vlm2vla_sim.data.recording.record import record
from vlm2vla_sim.data.relabel.labeler import Labeler, LabelerSettings
from vlm2vla_sim.data.relabel.labels import digest, read_labels
from vlm2vla_sim.data.relabel.rules import LabelingRules, relabel
from vlm2vla_sim.errors import DataError
from vlm2vla_sim.evaluation.settings import RunSettings
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.steps import steps_of
from vlm2vla_sim.language.translations import LANGUAGES, TRANSLATIONS, english_of, translate

ENGLISH = "put carrot on plate"
POINT = RunSettings(tasks=("carrot_on_plate",), episodes=1, backend="point", image_size=(48, 64))
OTHERS = [language for language in LANGUAGES if language != "en"]


def told(instruction: str, english: str = ENGLISH):
    return dataclasses.replace(trajectory(instruction=instruction), instruction_en=english)


@pytest.mark.parametrize("language", OTHERS)
def test_record_and_relabel_name_the_object_in_english_and_the_prompt_keeps_what_was_said(
    tmp_path, capsys, monkeypatch, language
):
    monkeypatch.chdir(tmp_path)
    asked = ("--backend", "point", "--image-size", "48", "64", "--tasks", "carrot_on_plate", "--episodes", "1")
    assert main.main(["record", *asked, "--language", language, "--out", "set"]) == 0
    assert main.main(["relabel", "set", "--out", "labels"]) == 0
    assert "do not name an object" not in capsys.readouterr().out
    (labelled,) = read_labels(Path("labels"))
    spoken = translate(ENGLISH, language)
    assert labelled.trajectory.instruction == spoken
    assert labelled.subtasks == ("grasp the carrot",)  # nothing is ever held on this backend
    assert any("the carrot" in phase.plan for phase in labelled.phases)
    rows = list(ExampleMaker(ExampleSettings(get_format("vlm2vla"))).make([labelled]))
    (asked_for,) = [row for row in rows if row.stage == "subtasks"]
    assert spoken in asked_for.prompt
    assert ENGLISH not in asked_for.prompt


def test_the_folder_has_the_english_instruction_in_its_metadata_and_annotations(tmp_path):
    record(dataclasses.replace(POINT, language="es"), tmp_path / "set")
    (row,) = pq.read_table(tmp_path / "set/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert (row["tasks"], row["instruction_en"]) == ([translate(ENGLISH, "es")], ENGLISH)
    assert read_annotations(tmp_path / "set")[0].instruction_en == ENGLISH
    (tmp_path / "set/words.jsonl").unlink()  # the package lerobot does not know it
    (one,) = open_dataset(tmp_path / "set")
    assert one.instruction_en == ENGLISH
    record(POINT, tmp_path / "plain")
    assert next(iter(open_dataset(tmp_path / "plain"))).instruction_en == ""


def test_an_instruction_in_ones_own_words_has_the_tasks_beside_it(tmp_path):
    record(dataclasses.replace(POINT, instruction="lleva la zanahoria al plato"), tmp_path / "set")
    (one,) = open_dataset(tmp_path / "set")
    assert (one.instruction, one.instruction_en) == ("lleva la zanahoria al plato", ENGLISH)
    assert relabel(one).subtasks[0] == "grasp the carrot"


@pytest.mark.parametrize(
    ("instruction", "english", "grasp", "put"),
    [
        ("pon la zanahoria en el plato", ENGLISH, "grasp the carrot", "put the carrot on the plate"),
        ("把胡萝卜放在盘子上", ENGLISH, "grasp the carrot", "put the carrot on the plate"),
        ("place the orange thing on the dish", ENGLISH, "grasp the orange thing", "put the orange thing on the dish"),
        ("get the orange thing onto the dish", ENGLISH, "grasp the orange thing", "put the orange thing on the dish"),
        ("lege die Karotte auf den Teller", ENGLISH, "grasp the carrot", "put the carrot on the plate"),
        ("lift the carrot", "", "grasp the carrot", "move the carrot and let it go"),
        ("pon la zanahoria en el plato", "wipe it", "grasp the carrot", "put the carrot on the plate"),
    ],
)
def test_names_come_from_the_instruction_that_has_them(instruction, english, grasp, put):
    (step,) = steps_of(instruction, english).steps
    assert (step.grasp, step.put) == (grasp, put)


def test_an_instruction_that_is_not_understood_is_the_subtask_in_its_own_words():
    spoken = "lleva la zanahoria al plato"
    assert steps_of(spoken, "wipe it").steps == ()
    assert relabel(told(spoken, "")).subtasks == (spoken,)


def test_a_recording_of_an_earlier_version_is_recognised_by_the_table_of_translations(tmp_path):
    spoken = translate(ENGLISH, "hi")
    writer = LeRobotWriter(tmp_path / "set", size=SIZE, fps=5)
    writer.add(trajectory(name="a", instruction=spoken), words("a", spoken))
    (one,) = open_dataset(tmp_path / "set")
    assert one.instruction_en == ENGLISH
    for english, translations in TRANSLATIONS.items():
        assert {english_of(one.text) for one in translations.values()} == {english}


def test_labels_made_without_the_english_instruction_are_not_used_with_it():
    assert digest(told("x", "")) == digest(trajectory(instruction="x"))
    assert digest(told("x")) != digest(trajectory(instruction="x"))


def test_instructions_that_name_no_object_are_counted_and_shown(tmp_path, capsys):
    spoken = "lleva la zanahoria al plato"
    writer = LeRobotWriter(tmp_path / "set", size=SIZE, fps=5)
    for name, instruction in (("a", spoken), ("b", ENGLISH)):
        writer.add(trajectory(name=name, instruction=instruction), words(name, instruction))
    assert main.main(["relabel", str(tmp_path / "set"), "--out", str(tmp_path / "labels")]) == 0
    assert "Instructions that do not name an object: 1." in capsys.readouterr().out
    assert json.loads((tmp_path / "labels/summary.json").read_text())["unnamed"] == 1


def test_a_model_that_labels_is_told_the_english_instruction(tmp_path):
    asked = []

    def ask(prompt, images):
        asked.append(prompt)
        return "no list"

    labeler = Labeler(ask, LabelerSettings("m", retries=0), LabelingRules(), tmp_path)
    with pytest.raises(DataError, match="without a usable answer"):
        labeler(told("pon la zanahoria en el plato"))
    assert f"Its task: {ENGLISH}" in asked[0]


@pytest.mark.parametrize(
    ("languages", "expected"),
    [
        (("en",), ["pon la zanahoria en el plato"]),  # the default: as it was recorded
        (("es",), ["pon la zanahoria en el plato"]),
        (("en", "es"), [ENGLISH, "pon la zanahoria en el plato"]),
        (("hi", "zh"), [translate(ENGLISH, "hi"), translate(ENGLISH, "zh")]),
    ],
)
def test_train_makes_other_languages_of_the_english_instruction(languages, expected):
    labelled = relabel(told("pon la zanahoria en el plato"))
    maker = ExampleMaker(ExampleSettings(get_format("vlm2vla"), languages=languages))
    prompts = [row.prompt for row in maker.make([labelled]) if row.stage == "subtasks"]
    assert len(prompts) == len(expected)
    assert all(instruction in prompt for instruction, prompt in zip(expected, prompts, strict=True))
    assert not maker.skipped["an instruction without a translation (hi)"]
