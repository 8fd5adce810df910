"""The texts from which the tokenizer is built: words of the questions, of the prompts and of the expert labels.

Their order decides the tokens, and so belongs to the shipped weights.
"""

from __future__ import annotations

from collections.abc import Iterator

from vlm2vla_sim.envs.tasks import get_task
from vlm2vla_sim.language.formats import FORMATS, get_format
from vlm2vla_sim.language.prompts import action_prompt, plan_prompt, subtasks_prompt, verify_prompt
from vlm2vla_sim.mini.scenes.object_catalog import CATALOG, COLOURS, HELD_OUT_COLOURS, SPOKEN_NAMES
from vlm2vla_sim.mini.scenes.stages import TASK_ORDER
from vlm2vla_sim.mini.training import translations

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
    """The texts, in which each word occurs often enough to become one token."""
    yield from _WORDS
    colours = [*COLOURS, *HELD_OUT_COLOURS, *(item.colour for item in CATALOG)]
    yield from (f"the {colour} plate is {colour}" for colour in colours)
    for name in SPOKEN_NAMES:
        yield f"Where is the {name}? the {name}, on the {name}."
        yield from (translations.instruction(language, name, name) for language in range(len(translations.LANGUAGES)))
    for instruction in (get_task(name).instruction for name in TASK_ORDER):
        yield subtasks_prompt(instruction)
        yield plan_prompt(instruction)
        yield verify_prompt(f"Grasp the object: {instruction}", instruction)
        yield verify_prompt(f"Grasp the object: {instruction}", "")
        for name in FORMATS:
            action_format = get_format(name, symbols=tuple("zqxjkvbpyg") if name == "tokens" else None)
            yield action_prompt(instruction, "move down, then close the gripper", action_format)
