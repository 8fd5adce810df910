"""Writer, reader and grammar of a format speak of the same texts."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re

import numpy as np
import pytest
from formats_under_test import FORMATS, in_every_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm2vla_sim import language
from vlm2vla_sim.errors import ActionError, SettingError, UnknownNameError
from vlm2vla_sim.language.formats import ActionFormat, Resolution, describe, get_format
from vlm2vla_sim.language.formats.cursor import MAX_CHARACTERS
from vlm2vla_sim.language.formats.grid import COLUMNS
from vlm2vla_sim.types import ActionChunk

NAMES = st.sampled_from(list(FORMATS))
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
LIMITS = np.array([column.limit * column.si for column in COLUMNS])


@st.composite
def deltas_on_grid(draw: st.DrawFn, action_format: ActionFormat) -> np.ndarray:
    """(T, 7) as `ActionChunk.deltas`, each number a whole multiple of the format's step."""
    step = np.array(
        [float(size) * column.si for size, column in zip(action_format.resolution.steps, COLUMNS, strict=True)]
    )
    most = np.round(LIMITS / step).astype(int)
    turning = draw(st.booleans())
    columns = [st.integers(-int(m), int(m)) if turning or index < 3 else st.just(0) for index, m in enumerate(most)]
    rows = draw(st.lists(st.tuples(*columns, st.integers(0, 1)), min_size=1, max_size=32))
    return np.array(rows) * [*step, 1.0]


@SLOW
@given(st.data(), NAMES)
def test_reading_undoes_writing_on_the_grid_and_the_grammar_agrees(data: st.DataObject, name: str) -> None:
    action_format = FORMATS[name]
    deltas = data.draw(deltas_on_grid(action_format))
    text = action_format.write(deltas)
    assert re.fullmatch(action_format.grammar().regex, text)
    chunk = action_format.read(text)
    assert chunk.text == text
    np.testing.assert_allclose(chunk.deltas, deltas, atol=1e-6)


@SLOW
@given(st.data(), NAMES)
def test_whatever_is_within_range_is_written_to_the_nearest_step(data: st.DataObject, name: str) -> None:
    action_format = FORMATS[name]
    fractions = data.draw(st.lists(st.floats(-1, 1), min_size=6, max_size=6))
    deltas = np.array([[*(fractions * LIMITS), data.draw(st.floats(0, 1))]])
    read = action_format.read(action_format.write(deltas)).deltas
    step = np.array(
        [float(size) * column.si for size, column in zip(action_format.resolution.steps, COLUMNS, strict=True)]
    )
    assert (np.abs(read[:, :6] - deltas[:, :6]) <= step / 2 + 1e-6).all()
    assert read[0, 6] == (1 if deltas[0, 6] > 0.5 else 0)


@SLOW
@given(st.data(), NAMES)
def test_whatever_the_regex_lets_through_is_read_and_written_back_the_same(data: st.DataObject, name: str) -> None:
    action_format = FORMATS[name]
    text = data.draw(st.from_regex(action_format.grammar().regex, fullmatch=True))
    chunk = action_format.read(text)
    written = action_format.write(chunk.deltas)
    if name.startswith(("vlm2vla", "tokens")) and not chunk.deltas[:, 3:6].any():
        # The one text that fits and is never written: seven numbers in every row, none of which turns.
        np.testing.assert_array_equal(action_format.read(written).deltas, chunk.deltas)
    else:
        assert written == text


