"""What the adapter learns: for any scene, the words a good robot would say, stage by stage, mistakes included.

Demonstrations of a perfect policy never show a dropped object. Here the right words follow from the facts of a scene,
whatever led to it, so a missed grasp is answered with another grasp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm2vla_sim.data.episode import Example
from vlm2vla_sim.language.formats import ActionFormat
from vlm2vla_sim.language.prompts import (
    ADVANCE,
    RETRY,
    action_prompt,
    describe_state,
    plan_prompt,
    subtasks_prompt,
    verify_prompt,
)
from vlm2vla_sim.mini.scenes import rendered_dataset
from vlm2vla_sim.mini.scenes.annotation import GRIPPER, Facts, Thing, to_cm
from vlm2vla_sim.mini.training import scene_questions, synthetic_shapes, text_tasks, translations
from vlm2vla_sim.mini.training.scene_questions import VISIBLE, place, spoken
from vlm2vla_sim.mini.training.text_tasks import reckon

SOURCES = ("carrot", "spoon", "green cube", "yellow cube", "eggplant")
TARGETS = ("plate", "towel", "yellow cube", "green cube", "basket")
TRAVEL = {"table": 9, "sink": 20}
"""[cm] height of the TCP at which the gripper travels and looks."""
GRASP = {"table": 3, "sink": 10}
"""[cm] height of the TCP that closes on an object lying on the stage. The arm waits at 13.5 cm over the table and at
22.8 over the sink and moves by whole centimetres, so 3 is 2.5 and 10 is 9.8 in truth: the tips 1 cm above what the
object lies on."""
RELEASE = {"plate": 4, "towel": 4, "yellow cube": 7, "green cube": 7, "basket": 13}
"""[cm] height of the TCP that lets go of an object held in the middle, over each thing."""
LYING = {"carrot": 0.0175, "spoon": 0.0108, "green cube": 0.0145, "yellow cube": 0.0145, "eggplant": 0.0170}
"""[m] height of the centre of mass of each thing that lies on the table, measured on the twin."""
UNDONE = 0.4
"""Share of the verifier's "retry" that is kept: few scenes show a finished subtask, and two pictures cost most."""
CLEAR = 3
"""[cm] by which the gripper rises after it let go."""
INSTRUCTIONS = (
    "put the {source} on the {target}",
    "put {source} on {target}",
    "place the {source} on the {target}",
    "move the {source} onto the {target}",
    "stack the {source} on the {target}",
    "put {source} into {target}",
    "put the {source} into the {target}",
    "put {source} into yellow {target}",
)


@dataclass(frozen=True)
class Lesson:
    """A stage's prompt with the right answer."""

    stage: str
    prompt: str
    answer: str
    hard: bool = False
    """Whether it is learnt late, and so never left out: to see that a thing already hangs in the gripper or lies where
    it is to go, and which of two blocks is meant."""


def subtask_lines(source: str, target: str) -> tuple[str, str]:
    """The two subtasks, in words; `source` and `target` as they are spoken of."""
    return f"Grasp the {source}", f"Put the {source} {'into' if target == 'basket' else 'on'} the {target}"


