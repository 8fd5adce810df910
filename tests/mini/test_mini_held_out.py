"""Adapter rows and the held-out evaluation, from one small rendered dataset."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vlm2vla_sim.analysis.questions import open_questions
from vlm2vla_sim.data.examples.folder import write_examples
from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.mini.scenes import rendered_dataset
from vlm2vla_sim.mini.scenes.rendered_dataset import HELD_OUT
from vlm2vla_sim.mini.training.adapter_examples import adapter_examples
from vlm2vla_sim.mini.training.held_out import write_held_out_questions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rendered = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendered_dataset, "SHARD_SIZE", 12)
        rendered_dataset.render_shards(rendered, [HELD_OUT])
    return rendered


def test_questions_are_reproducible_and_of_every_kind(folder: Path, tmp_path: Path) -> None:
    count = write_held_out_questions(folder, tmp_path / "one", shard=HELD_OUT, scenes=12, shapes=12)
    assert write_held_out_questions(folder, tmp_path / "two", shard=HELD_OUT, scenes=12, shapes=12) == count
    one, two = (list(open_questions(str(tmp_path / name))) for name in ("one", "two"))
    assert [(q.question, q.answers) for q in one] == [(q.question, q.answers) for q in two]
    kinds = {question.category for question in one}
    assert kinds >= {"where", "sum", "meaning"}
    assert any(kind.startswith("drawn") for kind in kinds)


def test_a_position_counts_within_a_centimetre_and_one_step_of_the_yaw(folder: Path, tmp_path: Path) -> None:
    write_held_out_questions(folder, tmp_path / "questions", shard=HELD_OUT, scenes=12, shapes=1)
    positions = [
        q for q in open_questions(str(tmp_path / "questions")) if q.category == "where" and "," in q.answers[0]
    ]
    assert positions
    for question in positions:
        said, x, y, z, turn = re.findall(r"(.*?)(-?\d+), (-?\d+), (-?\d+), turned (-?\d+)", question.answers[0])[0]
        assert bool(said) == question.question.startswith("Say")
        assert f"{said}{int(x) + 1}, {int(y) - 1}, {z}, turned {turn}" in question.answers
        assert f"{said}{int(x) + 2}, {y}, {z}, turned {turn}" not in question.answers
        assert len(question.answers) == 81


def test_a_shard_that_may_have_been_trained_on_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="may have been used in training; choose one from 900000 on"):
        write_held_out_questions(folder, tmp_path / "questions", shard=3, scenes=1, shapes=1)


def test_expert_labels_become_rows_that_training_reads(folder: Path, tmp_path: Path) -> None:
    rows = list(adapter_examples(folder, [HELD_OUT], get_format("vlm2vla")))
    assert {row.stage for row in rows} >= {"plan", "action", "verify"}
    assert all(len(row.images) == (2 if row.stage == "verify" else 1) for row in rows)
    written = write_examples(rows, tmp_path / "rows")
    assert written.rows == len(rows)
    assert not written.skipped
    few = list(adapter_examples(folder, [HELD_OUT], get_format("vlm2vla"), easy_share=0.0))
    assert few, "the verifier's labels are kept"
    assert {row.stage for row in few} <= {"verify", "plan"}
    kept = [row for row in few if row.stage == "plan"]
    assert all("block on" in row.prompt or "turned" not in row.completion for row in kept), "and hard plans"
    direct = list(adapter_examples(folder, [HELD_OUT], get_format("vlm2vla"), reasoning=False))
    assert {row.stage for row in direct} == {"action"}
    assert all("motion plan" not in row.prompt for row in direct)


def test_rehearsal_has_the_pretrainings_questions_each_with_an_image(folder: Path) -> None:
    plain = {row.stage for row in adapter_examples(folder, [HELD_OUT], get_format("vlm2vla"))}
    rows = list(adapter_examples(folder, [HELD_OUT], get_format("vlm2vla"), rehearsal_share=1.0))
    asked = [row for row in rows if row.stage not in plain]
    kinds = {row.stage for row in asked}
    assert "where" in kinds
    assert any(kind.startswith("drawn") for kind in kinds)
    assert kinds & {"sum", "repeat", "meaning", "language"}, "some need no image"
    assert all(len(row.images) == 1 and row.prompt and row.completion for row in asked)
