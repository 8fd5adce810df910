"""Any text becomes a file's name; a path that no file system takes is refused before work begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vlm2vla_sim.core.file_names import ROOM_IN_NAME, check_path, file_name
from vlm2vla_sim.errors import RunFolderError


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("..", "_"),
        (".", "_"),
        ("../x", "__x"),
        ("/etc/passwd", "_etc_passwd"),
        ("my policy:make", "my_policy_make"),
        ("a\nb", "a_b"),
        ("a\0b", "a_b"),
        ("", "_"),
        ("grüße 胡萝卜", "grüße_胡萝卜"),
        ("v1.5-large", "v1.5-large"),
    ],
)
def test_a_label_becomes_a_name_inside_its_folder(label, name):
    assert file_name(label) == name


@given(st.text(st.characters(), max_size=400))
@example("x" * 300)
@example("é" * 300)
@example("🥕\ud83d" * 100)
def test_every_label_is_the_name_of_a_file_with_room_for_what_stands_around_it(label):
    name = file_name(label)
    assert Path(name).name == name
    assert 0 < len(name.encode()) <= 255 - ROOM_IN_NAME
    assert name not in (".", "..")
    assert "\0" not in name


def test_long_labels_that_begin_alike_have_two_names():
    assert file_name("x" * 300) != file_name("x" * 301)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("x" * 256, "has a name of 256 bytes; this file system takes 255"),
        ("é" * 128, "has a name of 256 bytes; this file system takes 255"),
        ("a/" * 2000, "bytes from the root; at most 3695 fit"),
        ("a\0b", "holds a NUL character"),
        ("\ud83d", "holds a character that no file name can hold"),
    ],
)
def test_a_path_that_cannot_be_is_a_sentence(tmp_path, path, said):
    with pytest.raises(RunFolderError, match=f"{said}.*--out DIR"):
        check_path(tmp_path / path, RunFolderError)


def test_a_path_at_the_limit_is_taken_and_can_be_made(tmp_path):
    path = tmp_path / ("x" * 255)
    check_path(path, RunFolderError)
    path.mkdir()
    with pytest.raises(RunFolderError, match="has a name of 260 bytes"):
        check_path(path, RunFolderError, beside=".work")