@SLOW
@given(st.data(), NAMES)
def test_more_than_the_range_fits_neither_the_regex_nor_the_writer(data: st.DataObject, name: str) -> None:
    action_format = FORMATS[name]
    column = data.draw(st.integers(0, 5))
    sign = data.draw(st.sampled_from([-1, 1]))
    far = np.zeros((1, 7))
    far[0, column] = sign * LIMITS[column]
    at_the_limit = action_format.write(far)
    assert re.fullmatch(action_format.grammar().regex, at_the_limit)
    np.testing.assert_allclose(action_format.read(at_the_limit).deltas, far, atol=1e-6)
    far[0, column] += sign * float(action_format.resolution.steps[column]) * COLUMNS[column].si
    with pytest.raises(ActionError, match=rf"{COLUMNS[column].name} of row 1 is .*Split it over several rows"):
        action_format.write(far)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vlm2vla", "[[51, 0, 0, 1]]"),
        ("vlm2vla", "[[-0, 0, 0, 1]]"),
        ("vlm2vla", "[[03, 0, 0, 1]]"),
        ("vlm2vla", "[[3.0, 0, 0, 1]]"),
        ("vlm2vla", "[[3, 0, 0, 2]]"),
        ("vlm2vla", "[[3,0,0,1]]"),
        ("vlm2vla", "[[3, 0, 0, 1]]."),
        ("vlm2vla", "[[0, 0, 0, 7, 0, 0, 1]]"),
        ("vlm2vla", "[[0, 0, 0, 1], [0, 0, 0, 5, 0, 0, 1]]"),
        ("vlm2vla", "[" + ", ".join(["[0, 0, 0, 1]"] * 33) + "]"),
        ("vlm2vla, fine", "[[49.95, 0, 0, 1]]"),
        ("vlm2vla, fine", "[[50.1, 0, 0, 1]]"),
        ("vlm2vla, fine", "[[0, 0, 0, 0.2, 0, 0, 1]]"),
        ("prose", "move forward 0 cm, open gripper"),
        ("prose", "move down 3 cm and forward 3 cm, open gripper"),
        ("prose", "rotate clockwise 185 degrees, open gripper"),
        ("prose", "move forward 3 cm"),
        ("integers", "1001 500 500 500 500 500 0"),
        ("integers", "500 500 500 500 500 500 500"),
        ("integers", "500 500 500 500 500 500"),
        ("tokens", "[[3, 0, 0, 1]]"),
    ],
)
def test_what_is_never_written_does_not_fit_the_regex(name: str, text: str) -> None:
    assert not re.fullmatch(FORMATS[name].grammar().regex, text)


@in_every_format
def test_the_longest_texts_are_far_below_what_is_read(action_format: ActionFormat) -> None:
    resolution = [float(size) for size in action_format.resolution.steps]
    long = [-(column.limit - step) * column.si for column, step in zip(COLUMNS, resolution, strict=True)]
    text = action_format.write(np.array([[*long, 0.0]] * 32))
    assert len(text) < MAX_CHARACTERS / 2
    assert action_format.read(text).deltas.shape == (32, 7)


def test_a_finer_resolution_writes_finer_and_only_as_many_decimals_as_it_takes() -> None:
    fine = get_format("vlm2vla", resolution=Resolution(translation=0.001, rotation=0.5))
    row = np.array([[0.0423, -0.1, 0, 0, 0, np.radians(12.4), 1]])
    assert fine.write(row) == "[[4.2, -10, 0, 0, 0, 12.5, 1]]"
    assert get_format("vlm2vla").write(row) == "[[4, -10, 0, 0, 0, 10, 1]]"


def test_numbers_finer_than_the_resolution_are_kept_as_they_are_written() -> None:
    assert get_format("vlm2vla").read("[[4.2, -0.25, 0, 1]]").deltas[0, :2].tolist() == pytest.approx([0.042, -0.0025])
    assert get_format("prose").read("move left 4.2 cm, open gripper").deltas[0, 1] == pytest.approx(0.042)


def test_a_written_minus_zero_is_plain_zero() -> None:
    assert not np.signbit(get_format("vlm2vla").read("[[-0, -0.0, 0, 0]]").deltas).any()
    assert get_format("vlm2vla").write(np.array([[-0.001, 0, 0, 0, 0, -0.001, 1]])) == "[[0, 0, 0, 1]]"


def test_a_half_open_gripper_is_written_as_closed_and_a_wider_one_as_open() -> None:
    rows = np.array([[0, 0, 0, 0, 0, 0, 0.5], [0, 0, 0, 0, 0, 0, 0.51]])
    assert get_format("prose").write(rows) == "close gripper; open gripper"


