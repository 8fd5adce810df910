"""The exam: only pictures that training never saw, the same questions every time, and what counts as right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vlm2vla_sim.analysis.questions import open_questions
from vlm2vla_sim.data.examples.folder import write_examples
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.mini.scenes import rendered_dataset
from vlm2vla_sim.mini.training.expert_labels import examples
from vlm2vla_sim.mini.training.held_out import write_exam


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("album")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendered_dataset, "SHARD", 12)
        rendered_dataset.fill(made, [rendered_dataset.HELD_OUT])
    return made


def test_questions_are_the_same_every_time_and_of_every_kind(folder: Path, tmp_path: Path) -> None:
    count = write_exam(folder, tmp_path / "one", shard=rendered_dataset.HELD_OUT, views=12, drawn=12)
    assert write_exam(folder, tmp_path / "two", shard=rendered_dataset.HELD_OUT, views=12, drawn=12) == count
    one, two = (list(open_questions(str(tmp_path / name))) for name in ("one", "two"))
    assert [(q.question, q.answers) for q in one] == [(q.question, q.answers) for q in two]
    kinds = {question.category for question in one}
    assert kinds >= {"where", "sum", "meaning"}
    assert any(kind.startswith("drawn") for kind in kinds)


def test_a_place_counts_within_a_centimetre_and_a_step_of_the_turn(folder: Path, tmp_path: Path) -> None:
    write_exam(folder, tmp_path / "exam", shard=rendered_dataset.HELD_OUT, views=12, drawn=1)
    places = [q for q in open_questions(str(tmp_path / "exam")) if q.category == "where" and "," in q.answers[0]]
    assert places
    for question in places:
        said, x, y, z, turn = re.findall(r"(.*?)(-?\d+), (-?\d+), (-?\d+), turned (-?\d+)", question.answers[0])[0]
        assert bool(said) == question.question.startswith("Say")
        assert f"{said}{int(x) + 1}, {int(y) - 1}, {z}, turned {turn}" in question.answers
        assert f"{said}{int(x) + 2}, {y}, {z}, turned {turn}" not in question.answers
        assert len(question.answers) == 81


def test_a_shard_that_may_have_been_trained_on_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="may have been trained on"):
        write_exam(folder, tmp_path / "exam", shard=3, views=1, drawn=1)


def test_lessons_of_an_album_are_rows_that_training_reads(folder: Path, tmp_path: Path) -> None:
    rows = list(examples(folder, [rendered_dataset.HELD_OUT], get_format("vlm2vla")))
    assert {row.stage for row in rows} >= {"plan", "action", "verify"}
    assert all(len(row.images) == (2 if row.stage == "verify" else 1) for row in rows)
    written = write_examples(rows, tmp_path / "rows")
    assert written.rows == len(rows)
    assert not written.skipped
    few = list(examples(folder, [rendered_dataset.HELD_OUT], get_format("vlm2vla"), others=0.0))
    assert few, "the verifier's lessons stay"
    assert {row.stage for row in few} <= {"verify", "plan"}
    kept = [row for row in few if row.stage == "plan"]
    assert all("block on" in row.prompt or "turned" not in row.completion for row in kept), "and late learnt plans"
    direct = list(examples(folder, [rendered_dataset.HELD_OUT], get_format("vlm2vla"), reasoning=False))
    assert {row.stage for row in direct} == {"action"}
    assert all("motion plan" not in row.prompt for row in direct)


def test_rehearsed_questions_are_the_bases_own_and_each_has_a_picture(folder: Path) -> None:
    plain = {row.stage for row in examples(folder, [rendered_dataset.HELD_OUT], get_format("vlm2vla"))}
    rows = list(examples(folder, [rendered_dataset.HELD_OUT], get_format("vlm2vla"), rehearsed=1.0))
    asked = [row for row in rows if row.stage not in plain]
    kinds = {row.stage for row in asked}
    assert "where" in kinds
    assert any(kind.startswith("drawn") for kind in kinds)
    assert kinds & {"sum", "repeat", "meaning", "language"}, "some need no picture"
    assert all(len(row.images) == 1 and row.prompt and row.completion for row in asked)


def test_an_album_that_the_disk_has_no_room_for_is_not_begun(tmp_path: Path) -> None:
    rendered_dataset.check_room(tmp_path, [1])
    with pytest.raises(RunFolderError, match=r"100000 shards take 154\d\d\.\d GB .* make room, or draw fewer"):
        rendered_dataset.check_room(tmp_path, range(100_000))
