"""Counts the malformed answers of a randomly initialised model under each format's grammar, and what the grammar costs.

A random model is the hardest case: it wants to write anything but an action. With the constraint on there must be no
unreadable answer in ten thousand; with it off (`--free N`) the same model shows what the constraint is up against.

    python benchmarks/never_malformed.py --generations 10000
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from vlm2vla_sim.errors import ActionTextError
from vlm2vla_sim.language.formats import FORMATS, ActionFormat, get_format
from vlm2vla_sim.language.prompts import action_prompt
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.language_action import MAX_ACTION_TOKENS
from vlm2vla_sim.policies.models.hf_grammar import GrammarCompiler
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings
from vlm2vla_sim.policies.models.random_model import save_random_model

SYMBOLS = tuple("zqxjkvbpyg")
"""For the format "tokens": letters that our own prompts hold seldom."""


def main() -> None:
    """Run it for the formats asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=10_000, help="answers of each format")
    parser.add_argument("--free", type=int, default=200, help="answers of each format without the grammar")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = HfModel(HfSettings(str(save_random_model(Path(folder))), dtype="float32", max_batch=options.batch))
    table = []
    print(f"{'format':10} {'answers':>8} {'malformed':>9} {'different':>9} {'tokens':>9} {'us/token':>9}   free: bad")
    for name in options.formats:
        action_format = get_format(name, symbols=SYMBOLS if name == "tokens" else None)
        line = measure(model, action_format, options.generations, options.free, batch=options.batch)
        table.append(line)
        print(
            f"{name:10} {line['answers']:8} {line['malformed']:9} {line['different']:9} {line['tokens']:9} "
            f"{line['grammar_us_per_token']:9.1f} {line['free_malformed']:4} of {line['free_answers']:4}",
            flush=True,
        )
    if options.json:
        print(json.dumps({"benchmark": "never_malformed", "formats": table}))


def measure(
    model: HfModel, action_format: ActionFormat, generations: int, free: int, *, batch: int
) -> dict[str, int | float | str]:
    """Answers with the grammar, answers without, and the grammar's own time for each token."""
    started = time.perf_counter()
    bad, tokens, texts = _ask(model, action_format, generations, batch=batch, constrained=True)
    seconds = time.perf_counter() - started
    free_bad, _, _ = _ask(model, action_format, free, batch=batch, constrained=False)
    return {
        "format": action_format.name,
        "answers": generations,
        "malformed": bad,
        "different": len(set(texts)),
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "grammar_us_per_token": round(_grammar_cost(model, action_format, texts[:200]) * 1e6, 2),
        "free_answers": free,
        "free_malformed": free_bad,
    }


def _ask(
    model: HfModel, action_format: ActionFormat, count: int, *, batch: int, constrained: bool
) -> tuple[int, int, list[str]]:
    """Malformed answers (cut off or unreadable), tokens, texts. Seed, image and subtask vary from answer to answer."""
    how = Sampling(temperature=1.0, top_p=1.0, max_tokens=MAX_ACTION_TOKENS if constrained else 128)
    bad, tokens, texts = 0, 0, []
    for start in range(0, count, batch):
        rng = np.random.default_rng(start)
        picture = rng.integers(0, 256, (48, 64, 3), np.uint8)
        prompt = action_prompt(f"grasp object {start}", "move down, then close the gripper", action_format)
        grammar = action_format.grammar() if constrained else None
        stages = model.answer(
            [
                Question("action", prompt, (picture,), grammar, how, seed)
                for seed in range(start, min(start + batch, count))
            ]
        )
        for stage in stages:
            tokens += stage.tokens or 0
            texts.append(stage.text)
            bad += stage.finish != "stop" or not _is_readable(action_format, stage.text)
    return bad, tokens, texts


def _is_readable(action_format: ActionFormat, text: str) -> bool:
    try:
        action_format.read(text)
    except ActionTextError:
        return False
    return True


def _grammar_cost(model: HfModel, action_format: ActionFormat, texts: list[str]) -> float:
    """Seconds of grammar for each token of `texts`: what is forced, what is allowed, and stepping on."""
    tokenizer = model.processor.tokenizer
    compiler = GrammarCompiler(
        tokenizer, vocabulary=model.model.config.get_text_config().vocab_size, ends=[tokenizer.eos_token_id]
    )
    compiler.start(action_format.grammar())
    steps, started = 0, time.perf_counter()
    for text in texts:
        state = compiler.start(action_format.grammar())
        for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
            state.allowed()
            state.consume(token)
            steps += 1
    return (time.perf_counter() - started) / steps


if __name__ == "__main__":
    main()
