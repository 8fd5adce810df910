"""The table of formats: tokens of an action, error of a round trip, malformed answers, success of the scripted policy.

    python benchmarks/dialects.py texts --tokenizer FOLDER      # tokens, errors; a tokenizer's folder or name
    python benchmarks/dialects.py malformed --generations 10000 # random answers under each grammar
    python benchmarks/dialects.py success --out runs/dialects   # 96 episodes on the twin for each format
    python benchmarks/dialects.py table texts.json malformed.json success.json

Each of the first three prints JSON, of which the last makes the table. "tokens" are of one decision of the scripted
policy, in as many texts as the format takes for it: the same motions, on the grid of `vlm2vla`, in every format. The
error is that of where the motion leads. Formats over the range of a data set have that of BridgeData V2.
"""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from vlm2vla_sim.analysis.logprob import ReferenceAction, scripted_actions
from vlm2vla_sim.core.rotations import rotvec_to_matrix
from vlm2vla_sim.errors import ActionTextError
from vlm2vla_sim.language.formats import DIALECTS, FORMATS, ActionFormat, get_format, needs_statistics
from vlm2vla_sim.language.formats.properties import in_pieces, read_action, write_action
from vlm2vla_sim.language.formats.statistics import BRIDGE

NAMES = (*(name for name in FORMATS if name != "tokens"), *DIALECTS)
START = np.array([0.30, 0.0, 0.20, 0.0, 0.0, 0.3, 1.0])


def main() -> None:
    """Run the part asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["texts", "malformed", "success", "table"])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--formats", nargs="+", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--tokenizer", default="", help="a folder or name of a transformers tokenizer")
    parser.add_argument("--generations", type=int, default=10_000)
    parser.add_argument("--episodes", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/dialects"))
    options = parser.parse_args()
    if options.part == "table":
        print(table(options.files))
        return
    for name in options.formats:
        measured = {"texts": texts, "malformed": malformed, "success": success}[options.part](name, options)
        print(json.dumps({"format": name, **measured}), flush=True)


def named(name: str) -> ActionFormat:
    """The format, over the range of BridgeData V2 if it needs one."""
    return get_format(name, statistics=BRIDGE if needs_statistics(name) else None)


def texts(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Tokens and texts of a decision, and how far its text leads from where the motion leads."""
    tokenizer = load_tokenizer(options.tokenizer) if options.tokenizer else None
    spoken, tokens, count, centimetres, degrees = named(name), [], [], [], []
    for action in reference_actions():
        said, pose, there, turned, told = [], START.copy(), START[:3].copy(), np.eye(3), START[6]
        for piece in in_pieces(spoken, action.deltas, gripper=told):
            said.append(write_action(spoken, piece, pose))
            read = read_action(spoken, said[-1], pose).deltas.astype(np.float64)
            pose[:3] += read[:, :3].sum(axis=0)
            pose[5] += read[:, 5].sum()  # the scripted policy turns about the vertical alone
            pose[6] = read[-1, 6]
        for row in action.deltas.astype(np.float64):
            there += row[:3]
            turned = rotvec_to_matrix(row[3:6]) @ turned
        wanted = np.degrees(np.arctan2(turned[1, 0], turned[0, 0]))
        got = np.degrees(pose[5] - START[5])
        centimetres.append(100 * float(np.linalg.norm(pose[:3] - there)))
        degrees.append(abs((got - wanted + 180) % 360 - 180))
        count.append(len(said))
        if tokenizer is not None:
            tokens.append(sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in said))
    found: dict[str, Any] = {"actions": len(count), "texts": round(float(np.mean(count)), 2)}
    if tokens:
        found |= {"tokens": round(float(np.mean(tokens)), 1), "tokenizer": Path(options.tokenizer).name}
    found |= {"error_cm": round(float(np.mean(centimetres)), 3), "error_cm_most": round(max(centimetres), 3)}
    return found | {"error_degrees": round(float(np.mean(degrees)), 2)}


@functools.cache
def load_tokenizer(folder: str) -> Any:
    """The tokenizer of a folder or name."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@functools.cache
def reference_actions() -> tuple[ReferenceAction, ...]:
    """The decisions of the scripted policy in 12 episodes of every task."""
    return tuple(scripted_actions(12))


def malformed(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Unreadable answers of a model that takes each byte at random among those that the grammar allows.

    The model is worse than any other, and an answer costs milliseconds; `never_malformed.py` asks a real decoder with
    random weights.
    """
    from llguidance import LLMatcher, LLTokenizer
    from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

    spoken, bad, different, rng = named(name), 0, set(), np.random.default_rng(0)
    tokenizer = LLTokenizer("byte")
    fresh = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(spoken.grammar().lark))
    mask = allocate_token_bitmask(1, tokenizer.vocab_size)
    for _ in range(options.generations):
        matcher, said = fresh.deep_copy(), bytearray()
        while not matcher.is_stopped():
            fill_next_token_bitmask(matcher, mask)
            allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
            token = int(allowed[rng.integers(len(allowed))])
            if not matcher.consume_token(token) or token > 255:
                break
            said.append(token)
        text = said.decode()
        different.add(text)
        try:
            read_action(spoken, text, START)
        except ActionTextError:
            bad += 1
    return {"answers": options.generations, "malformed": bad, "different": len(different)}


def success(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Episodes that the scripted policy solves on the twin when it speaks the format, of each task."""
    from vlm2vla_sim import RunSettings, run_suite

    settings = RunSettings(policy="scripted", action_format=name, episodes=options.episodes, image_size=None)
    out = options.out / name
    run = run_suite(settings, out=out, video=False, workers=options.workers, resume=out.exists())
    solved = [sum(bool(r.success_at_end) for r in run.results if r.task == task) for task in settings.tasks]
    return {"solved": solved, "episodes": len(run.results), "unreadable": sum(r.parse_failures for r in run.results)}


def table(files: list[Path]) -> str:
    """The Markdown table of the JSON lines in `files`."""
    found: dict[str, dict[str, Any]] = {}
    for line in (line for file in files for line in file.read_text().splitlines() if line.startswith("{")):
        values = json.loads(line)
        found.setdefault(values.pop("format"), {}).update(values)
    heads = ("format", "tokens", "texts", "error, cm (most)", "error, degrees", "malformed", "spoon", "carrot", "stack")
    rows = [(*heads, "eggplant", "of 96"), ("---",) * 11]
    for name, one in found.items():
        solved = [str(number) for number in one.get("solved", ["", "", "", ""])]
        malformed_of = f"{one['malformed']} of {one['answers']:,}" if "answers" in one else ""
        error = f"{one['error_cm']} ({one['error_cm_most']})" if "error_cm" in one else ""
        total = str(sum(one["solved"])) if "solved" in one else ""
        cells = (one.get("tokens", ""), one.get("texts", ""), error, one.get("error_degrees", ""), malformed_of)
        rows.append((f"`{name}`", *map(str, cells), *solved, total))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
