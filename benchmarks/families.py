"""What works for which family of image-text models: answers, adapters and training of tiny random ones.

    python benchmarks/families.py

Each family has a model of two to four layers with random weights, the processor and the kind of tokenizer of the real
ones (tests/policies/families.py). A row is: whether answers are equal token by token to transformers' `generate`, in a
batch to those one by one, and under a grammar in a batch to those one by one; 20 steps of LoRA, and the loss of the
rows before and after; whether the adapter, loaded again, changes the answers, and the model with the adapter off gives
those of the base model; the linear layers of the decoder that have an adapter; and whether the memory estimate counts
its weights.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from labelled_fakes import make_labelled
from policies.families import FAMILIES, save_family
from safetensors.torch import load_file

from vlm2vla_sim.data.examples.folder import read_examples, write_examples
from vlm2vla_sim.data.examples.maker import ExampleMaker, ExampleSettings
from vlm2vla_sim.errors import Vlm2VlaError
from vlm2vla_sim.language.formats import get_format
from vlm2vla_sim.language.formats.grammar import Grammar
from vlm2vla_sim.policies.base import Question, Sampling
from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings
from vlm2vla_sim.training import lora, memory
from vlm2vla_sim.training.settings import preset

STEPS, BATCH, NEW = 20, 2, 16
ROW = Grammar(r"\[-?[0-9]{1,2}, -?[0-9]{1,2}, [01]\]", r"start: /\[-?[0-9]{1,2}, -?[0-9]{1,2}, [01]\]/")
HEADER = (
    "| family | decoded by | equal to `generate` | batch | grammar | LoRA layers | left out | loss before, after "
    "| adapter acts | off = base | memory estimate |"
)


def main() -> int:
    """Print the table; status 1 if something does not work."""
    parser = argparse.ArgumentParser(description="What works for which family of image-text models.")
    parser.add_argument("--only", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON object, as the last line")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    print(f"{HEADER}\n{'|---' * 11}|")
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as root:
        rows = Path(root) / "rows"
        settings = ExampleSettings(get_format("vlm2vla"), stages=("subtasks", "action", "verify"))
        write_examples(list(ExampleMaker(settings).make([make_labelled(0)]))[:4], rows)
        for name in args.only:
            found[name] = measure(name, rows, Path(root) / name)
            print(as_row(name, found[name]), flush=True)
    for name, row in found.items():
        if "error" in row:
            print(f"\n{name} is not trained: {row['error']}")
    if args.json:
        print(json.dumps(found))
    return int(not all(all(row["works"].values()) for row in found.values()))


def measure(name: str, rows: Path, folder: Path) -> dict[str, Any]:
    """The row of the family `name`; its files go to `folder`."""
    model_folder = save_family(name, folder / "model")
    base = HfModel(HfSettings(str(model_folder), dtype="float32"))
    asked = [
        Question(example.stage, example.prompt, example.images, None, Sampling(max_tokens=NEW))
        for example in list(read_examples(rows))[:3]
    ]
    said = [base.tokens(question) for question in asked]
    works = {
        "generate": said == [generated(base, question) for question in asked],
        "batch": together(base, asked),
        "grammar": together(base, [constrained(question) for question in asked]),
    }
    row: dict[str, Any] = {"decoder": "ours" if base.decoder is not None else "generate", "works": works}
    try:
        row |= train(model_folder, rows, folder)
    except Vlm2VlaError as error:
        return row | {"error": str(error)}
    tuned = HfModel(HfSettings(str(model_folder), dtype="float32", adapter=str(folder / "adapter")))
    works["acts"] = [tuned.tokens(question) for question in asked] != said
    works["off"] = [tuned.tokens(off(question)) for question in asked] == said
    works["loss"] = row["after"] < row["before"]
    works["memory"] = row["estimated"] == row["trained"]
    return row


def train(model: Path, rows: Path, folder: Path) -> dict[str, Any]:
    """Train an adapter; the loss of the rows before and after, and what has an adapter."""
    given = {"batch": BATCH, "per_device": BATCH, "max_tokens": 4096, "rank": 4, "learning_rate": 5e-3}
    settings = preset("small", str(model), epochs=STEPS * BATCH / 4, **given)
    estimated = memory.estimate(settings)
    result = lora.train(settings, rows, folder / "adapter", force=True)
    record = json.loads((folder / "adapter" / "training.json").read_text())
    weights = load_file(folder / "adapter" / "adapter_model.safetensors")
    losses = [json.loads(line) for line in (folder / "adapter" / "losses.jsonl").read_text().splitlines()]
    first = next(line["loss"] for line in losses if "loss" in line)
    return {
        "steps": result.steps,
        "before": round(first, 3),
        "after": round(result.final_loss, 3),
        "lora": record["lora"],
        "estimated": estimated.trained,
        "trained": sum(weight.numel() for weight in weights.values()),
    }


def generated(model: HfModel, question: Question) -> list[int]:
    """What transformers' `generate` answers, without what follows the end token."""
    inputs = model.inputs([question])
    suppressed = None if model.image_token is None else [model.image_token]
    with torch.inference_mode():
        written = model.model.generate(
            **inputs, max_new_tokens=NEW, do_sample=False, suppress_tokens=suppressed, temperature=None, top_p=None,
            top_k=None,
        )  # fmt: skip
    tokens = written[0, inputs["input_ids"].shape[1] :].tolist()
    end = model.model.generation_config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    return tokens[: next((k for k, token in enumerate(tokens) if token in ends), len(tokens))]


def together(model: HfModel, asked: list[Question]) -> bool:
    """Whether the answers in a batch are those one by one."""
    return [s.text for s in model.answer(asked)] == [model.answer([question])[0].text for question in asked]


def constrained(question: Question) -> Question:
    """The same question under a grammar."""
    return Question(question.stage, question.prompt, question.images, ROW, Sampling(max_tokens=64))


def off(question: Question) -> Question:
    """The same question to the base model."""
    return Question(question.stage, question.prompt, question.images, None, question.sampling, adapter=False)


def as_row(name: str, row: dict[str, Any]) -> str:
    """The row of the table."""
    yes = {key: "yes" if value else "**no**" for key, value in row["works"].items()}
    start = f"| {name} | {row['decoder']} | {yes['generate']} | {yes['batch']} | {yes['grammar']} |"
    if "error" in row:
        return f"{start} not trained | | | | | |"
    left = ", ".join(f"{kind.rpartition('*.')[2]} ({what})" for kind, what in row["lora"]["left_out"].items()) or "none"
    count = sum(row["lora"]["layers"].values())
    return (
        f"{start} {count} | {left} | {row['before']}, {row['after']} | {yes['acts']} | {yes['off']} | {yes['memory']} |"
    )


if __name__ == "__main__":
    sys.exit(main())
