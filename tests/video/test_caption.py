"""The strip below the picture can be read, says everything once, and never breaks, whatever the words."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm2vla_sim.video.overlay import GREEN, ORANGE, RED, WORDS, Caption, CaptionStrip

STATUS_FLAGS = tuple((name, False) for name in ("grasped", "held", "moved", "on target", "success"))
CAPTION = Caption(
    "carrot_on_plate ep 3",
    "put carrot on plate",
    step=12,
    steps=60,
    subtask="pick up the carrot",
    plan="move down until the carrot is between the fingers, then close them",
    words="[[3, 0, -8, 1], [0, 0, 0, 0]]",
    motion="move forward 3 cm and down 8 cm, open gripper",
    flags=STATUS_FLAGS,
)


def draw(width: int = 640, **changes) -> np.ndarray:
    return CaptionStrip(width).draw(dataclasses.replace(CAPTION, **changes))


def shows(strip: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(strip.astype(int) - colour).max(axis=-1) <= 12).any())


@pytest.mark.parametrize(
    "change",
    [
        {"title": "carrot_on_plate ep 4"},
        {"instruction": "put the spoon on the towel"},
        {"step": 13},
        {"steps": 120},
        {"subtask": "lift"},
        {"plan": "no plan"},
        {"words": "[[3, 0, -7, 1], [0, 0, 0, 0]]"},
        {"error": "there is no list"},
        {"motion": "stay"},
        {"clipped": True},
        {"gripper": 0.5},
        {"flags": (*STATUS_FLAGS[:-1], ("success", True))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_can_be_seen(change):
    assert (draw(**change) != draw()).any()


def test_words_that_cannot_be_read_are_red_and_say_why():
    readable, unreadable = draw(), draw(error="there is no list of numbers")
    assert shows(readable, WORDS)
    assert not shows(readable, RED)
    assert shows(unreadable, RED)
    assert not shows(unreadable, WORDS)


def test_the_success_lamp_turns_green_with_success_only():
    for number, (name, _) in enumerate(STATUS_FLAGS):
        lit = draw(flags=(*STATUS_FLAGS[:number], (name, True), *STATUS_FLAGS[number + 1 :]))
        assert shows(lit, GREEN)
    assert not shows(draw(), GREEN)


def test_a_step_cut_short_is_marked():
    assert shows(draw(clipped=True), ORANGE)
    assert not shows(draw(), ORANGE)


def test_the_bar_on_top_grows_from_nothing_to_full_width():
    widths = [int((draw(step=step)[1, :, 2] > 200).sum()) for step in (0, 15, 30, 60)]
    assert widths == pytest.approx([0, 160, 320, 640], abs=2)


def test_what_is_drawn_once_and_kept_is_what_would_be_drawn_anew():
    strip = CaptionStrip(640)
    for step in range(5):
        caption = dataclasses.replace(CAPTION, step=step, words="x" * step, gripper=step / 5)
        np.testing.assert_array_equal(strip.draw(caption), CaptionStrip(640).draw(caption))


@pytest.mark.parametrize("width", [400, 448, 640, 641, 1280, 4096])
def test_the_strip_fits_the_width_and_leaves_its_margins_free(width):
    long = "word " * 200
    strip = draw(width, instruction=long, title=long, subtask=long, plan=long, words=long, motion=long, clipped=True)
    assert strip.shape[1] == width
    assert strip.shape[0] % 2 == 0
    below_the_bar = strip[20:]
    assert (below_the_bar[:, :2] == below_the_bar[-1, -1]).all()
    assert (below_the_bar[:, -2:] == below_the_bar[-1, -1]).all()


def test_text_of_any_length_takes_the_same_room():
    assert draw(words="").shape == draw(words="[" * 10_000_000).shape


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_breaks_it(words, plan):
    assert draw(words=words, plan=plan, error=words, instruction=plan).shape == draw().shape


def test_what_the_font_lacks_is_replaced_and_what_it_can_spell_is_spelled():
    clean = CaptionStrip._clean
    assert clean("\u00fcber \u2192 \u22123 cm \u00d7 2") == "uber -> -3 cm x 2"
    assert clean("put 胡萝卜 down") == "put ??? down"
    assert clean("a\n\tb\x00c") == "a b?c"