@pytest.mark.parametrize(
    ("deltas", "complaint"),
    [
        (np.zeros((0, 7)), r"shape \(0, 7\)"),
        (np.zeros((33, 7)), r"shape \(33, 7\); expected \(1 to 32 rows, 7\)"),
        (np.zeros(7), r"shape \(7,\)"),
        (np.zeros((1, 6)), r"shape \(1, 6\)"),
        (np.full((1, 7), np.nan), "not finite"),
        ([[0, 0, 0, 0, 0, 0, -1]], "gripper is .*expected 0"),
        ([[0, 0, 0, 0, 0, 0, 1.5]], "gripper is .*expected 0"),
        ([[0.51, 0, 0, 0, 0, 0, 1]], "dx of row 1 is 51 cm; expected -50 to 50 cm"),
        ([[0] * 7, [0, 0, 0, 0, 0, 4, 1]], "yaw of row 2 is 229.183 degrees; expected -180 to 180 degrees"),
    ],
)
@in_every_format
def test_motion_that_no_text_can_say_is_refused_with_a_reason(
    action_format: ActionFormat, deltas: np.ndarray, complaint: str
) -> None:
    with pytest.raises(ActionError, match=complaint):
        action_format.write(np.asarray(deltas, dtype=np.float64))


def test_what_a_chunk_means_can_be_shown_to_a_person() -> None:
    chunk = ActionChunk(np.array([[0.0123, 0, -0.5, 0, 0, -0.1, 1], [0] * 7]), text="")
    assert describe(chunk) == (
        "move forward 1.23 cm and down 50 cm, rotate clockwise 5.73 degrees, open gripper",
        "close gripper",
    )


# Finding a format -----------------------------------------------------------------------------------------------------


@in_every_format
def test_every_format_is_found_by_the_name_it_bears(action_format: ActionFormat) -> None:
    symbols = getattr(action_format, "symbols", None)
    resolution = None if action_format.name == "integers" else action_format.resolution
    assert get_format(action_format.name, resolution=resolution, symbols=symbols) == action_format


@in_every_format
def test_the_example_and_the_rules_are_words_for_a_prompt(action_format: ActionFormat) -> None:
    assert action_format.read(action_format.example).deltas.round(6).tolist() == pytest.approx(
        np.array([[0.03, 0, -0.08, 0, 0, 0, 1], [0] * 7])
    )
    assert "gripper" in action_format.rules


def test_an_unknown_format_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"No action format named 'pros'\. Did you mean 'prose'"):
        get_format("pros")


@pytest.mark.parametrize(
    ("name", "setting", "complaint"),
    [
        ("integers", {"resolution": Resolution()}, "'integers' takes no resolution; leave it out. It takes: nothing"),
        ("prose", {"symbols": tuple("zabcdefghi")}, "'prose' takes no symbols; leave it out. It takes: resolution"),
        ("tokens", {}, "given 0 different symbols; expected ten"),
        ("tokens", {"symbols": "aabcdefghi"}, "given 9 different symbols; expected ten"),
        ("tokens", {"symbols": "0abcdefghi"}, "'0' cannot stand for a digit"),
        ("tokens", {"symbols": ["", *"abcdefghi"]}, "'' cannot stand for a digit"),
        ("tokens", {"symbols": [" a", *"bcdefghij"]}, "' a' cannot stand for a digit"),
        ("tokens", {"symbols": ["−", *"bcdefghij"]}, "cannot stand for a digit"),  # noqa: RUF001
        ("tokens", {"symbols": ["º", *"bcdefghij"]}, "cannot stand for a digit"),
        ("tokens", {"symbols": ["ab", *"acdefghij"]}, "'a' begins the symbol 'ab'"),
    ],
)
def test_settings_a_format_cannot_have_are_refused_with_what_it_can(name: str, setting: dict, complaint: str) -> None:
    with pytest.raises(SettingError, match=complaint):
        get_format(name, **setting)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"translation": 0}, "resolution of 0 m was asked for; expected a number above 0"),
        ({"translation": float("nan")}, "resolution of nan m"),
        ({"rotation": -5}, "resolution of -5 degrees"),
        ({"translation": 0.03}, "divides 0.5 m, for example 0.01 or 0.005"),
        ({"translation": 0.00001}, "whole number of hundredths of a cm"),
        ({"rotation": 7}, "whole number of hundredths of a degree that divides 180 degrees, for example 5 or 1"),
    ],
)
def test_a_resolution_that_cannot_write_its_own_range_is_refused(setting: dict, complaint: str) -> None:
    with pytest.raises(SettingError, match=complaint):
        Resolution(**setting)


def test_the_examples_in_the_docstrings_are_true() -> None:
    results = [
        doctest.testmod(importlib.import_module(f"vlm2vla_sim.language.{module.name}"))
        for module in pkgutil.iter_modules(language.__path__)
    ]
    assert sum(result.attempted for result in results) >= 12
    assert sum(result.failed for result in results) == 0
