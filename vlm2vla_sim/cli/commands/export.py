"""`vlm2vla export`: a trained model or adapter, as another program reads it."""

from __future__ import annotations

import json as json_text
import shlex
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.policies.models.vllm_export import Export, export_for_vllm


def export(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")],
    *,
    target: Annotated[Literal["vllm"], tyro.conf.arg(name="for")],
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    json: bool = False,
) -> CommandResult:
    """Write a model as vLLM reads it, or check that vLLM takes it as it is, and print how to serve it.

    vLLM reads a Gemma 3 by the weights' names in Google's checkpoints; transformers saves them under shorter ones.
    Names are changed, numbers and dtype are not. An adapter is checked only: vLLM takes the folder of peft.

    Args:
        folder: A model that save_pretrained wrote, or a PEFT adapter.
        target: The program.
        out: Folder to write to, new or empty. Not made where vLLM takes FOLDER as it is.
        json: Print one line of JSON.
    """
    made = export_for_vllm(folder, out)
    values = {
        "for": target,
        "folder": str(made.folder),
        "written": made.written,
        "renamed": made.renamed,
        "weights": made.weights,
        "added_tokens": list(made.tokens),
        "max_lora_rank": made.rank,
    }
    return CommandResult(_text(made, folder), values, json)


def _text(made: Export, folder: Path) -> str:
    place = shlex.quote(str(made.folder))
    if made.rank is not None:
        serve = f"vllm serve MODEL --served-model-name base --enable-lora --max-lora-rank {made.rank} --lora-modules "
        return f"vLLM takes the adapter {folder} as it is; nothing was written.\n\nServe    {serve}adapter={place}"
    serve = f"Serve    vllm serve {place} --served-model-name base"
    if not made.written:
        return f"vLLM takes {folder} as it is; nothing was written.\n\n{serve}"
    lines = [f"Written  {made.folder}: {made.weights} weights, {made.renamed} of them with another name"]
    if made.tokens:
        shown = ", ".join(map(json_text.dumps, made.tokens))
        lines.append(f"Added    tokens that vLLM looks up and the tokenizer never writes: {shown}")
    return "\n".join([*lines, "", serve])
