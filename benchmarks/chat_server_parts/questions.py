"""What every server is asked, in plain HTTP: each check says whether a field was honoured, ignored or refused."""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vlm2vla_sim.policies.models.chat_grammar import NONSENSE, PROBE, WAYS

HELLO = "Say hello."
SCHEMA = {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"], "additionalProperties": False}
HONOURED, IGNORED, REFUSED = "honoured", "ignored", "refused"


@dataclass(frozen=True)
class Target:
    """A running server."""

    url: str
    """Ends in /v1."""
    base: str
    adapter: str = ""
    """The name of the adapter; empty where the server has no names for adapters."""


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    body: Any

    @property
    def text(self) -> str:
        """The text of the answer; empty where there is none."""
        return self.message.get("content") or ""

    @property
    def message(self) -> dict[str, Any]:
        """The message of the answer."""
        return self.body["choices"][0]["message"] if self.status == 200 else {}

    def usage(self, key: str) -> Any:
        """A count of tokens; None where the server does not say."""
        return (self.body.get("usage") or {}).get(key) if self.status == 200 else None

    def why(self) -> str:
        """The server's words about an error."""
        said = self.body
        for key in ("error", "message", "detail"):
            said = said.get(key, said) if isinstance(said, dict) else said
        return f"status {self.status}: {str(said)[:160]}"


def ask(target: Target, content: Any = HELLO, **fields: Any) -> Reply:
    """Ask one question, greedily and for 8 tokens unless `fields` say otherwise; a field that is None is left out."""
    messages = [{"role": "user", "content": content}]
    request = {"model": target.base, "messages": messages, "max_tokens": 8, "temperature": 0} | fields
    sent = json.dumps({key: value for key, value in request.items() if value is not None}).encode()
    return fetch(f"{target.url}/chat/completions", sent)


def fetch(url: str, sent: bytes | None = None) -> Reply:
    """GET `url`, or POST `sent` to it."""
    request = urllib.request.Request(url, sent, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return Reply(answer.status, json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        body = error.read().decode(errors="replace")
        try:
            return Reply(error.code, json.loads(body))
        except ValueError:
            return Reply(error.code, body)


def picture(seed: int) -> dict[str, Any]:
    """A picture of noise, as a part of a message."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (112, 112, 3), np.uint8)).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def words(text: str) -> dict[str, Any]:
    """A text, as a part of a message."""
    return {"type": "text", "text": text}


def verdict(reply: Reply, honoured: bool, note: str = "") -> tuple[str, str]:
    """Refused, honoured or ignored, with a note."""
    if reply.status != 200:
        return REFUSED, reply.why()
    return (HONOURED if honoured else IGNORED), note


# The checks -----------------------------------------------------------------------------------------------------------


def limit(target: Target) -> tuple[str, str]:
    """The most tokens, and whether the answer says that it was cut off."""
    reply = ask(target, max_tokens=5)
    finish = reply.body["choices"][0]["finish_reason"] if reply.status == 200 else ""
    return verdict(reply, reply.usage("completion_tokens") == 5 and finish == "length", f"finish_reason {finish}")


def greedy(target: Target) -> tuple[str, str]:
    """The same answer twice."""
    first, second = ask(target, max_tokens=16), ask(target, max_tokens=16)
    return verdict(first, first.text == second.text)


def sampling(target: Target) -> tuple[str, str]:
    """Other answers for other seeds."""
    texts = [ask(target, temperature=1.5, top_p=1.0, seed=seed, max_tokens=16) for seed in (1, 2, 3)]
    return verdict(texts[0], len({reply.text for reply in texts}) > 1, "temperature 1.5, three seeds")


def seed(target: Target) -> tuple[str, str]:
    """The same answer for the same seed."""
    texts = [ask(target, temperature=1.5, top_p=1.0, seed=7, max_tokens=16) for _ in range(2)]
    return verdict(texts[0], texts[0].text == texts[1].text, "temperature 1.5, one seed twice")


def image(target: Target) -> tuple[str, str]:
    """Pictures add to the prompt, by the server's own count."""
    plain = ask(target, [words(HELLO)])
    one, other, two = (
        ask(target, [*map(picture, seeds), words(HELLO)], max_tokens=32) for seeds in ((0,), (1,), (0, 1))
    )
    counts = [reply.usage("prompt_tokens") for reply in (plain, one, two)]
    grows = None not in counts and counts[0] < counts[1] < counts[2]
    note = f"prompt tokens {counts}, another picture gives {'another' if one.text != other.text else 'the same'} text"
    return verdict(one if one.status != 200 else two, grows or one.text != other.text, note)


def image_behind_text(target: Target) -> tuple[str, str]:
    """A picture behind the text is another question than one before it."""
    orders = ([words(HELLO), picture(0)], [picture(0), words(HELLO)])
    behind, before = (ask(target, order, max_tokens=32) for order in orders)
    if behind.status == 200 and behind.text == before.text:
        return "not seen", "the same answer in both orders"
    return verdict(behind, True, "another answer than in the other order")


def grammar(target: Target) -> tuple[str, str]:
    """Our grammar, in each of our ways; the first one that is honoured counts."""
    assert PROBE.grammar is not None
    found: dict[str, str] = {}
    for way in (*WAYS["regex"], *WAYS["grammar"]):
        if way.key not in found:
            reply = ask(target, PROBE.prompt, max_tokens=24, **way.fields(PROBE.grammar))
            found[way.key] = verdict(reply, reply.text.startswith(NONSENSE))[0]
    told = {kind: [key for key, value in found.items() if value == kind] for kind in (HONOURED, IGNORED, REFUSED)}
    note = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in told.items() if keys)
    return next(kind for kind, keys in told.items() if keys), note


def json_schema(target: Target) -> tuple[str, str]:
    """An answer that a JSON schema admits."""
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    reply = ask(target, max_tokens=64, response_format=form)
    try:
        value = json.loads(reply.text)
        fits = isinstance(value, dict) and isinstance(value.get("x"), bool)
    except ValueError:
        fits = False
    if not fits and reply.text.strip() == "{":
        return "cut off", "white space behind the brace, which the schema admits, up to the limit"
    return verdict(reply, fits, repr(reply.text[:40]))


def logprobs(target: Target) -> tuple[str, str]:
    """Log-probabilities of the tokens of the answer."""
    reply = ask(target, logprobs=True, top_logprobs=3)
    given = bool(reply.status == 200 and (reply.body["choices"][0].get("logprobs") or {}).get("content"))
    return verdict(reply, given)


def unknown_model(target: Target) -> tuple[str, str]:
    """A name that no model has."""
    return verdict(ask(dataclasses.replace(target, base="no-such-adapter")), False, "the base model answers")


def lora(target: Target) -> tuple[str, str]:
    """An adapter under a name of its own."""
    if not target.adapter:
        return "no names", "the server has no names for adapters"
    base, adapted = (
        ask(dataclasses.replace(target, base=name), max_tokens=16) for name in (target.base, target.adapter)
    )
    return verdict(adapted, adapted.text != base.text)


def unknown_field(target: Target) -> tuple[str, str]:
    """A field that no server knows."""
    return verdict(ask(target, no_such_field=1), False)


def thinking(target: Target) -> tuple[str, str]:
    """The chat template writes an empty reasoning behind a prompt that is not to think: its tokens are counted."""
    on, off = (ask(target, chat_template_kwargs={"enable_thinking": value}) for value in (True, False))
    counts = [reply.usage("prompt_tokens") for reply in (on, off)]
    if off.status == 200 and None in counts:
        return "not seen", "the server does not count the tokens of a prompt"
    return verdict(off, counts[0] != counts[1], f"prompt tokens {counts[0]} with, {counts[1]} without")


def batch(target: Target) -> tuple[str, str]:
    """Eight questions at the same time, greedily, against each alone."""
    questions = [f"{HELLO} Then count to {number}." for number in range(8)]
    alone = [ask(target, question, max_tokens=16).text for question in questions]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda question: ask(target, question, max_tokens=16), questions))
    equal = sum(one == other.text for one, other in zip(alone, together, strict=True))
    return verdict(together[0], equal == len(questions), f"{equal} of {len(questions)} equal to the answers alone")


def models(target: Target) -> tuple[str, str]:
    """Whether the list of models has the served one."""
    reply = fetch(f"{target.url}/models")
    names = [entry.get("id") for entry in reply.body.get("data", [])] if reply.status == 200 else []
    return verdict(reply, target.base in names, f"lists {', '.join(map(str, names)) or 'nothing'}")


CHECKS: dict[str, Callable[[Target], tuple[str, str]]] = {
    "GET /v1/models": models,
    "max_tokens": limit,
    "temperature 0": greedy,
    "temperature above 0": sampling,
    "seed": seed,
    "8 at the same time": batch,
    "pictures": image,
    "picture behind text": image_behind_text,
    "grammar of an action": grammar,
    "JSON schema": json_schema,
    "logprobs": logprobs,
    "adapter as a model": lora,
    "unknown model": unknown_model,
    "unknown field": unknown_field,
    "enable_thinking": thinking,
}
"""What is asked, in this order."""
