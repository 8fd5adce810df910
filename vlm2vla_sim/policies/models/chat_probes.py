"""What a chat server is asked before the first question: whether it does what it accepts without a word."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vlm2vla_sim.errors import ServerError, SettingError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.prompts import action_prompt, plan_prompt, subtasks_prompt
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.chat_grammar import NONSENSE, PROBE, WAYS, Way
from vlm2vla_sim.policies.models.http_client import StatusError
from vlm2vla_sim.types import Stage

REFUSED_FIELD = (400, 422, 501)
"""Statuses of a server that does not know, or does not offer, a field of the request."""


def refused_field(refusal: SettingError) -> StatusError:
    """The status with which a server refused a field; `refusal` itself is raised where it has another cause."""
    cause = refusal.__cause__
    if not (isinstance(cause, StatusError) and cause.status in REFUSED_FIELD):
        raise refusal
    return cause


def find_way(ask: Callable[[Question, Way], Stage], constraint: str, *, model: str, where: str) -> Way:
    """The grammar probe: how the server is sent a grammar that it honours; SettingError if there is no way.

    ask: asks a question whose grammar is sent in one way. constraint: a key of `WAYS`. model, where: for messages.
    """
    tried: list[str] = []
    for way in WAYS[constraint]:
        try:
            said = ask(PROBE, way).text
        except SettingError as refusal:
            cause = refused_field(refusal)
            tried.append(f"{way.key}: refused (status {cause.status}: {cause.text})")
        else:
            if said.startswith(NONSENSE):
                return way
            tried.append(f"{way.key}: ignored (it answered {said[:60]!r})")
    raise SettingError(
        f"The server at {where} does not honour a grammar: its free text would be scored as the policy's failures. "
        f"{model!r} was asked for one of {' and '.join(NONSENSE)} with {'; '.join(tried)}. Use a server with "
        "structured outputs, or set --policy-options constrained=false, with which nothing is constrained and the "
        "results say so."
    )


def check_adapter(answer: Callable[[Sequence[Question]], list[Stage]], adapter: str, *, model: str, where: str) -> None:
    """The adapter probe: SettingError when the adapter gives the base model's answers."""
    grey = np.full((224, 224, 3), 128, np.uint8)
    action_format = get_format("vlm2vla")
    prompts = (
        subtasks_prompt("put carrot on plate"),
        plan_prompt("grasp the carrot"),
        action_prompt("grasp the carrot", "move down, then close the gripper", action_format),
    )
    probes = [Question("adapter probe", prompt, (grey,), sampling=Sampling(max_tokens=32)) for prompt in prompts]
    on = [stage.text for stage in answer(probes)]
    off = [stage.text for stage in answer([dataclasses.replace(probe, adapter=False) for probe in probes])]
    if on == off:
        raise SettingError(
            f"The adapter {adapter!r} on {where} gives word for word the answers of the base model {model!r}: the "
            "server does not apply it, or it is untrained. With vLLM, check that --enable-lora is given and that the "
            "adapter's layer names match the served model's."
        )


def knows_name(ask: Callable[[dict[str, Any]], object], name: str) -> bool:
    """Whether a server answers for the model `name`, and tells it from a name that no model has.

    For a name that is not in the server's list: `transformers serve FOLDER` lists other models than the one it serves.
    A server that answers for any name, such as llama.cpp's, answers with its one model.
    """
    messages = [{"role": "user", "content": "Say hello."}]
    for asked, known in ((f"{name}-no-such-model", False), (name, True)):
        try:
            ask({"model": asked, "messages": messages, "max_tokens": 1})
        except (SettingError, ServerError):
            if known:
                return False
        else:
            if not known:
                return False
    return True


def check_pictures(ask: Callable[[Question], Stage], model: str, where: str) -> None:
    """The picture probe: SettingError where a picture adds nothing to the prompt, by the server's own count of tokens.

    ServerError where only questions without one are answered. Nothing is known of a server that does not count them.
    """
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    plain = Question("picture probe", "Say hello.", sampling=Sampling(max_tokens=1))
    if (without := ask(plain).prompt_tokens) is None:
        return
    try:
        seen = ask(dataclasses.replace(plain, images=(noise,))).prompt_tokens
    except ServerError as broken:  # llama.cpp without a picture encoder: status 500
        said = f"The model {model!r} answers a question without a picture, and fails at one with a picture."
        raise ServerError(f"{said} {broken}") from broken
    if seen is not None and seen <= without:
        raise SettingError(
            f"The model {model!r} on {where} does not get pictures: a question with one has {seen} tokens, and without "
            f"it {without}. Serve a model that sees, with its picture encoder (llama.cpp: --mmproj)."
        )
