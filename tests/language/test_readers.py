"""Readers take what a model would plausibly write, and refuse everything else with where and why."""

from __future__ import annotations

import time

import numpy as np
import pytest
from formats_under_test import FORMATS, SYMBOLS, in_every_format

from vlm2vla_sim.errors import ActionTextError
from vlm2vla_sim.language.formats import ActionFormat, get_format
from vlm2vla_sim.language.formats.prose import ProseFormat

GO = [0.03, 0, -0.08, 0, 0, 0, 1]
CLOSE = [0, 0, 0, 0, 0, 0, 0]
TURN = [0.03, 0, -0.08, np.radians(10), 0, np.radians(-20), 0]


def in_tokens(text: str) -> str:
    """`text` with symbols in the place of digits."""
    return "".join(SYMBOLS[int(c)] if c.isdigit() else c for c in text)


ACCEPTED = [
    ("vlm2vla", "[[3,0,-8,1],[0,0,0,0]]", [GO, CLOSE]),
    ("vlm2vla", "  [ [ 3 ,0,  -8, 1 ] ,\n\t[0, 0, 0, 0] ]  ", [GO, CLOSE]),
    ("vlm2vla", "[[3, 0, -8, 1], [0, 0, 0, 0]].", [GO, CLOSE]),
    ("vlm2vla", "```json\n[[3, 0, -8, 1], [0, 0, 0, 0]]\n```", [GO, CLOSE]),
    ("vlm2vla", "Sure! The carrot [on the left] is near, so:\n[[3, 0, -8, 1]]\nThis goes down.", [GO]),
    ("vlm2vla", '{"action": [[3, 0, -8, 1]], "done": false}', [GO]),
    ("vlm2vla", "[[3, 0, -8, 1]] as said: [[3.0, 0, -8, 1]]", [GO]),
    ("vlm2vla", "[3, 0, -8, 1]", [GO]),
    ("vlm2vla", "I write [3, 0, -8, 1], which goes down", [GO]),
    ("vlm2vla", "[3, 0, -8, 1], [0, 0, 0, 0]", [GO, CLOSE]),
    ("vlm2vla", "[[3, 0, -8, 1,], [0, 0, 0, 0],]", [GO, CLOSE]),
    ("vlm2vla", "[[+3, -0, -8.0, 1.0]]", [GO]),
    ("vlm2vla", "[[03, 0., −8, 01]]", [GO]),  # noqa: RUF001
    ("vlm2vla", "[[3 cm, .0 cm, -8CM, 1]]", [GO]),
    ("vlm2vla", "[[3, 0, -8, 10, 0, -20, 0]]", [TURN]),
    ("vlm2vla", "[[3\u00a0cm, 0, –8 centimeters, 10°, 0 deg, -20 degrees, 0]]", [TURN]),  # noqa: RUF001
    ("vlm2vla", "[[3, 0, -8, 0, 0, 0, 1]]", [GO]),
    ("tokens", in_tokens("Go: [3, 0, -8, 1], [0.0, 0, 0, 0]"), [GO, CLOSE]),
    ("prose", "move forward 3 cm and down 8 cm, open gripper; close gripper", [GO, CLOSE]),
    ("prose", "Move forward 3 cm, down 8 cm, and open the gripper. Then close the gripper.", [GO, CLOSE]),
    ("prose", "MOVE DOWN BY 8.0CM AND FORWARD BY 3 CENTIMETRES, KEEP THE GRIPPER OPEN", [GO]),
    ("prose", "go 3 cm forwards and 8 cm down, gripper open\nclose gripper\n", [GO, CLOSE]),
    ("prose", "1. move forward 3 cm and down 8 cm, open gripper\n2. close gripper", [GO, CLOSE]),
    ("prose", "- move forward 3 cm and down 8 cm, open gripper\n- stay, close gripper", [GO, CLOSE]),
    ("prose", "Here is the action:\n```text\nmove forward 3 cm and down 8 cm, open gripper\n```\nGood luck!", [GO]),
    ("prose", 'Action: "**move forward 3 cm and down 8 cm**, the gripper stays open."', [GO]),
    ("prose", "```move forward 3 cm and down 8 cm, open gripper", [GO]),
    ("prose", "tilt left 10°, rotate clockwise 20 deg, move forward 3 cm and down 8 cm, close gripper", [TURN]),
    ("prose", "move forward 3 cm, clockwise 20 degrees, tilt left 10 degrees, down 8 cm, close gripper", [TURN]),
    ("prose", "turn anti-clockwise 90 degrees, open gripper", [[0, 0, 0, 0, 0, np.pi / 2, 1]]),
    ("prose", "tilt right 90 degrees and back 45 degrees, open gripper", [[0, 0, 0, -np.pi / 2, np.pi / 4, 0, 1]]),
    ("prose", "close gripper. Move up 8 cm.", [CLOSE, [0, 0, 0.08, 0, 0, 0, 0]]),
    ("prose", "don’t move, close gripper; hold still", [CLOSE, CLOSE]),  # noqa: RUF001
    ("prose", "move to the left by 0 cm, close gripper", [CLOSE]),
    ("prose", "move forward 0.03 m and down .08 metres, open gripper", [GO]),
    ("prose", "move forward 30 mm and down 80 millimeters, open gripper", [GO]),
    ("prose", "move 3 centimeters forward and 0.08 meters down, open gripper", [GO]),
    ("prose", "move forward 1 centimetre, down 1 millimetre, open gripper", [[0.01, 0, -0.001, 0, 0, 0, 1]]),
    ("prose", "rotate clockwise 0.5 rad, tilt left 1 radian, open gripper", [[0, 0, 0, 1, 0, -0.5, 1]]),
    ("prose", "clockwise 1 degree, open gripper", [[0, 0, 0, 0, 0, -np.pi / 180, 1]]),
    ("integers", "530 500 420 500 500 500 1000 500 500 500 500 500 500 0", [GO, CLOSE]),
    ("integers", "Action: [[530, 500, 420, 500, 500, 500, 1000],\n [500, 500, 500, 500, 500, 500, 0]].", [GO, CLOSE]),
    ("integers", "```\n530 500 420 500 500 500 1000\n```\nThat took 3 tries.", [GO]),
]


