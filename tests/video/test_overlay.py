"""The strip below the image is legible, shows everything once, and never breaks, whatever the text."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm2vla_sim.video import text_layout
from vlm2vla_sim.video.overlay import ACTION_TEXT, GREEN, ORANGE, RED, Overlay, OverlayRenderer

STATUS_FLAGS = tuple((name, False) for name in ("grasped", "held", "moved", "on target", "success", "settled"))
OVERLAY = Overlay(
    "carrot_on_plate ep 3",
    "put carrot on plate",
    step=12,
    steps=60,
    subtask="pick up the carrot",
    plan="move down until the carrot is between the fingers, then close them",
    text="[[3, 0, -8, 1], [0, 0, 0, 0]]",
    motion="move forward 3 cm and down 8 cm, open gripper",
    flags=STATUS_FLAGS,
)


def draw(width: int = 640, **changes) -> np.ndarray:
    return OverlayRenderer(width).draw(dataclasses.replace(OVERLAY, **changes))


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
        {"text": "[[3, 0, -7, 1], [0, 0, 0, 0]]"},
        {"error": "there is no list"},
        {"motion": "stay"},
        {"clipped": True},
        {"gripper": 0.5},
        {"flags": (*STATUS_FLAGS[:-1], ("settled", True))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_can_be_seen(change):
    assert (draw(**change) != draw()).any()


def test_action_text_that_cannot_be_parsed_is_red_with_the_reason():
    readable, unreadable = draw(), draw(error="there is no list of numbers")
    assert shows(readable, ACTION_TEXT)
    assert not shows(readable, RED)
    assert shows(unreadable, RED)
    assert not shows(unreadable, ACTION_TEXT)


def test_a_status_flag_turns_green_only_when_it_is_set():
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
    strip = OverlayRenderer(640)
    for step in range(5):
        overlay = dataclasses.replace(OVERLAY, step=step, text="x" * step, gripper=step / 5)
        np.testing.assert_array_equal(strip.draw(overlay), OverlayRenderer(640).draw(overlay))


@pytest.mark.parametrize("width", [400, 448, 640, 641, 1280, 4096])
def test_the_strip_fits_the_width_and_leaves_its_margins_free(width):
    long = "word " * 200
    strip = draw(width, instruction=long, title=long, subtask=long, plan=long, text=long, motion=long, clipped=True)
    assert strip.shape[1] == width
    assert strip.shape[0] % 2 == 0
    below_the_bar = strip[20:]
    assert (below_the_bar[:, :2] == below_the_bar[-1, -1]).all()
    assert (below_the_bar[:, -2:] == below_the_bar[-1, -1]).all()


def test_text_of_any_length_takes_the_same_room():
    assert draw(text="").shape == draw(text="[" * 10_000_000).shape


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_breaks_it(text, plan):
    assert draw(text=text, plan=plan, error=text, instruction=plan).shape == draw().shape


def test_what_the_font_lacks_is_replaced_and_what_it_can_spell_is_spelled():
    clean = text_layout.clean
    assert clean("\u00fcber \u2192 \u22123 cm \u00d7 2") == "uber -> -3 cm x 2"
    assert clean("put 胡萝卜 down") == "put ??? down"
    assert clean("a\n\tb\x00c") == "a b?c"
