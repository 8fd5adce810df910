"""Tasks in which the instruction decides: several objects or places would do, and only the words say which is meant.

The tasks of one entry of `GROUPS` have the same scenes, episode for episode, so that a policy which ignores the words
solves as many of their episodes as there are tasks that want the same thing: half of them, or fewer. Within a task the
episodes alternate, so that no place on the table is the right one in more than half of them, unless the place itself is
what the words name.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from vlm2vla_sim.core.goals import LIFTED, Goal
from vlm2vla_sim.envs.tasks.layouts import Place
from vlm2vla_sim.envs.tasks.objects import CARROT, GREEN_CUBE, PLATE, TOWEL
from vlm2vla_sim.envs.tasks.records import ObjectSpec, Task
from vlm2vla_sim.envs.tasks.table_tasks import FAR, LEFT, MIDDLE, NEAR, QUARTER, RIGHT, at, card, double, table_task

Places = Sequence[Sequence[Place]]
"""For each episode the place of each object."""

SHIFTS = (0.0, 0.015, -0.015, 0.0)
"""[m] by which the whole scene is moved to the side in pairs of episodes."""


def _episodes(make: Callable[[float, float], list[Place]]) -> Places:
    """Eight episodes of `make(side, shift)`: the side alternates, the shift [m] changes with every second one."""
    return [make(side, shift) for shift in SHIFTS for side in (LEFT, RIGHT)]


def _pair(
    names: tuple[str, str],
    instructions: tuple[str, str],
    candidates: tuple[ObjectSpec, ObjectSpec],
    rest: ObjectSpec,
    places: Places,
) -> tuple[Task, Task]:
    """Two tasks with the same scenes: one of the candidates is put on `rest`. places: of the candidates, the rest."""
    first, second = candidates
    swapped = [[two, three, one] for one, two, three in places]
    straight = [[one, three, two] for one, two, three in places]
    return (
        table_task(names[0], instructions[0], (first, rest, second), straight),
        table_task(names[1], instructions[1], (second, rest, first), swapped),
    )


def _target_pair(
    names: tuple[str, str],
    instructions: tuple[str, str],
    source: ObjectSpec,
    targets: tuple[ObjectSpec, ObjectSpec],
    places: Places,
) -> tuple[Task, Task]:
    """Two tasks with the same scenes: one object is to be put on one of two. places: of the object, the targets."""
    first, second = targets
    return (
        table_task(names[0], instructions[0], (source, first, second), places),
        table_task(names[1], instructions[1], (source, second, first), [[a, c, b] for a, b, c in places]),
    )


def _blocks_and_plate(side: float, shift: float) -> list[Place]:
    """Two blocks, the first on `side`, behind a plate."""
    return [at(FAR, side * 0.07 + shift), at(FAR, -side * 0.07 + shift), at(NEAR, shift)]


def _carrot_and_two(side: float, shift: float) -> list[Place]:
    """A carrot across the table in front of two flat things, the first of them on `side`."""
    return [
        at(NEAR + 0.01, shift, QUARTER),
        at(FAR + 0.01, side * 0.075 + shift),
        at(FAR + 0.01, -side * 0.075 + shift),
    ]


RED_BLOCK, BLUE_BLOCK = double(GREEN_CUBE, "red_block", "red"), double(GREEN_CUBE, "blue_block", "blue")
COLOUR = _pair(
    ("red_block_on_plate", "blue_block_on_plate"),
    ("put the red block on the plate", "put the blue block on the plate"),
    (RED_BLOCK, BLUE_BLOCK),
    PLATE,
    _episodes(_blocks_and_plate),
)
COLOUR_OF_TARGET = _target_pair(
    ("carrot_on_red_plate", "carrot_on_blue_plate"),
    ("put the carrot on the red plate", "put the carrot on the blue plate"),
    CARROT,
    (double(PLATE, "red_plate", "red"), double(PLATE, "blue_plate", "blue")),
    _episodes(_carrot_and_two),
)
SIDE = _pair(
    ("left_block_on_plate", "right_block_on_plate"),
    ("put the left block on the plate", "put the right block on the plate"),
    (double(GREEN_CUBE, "left_block"), double(GREEN_CUBE, "right_block")),
    PLATE,
    [_blocks_and_plate(LEFT, shift) for shift in (0.0, 0.015, -0.015, 0.03, -0.03, 0.01, -0.01, 0.02)],
)
SIDE_OF_TARGET = _target_pair(
    ("carrot_on_left_plate", "carrot_on_right_plate"),
    ("put the carrot on the left plate", "put the carrot on the right plate"),
    CARROT,
    (double(PLATE, "left_plate"), double(PLATE, "right_plate")),
    [_carrot_and_two(LEFT, shift) for shift in (0.0, 0.015, -0.015, 0.02, -0.02, 0.01, -0.01, 0.005)],
)
DISTANCE = _pair(
    ("nearer_block_on_plate", "farther_block_on_plate"),
    (
        "put the block that is nearer to the robot on the plate",
        "put the block that is farther from the robot on the plate",
    ),
    (double(GREEN_CUBE, "nearer_block"), double(GREEN_CUBE, "farther_block")),
    PLATE,
    _episodes(
        lambda side, shift: [
            at(NEAR, side * 0.07 + shift),
            at(FAR, side * 0.05 + shift),
            at(MIDDLE, -side * 0.07 + shift),
        ]
    ),
)


def _beside_the_plate(left: ObjectSpec, right: ObjectSpec) -> tuple[Task, Task]:
    """What is left, and what is right of the plate."""
    places = [
        [at(MIDDLE + x, LEFT * 0.10 + shift), at(MIDDLE + x, RIGHT * 0.10 + shift), at(MIDDLE, shift)]
        for x in (0.02, -0.02)
        for shift in SHIFTS
    ]
    return _pair(
        (f"{left.name}_left_of_plate", f"{right.name}_right_of_plate"),
        ("put what is left of the plate on the plate", "put what is right of the plate on the plate"),
        (left, right),
        PLATE,
        places,
    )


RELATION = _beside_the_plate(CARROT, GREEN_CUBE)
RELATION_SWAPPED = _beside_the_plate(GREEN_CUBE, CARROT)


def _lying_on() -> tuple[Task, Task]:
    """Two carrots, of which one lies on a towel and one on a plate."""
    first, second = double(CARROT, "carrot_on_towel"), double(CARROT, "carrot_on_plate")
    lies_on = ((first.name, TOWEL.name), (second.name, PLATE.name))

    def place(side: float, shift: float) -> list[Place]:
        towel, plate = at(MIDDLE, side * 0.08 + shift), at(MIDDLE, -side * 0.08 + shift)
        return [towel, towel, plate, plate]

    scenes = _episodes(place)
    return (
        table_task(
            "lift_carrot_on_towel",
            "pick up the carrot on the towel, not the one on the plate",
            (first, TOWEL, second, PLATE),
            scenes,
            goals=(Goal(LIFTED, first.name),),
            lies_on=lies_on,
        ),
        table_task(
            "lift_carrot_on_plate",
            "pick up the carrot on the plate, not the one on the towel",
            (second, PLATE, first, TOWEL),
            [[c, d, a, b] for a, b, c, d in scenes],
            goals=(Goal(LIFTED, second.name),),
            lies_on=lies_on,
        ),
    )


NESTED = _lying_on()

CAT, DOG, FISH = card("cat"), card("dog"), card("fish")
THREE, SEVEN = card("three"), card("seven")
JAPAN, FRANCE = card("japan"), card("france")
HAPPY, SAD = card("happy"), card("sad")


def _above_cards(first: ObjectSpec, second: ObjectSpec) -> tuple[Task, Task]:
    """What lies above the cat, and what lies above the dog, as in the paper's "Pick Up the Item Above Ash Ketchum"."""
    scenes = _episodes(
        lambda side, shift: [
            at(FAR, side * 0.075 + shift, QUARTER),
            at(FAR, -side * 0.075 + shift, QUARTER),
            at(NEAR, side * 0.075 + shift),
            at(NEAR, -side * 0.075 + shift),
        ]
    )
    return (
        table_task(
            f"lift_{first.name}_above_cat",
            "pick up the item above the cat",
            (first, CAT, second, DOG),
            [[a, c, b, d] for a, b, c, d in scenes],
            goals=(Goal(LIFTED, first.name),),
        ),
        table_task(
            f"lift_{second.name}_above_dog",
            "pick up the item above the dog",
            (second, DOG, first, CAT),
            [[b, d, a, c] for a, b, c, d in scenes],
            goals=(Goal(LIFTED, second.name),),
        ),
    )


