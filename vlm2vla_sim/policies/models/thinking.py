"""Models that think: what they write between two marks before the answer is their reasoning, and no part of the answer.

Chat templates tell models of three kinds apart, and `find_thinking` finds out by rendering the template: those that
never think, those that always do, because the template opens the reasoning itself, and those that a variable of the
template switches (`enable_thinking`). Some templates know the marks and leave it to the model.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.errors import SettingError


@dataclass(frozen=True)
class Marks:
    """What stands before and behind the reasoning."""

    start: str
    end: str
    before: str = ""
    """What a model writes between the start mark and its reasoning."""
    after: str = ""
    """What it writes between the end mark and its answer."""


MARKS = (
    Marks("<think>", "</think>", "\n", "\n\n"),  # Qwen3, Qwen3.5, GLM-4V, InternVL 3.5, DeepSeek, SmolLM3
    Marks("<|channel>", "<channel|>", "thought\n"),  # Gemma 4
    Marks("[THINK]", "[/THINK]"),  # Mistral
    Marks("◁think▷", "◁/think▷"),  # Kimi-VL
)

SWITCHES: tuple[tuple[str, Any, Any], ...] = (
    ("enable_thinking", True, False),
    ("thinking", True, False),
    ("reasoning_effort", "high", "none"),
)
"""Variables of chat templates that switch thinking: name, the value that turns it on, the one that turns it off."""


@dataclass(frozen=True)
class ThinkTokens:
    """The marks in the tokens of one tokenizer."""

    opening: tuple[int, ...]
    """What begins a reasoning, unless it is in the prompt: the start mark and what follows it."""
    closing: tuple[int, ...]
    """What ends a reasoning that has used up its tokens: the end mark is the last of them."""
    after: tuple[int, ...]
    """What stands between the end mark and the answer."""

    @property
    def end(self) -> int:
        """The end mark."""
        return self.closing[-1]

    def split(self, tokens: list[int], *, thinking: bool) -> tuple[list[int], list[int]]:
        """The tokens of the reasoning, its marks included, and those of the answer.

        thinking: whether the model was made to think, so that tokens without an end mark are all reasoning.
        """
        if self.end not in tokens:
            return (tokens, []) if thinking or self.opening[0] in tokens[:1] else ([], tokens)
        cut = tokens.index(self.end) + 1
        if tuple(tokens[cut : cut + len(self.after)]) == self.after:
            cut += len(self.after)
        return tokens[:cut], tokens[cut:]


class Kind(enum.StrEnum):
    """Whether a model thinks, as its chat template tells."""

    NEVER = "never"
    ALWAYS = "always"
    """The template opens the reasoning of every answer."""
    SWITCHED = "switched"
    UNSAID = "unsaid"
    """The template knows the marks; whether the model thinks is left to the model."""


@dataclass(frozen=True)
class Thinking:
    """How a model thinks."""

    kind: Kind
    marks: Marks | None = None
    """None for a model that never thinks."""
    switch: tuple[str, Any, Any] | None = None
    """The entry of `SWITCHES` that the template has."""
    opened: bool = False
    """Whether the prompt holds the start mark already, where the model is to think."""
    tokens: ThinkTokens | None = None
    """The marks in tokens; None where the tokenizer does not write the end mark as one token."""

    def variables(self, *, on: bool) -> dict[str, Any]:
        """The variables for the chat template."""
        return {self.switch[0]: self.switch[1 if on else 2]} if self.switch else {}

    def check(self, name: str, tokens: int) -> None:
        """SettingError if the model `name` cannot think for `tokens` tokens, or cannot do without (0)."""
        if tokens and self.marks is None:
            raise SettingError(
                f"thinking is asked for, and the chat template of {name!r} has none of the marks of a reasoning that "
                f"are known here ({', '.join(marks.start for marks in MARKS)}). Leave thinking out, or use a model "
                "that thinks."
            )
        if tokens and self.marks and self.tokens is None:
            raise SettingError(
                f"thinking is asked for, and the tokenizer of {name!r} writes the end of the reasoning, "
                f"{self.marks.end!r}, in several tokens; expected one. Add the mark to the tokenizer, or leave "
                "thinking out."
            )
        if not tokens and self.kind is Kind.ALWAYS and self.marks:
            raise SettingError(
                f"The model {name!r} always thinks: its chat template begins every answer with {self.marks.start!r} "
                "and has no variable to switch that off, so an answer without reasoning would be written as reasoning. "
                "Set thinking=true, or use the variant of the model that does not think."
            )


NEVER = Thinking(Kind.NEVER)


def find_thinking(processor: Any) -> Thinking:
    """How the model thinks, from what the processor's chat template renders."""
    template = getattr(processor, "chat_template", None)
    if not isinstance(template, str):
        return NEVER
    marks = next((one for one in MARKS if one.end in template), None)
    for switch in SWITCHES if marks else SWITCHES[:2]:  # an effort without marks may be any
        name, on, off = switch
        if name not in template:
            continue
        thinks, answers = _rendered(processor, {name: on}), _rendered(processor, {name: off})
        if thinks is None or answers is None or thinks == answers:
            continue
        if marks is None:
            return Thinking(Kind.SWITCHED, None, switch)
        marks = _with_after(marks, answers)
        opened, ids = _is_open(thinks, marks), _think_tokens(processor.tokenizer, marks)
        return Thinking(Kind.SWITCHED, marks, switch, opened, ids)
    if marks is None:
        return NEVER
    opened, ids = _is_open(_rendered(processor, {}) or "", marks), _think_tokens(processor.tokenizer, marks)
    return Thinking(Kind.ALWAYS if opened else Kind.UNSAID, marks, None, opened, ids)


