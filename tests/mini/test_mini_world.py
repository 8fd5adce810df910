"""The random scenes look like what their facts say, and are the same again from the same seed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

from vlm2vla_sim.mini.scenes import rendered_dataset
from vlm2vla_sim.mini.scenes.annotation import GRIPPER
from vlm2vla_sim.mini.scenes.names import CLASSES, UNSEEN
from vlm2vla_sim.mini.scenes.scene_renderer import View, World, open_worlds
from vlm2vla_sim.mini.training import scene_questions, translations


@pytest.fixture(scope="module")
def worlds() -> Iterator[tuple[World, World]]:
    opened = open_worlds()
    yield opened
    for world in opened:
        world.close()


@pytest.fixture(scope="module")
def views(worlds: tuple[World, World]) -> list[View]:
    rng = np.random.default_rng(3)
    return [worlds[index % 4 == 3].sample(rng) for index in range(48)]


def test_a_seed_gives_the_same_scene_and_picture_again(worlds: tuple[World, World]) -> None:
    first, again = (worlds[0].sample(np.random.default_rng(9)) for _ in range(2))
    assert first.facts == again.facts
    assert np.array_equal(first.picture, again.picture)


def test_every_thing_is_seen_where_the_map_says(views: list[View]) -> None:
    for view in views:
        for thing in view.facts.things:
            if thing.kind != "basket":
                assert thing.pixels == int((view.seen == CLASSES.index(thing.kind)).sum())
    shown = sum(thing.pixels > scene_questions.VISIBLE for view in views for thing in view.facts.things)
    assert shown > len(views)


def test_what_lies_farther_to_the_left_of_the_robot_is_farther_left_in_the_picture(views: list[View]) -> None:
    pairs = []
    for view in views:
        things = [
            thing for thing in view.facts.things if thing.kind != "basket" and thing.pixels > scene_questions.VISIBLE
        ]
        for one in things:
            for other in things:
                if one.position[1] - other.position[1] > 0.06 and GRIPPER not in (one.on, other.on):
                    columns = [np.nonzero(view.seen == CLASSES.index(t.kind))[1].mean() for t in (one, other)]
                    pairs.append(columns[0] < columns[1])
    assert len(pairs) > 10
    assert np.mean(pairs) > 0.8  # the camera looks aslant, so not every pair


def test_a_held_thing_is_at_the_gripper_and_others_are_not(views: list[View]) -> None:
    held = 0
    for view in views:
        for thing in view.facts.things:
            distance = float(np.linalg.norm(np.subtract(thing.position, view.facts.gripper)))
            if thing.on == GRIPPER:
                held += 1
                assert distance < 0.05
        assert (view.facts.held != "") == any(thing.on == GRIPPER for thing in view.facts.things)
    assert held > 3


def test_colours_kept_for_testing_are_never_drawn(views: list[View]) -> None:
    assert not {thing.colour for view in views for thing in view.facts.things} & set(UNSEEN)


def test_the_small_map_holds_the_commonest_class_of_each_cell() -> None:
    seen = np.zeros((4, 8), np.uint8)
    seen[:2, :4], seen[0, 0] = 3, 5
    assert rendered_dataset.most_common(seen, 2).tolist() == [[3, 0], [0, 0]]


def test_questions_are_answered_from_the_facts(views: list[View]) -> None:
    rng = np.random.default_rng(0)
    for view in views:
        for exchange in scene_questions.ask(view.facts, rng, count=5):
            if exchange.category == "held":
                expected = view.facts.held.replace("cube", "block") or "nothing"
                assert exchange.answer == expected
            if exchange.category == "where" and "nowhere" not in exchange.answer:
                name = re.findall(r"here (?:is )?the (.+?)(?: is\.|\?)", exchange.question)[0]
                thing = next(t for t in view.facts.things if scene_questions.spoken(t) == name)
                sentence = f"the {name} is at " if exchange.question.startswith("Say") else ""
                assert exchange.answer.startswith(sentence)
                x, y, _ = (int(word) for word in exchange.answer.removeprefix(sentence).split(",")[:3])
                assert abs(x - 100 * thing.position[0]) <= 0.5 + 1e-6
                assert abs(y - 100 * thing.position[1]) <= 0.5 + 1e-6


def test_sums_are_right() -> None:
    for exchange in scene_questions.sums(np.random.default_rng(1), count=50):
        words = exchange.question.split()
        assert int(exchange.answer) == int(words[2]) - int(words[4].rstrip("?"))


def test_the_languages_name_the_same_things() -> None:
    assert translations.say(0, "carrot", "plate") == "put the carrot on the plate"
    assert translations.say(1, "carrot", "plate") == "pon la zanahoria sobre el plato"
    assert translations.say(2, "carrot", "plate") == "把胡萝卜放在盘子上"
    assert set(translations.THINGS) == set(scene_questions.NAMES)