@pytest.mark.parametrize(("name", "text", "rows"), ACCEPTED)
def test_what_a_model_would_plausibly_write_is_read(name: str, text: str, rows: list[list[float]]) -> None:
    chunk = FORMATS[name].read(text)
    np.testing.assert_allclose(chunk.deltas, rows, atol=1e-6)
    assert chunk.text == text


@pytest.mark.parametrize("gripper", [0.0, 1.0])
@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("move forward 4 cm", [[0.04, 0, 0, 0, 0, 0, None]]),
        ("stay", [[0, 0, 0, 0, 0, 0, None]]),
        (
            "move up 4 cm; close gripper; move down 1 cm",
            [[0, 0, 0.04, 0, 0, 0, None], CLOSE, [0, 0, -0.01, *CLOSE[3:]]],
        ),
        ("open gripper", [[0, 0, 0, 0, 0, 0, 1]]),
    ],
)
def test_rows_before_the_first_gripper_command_keep_the_gripper_that_the_reader_is_given(text, rows, gripper) -> None:
    expected = [[gripper if value is None else value for value in row] for row in rows]
    np.testing.assert_allclose(ProseFormat().read(text, gripper=gripper).deltas, expected, atol=1e-6)


REFUSED = [
    # format, text, where reading stops, why
    ("vlm2vla", "I cannot see it.", 0, "there is no list of numbers; expected for example: [[3, 0, -8, 1]"),
    ("vlm2vla", "move forward 3 cm, close gripper", 0, "there is no list of numbers"),
    ("vlm2vla", "[]", 1, "row 1 is empty; expected for example"),
    ("vlm2vla", "[[]]", 2, "row 1 is empty"),
    ("vlm2vla", "[[3, 0, -8, 1], []]", 17, "row 2 is empty"),
    ("vlm2vla", "[[3, 0, -8]]", 1, "row 1 has 3 numbers; expected 4 (dx, dy, dz, gripper) or 7"),
    ("vlm2vla", "[[3, 0, -8, 1, 0]]", 1, "row 1 has 5 numbers"),
    ("vlm2vla", "[[0, 0, 0, 0, 0, 0, 0, 1]]", 23, "row 1 has more than 7 numbers"),
    ("vlm2vla", "[[3, 0, -8, 1], [0, 0, 0, 5, 0, 0, 1]]", 16, "row 2 has 7 numbers but row 1 has 4"),
    ("vlm2vla", "[[50.1, 0, 0, 1]]", 2, "dx of row 1 is 50.1 cm; expected -50 to 50 cm"),
    ("vlm2vla", "[[0, 0, 0, 1], [0, 0, -51, 1]]", 22, "dz of row 2 is -51 cm; expected -50 to 50 cm"),
    ("vlm2vla", "[[0, 0, 0, 0, -181, 0, 1]]", 14, "pitch of row 1 is -181 degrees; expected -180 to 180 degrees"),
    ("vlm2vla", "[[0, 0, 0, " + "9" * 400 + ", 0, 0, 1]]", 11, "roll of row 1 is inf degrees; expected -180"),
    ("vlm2vla", "[[nan, 0, 0, 1]]", 2, "expected a number such as -8, found 'nan'"),
    ("vlm2vla", "[NaN, 0, 0, 1]", 1, "found 'NaN'"),
    ("vlm2vla", "[[0, -inf, 0, 1]]", 5, "found '-inf'"),
    ("vlm2vla", "[[0, Infinity, 0, 1]]", 5, "found 'Infinity'"),
    ("vlm2vla", "[[1e1, 0, 0, 1]]", 4, "expected ',' or ']', found '1'"),
    ("vlm2vla", "[[3, 0, -8, 0.5]]", 12, "the gripper of row 1 is 0.5; expected 1 (open) or 0 (closed)"),
    ("vlm2vla", "[[3, 0, -8, -1]]", 12, "the gripper of row 1 is -1"),
    ("vlm2vla", "[[3, 0, -8, 1 cm]]", 12, "the gripper of row 1 is 1 cm"),
    ("vlm2vla", "[[3, 0, -8, open]]", 12, "found 'open'"),
    ("vlm2vla", "[[30 mm, 0, -8, 1]]", 2, "dx of row 1 is in 'mm'; expected cm"),
    ("vlm2vla", "[[0, 0, 0, 1, 1, 1 rad, 1]]", 17, "yaw of row 1 is in 'rad'; expected degrees"),
    ("vlm2vla", "[[3 0 -8 1]]", 4, "expected ',' or ']', found '0'"),
    ("vlm2vla", "[[3, 0, -8, 1] [0, 0, 0, 0]]", 15, "expected ',' or ']', found '['"),
    ("vlm2vla", "[[3, 0, -8, 1], 5]", 16, "expected another row, found '5'"),
    ("vlm2vla", "[[3, , -8, 1]]", 5, "found ','"),
    ("vlm2vla", "[[3, 0, -8, 1], [0, 0", 21, "expected ',' or ']', found the end of the text"),
    ("vlm2vla", "[3, 0, -8, 1], [0, 0, 0, 0],", 28, "expected another row, found the end of the text"),
    ("vlm2vla", "[3, 0, -8, 1],\n", 15, "expected another row, found the end of the text"),
    ("vlm2vla", "[3, 0, -8, 1]\n[", 15, "expected a number such as -8, found the end of the text"),
    ("vlm2vla", "[3, 0, -8, 1] and [-", 19, "expected a number such as -8, found '-'"),
    ("vlm2vla", "[[3, 0, -8, 1]", 14, "expected ',' or ']', found the end of the text"),
    ("vlm2vla", "[[3, 0, -8, 1],", 15, "expected another row, found the end of the text"),
    ("vlm2vla", "[[3, 0, -8, 1", 13, "expected ',' or ']', found the end of the text"),
    ("vlm2vla", '{"action": [[3, 0, -8, 1], [0, 0, 0, 0]', 39, "expected ',' or ']', found the end of the text"),
    ("vlm2vla", "[[[3, 0, -8, 1]]]", 2, "expected a number such as -8, found '['"),
    ("vlm2vla", "[[3, 0, -8, 1]] or [[3, 0, -8, 0]]", 19, "a second list with other numbers"),
    ("vlm2vla", "[3, 0, -8, 1]\n[0, 0, 0, 0]", 14, "a second list with other numbers"),
    ("vlm2vla", "[" + ", ".join(["[0, 0, 0, 1]"] * 33) + "]", 449, "there are more than 32 rows"),
    ("tokens", "[3, 0, -8, 1]", 0, "there is no list of numbers"),
    ("tokens", f"[[{SYMBOLS[3]}, 0, -8, 1]]", 5, f"expected a number such as -{SYMBOLS[8]}, found '0'"),
    ("tokens", in_tokens("[[3, 0, -8, 2]]"), 12, "the gripper of row 1 is 2"),
    ("prose", "I cannot see it", 0, "found 'I cannot see it'"),
    ("prose", "...", 3, "there is no action; expected 'move forward 3 cm'"),
    ("prose", "move forward 3 cm", 0, "the first row does not say what the gripper does; end it with 'open gripper'"),
    ("prose", "move forward 3 cm; close gripper", 0, "the first row does not say what the gripper does"),
    ("prose", "move forward 51 cm, open gripper", 13, "dx of row 1 is 51 cm; expected -50 to 50 cm"),
    ("prose", "open gripper; move right 51 cm", 25, "dy of row 2 is -51 cm; expected -50 to 50 cm"),
    ("prose", "rotate clockwise 181 degrees, open gripper", 17, "yaw of row 1 is -181 degrees"),
    ("prose", "move forward " + "9" * 400 + " cm, open gripper", 13, "dx of row 1 is inf cm"),
    ("prose", "move forward nan cm, open gripper", 0, "found 'move forward nan cm'"),
    ("prose", "move forward 3, open gripper", 13, "the amount for 'move forward' has no unit; expected cm, mm or m."),
    ("prose", "move forward 3 inches, open gripper", 13, "is in 'inches'; expected cm, mm or m."),
    ("prose", "move forward 3 degrees, open gripper", 13, "is in 'degrees'; expected cm, mm or m."),
    ("prose", "rotate clockwise 3 cm, open gripper", 17, "is in 'cm'; expected degrees or radians."),
    ("prose", "move forward 0.51 m, open gripper", 13, "dx of row 1 is 51 cm; expected -50 to 50 cm"),
    ("prose", "rotate clockwise 3.2 radians, open gripper", 17, "yaw of row 1 is -183.346 degrees"),
    ("prose", "move forward -3 cm, open gripper", 13, "an amount below zero; expected the opposite direction"),
    ("prose", "move north 3 cm, open gripper", 5, "'move north' is not a direction; expected move forward, backward"),
    ("prose", "rotate left 5 degrees, open gripper", 7, "'rotate left' is not a direction"),
    ("prose", "left 5 degrees, open gripper", 0, "'left' without a verb; expected move, tilt or rotate"),
    ("prose", "tilt left 5 degrees, move up 1 cm, right 5 degrees, open gripper", 35, "'right' without a verb"),
    ("prose", "move left 3 cm, move right 1 cm, open gripper", 16, "row 1 says twice how far to move left or right"),
    # The same without the full stop may be cut off before "open gripper".
    ("prose", "close gripper, move up 8 cm", 15, "the last row does not say what the gripper does; end it with 'open"),
    ("prose", "open gripper; rotate counterclockwise 20 deg", 14, "the last row does not say what the gripper does"),
    ("prose", "open gripper; move up 1 cm; close gripper; move down 12 cm", 43, "the last row does not say"),
    ("prose", "move up 1 cm, open gripper;", 26, "the text ends after ';'; expected 'move forward 3 cm'"),
    ("prose", "move up 1 cm, open gripper, ", 26, "the text ends after ','"),
    ("prose", "close gripper, and\nthen\n", 19, "the text ends after 'then'"),
    ("prose", "open gripper, jump", 14, "found 'jump'"),
    ("prose", "open the drawer", 0, "found 'open the drawer'"),
    ("prose", "do not open gripper", 0, "found 'do not open gripper'"),
    ("prose", "never move forward 3 cm, open gripper", 0, "found 'never move forward 3 cm'"),
    (
        "prose",
        "I have no idea what to do with this carrot here",
        0,
        "found 'I have no idea what to do with this carr…'",
    ),
    ("prose", "Option 1: open gripper. Option 2: close gripper", 0, "found 'Option 1: open gripper'"),
    ("prose", "close gripper: move up 3 cm, open gripper", 0, "found 'close gripper: move up 3 cm'"),
    ("prose", "a: b: open gripper", 3, "found 'b: open gripper'"),
    ("prose", "```open gripper``` or ```close gripper```", 22, "there is more than one code block"),
    ("prose", "; ".join(["open gripper"] * 33), 448, "there are more than 32 rows"),
    ("integers", "I cannot see it", 0, "there are no numbers; expected for example: 530 500 420"),
    ("integers", "530 500 420 500 500 1000", 20, "there are 6 numbers; expected 7 for each row"),
    ("integers", "530 500 420 500 500 500 1000 5", 29, "there are 8 numbers"),
    ("integers", "1001 500 500 500 500 500 0", 0, "expected a whole number from 0 to 1000, found '1001'"),
    ("integers", "it is -1 500 500 500 500 500 0", 6, "found '-1'"),
    ("integers", "500 500 500 500 500 500 1", 24, "the gripper of row 1 is 1; expected 1000 (open) or 0 (closed)"),
    ("integers", "500, 500, 500, 500, 500, 500, 0, ", 31, "the text ends after ','; expected for example: 530 500 420"),
    ("integers", "[[500, 500, 500, 500, 500, 500, 0]", 34, "the text ends before its brackets do; expected ']'"),
    ("integers", "9" * 5000 + " 500 500 500 500 500 0", 0, "found '99999999999999999999'"),
    ("integers", "530.5 500 500 500 500 500 0", 3, "expected a blank between numbers, found '.5'"),
    ("integers", "500 500 x 500 500 500 500 0", 8, "expected a whole number from 0 to 1000, found 'x'"),
    ("integers", "500 500 nan 500 500 500 0", 8, "found 'nan'"),
    ("integers", "500 500 500 500 500 500 0 inf", 26, "found 'inf'"),
    ("integers", "500 500 500 500 500 500 500", 24, "the gripper of row 1 is 500; expected 1000 (open) or 0"),
    ("integers", " ".join(["500 500 500 500 500 500 0"] * 33), 832, "there are more than 32 rows"),
]


