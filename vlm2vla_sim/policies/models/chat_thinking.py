"""How a chat server is told whether its model may think: the request fields of the servers that know one.

A server that does not know a field may refuse it, or ignore it without a word. So each counts only once an answer has
shown what it does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vlm2vla_sim.errors import SettingError
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.chat_grammar import NONSENSE, PROBE
from vlm2vla_sim.policies.models.chat_probes import refused_field
from vlm2vla_sim.types import Stage

PROBE_TOKENS = 200
"""The most tokens of the free answer that is asked for to see whether the model thinks."""

PROBE_THINKING = 1024
"""The most tokens of reasoning before the answer to the grammar probe, of a model that cannot be told not to think."""


@dataclass(frozen=True)
class Switch:
    """A way to tell a server whether its model may think."""

    key: str
    """The request field; empty for none."""
    on: dict[str, Any]
    off: dict[str, Any]
    budget: str = ""
    """The field for the most tokens of the reasoning; empty for none."""

    def fields(self, tokens: int) -> dict[str, Any]:
        """The fields of the request for a reasoning of at most `tokens` tokens, 0 for none."""
        return (self.on | ({self.budget: tokens} if self.budget else {})) if tokens else self.off


NOTHING = Switch("", {}, {})
"""The server is told nothing: its model does as it always does."""
_VARIABLE = {"chat_template_kwargs": {"enable_thinking": True}}, {"chat_template_kwargs": {"enable_thinking": False}}
SWITCHES = (
    Switch("chat_template_kwargs.enable_thinking", *_VARIABLE, "thinking_token_budget"),
    Switch("chat_template_kwargs.enable_thinking", *_VARIABLE),
    Switch(
        "chat_template_kwargs.thinking",
        {"chat_template_kwargs": {"thinking": True}},
        {"chat_template_kwargs": {"thinking": False}},
    ),
    Switch("reasoning_effort", {"reasoning_effort": "medium"}, {"reasoning_effort": "none"}),
    NOTHING,
)
"""The ways that are tried, in this order.

chat_template_kwargs: vLLM, SGLang, llama.cpp, `vlm2vla serve-model`, with the variables of the model's chat template;
thinking_token_budget: vLLM where its --reasoning-config says how a reasoning ends, and `serve-model`; reasoning_effort:
OpenAI and services like it.
"""


def find_switch(ask: Callable[[Question, Switch], Stage], tokens: int, *, name: str, constrained: bool) -> Switch:
    """The way in which the server has its model think for `tokens` tokens, or not at all (0); SettingError for none.

    ask: asks a question in one way, without judging whether the answer follows the grammar. name: of model and server,
    for messages. constrained: whether the server honours a grammar, which then must leave room for the reasoning.
    """
    hello = Question("thinking probe", "Say hello.", sampling=Sampling(max_tokens=PROBE_TOKENS), thinking=tokens)
    tried: list[str] = []
    for switch in SWITCHES[0 if tokens else 1 :]:
        shown = switch.key + (f" with {switch.budget}" if switch.budget else "") or "no field"
        try:
            thought = _thinks(ask(hello, switch))
            if thought == bool(tokens):
                if tokens and constrained:
                    _check_grammar(ask(dataclasses.replace(PROBE, thinking=tokens), switch), name)
                return switch
        except SettingError as refusal:
            cause = refused_field(refusal)
            tried.append(f"{shown}: refused (status {cause.status}: {cause.text})")
        else:
            tried.append(f"{shown}: {'it thinks' if thought else 'no reasoning in its answer'}")
    if tokens:
        raise SettingError(
            f"thinking is asked for, and {name} shows no reasoning ({'; '.join(tried)}). Leave thinking out, use a "
            "model that thinks, or start the server so that it keeps the reasoning apart (vLLM: --reasoning-parser)."
        )
    raise SettingError(
        f"{name} thinks before its answers, and cannot be told not to ({'; '.join(tried)}). Set thinking=true, or use "
        "a model that does not think."
    )


def _thinks(stage: Stage) -> bool:
    return bool(stage.reasoning or stage.reasoning_tokens)


def _check_grammar(stage: Stage, name: str) -> None:
    """SettingError unless the answer to the grammar probe has a reasoning and, behind it, a text of the grammar."""
    if not _thinks(stage):
        raise SettingError(
            f"{name} does not think once a grammar is sent: the grammar leaves no room for the reasoning. Start the "
            "server so that it knows where a reasoning ends (vLLM: --reasoning-parser), or set constrained=false, or "
            "leave thinking out."
        )
    if stage.text and not stage.text.startswith(NONSENSE):
        raise SettingError(
            f"{name} does not follow a grammar behind its reasoning: it answered {stage.text[:60]!r}. Set "
            "constrained=false, or leave thinking out."
        )
    if not stage.text:
        raise SettingError(
            f"{name} used up {stage.tokens or 'all'} tokens for the reasoning before its answer to the probe of the "
            "grammar. Raise thinking_tokens, or leave thinking out."
        )