ABOVE = _above_cards(CARROT, GREEN_CUBE)
ABOVE_SWAPPED = _above_cards(GREEN_CUBE, CARROT)


def _on_cards(
    names: tuple[str, str], phrases: tuple[str, str], cards: tuple[ObjectSpec, ObjectSpec]
) -> tuple[Task, Task]:
    instructions = (f"put the carrot on {phrases[0]}", f"put the carrot on {phrases[1]}")
    tasks = (f"carrot_on_{names[0]}", f"carrot_on_{names[1]}")
    return _target_pair(tasks, instructions, CARROT, cards, _episodes(_carrot_and_two))


CARDS = (
    _on_cards(("cat", "dog"), ("the cat", "the dog"), (CAT, DOG)),
    _on_cards(("digit_3", "digit_7"), ("the digit 3", "the digit 7"), (THREE, SEVEN)),
    _on_cards(("flag_of_japan", "flag_of_france"), ("the flag of Japan", "the flag of France"), (JAPAN, FRANCE)),
    _on_cards(("happy_face", "sad_face"), ("the happy face", "the sad face"), (HAPPY, SAD)),
)
MEANINGS = (
    _on_cards(("what_barks", "what_swims"), ("the animal that barks", "the animal that lives in water"), (DOG, FISH)),
    _on_cards(("one_plus_two", "ten_minus_three"), ("the sum of 1 and 2", "the result of 10 minus 3"), (THREE, SEVEN)),
)

GROUPS: tuple[tuple[Task, ...], ...] = (
    COLOUR,
    COLOUR_OF_TARGET,
    SIDE,
    SIDE_OF_TARGET,
    DISTANCE,
    RELATION,
    RELATION_SWAPPED,
    NESTED,
    ABOVE,
    ABOVE_SWAPPED,
    *CARDS,
    *MEANINGS,
)
"""Tasks with the same scenes and other instructions."""
TASKS: tuple[Task, ...] = tuple(itertools.chain.from_iterable(GROUPS))
"""All of them."""
