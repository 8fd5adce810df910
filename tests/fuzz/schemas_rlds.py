"""Random RLDS episodes, in both public schemas, with harmless and harmful changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from schema_values import JUNK, NOT_NUMBERS, NUMBERS, Meaning, encoded, meaning_of, random_episode, shade_of

from vlm2vla_sim.data.datasets.base import Skipped
from vlm2vla_sim.data.datasets.rlds_steps import read_steps
from vlm2vla_sim.data.episode import Trajectory
from vlm2vla_sim.errors import DataError


@dataclass
class Episode:
    """An episode in the making."""

    rng: np.random.Generator
    is_oxe: bool
    first: bool
    """Whether it begins with an action of zeros, which nobody commanded."""
    steps: list[Any]
    expected: Meaning
    metadata: Any = field(default_factory=dict)
    harmed: bool = False

    @property
    def camera(self) -> str:
        return "image" if self.is_oxe else "image_0"

    def pick(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def some_step(self) -> dict[str, Any]:
        """A step that is used."""
        return self.steps[int(self.rng.integers(int(self.first), len(self.steps)))]


def make(rng: np.random.Generator) -> Episode:
    """An unchanged episode of up to 7 steps, at least one of them commanded."""
    count = int(rng.integers(1, 6))
    is_oxe, first, last = (bool(value) for value in rng.integers(0, 2, 3))
    states, actions = random_episode(rng, count + last)
    if last:
        actions[-1] = 0
    held = actions.copy()
    if last:
        held[-1, 6] = actions[-2, 6]
    expected = Meaning(*meaning_of(states, held), [shade_of(n) for n in range(count + last)], "put it down")
    shades = [20] * first + expected.shades
    states = np.concatenate([states[: int(first)], states])
    actions = np.concatenate([np.zeros((int(first), 7)), actions])
    make_step = _oxe if is_oxe else _orig
    steps = [make_step(*values) for values in zip(states, actions, shades, strict=True)]
    return Episode(rng, is_oxe, first, steps, expected)


def _orig(state: np.ndarray, action: np.ndarray, shade: int) -> dict[str, Any]:
    observation = {"state": state, "image_0": encoded(shade), "image_1": encoded(0)}
    return {"observation": observation, "action": action, "language_instruction": b"put it down"}


def _oxe(state: np.ndarray, action: np.ndarray, shade: int) -> dict[str, Any]:
    observation = {"state": state, "image": encoded(shade), "natural_language_instruction": b"put it down"}
    parts = {"world_vector": action[:3], "rotation_delta": action[3:6], "open_gripper": np.bool_(action[6])}
    return {"observation": observation, "action": parts | {"terminate_episode": 0.0}}


def read(episode: Episode) -> Iterator[Trajectory | Skipped]:
    """The one episode, as `RldsFolder` reads it, except that nothing but a DataError is caught."""
    try:
        yield read_steps(
            episode.steps, episode.metadata, name="set/0", camera=episode.camera, fps=5.0, convention="bridge"
        )
    except DataError as error:
        yield Skipped("set/0", str(error))


# Harmless -------------------------------------------------------------------------------------------------------------


def other_types(one: Episode) -> None:
    for step in one.steps:
        step["observation"]["state"] = one.pick(NUMBERS)(step["observation"]["state"])
        if not one.is_oxe:
            step["action"] = one.pick(NUMBERS)(step["action"])


def other_gripper_types(one: Episode) -> None:
    for step in one.steps:
        if one.is_oxe:
            value = float(step["action"]["open_gripper"])
            step["action"]["open_gripper"] = one.pick(
                (bool(value), int(value), value, np.array([value]), np.array(value))
            )


def junk_beside(one: Episode) -> None:
    for step in one.steps:
        step["extra"] = step["observation"]["extra"] = one.pick(JUNK)
        step["is_last"] = one.pick(JUNK)


def junk_metadata(one: Episode) -> None:
    one.metadata = one.metadata or one.pick(JUNK)


def junk_flags(one: Episode) -> None:
    """Nothing that is a yes or no; or no for every camera, which the public builder writes by mistake."""
    value = one.pick((None, "no", False, np.bool_(False), 0, 2, b"", np.zeros(3)))
    flags = {f"has_image_{index}": value for index in range(4)} | {"has_image": value}
    one.metadata = {**(one.metadata if isinstance(one.metadata, dict) else {}), **flags}


def other_text_types(one: Episode) -> None:
    if not one.expected.instruction:
        return
    text = one.pick(
        ("put it down", b"put it down", " put it down\n", np.str_("put it down"), np.array(b"put it down", "O"))
    )
    for step in one.steps:
        (step["observation"] if one.is_oxe else step)[
            "natural_language_instruction" if one.is_oxe else "language_instruction"
        ] = text


def no_text(one: Episode) -> None:
    if one.rng.integers(2) and isinstance(one.metadata, dict):
        one.metadata = {**one.metadata, "has_language": one.pick((False, np.bool_(False), 0, np.array(False)))}
    else:
        for step in one.steps:
            step.pop("language_instruction", None)
            step["observation"].pop("natural_language_instruction", None)
    one.expected.instruction = ""


# Harmful --------------------------------------------------------------------------------------------------------------


def no_numbers(one: Episode) -> None:
    step = one.some_step()
    if one.rng.integers(2) or one.is_oxe:
        step["observation"]["state"] = one.pick(NOT_NUMBERS)(np.full(7, 0.1))
    else:
        step["action"] = one.pick(NOT_NUMBERS)(np.full(7, 0.1))


def missing(one: Episode) -> None:
    step = one.some_step()
    where, key = one.pick(
        ((step, "action"), (step, "observation"), (step["observation"], "state"), (step["observation"], one.camera))
    )
    where.pop(key)


def no_steps(one: Episode) -> None:
    one.steps = []


def no_dictionary(one: Episode) -> None:
    index = int(one.rng.integers(int(one.first), len(one.steps)))
    if one.rng.integers(2):
        one.steps[index] = one.pick((None, "step", 3, [], np.zeros(7)))
    else:
        one.steps[index]["observation"] = one.pick((None, "step", 3, [], np.zeros(7), {}))


def other_actions(one: Episode) -> None:
    step = one.some_step()
    if one.is_oxe:
        step["action"] = step["action"] | one.pick(
            (
                {"gripper_closedness_action": 0.0},
                {"open_gripper": one.pick((0.5, None, "open", -1.0, np.zeros(2), [0, 1], [[]], [[1], [1, 2]]))},
                {"world_vector": one.pick((np.zeros(2), np.zeros((1, 3)), None, "x", [np.nan] * 3))},
                {"rotation_delta": one.pick((np.zeros(4), 0.1, ["0", "0", "0"], {}))},
            )
        )
    else:
        step["action"] = one.pick(({}, {"world_vector": np.zeros(3)}, {"x": 1, "y": 2}))


def no_image(one: Episode) -> None:
    step = one.some_step()
    step["observation"][one.camera] = one.pick(
        (None, "image", 3, b"", b"\xff\xd8no", np.zeros((8, 8, 3), np.uint8), [], {})
    )


def black(one: Episode) -> None:
    for step in one.steps:
        step["observation"][one.camera] = encoded(0)


def denied(one: Episode) -> None:
    one.metadata = {f"has_{one.camera}": one.pick((False, np.bool_(False), 0)), "has_image_7": True}


def no_words(one: Episode) -> None:
    one.metadata = {}
    value = one.pick((3, 1.5, np.zeros(4), ["put"], {"a": 1}, np.array([1, 2])))
    for step in one.steps:
        step["language_instruction"] = value


def nothing_commanded(one: Episode) -> None:
    one.steps = [step | {"action": np.zeros(7)} for step in one.steps[: int(one.rng.integers(1, 3))]]


HARMLESS: tuple[Callable[[Episode], None], ...] = (
    other_types,
    other_gripper_types,
    junk_beside,
    junk_metadata,
    junk_flags,
    other_text_types,
    no_text,
)
HARMFUL: tuple[Callable[[Episode], None], ...] = (
    no_numbers,
    missing,
    no_steps,
    no_dictionary,
    other_actions,
    no_image,
    black,
    denied,
    no_words,
    nothing_commanded,
)