class Teacher:
    """Says what is right in a scene."""

    def __init__(self, action_format: ActionFormat, *, reasoning: bool = True) -> None:
        self._format, self._reasoning = action_format, reasoning

    def pair(self, facts: Facts, rng: np.random.Generator) -> tuple[Thing, Thing] | None:
        """A thing to move and one to put it on; None when the scene has no such two in sight."""
        seen = [thing for thing in facts.things if thing.pixels >= VISIBLE]
        pairs = [
            (source, target)
            for source in seen
            for target in seen
            if source.kind in SOURCES and target.kind in TARGETS and source is not target and target.on != GRIPPER
        ]
        held = [pair for pair in pairs if pair[0].on == GRIPPER]
        pairs = held if held and rng.random() < 0.8 else [pair for pair in pairs if target_is_free(facts, pair)]
        return pairs[int(rng.integers(len(pairs)))] if pairs else None

    def teach(self, facts: Facts, rng: np.random.Generator) -> Iterator[Lesson]:
        """The lessons of one picture, all but the verifier's."""
        pair = self.pair(facts, rng)
        if pair is None:
            return
        source, target = pair
        names = spoken(source), spoken(target)
        state = state_line(facts)
        grasp, put = subtask_lines(*names)
        template = INSTRUCTIONS[int(rng.integers(len(INSTRUCTIONS)))]
        instruction = template.format(source=names[0], target=names[1])
        if not self._reasoning:
            _, rows = self.decide(facts, source, target, putting=True)
            yield Lesson("action", action_prompt(instruction, "", self._format, state=state), self._write(rows))
            return
        if rng.random() < 0.25:
            yield Lesson("subtasks", subtasks_prompt(instruction), f"1. {grasp}\n2. {put}")
        begun = source.on in (GRIPPER, target.kind)
        putting = rng.random() < (0.9 if begun else 0.3)
        subtask = put if putting else grasp
        plan, rows = self.decide(facts, source, target, putting=putting)
        hard = putting and (begun or source.kind.endswith("cube"))
        yield Lesson("plan", plan_prompt(subtask, state=state, located=True), plan, hard)
        yield Lesson("action", action_prompt(subtask, plan, self._format, state=state), self._write(rows))

    def verify(self, facts: Facts, rng: np.random.Generator) -> Lesson | None:
        """Whether a subtask is done."""
        pair = self.pair(facts, rng)
        if pair is None:
            return None
        source, target = pair
        grasp, put = subtask_lines(spoken(source), spoken(target))
        state = state_line(facts)
        lies_there = source.on == target.kind
        if rng.random() < (0.8 if lies_there else 0.5):
            return Lesson("verify", verify_prompt(put, "", state=state), ADVANCE if lies_there else RETRY)
        held = source.on == GRIPPER
        return Lesson("verify", verify_prompt(grasp, put, state=state), ADVANCE if held else RETRY)

    def decide(self, facts: Facts, source: Thing, target: Thing, *, putting: bool) -> tuple[str, list[list[int]]]:
        """The plan, and the rows dx, dy, dz [cm], turn [degrees], gripper 0 or 1."""
        held, travel = source.on == GRIPPER, TRAVEL[facts.stage]
        x, y, z = map(to_cm, facts.gripper)
        if held and not putting:
            return f"the {spoken(source)} is in the gripper; move up a little", [[0, 0, 1, 0, 0]]
        if putting and source.on == target.kind:
            return f"the {spoken(source)} is on the {spoken(target)}; move up a little", [[0, 0, 1, 0, 1]]
        goal = target if held else source
        goal_x, goal_y = to_cm(goal.position[0]), to_cm(goal.position[1])
        low = RELEASE[target.kind] if held else GRASP[facts.stage] + raised(facts, source)
        above, here = [goal_x, goal_y, travel], [x, y, z]
        way = [end - start for end, start in zip(above, here, strict=True)]
        where = f"the {spoken(goal)} is at {goal_x}, {goal_y}, {low}"
        moving = f"move {directions(*way[:2])} above it, down"
        if held:
            rows = [[*way, 0, 0], [0, 0, low - travel, 0, 0], [0, 0, 0, 0, 1], [0, 0, CLEAR, 0, 1]]
            return f"{where}; {reckon(above, here)}; {moving}, open the gripper", rows
        turn, now = int(place(goal).rsplit(" ", 1)[1]), whole_turn(facts)
        if abs(turn - now) > 180:  # the gripper is symmetric, and no row turns further
            turn -= 180 if turn > now else -180
        # Turned first: an arm that turns while it moves drifts aside (`frames.advance_target`), by up to 3 cm.
        turning = [[0, 0, 0, turn - now, 1]] if turn != now else []
        rows = [*turning, [*way, 0, 1], [0, 0, low - travel, 0, 1], [0, 0, 0, 0, 0], [0, 0, travel - low, 0, 0]]
        reckoned = reckon([*above, turn], [*here, now])
        turning_words = "turn, " if turning else ""
        return f"{where}, turned {turn}; {reckoned}; {turning_words}{moving}, close the gripper, up", rows

    def _write(self, rows: list[list[int]]) -> str:
        deltas = np.zeros((len(rows), 7), np.float32)
        for delta, (dx, dy, dz, turn, gripper) in zip(deltas, rows, strict=True):
            delta[:3] = np.array([dx, dy, dz]) / 100
            delta[5] = np.radians(turn)
            delta[6] = gripper
        return self._format.write(deltas)


