"""Texts that were cut off at a random place: refused, or read as what is whole of them; never as another motion."""

from __future__ import annotations

import numpy as np
import pytest
from formats_under_test import FORMATS
from fuzz_lane import cases
from hypothesis import given
from hypothesis import strategies as st

from vlm2vla_sim.errors import ActionTextError, SettingError, Vlm2VlaError
from vlm2vla_sim.language.formats import ActionFormat, is_self_delimiting
from vlm2vla_sim.language.formats.grid import COLUMNS
from vlm2vla_sim.language.prompts import ADVANCE, RETRY
from vlm2vla_sim.policies.language_action import PAPER, LanguageActionPolicy, LoopSettings
from vlm2vla_sim.policies.remote.arrays import from_json, pack_openpi, to_json, unpack
from vlm2vla_sim.policies.verifier import ModelVerifier
from vlm2vla_sim.testing import FakeTextModel, FakeVerifier
from vlm2vla_sim.types import Decision, Stage

NAMES = st.sampled_from(list(FORMATS))
AROUND = (
    ("", ""),
    ("", "."),
    ("", "\n"),
    ("Action: ", ""),
    ("Here it is:\n```\n", "\n```"),
    ("```text\n", "\n```\nIt goes down."),
)
"""What a model may write before and after an action."""
LISTS_ONLY = (('{"action": ', ', "done": false}'), ("The cup [on the left] is near. ", " goes down. Then [we see]"))
GOOD = {"subtasks": "1. grasp the carrot\n2. put it on the plate", "plan": "move down, then close the gripper"}
LIMITS = {stage: getattr(PAPER, stage).max_tokens for stage in ("subtasks", "plan", "action")}


@st.composite
def motions(draw: st.DrawFn, action_format: ActionFormat) -> np.ndarray:
    """(1 to 4, 7) as `ActionChunk.deltas`, on the format's grid; many zeros, small and large numbers."""
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        row = []
        for step, column in zip(action_format.resolution.steps, COLUMNS, strict=True):
            most = int(column.limit / step)
            times = draw(st.one_of(st.just(0), st.integers(-most, most), st.integers(-12, 12)))
            row.append(float(step) * column.si * times)
        rows.append([*row, draw(st.integers(0, 1))])
    return np.array(rows)


@st.composite
def answers(draw: st.DrawFn, action_format: ActionFormat) -> tuple[str, str]:
    """A text with an action in it, and a beginning of that text."""
    around = AROUND + (LISTS_ONLY if action_format.name in ("vlm2vla", "tokens") else ())
    before, after = draw(st.sampled_from(around))
    text = before + action_format.write(draw(motions(action_format))) + after
    return text, text[: draw(st.integers(0, len(text) - 1))]


@cases(240)
@given(st.data(), NAMES)
def test_a_beginning_is_refused_or_read_as_the_rows_that_are_whole(data: st.DataObject, name: str) -> None:
    action_format = FORMATS[name]
    text, begun = data.draw(answers(action_format))
    whole = action_format.read(text).deltas
    try:
        read = action_format.read(begun).deltas
    except ActionTextError as refused:
        said = str(refused)
        read = None
    if read is None:
        assert f"Unreadable {action_format.name} action, position" in said or "is empty" in said
        return
    np.testing.assert_array_equal(read, whole[: len(read)], "no row differs from the row that was written")
    if is_self_delimiting(action_format, begun):
        np.testing.assert_array_equal(read, whole)


def look() -> dict[str, object]:
    return {"pixels": {"primary": np.zeros((8, 8, 3), np.uint8)}, "agent_pos": np.zeros(7, np.float32)}


def decide(action_format: ActionFormat, answers: dict[str, list[str | Stage]], **settings: object) -> Decision:
    policy = LanguageActionPolicy(
        FakeTextModel(answers), action_format, FakeVerifier(), settings=LoopSettings(**settings)
    )
    policy.reset("put carrot on plate", 1)
    decision = policy.act(look())
    assert decision is not None
    return decision


@cases(80)
@given(st.data(), NAMES, st.sampled_from(list(LIMITS)), st.integers(0, 3), st.booleans())
def test_the_loop_never_carries_out_what_was_cut_off(
    data: st.DataObject, name: str, stage: str, resample: int, said: bool
) -> None:
    """said: the model says that it was cut off; otherwise it says only of how many tokens its answer is."""
    action_format = FORMATS[name]
    texts = {**GOOD, "action": action_format.write(data.draw(motions(action_format)))}
    # The whole text too: that it can be read does not show that the model had finished.
    begun = texts[stage][: data.draw(st.integers(0, len(texts[stage])))]
    cut = Stage(stage, begun, LIMITS[stage], finish="length" if said else "")
    decision = decide(action_format, {key: [cut if key == stage else texts[key]] for key in texts}, resample=resample)
    assert decision.chunk is None
    assert decision.error.startswith(f"{stage}: The answer was cut off after {LIMITS[stage]} tokens")
    tried = [one for one in decision.stages if one.name == stage]
    assert [(one.finish, one.error != "") for one in tried] == [("length", True)] * (resample + 1)
    whole = decide(action_format, {key: [cut, texts[key]] if key == stage else [texts[key]] for key in texts})
    np.testing.assert_array_equal(whole.chunk.deltas, action_format.read(texts["action"]).deltas)


@cases(40)
@given(st.data(), NAMES)
def test_where_nobody_says_why_an_answer_ended_only_what_is_whole_is_carried_out(
    data: st.DataObject, name: str
) -> None:
    action_format = FORMATS[name]
    text, begun = data.draw(answers(action_format))
    scripts = {**{key: [GOOD[key]] for key in GOOD}, "action": [Stage("action", begun)]}
    try:
        decision = decide(action_format, scripts)
    except SettingError as refused:
        said, decision = str(refused), None
    if decision is None:
        assert f"texts of the format {action_format.name!r} do not show where they end" in said
    elif decision.chunk is not None:
        np.testing.assert_array_equal(decision.chunk.deltas, action_format.read(text).deltas)
    else:
        assert decision.error.startswith("action: ")


@cases(20)
@given(st.sampled_from([ADVANCE, f"It is held.\n{ADVANCE}", f"{ADVANCE}. It is held", RETRY]), st.data(), st.booleans())
def test_a_verdict_that_was_cut_off_is_retry(said: str, data: st.DataObject, constrained: bool) -> None:
    begun = said[: data.draw(st.integers(0, len(said)))]
    stage = Stage("verify", begun, 16 if constrained else 128, finish="length")
    verifier = ModelVerifier(FakeTextModel({"verify": [stage]}), constrained=constrained)
    picture = np.zeros((4, 4, 3), np.uint8)
    judgement = verifier.judge(picture, picture, current="grasp the carrot", following="")
    assert (judgement.advance, judgement.stage.error != "") == (False, True)


@cases(20)
@given(st.data(), st.integers(1, 5), st.sampled_from(["openpi", "act"]))
def test_a_beginning_of_a_servers_message_is_no_action(data: st.DataObject, rows: int, wire: str) -> None:
    actions = np.random.default_rng(rows).normal(size=(rows, 7)).astype(np.float32)
    message = pack_openpi({"actions": actions}) if wire == "openpi" else to_json(actions)
    read = unpack if wire == "openpi" else from_json
    whole = read(message)
    np.testing.assert_array_equal(whole["actions"] if wire == "openpi" else whole, actions)
    with pytest.raises(Vlm2VlaError, match=r"\w+ \w+"):
        read(message[: data.draw(st.integers(0, len(message) - 1))])
