"""`vlm2vla vqa`: VQA retention of a tuned model relative to its base model."""

from __future__ import annotations

import dataclasses
import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlm2vla_sim.cli.result import CommandResult, columns
from vlm2vla_sim.core.file_names import check_path
from vlm2vla_sim.core.finder import is_place
from vlm2vla_sim.errors import RunFolderError, SettingError
from vlm2vla_sim.policies.base import TextModel, provenance

if TYPE_CHECKING:
    from vlm2vla_sim.analysis.vqa import AnsweredQuestion, Retention


def vqa(
    *,
    model: str,
    adapter: str = "",
    tuned: str = "",
    questions: str = "",
    limit: int = 0,
    max_tokens: int = 48,
    dtype: str = "auto",
    device_map: str = "",
    seed: int = 0,
    out: str = "",
    lmms_eval: bool = False,
    json: bool = False,
) -> CommandResult:
    """VQA retention: accuracy of a base and a tuned model on the same questions, per category, with 95 % intervals.

    The intervals are over images: questions about one image are not independent.

    The base model and its adapter share one set of weights, with the adapter off and on. A fully fine-tuned model
    (--tuned) is loaded after the base model has answered. An answer counts if it matches an accepted answer exactly, up
    to case, punctuation and articles; --out keeps all answers.

    Args:
        model: The base model: a folder, or a name on the hub.
        adapter: The adapter to compare with the base model.
        tuned: Instead of an adapter, a fully fine-tuned model to compare.
        questions: A folder with questions.jsonl, or a function as package.module:NAME that yields `VqaQuestion`.
        limit: Use only the first N questions; 0 for all.
        max_tokens: Maximum length of an answer.
        dtype: A torch dtype, or "auto" for the one the weights are stored in.
        device_map: As in transformers; empty for one GPU if there is one, else the CPU.
        seed: Seed for the bootstrap intervals.
        out: Folder for retention.json and answers.jsonl.
        lmms_eval: Only print the commands that run the paper's twelve benchmarks with lmms-eval.
        json: Print JSON.
    """
    if lmms_eval:
        from vlm2vla_sim.analysis.benchmarks import PAPER, commands

        lines = commands(model, adapter)
        values = {"commands": lines, "tasks": {benchmark.name: benchmark.task for benchmark in PAPER}}
        return CommandResult("\n".join(lines), values, json)
    if bool(adapter) is bool(tuned):
        raise SettingError(
            "Name one model to compare with the base model: an --adapter, or a fully fine-tuned model with --tuned."
        )
    if not questions:
        raise SettingError(
            "No questions were given. Set --questions to a folder with questions.jsonl, or to package.module:NAME."
        )
    if out:
        check_path(Path(out), RunFolderError)
    if out and Path(out).exists():
        raise RunFolderError(f"{out} exists already. Choose another folder (--out DIR).")
    from vlm2vla_sim.analysis.questions import open_questions
    from vlm2vla_sim.analysis.vqa import answer_all, compare, retentions, to_json

    asked = list(open_questions(questions))[: limit or None]
    first = _load(model, adapter, dtype=dtype, device_map=device_map)
    base = answer_all(first, asked, adapter=False, max_tokens=max_tokens)
    used = {"base": provenance(first)}
    second = first
    if tuned:
        del first, second  # two large models may not fit into memory
        second = _load(tuned, dtype=dtype, device_map=device_map)
    marked = compare(asked, base, answer_all(second, asked, adapter=True, max_tokens=max_tokens))
    used["tuned"] = provenance(second)
    found = retentions(marked, seed=seed)
    values = {
        "model": model,
        "tuned": adapter or tuned,
        "questions": len(asked),
        "retention": to_json(found),
        "provenance": used,
    }
    if out:
        _keep(Path(out), values, marked)
    text = f"VQA retention of {adapter or tuned}, base model {model}; 95 % intervals over images\n\n{_table(found)}"
    text += _cut_off(found[-1], max_tokens)
    return CommandResult(text, values, json)


def _keep(folder: Path, values: dict[str, object], marked: Sequence[AnsweredQuestion]) -> None:
    """Write retention.json and answers.jsonl."""
    from vlm2vla_sim.core.versions import collect_versions
    from vlm2vla_sim.language.prompts import prompts_hash

    folder.mkdir(parents=True)
    saved = json_module.dumps({**values, "versions": collect_versions(prompts=prompts_hash())}, indent=2)
    (folder / "retention.json").write_text(f"{saved}\n", encoding="utf-8")
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json_module.dumps(dataclasses.asdict(one), ensure_ascii=False) + "\n" for one in marked)


def _table(found: Sequence[Retention]) -> str:
    rows = [["category", "questions", "images", "base [%]", "tuned [%]", "retention [%]"]]
    for one in found:
        retention = one.retention.text(1, 100) if one.retention else "none right in base"
        rows.append(
            [
                one.category,
                str(one.questions),
                str(one.images),
                one.base.text(1, 100),
                one.tuned.text(1, 100),
                retention,
            ]
        )
    return columns(rows)


def _cut_off(everything: Retention, max_tokens: int) -> str:
    """What to know about answers that were cut off, where there are any."""
    if not everything.base_cut_off + everything.tuned_cut_off:
        return ""
    return (
        f"\n\nCut off at {max_tokens} tokens: {everything.base_cut_off} answers of the base model and "
        f"{everything.tuned_cut_off} of the tuned one. They are right only if a first line or sentence that ended is; "
        "raise --max-tokens."
    )


def _load(model: str, adapter: str = "", *, dtype: str, device_map: str) -> TextModel:
    if is_place(model):
        from vlm2vla_sim.policies.vlm import VlmOptions, make_text_model

        return make_text_model(VlmOptions(model=model, adapter=adapter, dtype=dtype, device_map=device_map))
    from vlm2vla_sim.policies.models.hub import locate

    locate(model)  # before torch is imported, so that an unreachable hub is reported within seconds
    from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings

    return HfModel(HfSettings(model, adapter, dtype=dtype, device_map=device_map))
