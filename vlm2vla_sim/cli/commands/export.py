"""`vlm2vla export`: a trained model, or training rows, as another program reads them."""

from __future__ import annotations

import dataclasses
import json as json_text
import shlex
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vlm2vla_sim.cli.result import CommandResult
from vlm2vla_sim.cli.training_rows import RowFlags, check_data, make_rows
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.core.folder_kind import wrong_folder
from vlm2vla_sim.data.examples.folder import ROWS
from vlm2vla_sim.data.exports.export import RowExport, export_rows
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.policies.models.digests import ADAPTER_CONFIG
from vlm2vla_sim.policies.models.vllm_export import Export, export_for_vllm
from vlm2vla_sim.training.row_settings import RowSettings, check_rows


def export(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")],
    rows: RowFlags,
    *,
    target: Annotated[Literal["vllm", "transformers", "trl", "llama-factory", "openai"], tyro.conf.arg(name="for")],
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    limit: int = 0,
    license_name: Annotated[str, tyro.conf.arg(name="license", metavar="NAME")] = "",
    model: str = "",
    dtype: str = "auto",
    json: bool = False,
) -> CommandResult:
    """Write a model as vLLM or transformers reads it, or training rows as TRL, LLaMA-Factory or OpenAI reads them.

    vLLM reads a Gemma 3 by the weights' names in Google's checkpoints; transformers saves them under shorter ones.
    Names are changed, numbers and dtype are not. An adapter is checked only: vLLM takes the folder of peft. The command
    that serves it is printed.

    For transformers, an adapter is merged into its base model: a plain model folder, without peft.

    Training rows come with a data set card (README.md). The images are in the files (trl), beside them (llama-factory)
    or in data URLs (openai).

    Args:
        folder: A model that save_pretrained wrote, or a PEFT adapter; else a label set of `vlm2vla relabel`, or a
            folder of training rows.
        rows: How rows are made of a label set.
        target: The program.
        out: Folder to write to, new or (vllm) empty. Not made where vLLM takes FOLDER as it is.
        limit: Maximum number of rows, the first ones; 0 for all.
        model: (transformers) The base model, a folder or a hub name; the one that the adapter names by default.
        dtype: (transformers) The torch dtype of the weights written, or "auto" for the one of the base model.
        license_name: The license of the data for the card, as the Hugging Face Hub calls it (cc-by-4.0).
        json: Print one line of JSON.
    """
    if target != "transformers" and (model or dtype != "auto"):
        raise SettingError(
            "--model and --dtype are for an adapter that is merged (--for transformers). Leave them out."
        )
    if target not in ("vllm", "transformers"):
        return _export_rows(folder, rows, target, out, limit, license_name, as_json=json)
    given = {**rows.given(), **({"limit": limit} if limit else {}), **({"license": 1} if license_name else {})}
    for name in given:
        raise SettingError(f"--{name.replace('_', '-')} is for training rows; a model has none. Leave it out.")
    if target == "transformers":
        return _merge(folder, out, model, dtype, as_json=json)
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


def _merge(adapter: Path, out: Path, model: str, dtype: str, *, as_json: bool) -> CommandResult:
    if not (adapter / ADAPTER_CONFIG).is_file():
        raise SettingError(wrong_folder(adapter, f"a LoRA adapter ({ADAPTER_CONFIG})"))
    from vlm2vla_sim.policies.models.merged_model import merge_adapter  # needs torch

    made = merge_adapter(adapter, out, model=model, dtype=dtype)
    text = (
        f"Merged   {adapter} into {made.base}: {made.layers} layers, {made.dtype}.\nWritten  {out}\n"
        f"Evaluate vlm2vla evaluate --policy vlm --model {shlex.quote(str(out))}"
    )
    values = {"for": "transformers", "folder": str(out), "base": made.base, "dtype": made.dtype, "layers": made.layers}
    return CommandResult(text, values, as_json)


def _export_rows(
    folder: Path, flags: RowFlags, target: str, out: Path, limit: int, license_name: str, *, as_json: bool
) -> CommandResult:
    if limit < 0:
        raise SettingError(f"limit is {limit}; expected 0 for all rows, or more.")
    check_data(folder)
    check_path(out, RunFolderError, beside=".new")
    given = flags.given()
    if (folder / ROWS).is_file():
        check_rows(folder, given)
        made = export_rows(folder, out, target, limit=limit, license_name=license_name)
        return _rows_result(made, target, out, as_json=as_json)
    if given.get("format") == "tokens":
        raise SettingError(
            "The format 'tokens' writes digits with the least likely tokens of a model, and none is given here. Make "
            "the rows with `vlm2vla train --format tokens`, which keeps them beside its result, and export that folder."
        )
    if out.exists():
        raise RunFolderError(f"{out} exists already. Choose another folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        between = Path(scratch) / "rows"
        make_rows(folder, between, RowSettings.collect(folder, "", "", given))
        made = export_rows(between, out, target, limit=limit, license_name=license_name)
    return _rows_result(made, target, out, as_json=as_json)


def _rows_result(made: RowExport, target: str, out: Path, *, as_json: bool) -> CommandResult:
    stages = ", ".join(f"{count} {stage}" for stage, count in made.stages.items())
    lines = [f"{made.rows} rows ({stages})."]
    lines += [f"Skipped, {reason}: {count}" for reason, count in made.skipped.items()]
    lines.append(f"Written  {out} (README.md says how to read it)")
    values = {"for": target, "folder": str(out), **dataclasses.asdict(made)}
    return CommandResult("\n".join(lines), values, as_json)


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
