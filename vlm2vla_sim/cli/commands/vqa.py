"""`vlm2vla vqa`: what training made a model forget."""

from __future__ import annotations

import dataclasses
import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlm2vla_sim.cli.result import CommandResult, columns
from vlm2vla_sim.errors import RunFolderError, SettingError

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
    """Ask the base model and the tuned one the same questions; per category both accuracies and what was retained.

    Base and adapter are one set of weights in this process, with the adapter off and on. A model that was tuned as a
    whole (--tuned) is loaded after the base model has answered. Answers must match word for word; --out keeps them.

    Args:
        model: The base model: a folder, or a name on the hub.
        adapter: The adapter that is asked after it.
        tuned: In the place of an adapter, a whole model.
        questions: A folder with questions.jsonl, or a function as package.module:function that yields `VqaQuestion`.
        limit: Ask only the first so many; 0 for all.
        max_tokens: Of an answer.
        dtype: As torch calls it, or "auto" for what the weights are stored in.
        device_map: As transformers takes it; empty for one GPU where there is one, else the CPU.
        seed: Of the intervals.
        out: Folder for retention.json and answers.jsonl.
        lmms_eval: Print instead the commands for the paper's twelve benchmarks, which need lmms-eval and the internet.
        json: Print JSON.
    """
    if lmms_eval:
        from vlm2vla_sim.analysis.benchmarks import PAPER, commands

        lines = commands(model, adapter)
        values = {"commands": lines, "tasks": {benchmark.name: benchmark.task for benchmark in PAPER}}
        return CommandResult("\n".join(lines), values, json)
    if bool(adapter) is bool(tuned):
        raise SettingError("Name what is compared with the base model: an --adapter, or a whole model with --tuned.")
    if not questions:
        raise SettingError("Name the --questions: a folder with questions.jsonl, or package.module:function.")
    if out and Path(out).exists():
        raise RunFolderError(f"{out} is there already; choose another folder (--out DIR).")
    from vlm2vla_sim.analysis.questions import open_questions
    from vlm2vla_sim.analysis.vqa import answer_all, compare, retentions, to_json
    from vlm2vla_sim.policies.models.hf_model import HfModel, HfSettings

    asked = list(open_questions(questions))[: limit or None]
    first = HfModel(HfSettings(model, adapter, dtype=dtype, device_map=device_map))
    base = answer_all(first, asked, adapter=False, max_tokens=max_tokens)
    second = first
    if tuned:
        del first, second  # two large models at once would not fit
        second = HfModel(HfSettings(tuned, dtype=dtype, device_map=device_map))
    marked = compare(asked, base, answer_all(second, asked, adapter=True, max_tokens=max_tokens))
    found = retentions(marked, seed=seed)
    values = {"model": model, "tuned": adapter or tuned, "questions": len(asked), "retention": to_json(found)}
    if out:
        _keep(Path(out), values, marked)
    text = f"{adapter or tuned} beside {model}; 95 % intervals\n\n{_table(found)}"
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
    rows = [["category", "questions", "base [%]", "tuned [%]", "retained [%]"]]
    for one in found:
        retained = one.retention.text(1, 100) if one.retention else "base knew none"
        rows.append([one.category, str(one.questions), one.base.text(1, 100), one.tuned.text(1, 100), retained])
    return columns(rows)
