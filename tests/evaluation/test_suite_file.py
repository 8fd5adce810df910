"""Suites as data: what a file may say, what is refused, and that those of the package can be run."""

from __future__ import annotations

import json

import pytest

from vlm2vla_sim.cli.main import main
from vlm2vla_sim.envs.instruction_check import check_instruction
from vlm2vla_sim.envs.tasks import get_task
from vlm2vla_sim.errors import SettingError, UnknownNameError
from vlm2vla_sim.evaluation.suite_file import ANY, SIMULATORS, get_suite, read_suite, suite_names
from vlm2vla_sim.evaluation.with_suite import check_options

HEAD = 'name = "mine"\nversion = 1\ntitle = "a test"\nepisodes = 2\n'
ROW = '[[condition]]\nname = "left"\nfactor = "light"\nlevel = "left"\n'


def test_a_suite_is_read_with_its_defaults():
    suite = read_suite(HEAD + ROW + 'tasks = ["stack_cube"]\n[condition.options]\nlight_strength = 0.4\n')
    (row,) = suite.rows
    assert (suite.label, suite.episodes) == ("mine@1", 2)
    assert (row.condition.name, row.condition.suite, row.condition.tasks) == ("left", "mine@1", ("stack_cube",))
    assert row.condition.options == {"light_strength": 0.4}
    assert [row.offered_on(backend) for backend in ("mujoco", "simpler", "point")] == [True, True, False]
    (row,) = read_suite(HEAD + ROW).rows
    assert row.condition.tasks == ("spoon_on_towel", "carrot_on_plate", "stack_cube", "eggplant_in_basket")


def test_the_digest_is_that_of_the_content():
    one = read_suite(HEAD + ROW)
    laid_out = read_suite("# a note\n" + HEAD.replace("a test", "another title") + "\n" + ROW)
    assert one.digest == laid_out.digest
    others = [HEAD.replace("1", "3") + ROW, HEAD + ROW.replace('"light"', '"sun"'), HEAD + ROW + 'language = "es"\n']
    assert len({one.digest, *(read_suite(text).digest for text in others)}) == 4


def test_instructions_are_a_text_a_table_or_a_translation():
    (row,) = read_suite(HEAD + ROW + 'instruction.stack_cube = "pile up the blocks"\n').rows
    assert row.condition.tasks == ("stack_cube",)
    assert row.condition.instructions == {"stack_cube": "pile up the blocks"}
    (row,) = read_suite(HEAD + ROW + 'tasks = ["carrot_on_plate"]\nlanguage = "es"\n').rows
    assert row.condition.instructions == {"carrot_on_plate": "pon la zanahoria en el plato"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "is no TOML"),
        (HEAD, "has no condition"),
        ("level = 3\n" + HEAD + ROW, r"No key of a suite in the suite named 'level'"),
        (HEAD + ROW + "facter = 1\n", r"No key of condition 1 in the suite named 'facter'. Did you mean 'factor'"),
        (HEAD + ROW + ROW, "several conditions named left"),
        (HEAD.replace("1", "0") + ROW, "`version` in the suite is 0"),
        (HEAD + ROW.replace('"left"', '"Left hand"'), "expected a-z, 0-9 and single hyphens"),
        (HEAD + ROW + 'tasks = ["stack_cubes"]\n', "Did you mean 'stack_cube'"),
        (HEAD + ROW + 'tasks = ["stack_cube", "stack_cube"]\n', r"\(left\) names a task twice: stack_cube"),
        (HEAD + ROW + 'backends = ["muyoco"]\n', "Did you mean 'mujoco'"),
        (HEAD + ROW + 'layouts = "gird"\n', "Did you mean 'grid'"),
        (HEAD + ROW + 'language = "ex"\n', "No language named 'ex'"),
        (HEAD + ROW + 'language = "es"\ninstruction = "x"\n', "leave one of them out"),
        (HEAD + ROW + 'tasks = ["stack_cube"]\ninstruction.stack_cubs = "x"\n', "Did you mean 'stack_cube'"),
        (HEAD + ROW + 'tasks = ["stack_cube", "spoon_on_towel"]\ninstruction.stack_cube = "x"\n', "no instruction for"),
        (HEAD + ROW + 'instruction = " "\n', "expected text"),
        (HEAD + ROW + "options.cameras = [1]\n", "expected a text, a number, true or false"),
    ],
)
def test_what_cannot_be_honoured_is_refused(text, words):
    with pytest.raises((SettingError, UnknownNameError), match=words):
        read_suite(text)


@pytest.mark.parametrize("name", suite_names())
def test_every_shipped_condition_has_options_that_exist_and_asks_for_its_task(name):
    suite = get_suite(name)
    assert suite.name == name
    for row in suite.rows:
        for backend in SIMULATORS if ANY in row.backends else row.backends:
            check_options(row.condition, backend)
        for task, text in row.condition.instructions.items():
            assert check_instruction(text, get_task(task)) in (True, None), (row.condition.name, text)


def test_the_command_lists_suites_and_conditions(capsys, tmp_path):
    assert main(["suites", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert {"simpler", "language"} <= set(listed)
    assert listed["simpler"]["planned"] == 96
    assert main(["suites", "language"]) == 0
    assert "spanish" in capsys.readouterr().out
    own = HEAD + ROW + f'backends = ["{ANY}"]\n'
    (tmp_path / "own.toml").write_text(own)
    assert main(["suites", str(tmp_path / "own.toml")]) == 0
    assert "any backend" in capsys.readouterr().out
    for options, words in [("light_strenght = 1.0", "Did you mean 'light_strength'"), ("light_strength = 9", "is 9;")]:
        (tmp_path / "own.toml").write_text(own + f"options.{options}\n")
        assert main(["suites", str(tmp_path / "own.toml")]) == 1
        assert words in capsys.readouterr().err
    assert main(["suites", "languge"]) == 1
    assert "Did you mean 'language'" in capsys.readouterr().err