def examples(
    folder: Path,
    numbers: Iterable[int],
    action_format: ActionFormat,
    *,
    reasoning: bool = True,
    others: float = 1.0,
    rehearsed: float = 0.0,
    seed: int = 0,
) -> Iterator[Example]:
    """Rows to train on, from the shards `numbers` of the album in `folder`.

    others: share of the lessons that are kept, other than the verifier's and the hard ones. rehearsed: share of the
    scenes that also come with questions of the base's own training, so that it forgets less.
    """
    teacher, rng = Teacher(action_format, reasoning=reasoning), np.random.default_rng(seed)
    for number in numbers:
        shard = rendered_dataset.read(folder, number)
        earlier: dict[str, int] = {}
        for index, facts in enumerate(shard.facts):
            picture = np.asarray(shard.pictures[index])
            if rng.random() < rehearsed:
                yield from rehearsal(facts, picture, rng)
            for lesson in teacher.teach(facts, rng):
                if not lesson.hard and rng.random() >= others:
                    continue
                yield Example(lesson.stage, (picture,), lesson.prompt, lesson.answer)
            asked = reasoning and facts.stage in earlier
            lesson = teacher.verify(facts, rng) if asked else None
            if lesson is not None and (lesson.answer == ADVANCE or rng.random() < UNDONE):
                before = np.asarray(shard.pictures[earlier[facts.stage]])
                yield Example(lesson.stage, (before, picture), lesson.prompt, lesson.answer)
            earlier[facts.stage] = index


def rehearsal(facts: Facts, picture: np.ndarray, rng: np.random.Generator) -> Iterator[Example]:
    """Two questions as the base learnt from: about the scene, about a drawing, or with words and sums alone.

    Those that need no picture stand behind the scene's, because every row of training has one.
    """
    roll = rng.random()
    if roll < 0.15:
        drawing = synthetic_shapes.draw(rng)
        picture, asked = drawing.picture(), synthetic_shapes.ask(drawing, rng, count=2)
    elif roll < 0.4:
        kinds = (scene_questions.sums, translations.ask, text_tasks.ask)
        asked = kinds[int(rng.integers(len(kinds)))](rng, count=2)
    else:
        asked = scene_questions.ask(facts, rng, count=2)
    for one in asked:  # none where a drawing has too little in it
        yield Example(one.category, (picture,), one.question, one.answer)


def target_is_free(facts: Facts, pair: tuple[Thing, Thing]) -> bool:
    """Whether nothing but the source lies on the target, and nothing on the source."""
    source, target = pair
    return all(other is source or other.on not in (target.kind, source.kind) for other in facts.things)


def raised(facts: Facts, source: Thing) -> int:
    """[cm] how much higher than on the stage itself a thing lies."""
    return 0 if facts.stage == "sink" else max(0, to_cm(source.position[2] - LYING[source.kind]))


def state_line(facts: Facts) -> str:
    """The prompt's line about the gripper."""
    euler = (0.0, 0.0, np.radians(facts.turn))
    return describe_state(np.array([*facts.gripper, *euler, facts.opening]))


def whole_turn(facts: Facts) -> int:
    """[degrees] the gripper's turn as the prompt's line says it."""
    return 5 * round(facts.turn / 5)


def directions(dx: int, dy: int) -> str:
    """The horizontal parts of a move in words."""
    parts = [(dx, "forward" if dx > 0 else "backward"), (dy, "left" if dy > 0 else "right")]
    return " and ".join(word for size, word in parts if size) or "a little"