def think_only_if_asked(processor: Any) -> None:
    """Make not thinking the default of a chat template with a switch.

    Such a template may think where nobody says otherwise. Training renders it without its variables, and would teach
    answers in another place than that where they are asked for.
    """
    thinking = find_thinking(processor)
    if thinking.switch is None:
        return
    name, _, off = thinking.switch
    value = f"'{off}'" if isinstance(off, str) else str(off).lower()
    default = f"{{%- if {name} is not defined %}}{{%- set {name} = {value} %}}{{%- endif -%}}"
    if not processor.chat_template.startswith(default):
        processor.chat_template = default + processor.chat_template


def split_reasoning(text: str) -> tuple[str, str]:
    """The reasoning and the answer in a text that may hold both: ("", text) without a mark.

    The start mark may be missing, where it was part of the prompt; and the end mark, where the text was cut off.
    """
    for marks in MARKS:
        head, start, rest = text.partition(marks.start)
        if start and head.strip():
            continue  # not at the beginning: it is about the mark
        inside, end, answer = (rest if start else text).partition(marks.end)
        if start or end:
            return inside.removeprefix(marks.before).strip(), answer.lstrip()
    return "", text


def _rendered(processor: Any, variables: dict[str, Any]) -> str | None:
    """A question as the chat template renders it; None where it refuses the variables."""
    import jinja2

    turns = [{"role": "user", "content": [{"type": "text", "text": "Look."}]}]
    try:
        return processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **variables)
    except (jinja2.TemplateError, TypeError, ValueError):
        return None


def _is_open(rendered: str, marks: Marks) -> bool:
    return rendered.rfind(marks.start) > rendered.rfind(marks.end)


def _with_after(marks: Marks, rendered: str) -> Marks:
    """`marks` with what the template itself puts behind a reasoning, where it writes an empty one."""
    empty = re.search(re.escape(marks.start) + rf"({re.escape(marks.before)}|\s*)\s*" + re.escape(marks.end), rendered)
    if empty is None or rendered[empty.end() :].strip():
        return marks
    return Marks(marks.start, marks.end, marks.before, rendered[empty.end() :])


def _think_tokens(tokenizer: Any, marks: Marks) -> ThinkTokens | None:
    """The marks as tokens; None where the end mark is not one token: no grammar could begin behind it."""

    def encode(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    if len(encode(marks.end)) != 1:
        return None
    # Behind a mark, because some tokenizers put a space before a text.
    line = encode(marks.start + "\n")[len(encode(marks.start)) :] if marks.before.endswith("\n") else ()
    return ThinkTokens(
        encode(marks.start + marks.before), (*line, *encode(marks.end)), encode(marks.end + marks.after)[1:]
    )