@pytest.mark.parametrize(("name", "text", "position", "why"), REFUSED)
def test_everything_else_is_refused_with_where_and_why(name: str, text: str, position: int, why: str) -> None:
    with pytest.raises(ActionTextError) as caught:
        FORMATS[name].read(text)
    message = str(caught.value)
    assert why in message
    assert caught.value.position == position
    assert f"position {position}: " in message


@pytest.mark.parametrize(("name", "text", "position", "why"), [case for case in REFUSED if case[2] < len(case[1])])
def test_the_arrow_of_an_error_stands_under_the_character(name: str, text: str, position: int, why: str) -> None:
    with pytest.raises(ActionTextError) as caught:
        FORMATS[name].read(text)
    _, shown, arrow = str(caught.value).split("\n")
    assert arrow.strip() == "^"
    assert shown[len(arrow) - 1] == text[position].replace("\n", " ")
    assert len(shown) < 70


def test_an_error_shows_only_the_surroundings_of_the_spot() -> None:
    with pytest.raises(ActionTextError) as caught:
        get_format("vlm2vla").read("Well.\n" * 20 + "[[3, 0, -8, 7]]" + " and then?" * 20)
    _, shown, arrow = str(caught.value).split("\n")
    assert shown == "    …Well. Well. Well. [[3, 0, -8, 7]] and then? and then? and th…"
    assert shown[arrow.index("^")] == "7"


