"""Every word the embedded model has a token for: those of its questions, of its prompts, and of its lessons."""

from __future__ import annotations

from collections.abc import Iterator

from vlm2vla_sim.language.formats import FORMATS, get_format
from vlm2vla_sim.language.prompts import action_prompt, plan_prompt, subtasks_prompt, verify_prompt
from vlm2vla_sim.mini.scenes.names import COLOURS, OWN_COLOUR, UNSEEN
from vlm2vla_sim.mini.training import scene_questions, translations

_WORDS = (
    "What is 3 minus 5? Where is the gripper? nowhere 31, -7, 2, turned 45",
    "What is at 31, -7? What colour is the plate? How many things are there? one two three four five six seven",
    "What does the gripper hold? nothing What is the spoon on? table sink gripper",
    "Is the carrot left or right of the plate? Is the gripper open or closed? yes no done not",
    "The gripper is at 29, -1, 14 cm, turned 0 degrees, and 70 percent open.",
    "First say where the thing is: x, y, z in cm, and how many degrees it is turned. Then",
    "Grasp the carrot. Put it on, into, over, onto. Pick up, grab, take, lift, place, lay, stack, set, move, drop",
    "the carrot is at 31, -7, 2, turned 45: move forward, backward, left, right, above, a little, down, up, then",
    "close the gripper, open the gripper, raise, lower, carry, back, away, object, item, thing, block, cube, next to",
    "behind, in front of, near, far, nearest, farthest, other, every, each, beside, between, under, from, with",
    "circle square triangle star shape shapes big small bigger smaller picture drawing robot arm first second last",
    "What colour is the circle? Which shape is red? How many shapes are there?",
    "Repeat this: one. two; three? four: Number these: What is [3, -7, 2] minus [1, 4, 5]? 1. one\n2. two\n3. three",
    "Which is bigger, the circle or the star?",
    "Which language is this: What does this mean: English Spanish Mandarin Hindi",
)


def texts() -> Iterator[str]:
    """What the tokenizer is made of, often enough that each word becomes one token."""
    yield from _WORDS
    yield from (f"the {colour} plate is {colour}" for colour in [*COLOURS, *UNSEEN, *OWN_COLOUR.values()])
    for name in scene_questions.NAMES:
        yield f"Where is the {name}? the {name}, on the {name}."
        yield from (translations.say(language, name, name) for language in range(4))
    for instruction in (
        "put carrot on plate", "put the spoon on the towel", "stack the green block on the yellow block",
        "put eggplant into yellow basket",
    ):  # fmt: skip
        yield subtasks_prompt(instruction)
        yield plan_prompt(instruction)
        yield verify_prompt(f"Grasp the object: {instruction}", instruction)
        yield verify_prompt(f"Grasp the object: {instruction}", "")
        for name in FORMATS:
            action_format = get_format(name, symbols=tuple("zqxjkvbpyg") if name == "tokens" else None)
            yield action_prompt(instruction, "move down, then close the gripper", action_format)