@pytest.mark.parametrize("nothing", ["", "   ", "\n\t \n"])
@in_every_format
def test_an_empty_text_is_refused(action_format: ActionFormat, nothing: str) -> None:
    with pytest.raises(ActionTextError, match="The action text is empty; expected for example: "):
        action_format.read(nothing)


@in_every_format
def test_something_that_is_no_text_is_refused(action_format: ActionFormat) -> None:
    with pytest.raises(ActionTextError, match="of type int; expected a text"):
        action_format.read(5)  # type: ignore[arg-type]


@in_every_format
def test_ten_megabytes_are_refused_unread_and_both_numbers_are_named(action_format: ActionFormat) -> None:
    with pytest.raises(ActionTextError, match="10,000,000 characters; at most 20,000 are read") as caught:
        action_format.read("[" * 10_000_000)
    assert len(str(caught.value)) < 200


FULL = 20_000
HOSTILE = {
    "blanks": " " * (FULL - 1) + "x",
    "a bracket, then blanks": "[" + " " * (FULL - 2) + "x",
    "brackets": "[" * FULL,
    "brackets and blanks": "[ " * (FULL // 2),
    "opening and closing brackets": "[]" * (FULL // 2),
    "digits": "1" * FULL,
    "a list of digits": "[[" + "1" * (FULL - 2),
    "digits and points": "[[" + "1." * (FULL // 2 - 1),
    "signs": "[[" + "-+" * (FULL // 2 - 1),
    "commas": "[[1" + "," * (FULL - 3),
    "commas alone": "," * FULL,
    "rows": "[[1,2,3,1]" + ",[1,2,3,1]" * 1999,
    "lists": "[[1,2,3,1]] " * (FULL // 12),
    "a number a word": "1 " * (FULL // 2),
    "numbers far apart": "1" + " " * (FULL - 2) + "1",
    "a verb, then blanks": "move" + " " * (FULL - 5) + "x",
    "verbs": "move " * (FULL // 5),
    "verbs on lines": "move\n" * (FULL // 5),
    "a long word": "a" * FULL,
    "hyphens": "a-" * (FULL // 2),
    "to the": "to the " * (FULL // 7),
    "and": "and " * (FULL // 4),
    "a long amount": "move left " + "3" * (FULL - 10),
    "a long amount with blanks": "move left 3" + " " * (FULL - 12) + "!",
    "amount first, then blanks": "3 cm" + " " * (FULL - 5) + "!",
    "colons": "a:" * (FULL // 2),
    "bullets": "1. " * (FULL // 3),
    "blank lines": "\n" * (FULL - 1) + "x",
    "tabs on lines": "\t\n" * (FULL // 2 - 1) + "x",
    "code fences": "```" * (FULL // 3),
    "gripper words": "keep the gripper " * (FULL // 17),
    "not a number": "nan " * (FULL // 4),
    "lone surrogates": "\ud800" * FULL,
}


@pytest.mark.parametrize("kind", HOSTILE)
@in_every_format
def test_no_text_of_full_length_takes_long_to_refuse(action_format: ActionFormat, kind: str) -> None:
    # About the shape, not the speed: time that grows with the square of the length is seconds here (and once was),
    # what is right takes milliseconds. CPU time, so that a busy machine does not matter.
    begin = time.process_time()
    if (kind, action_format.name) == ("lists", "vlm2vla"):  # the same list over and over is one list
        assert action_format.read(HOSTILE[kind]).deltas.shape == (1, 7)
    else:
        with pytest.raises(ActionTextError, match="action"):
            action_format.read(HOSTILE[kind])
    assert time.process_time() - begin < 0.5
